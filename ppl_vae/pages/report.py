"""The report of a run as one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from ppl_vae import data as data_sets
from ppl_vae.arguments import Count, Seed, checked
from ppl_vae.checksums import record
from ppl_vae.diagnostics import DIAGNOSTICS, Diagnostic
from ppl_vae.files import write_text
from ppl_vae.pages.page import page
from ppl_vae.pages.subject import Subject, content, judged
from ppl_vae.split import Split
from ppl_vae.training import Run, load
from ppl_vae.vae import VAE

__all__ = ["report"]

OneRun: TypeAlias = Run | str | Path

_MOST_WEIGHTS = 1_000_000
"""Of all decoders of a page together; five and a third bytes each."""


@checked
def report(
    runs: OneRun | Sequence[OneRun] | Mapping[str, OneRun],
    out: str | Path | None = None,
    *,
    data: Split | Sequence[Split] | None = None,
    take: Count = 500,
    full: bool = False,
    num_samples: Count = 1000,
    method: str = "importance",
    seed: Seed = 0,
    max_rows: Count = 10_000,
    progress: bool = True,
    diagnostics: Sequence[Diagnostic] = DIAGNOSTICS,
) -> Path:
    """Write one HTML file on a run, or on several side by side, to read, to send and to explore.

    It holds the factorization, the verdict on q in words, the negative log-likelihood with its error, training curves,
    k-hat of each datum, the aggregate posterior, samples, reconstructions, a latent explorer, and each diagnostic with
    what it cannot see. It opens from disk and loads nothing. Data with their reconstructions are in it: as many as
    fit, of those it is judged on.

    Parameters
    ----------
    runs
        A run folder, or what `load` made of it; several in a list, or by name.
    out
        The file. By default ``report.html`` in the folder of the run; of several, in the current folder.
    data
        What to judge the runs on, held out: for all runs, or for each in their order. By default the test data of each
        run, loaded anew.
    take
        At most so many of them, the first ones.
    full
        Whether to run the diagnostics that take minutes, too, as in `diagnose`.
    num_samples
        Draws of q a datum, 25 or more.
    method
        Of log p(x): ``"importance"`` or ``"adaptive"``, as in `evaluate`.
    seed
        Of all random numbers.
    max_rows
        Pairs of draw and datum decoded at once; bounds the memory, not the result.
    progress
        Show a progress bar if the output is a terminal.
    diagnostics
        As in `diagnose`.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        For no runs, a run of something else than a `VAE`, and for whatever `load`, `data.again`, `evaluate` and
        `diagnose` refuse.
    FileNotFoundError
        For a folder without a run, and data that are not where they were.
    OSError
        If the file cannot be written.
    """
    named = {name: one if isinstance(one, Run) else load(one) for name, one in _named(runs).items()}
    splits = _splits(list(named.values()), data)
    settings = {"num_samples": num_samples, "seed": seed, "max_rows": max_rows, "progress": progress}
    subjects = []
    for (name, run), split in zip(named.items(), splits, strict=True):
        vae, some = _vae(name, run), split.fixed(seed)[:take]
        result, found = judged(vae, some, diagnostics=diagnostics, full=full, method=method, **settings)
        subjects.append(Subject(name, run, vae, some, result, found))
    share, most = 1 / len(subjects), _MOST_WEIGHTS // len(subjects)
    contents = [content(one.vae, one, share=share, seed=seed, most=most) for one in subjects]
    folder = subjects[0].run.path
    path = Path(out) if out is not None else folder / "report.html" if len(subjects) == 1 else Path("report.html")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, page(subjects, contents))
    if out is None and len(subjects) == 1:
        record(folder, [path.name])
    return path


def _named(runs: OneRun | Sequence[OneRun] | Mapping[str, OneRun]) -> dict[str, OneRun]:
    """Runs by name: that of the folder, or its path where two folders have one name."""
    if isinstance(runs, Mapping):
        return dict(runs)
    several = [runs] if isinstance(runs, Run | str | Path) else list(runs)
    if not several:
        raise ValueError("report expects one run or more, got none; give the folder of one")
    paths = [one.path if isinstance(one, Run) else Path(one) for one in several]
    names = [path.resolve().name for path in paths]
    return {
        str(path) if names.count(name) > 1 else name: one for path, name, one in zip(paths, names, several, strict=True)
    }


def _vae(name: str, run: Run) -> VAE:
    if not isinstance(run.vae, VAE):
        raise ValueError(
            f"report expects runs of a VAE, got {type(run.vae).__name__} for {name!r}; call `diagnose` on others"
        )
    return run.vae


def _splits(runs: Sequence[Run], data: Split | Sequence[Split] | None) -> list[Split]:
    """The data of each run."""
    if data is None:
        return [_test(run) for run in runs]
    found = [data] * len(runs) if isinstance(data, Split) else list(data)
    if len(found) != len(runs):
        raise ValueError(
            f"report expects one split for all runs or one for each, got {len(found)} for {len(runs)}; give one"
        )
    return found


def _test(run: Run) -> Split:
    """The test data of a run, loaded again."""
    source = run.config["data"][0] or {}
    if "checksum" not in source:
        raise ValueError("report expects a run of data that can be loaded again, got another; give data=")
    return data_sets.again(source).test
