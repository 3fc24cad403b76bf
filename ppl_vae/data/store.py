"""The folder of data files, and their checksums against the published ones."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["MD5", "checked", "fetch", "find_root"]

MD5 = {
    "MNIST/raw/train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "MNIST/raw/train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "MNIST/raw/t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "MNIST/raw/t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    "FashionMNIST/raw/train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "FashionMNIST/raw/train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "FashionMNIST/raw/t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "FashionMNIST/raw/t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    "FreyFaces/frey_faces.npz": "8d5f1ecf259d2d1c5821d02ba41ea249",
    "Caltech101Silhouettes/caltech101_silhouettes_28_split1.mat": "4483e9c14b188fd09937f9ea6f9ea777",
    "Omniglot/chardata.mat": "21ecaf34373511aa7691cf2e0802aa3d",
}
"""MD5 of published files, by their path below the root. A file that is not listed is noted, not compared."""


def find_root(data_dir: str | os.PathLike[str] | None = None) -> Path:
    """The folder of the data: `data_dir`, else ``$PPL_VAE_DATA``, else the user's cache.

    Parameters
    ----------
    data_dir
        A folder, or `None`.

    Returns
    -------
    Path
        The folder; it need not exist.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "ppl_vae"
    return Path(data_dir or os.environ.get("PPL_VAE_DATA") or cache).expanduser()


def md5_of(path: Path) -> str:
    """The MD5 checksum of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def checked(root: Path, relative: str, *, advice: str, md5: str | None = None) -> str:
    """The MD5 checksum of a file that is there and is the published one.

    Parameters
    ----------
    root, relative
        The folder of the data, and the path of the file below it.
    advice
        What to do where the file is missing or another one.
    md5
        The checksum to expect; by default that in `MD5`, if any.

    Returns
    -------
    str
        Hexadecimal digits.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        Where it is not the published file.
    """
    path = root / relative
    if not path.is_file():
        raise FileNotFoundError(f"expected the file {path}, got nothing there; {advice}")
    expected, found = md5 or MD5.get(relative), md5_of(path)
    if expected not in (None, found):
        raise ValueError(
            f"expected {path} to have MD5 {expected}, got {found} ({path.stat().st_size} bytes), so it is "
            f"incomplete or another file; remove it and {advice}"
        )
    return found


def fetch(download: Callable[[], Any], name: str, root: Path) -> None:
    """Carry out a download into a folder, which is made if need be.

    Raises
    ------
    OSError
        Where it fails.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        download()
    except (OSError, RuntimeError) as error:
        raise OSError(
            f"expected to download {name} into {root}, got {type(error).__name__}: {error}; try again, or "
            "put its files there by hand"
        ) from error
