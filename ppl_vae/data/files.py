"""Data from a file or a folder of images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ppl_vae.arguments import Count, Seed, checked
from ppl_vae.data.arrays import from_arrays
from ppl_vae.data.cells import Cells, from_anndata
from ppl_vae.data.data import Data
from ppl_vae.data.frames import from_frame
from ppl_vae.data.images import pictures, split_folders
from ppl_vae.data.kinds import Kinds
from ppl_vae.data.known_formats import format_of
from ppl_vae.data.parquet import Table
from ppl_vae.data.store import md5_of
from ppl_vae.data.tables import from_tables
from ppl_vae.domain import Domain
from ppl_vae.files import regular
from ppl_vae.libraries import pd

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
    layer: str | None = None,
    size: tuple[Count, Count] | None = None,
    raw_context: bool = False,
) -> Data:
    """Data from a table, an array or a folder of pictures.

    Parameters
    ----------
    path
        A ``.csv``, ``.tsv`` or ``.parquet`` file of a table (see `from_frame`), apart by commas, semicolons or tabs,
        with the names of the columns in its first line, unless that holds numbers, and maybe gaps, alone; of these a
        ``.parquet`` file stays on disk where its numbers take more than a gibibyte in float32, and so does a ``.npy``
        file with x; a ``.npz`` file with x and what else `from_arrays` takes, under the names
        x, y, mask, context, x_validation, ...,
        with one array of any name, or with a sparse matrix of scipy; a ``.h5ad`` file of cells (see `from_anndata`);
        a ``.feat``, ``.svm`` or ``.libsvm`` file of documents, one a line, a label and ``word:count`` with words from
        1 on; or a folder of pictures of one size, whose subfolders are the labels, or else train, test and maybe
        validation, beside which other subfolders are left out. Nothing is unpickled.
    domain, seed, fractions
        As for `from_arrays`. Pictures have 256 levels by default, 65,536 those of 16 bits.
    background
        The colour that transparent pixels of pictures are laid on (see `read_images`); in the provenance and the repr
        where there were some.
    kinds, label, context, split
        For a table; as for `from_frame`. Of cells, label and context are columns of obs.
    layer
        For cells; as for `from_anndata`.
    size
        Height and width of pictures of any sizes, to which they are cropped about the middle and scaled.
    test
        Path of a file of the same format that holds the test data.
    raw_context
        Whether contexts in a ``.npz`` file stay as they are, as exposures do; else they are standardized.

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
    given: dict[str, Any] = {"seed": seed, "fractions": fractions, "name": path.name if path.is_dir() else path.stem}
    options: dict[str, Any] = {"kinds": kinds, "label": label, "context": list(context), "split": split}
    options |= {"layer": layer, "raw_context": raw_context}
    if path.is_dir():
        _refuse(path, options, test)
        return _of_pictures(path, background, size, domain, given)
    if size or background != "white":
        raise ValueError(f"{'size' if size else 'background'} expects a folder of pictures, got {path}; leave it out")
    if not path.is_file():  # reading a pipe or a device would wait for ever
        raise ValueError(f"expected a regular file or a folder, got neither at {path}; copy the data into a file")
    files = [path] if test is None else [path, regular(Path(test).expanduser())]
    data = _of_files(files, domain, {k: v for k, v in options.items() if v}, given)
    said = {k: v for k, v in options.items() if v and k != "kinds"}
    said |= {} if test is None else {"test": str(files[1].resolve())}
    return _located(data, path, md5={f.name: md5_of(f) for f in files}, **({"read": said} if said else {}))


def _of_pictures(
    path: Path, background: str, size: tuple[int, int] | None, domain: Domain | None, given: dict[str, Any]
) -> Data:
    folders, others = split_folders(path)
    read = {role: pictures(folder, background, size) for role, folder in (folders or {"train": path}).items()}
    colour = any(one.x.shape[1] == 3 for one in read.values())
    arrays: dict[str, Any] = {}
    for role, one in read.items():
        suffix = "" if role == "train" else f"_{role}"
        x = np.repeat(one.x, 3, 1) if colour and one.x.shape[1] == 1 else one.x
        arrays |= {f"x{suffix}": x, f"y{suffix}": one.y}
    # pictures have 256 levels, also where these few happen to be black and white
    levels = domain or Domain("levels", levels=2 ** (8 * read["train"].x.itemsize))
    data = from_arrays(**arrays, domain=levels, **given)
    said: dict[str, Any] = {"background": background} if any(one.transparent for one in read.values()) else {}
    said |= {"left_out": others} if others else {}
    said |= {"read": {"size": list(size)}} if size else {}
    return _located(data, path, **said)


def _of_files(files: Sequence[Path], domain: Domain | None, options: dict[str, Any], given: dict[str, Any]) -> Data:
    """Data of a table, of cells, or of arrays; `options` are those that were given."""
    path, read = files[0], format_of(files[0])
    raw_context = options.pop("raw_context", False)
    found: list[Any] = read.alike_read(files)
    if any(isinstance(one, Table | pd.DataFrame | Cells) for one in found) and raw_context:
        raise ValueError(
            f"raw_context expects a .npz file with contexts, got {path}; say that an exposure is one by its kind, "
            "kinds={'exposure': 'positive'}, which divides it by its geometric mean"
        )
    if any(isinstance(one, Table) for one in found):
        _refuse(path, {"layer": options.get("layer"), "domain": domain})
        return from_tables(dict(zip(("train", "test"), map(Table, files), strict=False)), **given, **options)
    if isinstance(found[0], pd.DataFrame):
        _refuse(path, {"layer": options.get("layer"), "domain": domain})
        return from_frame(found[0], test=found[1] if len(found) > 1 else None, **given, **options)
    if isinstance(found[0], Cells):
        _refuse(path, {k: options.get(k) for k in ("kinds", "split")} | {"domain": domain}, files[1:])
        keys = {
            "labels_key": options.get("label"),
            "layer": options.get("layer"),
            "context": options.get("context", ()),
        }
        return from_anndata(found[0], **keys, **given)
    _refuse(path, options)
    arrays = [_known(each, file) for each, file in zip(found, files, strict=True)]
    if raw_context and "context" not in arrays[0]:
        raise ValueError(f"raw_context expects a .npz file with contexts, got none in {path}; leave it out")
    held_out = {f"{name}_test": value for name, value in arrays[-1].items()} if len(files) > 1 else {}
    return from_arrays(**{**arrays[0], **held_out}, domain=domain, standardize_context=not raw_context, **given)


def _refuse(path: Path, options: dict[str, Any], test: Any = None) -> None:
    """Refuse options that are not for such a file."""
    if said := [name for name, value in {**options, "test": test}.items() if value]:
        raise ValueError(
            f"{', '.join(said)}: expected another file for this, .csv, .tsv or .parquet for columns, .h5ad for cells, "
            f"got {path}; leave it out, tell of columns by kinds=, or name arrays in a .npz file x, y, context, x_test"
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
