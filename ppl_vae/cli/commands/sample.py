"""Draw data from a stored run."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace
from jsonargparse.typing import PositiveFloat

import ppl_vae
from ppl_vae.cli.command import Command
from ppl_vae.cli.components import Parser
from ppl_vae.cli.failures import nearest
from ppl_vae.cli.output import add_json, as_json, tell_rounded
from ppl_vae.cli.outputs import check_outputs, lies_in, noted
from ppl_vae.cli.stored_run import add_run_options, loaded, locked_folder, split_of
from ppl_vae.libraries import pd

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["COMMAND"]

_FORMATS = (".csv", ".tsv", ".parquet", ".npz", ".npy")
"""Of arrays and tables; what else is asked for is a picture."""

_OWN = ("samples.png", "samples.csv", "samples.npy")
"""What is written to the run folder where no file is named."""

_MOST_NAMED = 20


def _options(parser: Parser) -> None:
    add_run_options(parser)
    add_json(parser)
    parser.option("--num", type=int, least=1, default=64, help="how many")
    parser.option(
        "--mean", type=bool, default=None, help="E[x | z] instead of draws of x (pictures of binary data alone)"
    )
    parser.option("--label", type=str | None, help="class to condition on, by name or number, for a conditional run")
    parser.option(
        "--total", type=PositiveFloat | None, help="what each row adds up to, for a run given totals (median)"
    )
    parser.option("--out", type=str | None, help=f"file to write: {', '.join(_FORMATS)}, or a picture")


def _sample(options: Namespace) -> None:
    """Draw data from the prior and the likelihood, in raw units."""
    inside = options.out is None or lies_in(options.run, options.out)
    with as_json(options.json) as values, locked_folder(options.run, "sample") if inside else nullcontext():
        out, given = _sampled(options)
        print(f"wrote {out}{given}")
        values.update(run=options.run, num=options.num, given=given.removeprefix(", ") or None, wrote=[out])


def _sampled(options: Namespace) -> tuple[Path, str]:
    """The file, and what the data in it were conditioned on, in words."""
    from ppl_vae.cli.figures import MEANS, draw, raw, save
    from ppl_vae.data.known_formats import format_of

    run, vae = loaded(options)
    if options.out is not None:
        check_outputs("--out", [Path(options.out)], [run.path], reads=[(options.data, "the data")], own=_OWN)
    device = next(vae.parameters()).device
    condition, given = _condition(run, options)
    context = [c.to(device) for c in condition]
    shape, kind = run.config["recipe"]["x_shape"], run.config["recipe"]["domain"]["kind"]
    picture = len(shape) == 3 and Path(options.out or "").suffix.lower() not in _FORMATS
    mean = options.mean if options.mean is not None else picture and kind == "binary"  # draws of pixels look like noise
    x = vae.sample(options.num, *context, seed=options.seed, mean=mean, total=options.total).cpu()
    columns = (run.config["data"][0] or {}).get("columns")
    out = Path(
        options.out or run.path / ("samples.png" if x.dim() == 4 else "samples.csv" if columns else "samples.npy")
    )
    if (ending := out.suffix.lower()) in _FORMATS:
        out.parent.mkdir(parents=True, exist_ok=True)
        made = _frame(x, run) if columns and ending != ".npy" else {"x": raw(vae, x).numpy()}
        format_of(out).write(out, _plain(made) if ending == ".npz" else made, out)
    elif x.dim() == 4:
        save(draw("samples", raw(vae, x), labelled=(MEANS if mean else "draws of x, z from the prior") + given), out)
    else:
        raise ValueError(f"--out expects a file that ends in {', '.join(_FORMATS)}, got {out}; change its ending")
    noted(run.path, out, _OWN)
    return out, given


def _frame(x: Tensor, run: ppl_vae.Run) -> pd.DataFrame:
    """Draws as the table that the run was trained on has its rows: with its columns, categories and dates."""
    import torch

    domain = ppl_vae.Domain(**run.config["recipe"]["domain"])
    split = ppl_vae.data.Split(x, torch.arange(len(x)), domain=domain, provenance=run.config["data"][0])
    made = ppl_vae.data.to_frame(x, split)
    tell_rounded(made.attrs.get("rounded", {}))
    return made


def _plain(made: pd.DataFrame | dict[str, Any]) -> dict[str, Any]:
    """Arrays that are stored without pickling: categories as text."""
    import numpy as np

    arrays = {str(name): np.asarray(made[name]) for name in made}
    return {name: array.astype(str) if array.dtype == object else array for name, array in arrays.items()}


def _condition(run: ppl_vae.Run, options: Namespace) -> tuple[list[Tensor], str]:
    """What to condition on, each (num, ...), and in words: one class, or the conditions of the test data in turn."""
    import torch

    from ppl_vae.cli.figures import IN_TURN
    from ppl_vae.data.conditioned import classes_of

    if not run.config["recipe"]["context"]:
        for name in ("label", "data"):
            if getattr(options, name) is not None:
                raise ValueError(f"--{name} expects a conditional run, got one without a condition; leave it out")
        return [], ""
    split = split_of(run, options)
    if options.label is None:
        return [c[torch.arange(options.num) % len(c)] for c in split.context], IN_TURN
    classes = classes_of(split)
    if classes is None:
        raise ValueError("--label expects a run conditioned on classes, got one on other values; leave it out")
    code = _code(options.label, classes)
    context = [c[:1].expand(options.num, *c.shape[1:]).clone() for c in split.context]
    context[-1].zero_()[:, code] = 1
    number = "" if classes[code] == str(code) else f" ({code})"
    others = ", its other conditions those of the first test datum" if len(context) > 1 else ""
    return context, f", label {classes[code]}{number}{others}"


def _code(label: str, classes: list[str]) -> int:
    """The number of a class by its name, whatever is a capital, or by its number where no class has that name."""
    plain = [name.lower() for name in classes]
    if label in classes:
        return classes.index(label)
    if plain.count(label.lower()) == 1:
        return plain.index(label.lower())
    if label.isdecimal() and int(label) < len(classes):
        return int(label)
    numbers = f"0 to {len(classes) - 1}"
    if classes == [str(code) for code in range(len(classes))]:
        raise ValueError(f"--label expects {numbers}, got {label}; choose one of these labels")
    near = nearest(label, classes)[:_MOST_NAMED]
    more = f" and {len(classes) - len(near)} more" if len(near) < len(classes) else ""
    raise ValueError(
        f"--label expects {', '.join(near)}{more}, or a number from {numbers}, got {label!r}; choose one of these"
    )


COMMAND = Command(
    name="sample",
    about="new data from a run",
    parser=_options,
    run=_sample,
    after="ppl-vae report {run}",
)
