"""The runs of a table, each in a process of its own, and what is left of them when they are interrupted."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from itertools import count
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from threading import Thread
from typing import Any

from ppl_vae.cli.comparison.cell import Cell
from ppl_vae.files import write_text
from ppl_vae.group import num_cores

__all__ = ["Run", "carried_out", "run_all", "runs_of"]


@dataclass(frozen=True, eq=False)
class Run:
    """A cell with one of its seeds.

    Attributes
    ----------
    cell, seed
        What is trained.
    folder
        The run folder; beside it are `seed-N.log`, what was printed, and `seed-N.json`, how the run ended.
    where
        Words of both commands: the folder of the data, and the device.
    """

    cell: Cell
    seed: int
    folder: Path
    where: Sequence[str] = ()

    @property
    def commands(self) -> list[list[str]]:
        """The words after `ppl-vae` that carry it out."""
        imports = [*self.cell.train[: 2 * self.cell.train.count("--import")]]
        train = ["train", *self.cell.train, f"--seed={self.seed}", f"--run={self.folder}", "--resume", *self.where]
        return [train, ["evaluate", str(self.folder), *imports, *self.cell.evaluate, *self.where]]

    @property
    def log(self) -> Path:
        """What its commands printed."""
        return self.folder.with_suffix(".log")

    @property
    def state(self) -> str:
        """`complete`, `interrupted`, `new`, or `cannot be built`."""
        if self.cell.why_not:
            return "cannot be built"
        if self.changed:
            return "new"
        if self._ended() == "" and (self.folder / "evaluation.json").is_file():
            return "complete"
        return "interrupted" if (self.folder / "checkpoint.json").is_file() else "new"

    @property
    def reason(self) -> str:
        """Why it has no result: it cannot be built, is of other files, or failed when last carried out; else empty."""
        if self.changed and not self.cell.why_not:
            names = ", ".join(self.changed)
            return f"{names} changed since seed {self.seed} was carried out, which is to be carried out again"
        return self.cell.why_not or self._ended() or ""

    @property
    def changed(self) -> list[str]:
        """The files that hold something else now than when it was carried out, as far as both are known."""
        stored = self._stored().get("files", {})
        return [path for path, content in self.cell.files.items() if stored.get(path, content) != content]

    @property
    def unknown(self) -> list[str]:
        """The files of which its record, of an earlier version, says nothing; where there is none, no files."""
        stored = self._stored()
        return [path for path in self.cell.files if stored and path not in stored.get("files", {})]

    def begin(self) -> None:
        """Make its folder, leave what is of other files beside it, and note that it has not ended."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        if self.changed and self.folder.exists():
            names = (self.folder.with_name(f"{self.folder.name}-former-{i}") for i in count(1))
            self.folder.rename(next(path for path in names if not path.exists()))
        self._note(None)

    def end(self, status: int | None) -> str:
        """Store how it ended beside the folder; why it failed, or nothing.

        That is the last line of its log, or the signal that ended its process.
        """
        why = self._failure(status) if status else ""
        self._note(why)
        return why

    def _note(self, why: str | None) -> None:
        noted = {**self._carried_out, "files": dict(self.cell.files), "failed": why}
        write_text(self._record, json.dumps(noted, indent=1))

    @property
    def _record(self) -> Path:
        return self.folder.with_suffix(".json")

    @property
    def _carried_out(self) -> dict[str, Any]:
        return {"train": list(self.cell.train), "evaluate": list(self.cell.evaluate)}

    def _ended(self) -> str | None:
        """Why it failed, nothing where it is complete, and `None` where it did not end with these commands."""
        stored = self._stored()
        why: str | None = stored.get("failed", "")  # records of 0.1 are of complete runs alone
        return why if {name: stored.get(name) for name in self._carried_out} == self._carried_out else None

    def _stored(self) -> dict[str, Any]:
        """Its record: the words of its commands, checksums of files, and how it ended; empty where there is none."""
        try:
            stored = json.loads(self._record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return stored if isinstance(stored, dict) else {}

    def _failure(self, status: int | None) -> str:
        if status is not None and status < 0:
            return f"its process was ended by signal {-status}"
        lines = (
            self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if self.log.is_file() else []
        )
        last = lines[-1] if lines else f"its process ended with status {status}"
        return last.removeprefix("ppl-vae train: ").removeprefix("ppl-vae evaluate: ")


def runs_of(cells: Sequence[Cell], out: Path, where: Sequence[str] = ()) -> list[Run]:
    """The runs of cells, those of every cell's first seed first."""
    most = max(len(cell.seeds) for cell in cells)
    numbered = [(cell, cell.seeds[i]) for i in range(most) for cell in cells if i < len(cell.seeds)]
    return [Run(cell, seed, out / "runs" / cell.folder / f"seed-{seed}", where) for cell, seed in numbered]


def carried_out(run: Run) -> int:
    """Train and evaluate; the exit status. What is printed goes to the log."""
    from ppl_vae.cli.main import main

    run.begin()
    with run.log.open("a", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        for words in run.commands:
            if status := main(words):
                return status
    return 0


def _in_process(run: Run) -> None:
    if (parent := parent_process()) is not None:
        Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    sys.exit(carried_out(run))


def _end_with(sentinel: Any) -> None:
    """End this process when its parent has ended, killed perhaps: what is written is whole at any moment."""
    wait([sentinel])
    os._exit(1)


def run_all(
    runs: Sequence[Run],
    processes: int,
    told: Callable[[Run, str], None],
    waited: Callable[[], object] = lambda: None,
) -> None:
    """Carry out runs, so many at a time.

    Parameters
    ----------
    runs
        Runs that are not complete.
    processes
        How many at a time, each a process with its share of the cores, unless OMP_NUM_THREADS says how many threads.
    told
        Called with each run that ended, and why it failed or nothing.
    waited
        Called every second while they run.
    """
    waiting, context = list(runs), get_context("spawn")  # a fork would copy torch's threads
    running: dict[Any, tuple[Any, Run]] = {}
    with _threads(max(1, num_cores() // processes)):
        try:
            while waiting or running:
                while waiting and len(running) < processes:
                    run = waiting.pop(0)
                    process = context.Process(target=_in_process, args=(run,))
                    process.start()
                    running[process.sentinel] = process, run
                for sentinel in wait(list(running), timeout=1):
                    process, run = running.pop(sentinel)
                    process.join()
                    told(run, run.end(process.exitcode))
                waited()
        finally:
            for process, _ in running.values():
                process.terminate()
                process.join()


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """A scope in which processes that start take so many threads, unless the environment says another number."""
    if "OMP_NUM_THREADS" in os.environ:
        yield
        return
    os.environ["OMP_NUM_THREADS"] = str(number)
    try:
        yield
    finally:
        del os.environ["OMP_NUM_THREADS"]
