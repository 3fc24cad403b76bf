"""Evaluate a stored run."""

from __future__ import annotations

from jsonargparse import Namespace

import ppl_vae
from ppl_vae.cli.command import Command
from ppl_vae.cli.stored_run import add_split_options, locked_run, opened

__all__ = ["COMMAND"]


def _evaluate(options: Namespace) -> None:
    """Evaluate on a split, and write `evaluation.json`."""
    with locked_run(options, "evaluate"):
        run, vae, split = opened(options)
        result = ppl_vae.evaluate(
            vae, split, num_samples=options.num_samples, seed=options.seed, max_rows=options.max_rows
        )
        result.save(run.path / "evaluation.json")
    print(f"{result}\nwrote {run.path / 'evaluation.json'}")


COMMAND = Command(
    name="evaluate",
    about="bounds and log p(x) of a run on its test data, with error bars",
    parser=add_split_options,
    run=_evaluate,
)
