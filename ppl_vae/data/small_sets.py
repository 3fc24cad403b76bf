"""Small data sets of the literature that torchvision does not have. Images are upright, with ink = 1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ppl_vae._torchvision import torchvision
from ppl_vae.data.data import Data
from ppl_vae.data.parts import collect, cut, whole
from ppl_vae.data.store import checked, fetch
from ppl_vae.domain import Domain
from ppl_vae.libraries import datasets, io
from ppl_vae.split import Split

__all__ = ["caltech101_silhouettes", "digits", "frey_faces", "omniglot"]

_SILHOUETTES = "Caltech101Silhouettes/caltech101_silhouettes_28_split1.mat"
_OMNIGLOT = "Omniglot/chardata.mat"
_URL = {
    _SILHOUETTES: "https://people.cs.umass.edu/~marlin/data/caltech101_silhouettes_28_split1.mat",
    _OMNIGLOT: "https://raw.githubusercontent.com/yburda/iwae/master/datasets/OMNIGLOT/chardata.mat",
}


def digits(root: Path, *, download: bool, seed: int) -> Data:
    """The digits that come with scikit-learn: 1,197 + 300 + 300, 1 x 8 x 8, 17 levels, split at random."""
    x, y = datasets.load_digits(return_X_y=True)
    split = whole(torch.from_numpy(x).reshape(-1, 1, 8, 8), torch.from_numpy(y))
    return collect(
        "digits",
        *cut(split, (len(split) - 600, 300, 300), seed),
        domain=Domain("levels", levels=17),
        classes=tuple("0123456789"),
        sha256={"x": split.checksum},
        split_seed=seed,
    )


def frey_faces(root: Path, *, download: bool, seed: int) -> Data:
    """Frey faces: 1,565 + 200 + 200 frames of one face on video, 1 x 28 x 20, 256 levels, split at random.

    Neighbouring frames resemble each other, so scores on a random split are too good; papers use one.
    """
    file = "FreyFaces/frey_faces.npz"
    md5 = checked(
        root,
        file,
        advice="put a file there with `images`, uint8 of shape (1965, 28, 20), name another folder by "
        "data_dir or $PPL_VAE_DATA, or load a copy of your own by its path",
    )
    with np.load(root / file, allow_pickle=False) as arrays:
        split = whole(torch.from_numpy(arrays["images"])[:, None])
    return collect(
        "frey_faces",
        *cut(split, (len(split) - 400, 200, 200), seed),
        domain=Domain("levels", levels=256),
        md5={Path(file).name: md5},
        split_seed=seed,
    )


def caltech101_silhouettes(root: Path, *, download: bool, seed: int) -> Data:
    """Caltech 101 Silhouettes (Marlin et al. 2010): 4,100 + 2,264 + 2,307, 1 x 28 x 28, binary, ink = 1.

    The file has 1 = background and its images transposed; both are undone here.
    """
    mat, md5 = _mat("caltech101_silhouettes", root, _SILHOUETTES, download)

    def side(name: str) -> Split:
        x = 1 - torch.from_numpy(mat[f"{name}_data"].astype(np.float32)).reshape(-1, 1, 28, 28).mT
        return whole(x, torch.from_numpy(mat[f"{name}_labels"].astype(np.int64).ravel() - 1))

    return collect(
        "caltech101_silhouettes",
        side("train"),
        side("val"),
        side("test"),
        domain=Domain("binary"),
        classes=tuple(str(name.item()) for name in mat["classnames"].ravel()),
        md5=md5,
    )


def omniglot(root: Path, *, download: bool, seed: int) -> Data:
    """Omniglot of Burda et al. (2016), arXiv:1509.00519: 23,000 + 1,345 + 8,070, 1 x 28 x 28, in [0, 1].

    Validation data are drawn from the training set by `seed`. Labels are the 50 alphabets.
    """
    mat, md5 = _mat("omniglot", root, _OMNIGLOT, download)

    def side(prefix: str) -> Split:
        # a column of the file is an image column by column
        x = torch.from_numpy(mat[f"{prefix}data"].T.astype(np.float32)).reshape(-1, 1, 28, 28).mT
        return whole(x, torch.from_numpy(mat[f"{prefix}target"].argmax(0)))

    both = side("")
    train, validation = cut(both, (len(both) - 1345, 1345), seed)
    return collect(
        "omniglot",
        train,
        validation,
        side("test"),
        domain=Domain("unit"),
        classes=tuple(f"alphabet {i}" for i in range(len(mat["target"]))),
        md5=md5,
        split_seed=seed,
    )


def _mat(name: str, root: Path, file: str, download: bool) -> tuple[dict[str, Any], dict[str, str]]:
    path = root / file
    if download and not path.exists():
        tools = torchvision().datasets.utils
        fetch(lambda: tools.download_url(_URL[file], path.parent, path.name), name, path.parent)
    advice = (
        f"call load({name!r}, download=True), put the file from {_URL[file]} there, or name another folder "
        "by data_dir or $PPL_VAE_DATA"
    )
    md5 = checked(root, file, advice=advice)
    return io.loadmat(path), {path.name: md5}
