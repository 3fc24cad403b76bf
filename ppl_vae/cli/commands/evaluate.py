"""Evaluate a stored run."""

from __future__ import annotations

from jsonargparse import Namespace

import ppl_vae
from ppl_vae.cli.command import Command
from ppl_vae.cli.components import Parser
from ppl_vae.cli.output import add_json, as_json, numbers
from ppl_vae.cli.stored_run import add_method, add_split_options, locked_run, opened

__all__ = ["COMMAND"]


def _options(parser: Parser) -> None:
    add_split_options(parser)
    add_method(parser)
    add_json(parser)


def _evaluate(options: Namespace) -> None:
    """Evaluate on a split, and write `evaluation.json`."""
    with locked_run(options, "evaluate"):
        run, vae, split = opened(options)
        settings = {name: getattr(options, name) for name in ("num_samples", "seed", "max_rows", "method")}
        result = ppl_vae.evaluate(vae, split, **settings)
        result.save(run.path / "evaluation.json")
    with as_json(options.json) as values:
        print(f"{result}\nwrote {run.path / 'evaluation.json'}\nnext: ppl-vae diagnose {run.path}{options.imports}")
        values.update(run=run.path, **numbers(result), wrote=[run.path / "evaluation.json"])


COMMAND = Command(
    name="evaluate",
    about="bounds and log p(x) of a run on its test data, with error bars",
    parser=_options,
    run=_evaluate,
)
