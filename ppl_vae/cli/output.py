"""Results of a command as one JSON object for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any

from ppl_vae.cli.components import Parser
from ppl_vae.files import number

if TYPE_CHECKING:
    from ppl_vae.evaluation import Evaluation

__all__ = ["add_json", "as_json", "numbers", "tell_rounded"]


def add_json(parser: Parser) -> None:
    """The option `--json`."""
    parser.option("--json", type=bool, default=False, help="one JSON object on stdout; what else is said on stderr")


@contextmanager
def as_json(asked: bool) -> Iterator[dict[str, Any]]:
    """A scope that gives a dict; where JSON is asked for, it is what is printed on stdout, at the end."""
    values: dict[str, Any] = {}
    if not asked:
        yield values
        return
    with redirect_stdout(sys.stderr):
        yield values
    print(json.dumps(_plain(values), indent=1))


def numbers(result: Evaluation) -> dict[str, Any]:
    """What an evaluation says of all its data."""
    summary = {str(name): {"mean": mean, "se": se} for name, (mean, se) in result.summary.iterrows()}
    said = {name: getattr(result, name) for name in ("formula", "num_samples", "seed", "base_measure", "active_units")}
    known = {"num_data": len(result.per_datum), "summary": summary, "unreliable": result.unreliable}
    return {**said, **known, "data": {name: result.data[name] for name in ("identity", "checksum")}}


def tell_rounded(rounded: Mapping[str, str]) -> None:
    """Print how the columns of a table that is written were rounded, if any were."""
    if rounded:
        print("; ".join(f"column {name} is {said}" for name, said in rounded.items()))


def _plain(value: Any) -> Any:
    """Values that JSON has: NaN as null, infinities, paths and what else as text."""
    if isinstance(value, Mapping):
        return {str(name): _plain(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return number(value)
    return value if isinstance(value, str | int | bool | None) else str(value)
