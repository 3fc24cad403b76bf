"""Draw data from a stored run."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from jsonargparse import Namespace
from torch import Tensor

from ppl_vae.checksums import record
from ppl_vae.cli.command import Command
from ppl_vae.cli.components import Parser
from ppl_vae.cli.figures import draw, raw, save
from ppl_vae.cli.stored_run import add_run_options, at_least_one, loaded, locked_run, split_of
from ppl_vae.training import Run

__all__ = ["COMMAND"]


def _options(parser: Parser) -> None:
    add_run_options(parser)
    parser.option("--num", type=int, default=64, help="how many")
    parser.option("--mean", type=bool, default=False, help="E[x | z] instead of draws of x")
    parser.option("--label", type=int | None, help="label to condition on, for a conditional run")
    parser.option(
        "--out",
        type=str | None,
        help="file to write (RUN/samples.png, or .npy where the data are no images)",
    )


def _sample(options: Namespace) -> None:
    """Draw data from the prior and the likelihood, in raw units."""
    at_least_one(options, "num")
    with locked_run(options, "sample") if options.out is None else nullcontext():
        print(f"wrote {_sampled(options)}")


def _sampled(options: Namespace) -> Path:
    run, vae = loaded(options)
    device = next(vae.parameters()).device
    context = (c.to(device) for c in _condition(run, options))
    x = raw(vae, vae.sample(options.num, *context, seed=options.seed, mean=options.mean))
    out = Path(options.out or run.path / ("samples.png" if x.dim() == 4 else "samples.npy"))
    if out.suffix == ".npy":
        out.parent.mkdir(parents=True, exist_ok=True)
        np.save(out, x.numpy(), allow_pickle=False)
    else:
        save(draw("samples", x), out)
    if options.out is None:
        record(run.path, [out.name])
    return out


def _condition(run: Run, options: Namespace) -> list[Tensor]:
    """What to condition on, each (num, ...): one label, or the conditions of the test data in turn."""
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
)
