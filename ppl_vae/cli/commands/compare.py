"""Compare stored runs."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import Namespace

from ppl_vae.cli.command import Command
from ppl_vae.cli.components import Parser

__all__ = ["COMMAND"]


def _options(parser: Parser) -> None:
    parser.add_argument("runs", nargs="+", help="run folders that `ppl-vae evaluate` has been over")
    parser.option("--figure", type=str | None, help="draw the table into this file")


def _compare(options: Namespace) -> None:
    """Print the table of several runs, best first."""
    from ppl_vae.cli.figures import draw, save
    from ppl_vae.evaluation.compare import compare, printed

    names = [Path(run).resolve().name for run in options.runs]
    full = {name for name in names if names.count(name) > 1}  # a/r and b/r are two runs
    runs = {str(run) if name in full else name: run for name, run in zip(names, options.runs, strict=True)}
    table = compare(runs)
    print(printed(table))
    if options.figure:
        save(draw("nll_with_errors", table), Path(options.figure))
        print(f"wrote {options.figure}")


COMMAND = Command(
    name="compare",
    about="several runs in one table",
    parser=_options,
    run=_compare,
)
