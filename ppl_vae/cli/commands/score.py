"""log p(x) of new data."""

from __future__ import annotations

from typing import Any

from jsonargparse import Namespace
from jsonargparse.typing import PositiveInt

import ppl_vae
from ppl_vae.cli.command import Command
from ppl_vae.cli.components import Parser
from ppl_vae.cli.new_data import add_new_data_options, opened_with, write
from ppl_vae.cli.output import add_json, as_json, numbers
from ppl_vae.cli.stored_run import add_method

__all__ = ["COMMAND"]


def _options(parser: Parser) -> None:
    add_new_data_options(parser)
    add_method(parser)
    parser.option("--num-samples", type=PositiveInt, default=1000, help="draws from q a datum")
    add_json(parser)


def _score(options: Namespace) -> None:
    """Write `Evaluation.per_datum`: log p(x) in nats, of the data in their units, with its error, k-hat and bounds."""
    with as_json(options.json) as values:
        values.update(_scored(options))


def _scored(options: Namespace) -> dict[str, Any]:
    vae, split = opened_with(options)
    settings = {name: getattr(options, name) for name in ("num_samples", "seed", "max_rows", "method")}
    found = ppl_vae.evaluate(vae, split, **settings)
    first = [name for name in ("log_px", "elbo") if name in found.per_datum]
    print(found)
    names = first + [name for name in found.per_datum if name not in first]
    write(options, found.per_datum[names].reset_index(drop=True))
    return {"run": options.run, **numbers(found), "wrote": [options.out]}


COMMAND = Command(
    name="score",
    about="log p(x) of new data, with its error",
    parser=_options,
    run=_score,
    after="ppl-vae diagnose {run}",
)
