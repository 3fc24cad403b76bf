"""Write a page on stored runs."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

from jsonargparse import Namespace

import ppl_vae
from ppl_vae.cli.command import Command
from ppl_vae.cli.components import Parser
from ppl_vae.cli.output import add_json, as_json
from ppl_vae.cli.outputs import check_outputs, lies_in, noted
from ppl_vae.cli.stored_run import add_method, add_split_options, locked_folder, split_of

__all__ = ["COMMAND"]

_PAGE = "report.html"


def _options(parser: Parser) -> None:
    add_split_options(parser, take=500, several=True)
    add_method(parser)
    parser.option("--full", type=bool, default=False, help="also what takes minutes: HMC, AIS, inference gaps")
    add_json(parser)
    parser.option("--out", type=str | None, help="file to write (report.html in the run; of several, here)")


def _report(options: Namespace) -> None:
    """Write one HTML file of a run, or of several side by side."""
    with as_json(options.json) as values:
        path = _written(options)
        print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB); open it in a browser")
        values.update(runs=options.runs, wrote=[path])


def _written(options: Namespace) -> Path:
    out = options.out
    inside = len(options.runs) == 1 if out is None else lies_in(options.runs[0], out)
    with locked_folder(options.runs[0], "report") if inside else nullcontext():
        runs = [ppl_vae.load(run, options.classes, device=options.device) for run in options.runs]
        folders = [run.path for run in runs]
        page = folders[0] / _PAGE if out is None and len(runs) == 1 else Path(out or _PAGE)
        check_outputs("--out", [page], folders, reads=[(options.data, "the data")], own=[_PAGE])
        path = ppl_vae.report(
            runs,
            page,
            data=[split_of(run, options) for run in runs],
            take=options.take,
            full=options.full,
            num_samples=options.num_samples,
            method=options.method,
            seed=options.seed,
            max_rows=options.max_rows,
        )
        for folder in folders:
            noted(folder, path, [_PAGE])
    return path


COMMAND = Command(
    name="report",
    about="one HTML file to explore runs: verdict, figures of each datum, latent space",
    parser=_options,
    run=_report,
)
