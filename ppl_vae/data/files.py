"""Data from a file or a folder of images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from ppl_vae.arguments import Seed, checked
from ppl_vae.data.arrays import from_arrays
from ppl_vae.data.data import Data
from ppl_vae.data.formats import format_of
from ppl_vae.data.frames import from_frame
from ppl_vae.data.images import pictures
from ppl_vae.data.kinds import Kinds
from ppl_vae.data.store import md5_of
from ppl_vae.domain import Domain
from ppl_vae.files import regular

__all__ = ["from_file"]

_KEYS = tuple(f"{what}{part}" for what in ("x", "y", "mask", "context") for part in ("", "_validation", "_test"))


@checked
def from_file(
    path: str | os.PathLike[str],
    *,
    domain: Domain | None = None,
    seed: Seed = 0,
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
    background: str = "white",
    kinds: Kinds | None = None,
    label: str | None = None,
    context: Sequence[str] = (),
    split: str | None = None,
    test: str | os.PathLike[str] | None = None,
) -> Data:
    """Data from a table, an array or a folder of pictures.

    Parameters
    ----------
    path
        A ``.csv``, ``.tsv`` or ``.parquet`` file of a table (see `from_frame`), apart by commas, semicolons or tabs,
        with the names of the columns in its first line, unless that holds numbers alone; a ``.npy`` file with x; a
        ``.npz`` file with x and what else `from_arrays` takes, under the names x, y, mask, context, x_validation, ...,
        with one array of any name, or with a sparse matrix of scipy; or a folder of pictures of one size, whose
        subfolders are the labels. Nothing is unpickled.
    domain, seed, fractions
        As for `from_arrays`. Pictures have 256 levels by default, 65,536 those of 16 bits.
    background
        The colour that transparent pixels of pictures are laid on (see `read_images`); in the provenance and the repr
        where there were some.
    kinds, label, context, split
        For a table; as for `from_frame`.
    test
        Path of a file of the same format that holds the test data.

    Returns
    -------
    Data
        The data, named after the file.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        For another kind of file, a damaged one, one with pickled objects, unknown names in it, and all that
        `from_arrays` and `read_images` refuse.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"expected a file or folder at {path}, got nothing there; correct the path")
    table = {"kinds": kinds, "label": label, "context": context, "split": split}
    if path.is_dir():
        _refuse(path, table, test)
        read = pictures(path, background)
        # pictures have 256 levels, also where these few happen to be black and white
        levels = domain or Domain("levels", levels=2 ** (8 * read.x.itemsize))
        data = from_arrays(read.x, read.y, domain=levels, seed=seed, fractions=fractions, name=path.name)
        return _located(data, path, **({"background": background} if read.transparent else {}))
    if not path.is_file():  # reading a pipe or a device would wait for ever
        raise ValueError(f"expected a regular file or a folder, got neither at {path}; copy the data into a file")
    files = [path] if test is None else [path, regular(Path(test).expanduser())]
    found = [format_of(path).read(file) for file in files]
    given: dict[str, Any] = {"seed": seed, "fractions": fractions, "name": path.stem}
    if isinstance(found[0], pd.DataFrame):
        data = _of_table(path, found, domain, {**given, **table})
    else:
        _refuse(path, table)
        arrays = [_known(each, file) for each, file in zip(found, files, strict=True)]
        held_out = {f"{name}_test": value for name, value in arrays[-1].items()} if len(files) > 1 else {}
        data = from_arrays(**{**arrays[0], **held_out}, domain=domain, **given)
    said = {k: v for k, v in {"label": label, "context": list(context), "split": split}.items() if v}
    said |= {} if test is None else {"test": str(files[1].resolve())}
    return _located(data, path, md5={f.name: md5_of(f) for f in files}, **({"read": said} if said else {}))


def _of_table(path: Path, frames: Sequence[Any], domain: Domain | None, given: dict[str, Any]) -> Data:
    if domain is not None:
        raise ValueError(f"a table expects the kinds of its columns, got a domain for {path}; give kinds= instead")
    return from_frame(frames[0], test=frames[1] if len(frames) > 1 else None, **given)


def _refuse(path: Path, table: dict[str, Any], test: Any = None) -> None:
    """Refuse options of a table for what is none."""
    if said := [name for name, value in {**table, "test": test}.items() if value]:
        raise ValueError(
            f"{', '.join(said)} expect a table, .csv, .tsv or .parquet, got {path}; leave them out, or name arrays "
            "in a .npz file x, y, context, x_test, ..."
        )


def _located(data: Data, path: Path, **known: Any) -> Data:
    return replace(data, provenance={**data.provenance, **known, "path": str(path.resolve())})


def _known(arrays: dict[str, Any], path: Path) -> dict[str, Any]:
    if "x" not in arrays or not arrays.keys() <= set(_KEYS):
        raise ValueError(
            f"expected {path} to hold x and others of {_KEYS}, got {sorted(arrays)}; rename them by "
            "np.savez(path, x=..., y=...)"
        )
    return arrays
