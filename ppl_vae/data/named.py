"""Data by name or path."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from ppl_vae.arguments import Seed, checked
from ppl_vae.data import known_factors, small_sets, torchvision_sets
from ppl_vae.data.columns import Columns
from ppl_vae.data.data import Data
from ppl_vae.data.files import from_file
from ppl_vae.data.known_formats import ENDINGS
from ppl_vae.data.store import find_root

__all__ = ["NAMES", "READ", "again", "load"]

_SOURCES: dict[str, Callable[..., Data]] = {
    name: getattr(module, name) for module in (known_factors, small_sets, torchvision_sets) for name in module.__all__
}

NAMES = tuple(sorted(_SOURCES))
"""The names that `load` knows."""


@checked
def load(
    name: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    likelihood: Callable[..., Any] | None = None,
    binarize: Literal["dynamic", "static", "threshold"] | None = None,
    conditional: bool = False,
    download: bool = False,
    seed: Seed = 0,
    background: str = "white",
    **read: Any,
) -> Data:
    """Data by name, or by the path of a table, an array or a folder of pictures.

    Parameters
    ----------
    name
        One of `NAMES`, or a path (see `from_file`). ``"digits"`` needs no file, and neither do those with known
        `Split.factors`: ``"s_curve"``, ``"sprites"`` and ``"swiss_roll"``.
    data_dir
        Folder of the data; by default ``$PPL_VAE_DATA``, else ``~/.cache/ppl_vae``.
    likelihood
        The likelihood class, or partial of one, to prepare the data for (see `Data.suit`).
    binarize
        How to binarize, before that (see `Data.binarize`).
    conditional
        Whether the labels are a condition (see `Data.condition_on_labels`).
    download
        Whether to download files that are missing.
    seed
        Of the split, where there is no official one, and of data that are drawn once. It belongs to the data:
        runs that are to be compared need the same.
    background
        The colour that transparent pixels of a folder's pictures are laid on (see `read_images`).
    **read
        How to read a file: `kinds`, `label`, `context`, `split`, `test`, `layer`, `size` and `raw_context` of
        `from_file`.

    Returns
    -------
    Data
        Training, validation and test data.

    Raises
    ------
    ValueError
        For an unknown name, a file that is not the published one, and all that `from_file` and the methods of
        `Data` refuse.
    FileNotFoundError
        Where a file is missing.
    OSError
        Where a download fails.

    Examples
    --------
    >>> data = load("digits")
    >>> data
    Data('digits', 1197 + 300 + 300 data, x_shape=(1, 8, 8), 17 levels)
    >>> data.dequantize().domain.log_volume  # log 17 nats
    2.833...
    """
    data = _find(name, data_dir=data_dir, download=download, seed=seed, background=background, read=read)
    if binarize is not None:
        data = data.binarize(binarize, seed=seed)
    if likelihood is not None:
        data = data.suit(likelihood, seed=seed)
    return data.condition_on_labels() if conditional else data


def _find(
    name: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None,
    download: bool,
    seed: int,
    background: str,
    read: dict[str, Any],
) -> Data:
    if strange := [key for key in read if key not in READ]:
        raise TypeError(f"load expects {', '.join(READ)} beside its own arguments, got {strange[0]}; correct it")
    read = {key: value for key, value in read.items() if value}
    source = _SOURCES.get(str(name))
    if source is not None and read:
        raise ValueError(f"load expects {', '.join(read)} for a file alone, got {str(name)!r}; leave them out")
    if source is not None:
        return source(find_root(data_dir), download=download, seed=seed)
    path = Path(name).expanduser()
    if path.exists() or path.suffix in ENDINGS or len(path.parts) > 1:
        return from_file(path, seed=seed, background=background, **read)
    near = difflib.get_close_matches(str(name), NAMES, n=1)
    raise ValueError(
        f"load expects one of {', '.join(NAMES)}, or the path of a file ({', '.join(ENDINGS)}) or a folder of "
        f"pictures, got {str(name)!r}; "
        f"{f'did you mean {near[0]}?' if near else 'correct the name, or give data in memory to `from_arrays`'}"
    )


@checked
def again(
    provenance: Mapping[str, Any],
    *,
    name: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> Data:
    """The data that a stored run was trained on: loaded anew, and every recorded step taken again.

    Parameters
    ----------
    provenance
        `Data.provenance`, or that of one of its splits, as JSON gives it back.
    name
        Where to load from, for data whose file or folder is not where it was: its path now.
    data_dir
        Folder of the data; see `load`.

    Returns
    -------
    Data

    Raises
    ------
    ValueError
        If the data or a step are not what was recorded.
    FileNotFoundError
        If the file or folder is not where it was, and for data that were in memory.
    """
    said = {new: provenance[old] for old, new in _ARGUMENTS.items() if old in provenance}
    if "columns" in provenance:
        conditions = [one["column"] for several in provenance.get("conditions", []) for one in several]
        said["kinds"] = Columns.of([*provenance["columns"], *conditions])
    data = load(name or _source(provenance), data_dir=data_dir, **said, **provenance.get("read", {}))
    for record in provenance.get("transforms", []):
        step = getattr(data, record["transform"], None) if record["transform"] in _STEPS else None
        if step is None:
            raise ValueError(f"again expects steps of Data, {', '.join(_STEPS)}, got {record!r}; load the data in code")
        said = {**_DEFAULTS.get(record["transform"], {}), **record}
        data = step(**{k: v for k, v in said.items() if k in inspect.signature(step).parameters})
    said = {k: v for k, v in data.provenance.items() if k != "path"}
    different = [k for k, v in said.items() if k in provenance and provenance[k] != v]
    if different:
        raise ValueError(
            f"again expects the data that were recorded, got others, which differ in {different}: "
            f"{data.provenance[different[0]]} where there was {provenance[different[0]]}; find the original files"
        )
    if "path" in provenance:  # a moved file holds the same data
        said["path"] = provenance["path"]
    return replace(data, provenance=said)


def _source(provenance: Mapping[str, Any]) -> str:
    source = str(provenance.get("path") or provenance.get("name", ""))
    if source not in _SOURCES and not Path(source).exists():
        raise FileNotFoundError(
            f"expected the data of the run at {source!r}, got nothing there; say where they are now by name= "
            "(on the command line --data), or load data that were in memory in code"
        )
    return source


_STEPS = ("binarize", "as_counts", "dequantize", "standardize", "condition_on_labels", "take", "hide")
_ARGUMENTS = {"split_seed": "seed", "background": "background"}  # of `load`, by their names in the provenance
READ = ("kinds", "label", "context", "split", "test", "layer", "size", "raw_context")
"""Arguments of `load` that say how a file is read."""
_DEFAULTS = {"standardize": {"per": "all"}}  # what a record without it means
