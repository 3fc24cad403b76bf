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
from ppl_vae.cli.stored_run import add_run_options, at_least_one, loaded, locked_run, split_of
from ppl_vae.libraries import pd

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["COMMAND"]

_FORMATS = (".csv", ".tsv", ".parquet", ".npz", ".npy")
"""Of arrays and tables; what else is asked for is a picture."""


def _options(parser: Parser) -> None:
    add_run_options(parser)
    parser.option("--num", type=int, default=64, help="how many")
    parser.option(
        "--mean", type=bool, default=None, help="E[x | z] instead of draws of x (pictures of binary data alone)"
    )
    parser.option("--label", type=int | None, help="label to condition on, for a conditional run")
    parser.option(
        "--total", type=PositiveFloat | None, help="what each row adds up to, for a run given totals (median)"
    )
    parser.option("--out", type=str | None, help=f"file to write: {', '.join(_FORMATS)}, or a picture")


def _sample(options: Namespace) -> None:
    """Draw data from the prior and the likelihood, in raw units."""
    at_least_one(options, "num")
    with locked_run(options, "sample") if options.out is None else nullcontext():
        print(f"wrote {_sampled(options)}")


def _sampled(options: Namespace) -> Path:
    from ppl_vae.checksums import record
    from ppl_vae.cli.figures import IN_TURN, MEANS, draw, raw, save
    from ppl_vae.data.known_formats import format_of

    run, vae = loaded(options)
    device = next(vae.parameters()).device
    context = [c.to(device) for c in _condition(run, options)]
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
        given = (IN_TURN if context else "") if options.label is None else f", label {options.label}"
        save(draw("samples", raw(vae, x), labelled=(MEANS if mean else "draws of x, z from the prior") + given), out)
    else:
        raise ValueError(f"--out expects a file that ends in {', '.join(_FORMATS)}, got {out}; change its ending")
    if options.out is None:
        record(run.path, [out.name])
    return out


def _frame(x: Tensor, run: ppl_vae.Run) -> pd.DataFrame:
    """Draws as the table that the run was trained on has its rows: with its columns, categories and dates."""
    import torch

    domain = ppl_vae.Domain(**run.config["recipe"]["domain"])
    split = ppl_vae.data.Split(x, torch.arange(len(x)), domain=domain, provenance=run.config["data"][0])
    made = ppl_vae.data.to_frame(x, split)
    if rounded := made.attrs.get("rounded"):
        print("; ".join(f"column {name} is {said}" for name, said in rounded.items()))
    return made


def _plain(made: pd.DataFrame | dict[str, Any]) -> dict[str, Any]:
    """Arrays that are stored without pickling: categories as text."""
    import numpy as np

    arrays = {str(name): np.asarray(made[name]) for name in made}
    return {name: array.astype(str) if array.dtype == object else array for name, array in arrays.items()}


def _condition(run: ppl_vae.Run, options: Namespace) -> list[Tensor]:
    """What to condition on, each (num, ...): one label, or the conditions of the test data in turn."""
    import torch

    if not run.config["recipe"]["context"]:
        if options.label is not None:
            raise ValueError("--label expects a conditional run, got one without a condition; leave it out")
        return []
    context = split_of(run, options).context
    if options.label is None:
        return [c[torch.arange(options.num) % len(c)] for c in context]
    classes = context[-1].shape[-1]
    if not 0 <= options.label < classes:
        raise ValueError(f"--label expects 0 to {classes - 1}, got {options.label}; choose one of these labels")
    context = tuple(c[:1].expand(options.num, *c.shape[1:]).clone() for c in context)
    context[-1].zero_()[:, options.label] = 1
    return list(context)


COMMAND = Command(
    name="sample",
    about="new data from a run",
    parser=_options,
    run=_sample,
    after="ppl-vae report {run}",
)
