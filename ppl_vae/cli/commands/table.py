"""Many trainings in one table."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace
from jsonargparse.typing import PositiveInt

from ppl_vae.cli.command import Command, on_run
from ppl_vae.cli.components import Parser
from ppl_vae.cli.output import add_json, as_json
from ppl_vae.cli.outputs import check_outputs
from ppl_vae.cli.stored_run import ABOUT_DATA_DIR, DEVICES
from ppl_vae.files import write_text, written
from ppl_vae.libraries import pd
from ppl_vae.progress import progress_bar

if TYPE_CHECKING:
    from tqdm import tqdm

    from ppl_vae.cli.comparison.reading import Table
    from ppl_vae.cli.comparison.runs import Run

__all__ = ["COMMAND"]

_FILES = ("table.md", "table.png", "results.parquet", "results.csv")


def _options(parser: Parser) -> None:
    parser.import_option()
    about = "YAML file: options of train, lists of them are crossed; cells, seeds, evaluate, reference, published"
    parser.add_argument("file", help=about)
    parser.option("--out", type=str | None, help="folder of the runs and of the table (runs/FILE)")
    about = "trainings at a time, each with its share of the cores (as many as there are cores)"
    parser.option("--processes", type=PositiveInt | None, help=about)
    parser.option("--list", type=bool, default=False, help="only list the cells, what is left to run, and the commands")
    about = "run nothing, and write the table of what is complete: while another process runs it, say"
    parser.option("--summary", type=bool, default=False, help=about)
    parser.option("--data-dir", type=str | None, help=ABOUT_DATA_DIR)
    about = "cpu, cuda or mps; a GPU is best used with --processes 1"
    parser.option("--device", offered=DEVICES, default="cpu", help=about)
    add_json(parser)


def _table(options: Namespace) -> None:
    """Carry out what is not complete, and write the table of all."""
    from ppl_vae.cli.comparison.reading import read
    from ppl_vae.cli.comparison.runs import run_all, runs_of
    from ppl_vae.group import num_cores

    path = Path(options.file)
    table = read(path, shlex.split(options.imports))
    out = Path("runs") / path.stem if options.out is None else Path(options.out)
    where = [f"--device={options.device}", *([f"--data-dir={options.data_dir}"] if options.data_dir else [])]
    runs = runs_of(table.cells, out, where)
    left = [run for run in runs if run.state in ("new", "interrupted")]
    if options.list:
        print("\n".join(_listed(table, runs)))
        return
    data = [cell.settings.get(name) for cell in table.cells for name in ("data", "test")]
    reads = [(str(path), "the data of a cell") for path in data if path]
    check_outputs("--out", [out / name for name in _FILES], [], reads=reads)
    with as_json(options.json) as values:
        print(f"{len(runs)} runs of {len(table.cells)} cells, {len(left)} to be carried out, in {out}", flush=True)
        now = [] if options.summary else left
        print("".join(f"{said}\n" for said in _of_files(runs, now)), end="", flush=True)
        processes = min(options.processes or num_cores(), max(1, len(now)))  # few runs share all cores
        with progress_bar("runs", len(now), "run", shown=bool(now)) as bar:
            run_all(now, processes, _told(len(left), bar), bar.refresh)
        values.update(_written(table, runs, out))
        complete = any(run.state == "complete" for run in runs)
        if any(run.reason for run in runs) and not complete and not options.summary:
            raise RuntimeError(
                f"a table expects runs that can be completed, got none of {len(runs)}; mend what "
                f"{out / 'table.md'} says of them, and call the command again"
            )


def _of_files(runs: Sequence[Run], now: Sequence[Run]) -> list[str]:
    """Which of the runs to be carried out are of files that changed, and of which complete ones this is not known."""
    again, unknown = ([run for run in now if run.changed], [r for r in runs if r.state == "complete" and r.unknown])
    said = []
    if again:
        names = ", ".join(dict.fromkeys(path for run in again for path in run.changed))
        said.append(
            f"{names} changed since {len(again)} of these ran: each such run starts again, and what was there stays "
            f"beside it, as in {again[0].folder.name}-former-1"
        )
    if unknown:
        names = ", ".join(dict.fromkeys(path for run in unknown for path in run.unknown))
        said.append(
            f"no checksum of {names} was kept for {len(unknown)} of the complete runs, by an earlier version: they are "
            "taken as they are"
        )
    return said


def _told(number: int, bar: tqdm[None]) -> Callable[[Run, str], None]:
    """What says of each run that it ended, in a line above the bar."""
    done: list[Run] = []

    def tell(run: Run, why: str) -> None:
        done.append(run)
        bar.clear()
        print(f"{len(done)}/{number} {run.cell.name}, seed {run.seed}: {why or 'complete'}", flush=True)
        bar.update()

    return tell


def _listed(table: Table, runs: Sequence[Run]) -> list[str]:
    """A line of each run, why it has no result where that is known, and its commands where it can be built."""
    lines = []
    for run in runs:
        lines.append(f"{run.cell.name}, seed {run.seed}: {run.state}")
        if run.reason:
            lines.append(f"  {run.reason}")
        if not run.cell.why_not:
            lines += [f"  ppl-vae {shlex.join(words)}" for words in run.commands]
    return lines


def _written(table: Table, runs: Sequence[Run], out: Path) -> dict[str, Any]:
    """Write the results of all complete runs, the Markdown and the figure; the rows of the cells."""
    from ppl_vae.cli.comparison.drawn import drawn
    from ppl_vae.cli.comparison.printed import markdown
    from ppl_vae.cli.comparison.summary import found, of_cells, of_runs
    from ppl_vae.cli.figures import save

    known = found(runs)
    rows, cells = of_runs(runs, known), of_cells(runs, known, table.reference_of)
    out.mkdir(parents=True, exist_ok=True)
    text = markdown(table, cells, table.path.stem, _budget(runs, len(known)))
    write_text(out / "table.md", text)
    files = [_stored(rows, out), out / "table.md"]
    if known:
        save(drawn(table, cells, rows), out / "table.png")
        files.append(out / "table.png")
    print("\n".join([text, *(f"wrote {file}" for file in files)]))
    if known:
        lowest = min(known, key=lambda run: known[run].numbers.get("nll", math.inf))
        print(f"next: {on_run('diagnose', lowest.folder)}, which has the lowest NLL")
    return {"cells": {str(name): dict(row) for name, row in cells.iterrows()}, "wrote": files}


def _stored(rows: pd.DataFrame, out: Path) -> Path:
    """The rows of the runs as Parquet; without pyarrow as CSV, and that is said."""
    try:
        with written(out / "results.parquet") as temporary:
            rows.to_parquet(temporary)
    except ImportError:
        print("results are CSV, as Parquet expects pyarrow, which is not installed; pip install 'ppl_vae[tables]'")
        rows.to_csv(out / "results.csv", index=False)
        return out / "results.csv"
    return out / "results.parquet"


def _budget(runs: Sequence[Run], complete: int) -> str:
    """How many runs there are, and how they are scored."""
    scored = " ".join(runs[0].cell.evaluate)
    done = f"{complete} of {len(runs)} runs are complete"
    return f"{done}, each scored by `ppl-vae evaluate RUN{' ' * bool(scored)}{scored}`."


COMMAND = Command(
    name="table",
    about="many trainings, of the cells of a YAML file, in one table with published numbers beside",
    parser=_options,
    run=_table,
)
