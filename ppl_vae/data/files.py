"""Data from a file or a folder of images."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ppl_vae.arguments import Seed, checked
from ppl_vae.data.arrays import from_arrays
from ppl_vae.data.data import Data
from ppl_vae.data.images import pictures
from ppl_vae.data.store import md5_of
from ppl_vae.domain import Domain

__all__ = ["from_file"]

_KEYS = tuple(f"{what}{part}" for what in ("x", "y", "mask") for part in ("", "_validation", "_test"))


@checked
def from_file(
    path: str | os.PathLike[str],
    *,
    domain: Domain | None = None,
    seed: Seed = 0,
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
    background: str = "white",
) -> Data:
    """Data from a ``.npy`` or ``.npz`` file or a folder of pictures.

    Parameters
    ----------
    path
        A ``.npy`` file with x; a ``.npz`` file with x and what else `from_arrays` takes, under the names
        x, y, mask, x_validation, ..., or with one array of any name; or a folder of pictures of one size,
        whose subfolders are the labels. Nothing is unpickled.
    domain, seed, fractions
        As for `from_arrays`. Pictures have 256 levels by default, 65,536 those of 16 bits.
    background
        The colour that transparent pixels of pictures are laid on (see `read_images`); in the provenance and the repr
        where there were some.

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
    if path.is_dir():
        read = pictures(path, background)
        # pictures have 256 levels, also where these few happen to be black and white
        levels = domain or Domain("levels", levels=2 ** (8 * read.x.itemsize))
        data = from_arrays(read.x, read.y, domain=levels, seed=seed, fractions=fractions, name=path.name)
        return _located(data, path, **({"background": background} if read.transparent else {}))
    if not path.is_file():  # reading a pipe or a device would wait for ever
        raise ValueError(f"expected a regular file or a folder, got neither at {path}; copy the data into a file")
    data = from_arrays(**_arrays(path), domain=domain, seed=seed, fractions=fractions, name=path.stem)
    return _located(data, path, md5={path.name: md5_of(path)})


def _located(data: Data, path: Path, **known: Any) -> Data:
    return replace(data, provenance={**data.provenance, **known, "path": str(path.resolve())})


def _arrays(path: Path) -> dict[str, Any]:
    if path.suffix not in (".npy", ".npz"):
        raise ValueError(
            f"expected a .npy or .npz file or a folder of pictures, got {path}; convert it with np.savez(path, x=x)"
        )
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            arrays = dict(loaded) if path.suffix == ".npz" else {"x": loaded}
    except Exception as error:  # a damaged header may raise any exception, such as MemoryError for an arbitrary shape
        raise ValueError(
            f"expected {path} to hold arrays of numbers, got {type(error).__name__}: {error}; "
            "write it anew with np.savez(path, x=x)"
        ) from error
    if len(arrays) == 1:
        return {"x": next(iter(arrays.values()))}
    if "x" not in arrays or not arrays.keys() <= set(_KEYS):
        raise ValueError(
            f"expected {path} to hold x and others of {_KEYS}, got {sorted(arrays)}; rename them by "
            "np.savez(path, x=..., y=...)"
        )
    return arrays
