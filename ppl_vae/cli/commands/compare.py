"""Compare stored runs."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import Namespace

from ppl_vae.cli.command import Command, on_run
from ppl_vae.cli.components import Parser
from ppl_vae.cli.output import add_json, as_json
from ppl_vae.cli.outputs import check_figure, check_outputs

__all__ = ["COMMAND"]


def _options(parser: Parser) -> None:
    parser.add_argument("runs", nargs="+", help="run folders that `ppl-vae evaluate` has been over")
    add_json(parser)
    parser.option("--figure", type=str | None, help="draw the table into this file")


def _compare(options: Namespace) -> None:
    """Print the table of several runs, best first."""
    from ppl_vae.cli.figures import draw, save
    from ppl_vae.evaluation.compare import compare, printed

    names = [Path(run).resolve().name for run in options.runs]
    full = {name for name in names if names.count(name) > 1}  # a/r and b/r are two runs
    runs = {str(run) if name in full else name: run for name, run in zip(names, options.runs, strict=True)}
    if options.figure:
        check_outputs("--figure", [Path(options.figure)], map(Path, options.runs))
        check_figure("--figure", Path(options.figure))
    table = compare(runs)
    with as_json(options.json) as values:
        print(printed(table))
        if options.figure:
            save(draw("nll_with_errors", table), Path(options.figure))
            print(f"wrote {options.figure}")
        best = next(iter(table.index))
        run = Path(runs[best])
        print(f"next: {on_run('diagnose', run.parent if run.is_file() else run)}{options.imports}")
        rows = {name: dict(row) for name, row in table.iterrows()}
        values.update(best_first=list(rows), runs=rows, **{k: table.attrs.get(k) for k in ("units", "warning")})


COMMAND = Command(
    name="compare",
    about="several runs in one table",
    parser=_options,
    run=_compare,
)
