"""Files that a command writes, none of which may be one that it reads, or one that a run needs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from ppl_vae.checksums import record, unsealed

__all__ = ["check_figure", "check_outputs", "lies_in", "noted"]

_BESIDE = ("checkpoint.json", "config.json", "history.jsonl", "checksums.json", "evaluation.json", "per_column.csv")


def check_outputs(
    option: str,
    outputs: Iterable[Path],
    runs: Iterable[Path],
    *,
    reads: Iterable[tuple[str | Path | None, str]] = (),
    own: Collection[str] = (),
) -> None:
    """Refuse, before any work, to write over what must stay.

    Parameters
    ----------
    option
        The option that names the files.
    outputs
        What is to be written.
    runs
        Run folders whose training data, and whose files as far as they record them, stay.
    reads
        What the command reads beside them: its path, where there is one, and in words what it is.
    own
        Names of files in a run folder that the command itself writes there.

    Raises
    ------
    ValueError
        Where an output is one of these files, or lies in a folder of pictures that a run was trained on.
    """
    kept = [(Path(path).expanduser(), what) for path, what in reads if path]
    for folder in runs:
        kept += _of_run(folder, own)
    for out in outputs:
        for path, what in kept:
            if out.exists() and path.exists() and (out.samefile(path) or path in out.resolve().parents):
                raise ValueError(f"{option} expects another file than {what}, got {out}; change it")


def check_figure(option: str, out: Path) -> None:
    """Refuse a name that ends in no format of figures.

    Raises
    ------
    ValueError
        Naming some formats.
    """
    from matplotlib.backend_bases import FigureCanvasBase  # a second of imports

    if out.suffix[1:].lower() not in FigureCanvasBase.filetypes:
        raise ValueError(f"{option} expects a name that ends in .png, .pdf or .svg, say, got {out}; change it")


def lies_in(folder: str | Path, out: str | Path) -> bool:
    """Whether a file is, or would be, one of a run folder itself."""
    return Path(out).resolve().parent == Path(folder).expanduser().resolve()


def noted(folder: Path, out: Path, own: Collection[str]) -> None:
    """Note the SHA-256 of a file that a command wrote, where it is its usual one of the run folder."""
    if lies_in(folder, out) and out.name in own:
        record(folder, [out.name])


def _of_run(folder: Path, own: Collection[str]) -> Iterator[tuple[Path, str]]:
    """What a run was trained on, and the files that its folder records; in words what each is."""
    from ppl_vae.training.run_folder import RunFolder

    stored = RunFolder(folder)
    if not stored.exists():
        return
    for one in stored.config()["data"]:
        for path in [(one or {}).get("path"), (one or {}).get("read", {}).get("test")]:
            if path:
                yield Path(path), f"the training data of {folder}"
    beside = folder / "checksums.json"
    recorded = unsealed(beside, "")[0]["files"] if beside.exists() else {}
    for name in {*_BESIDE, *stored.read()["files"].values(), *recorded} - {*own}:
        yield folder / name, f"those that the run {folder} consists of"
