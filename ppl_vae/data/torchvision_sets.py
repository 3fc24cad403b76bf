"""Images that torchvision can download. Grey or colour levels 0 to 255, upright."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ppl_vae._torchvision import torchvision
from ppl_vae.data.data import Data
from ppl_vae.data.parts import collect, whole
from ppl_vae.data.store import checked, fetch
from ppl_vae.domain import Domain
from ppl_vae.split import Split

__all__ = [
    "cifar10",
    "emnist",
    "emnist_digits",
    "emnist_letters",
    "fashion_mnist",
    "kmnist",
    "mnist",
    "svhn",
]

_VALIDATION = 10_000


def mnist(root: Path, *, download: bool, seed: int) -> Data:
    """MNIST: 50,000 + 10,000 + 10,000 handwritten digits, 1 x 28 x 28.

    Validation data are the last 10,000 of the official training set in the order of the file, as for the
    fixed binarization of Larochelle and Murray (2011) and in Tomczak and Welling (2018), arXiv:1705.07120.
    """
    return _digits_like("mnist", "MNIST", root, download, classes=tuple("0123456789"))


def fashion_mnist(root: Path, *, download: bool, seed: int) -> Data:
    """Fashion-MNIST (arXiv:1708.07747): 50,000 + 10,000 + 10,000 garments, 1 x 28 x 28, split like MNIST."""
    return _digits_like("fashion_mnist", "FashionMNIST", root, download)


def kmnist(root: Path, *, download: bool, seed: int) -> Data:
    """Kuzushiji-MNIST (arXiv:1812.01718): 50,000 + 10,000 + 10,000 kana, 1 x 28 x 28, split like MNIST."""
    return _digits_like("kmnist", "KMNIST", root, download)


def emnist(root: Path, *, download: bool, seed: int) -> Data:
    """EMNIST "balanced" (arXiv:1702.05373): 94,000 + 18,800 + 18,800 characters of 47 classes, 1 x 28 x 28.

    Validation data are the last of the training set, as many as for the test, as its authors advise.
    """
    return _emnist("emnist", "balanced", root, download)


def emnist_letters(root: Path, *, download: bool, seed: int) -> Data:
    """EMNIST "letters": 104,000 + 20,800 + 20,800 letters of 26 classes, 1 x 28 x 28, split like `emnist`."""
    return _emnist("emnist_letters", "letters", root, download)


def emnist_digits(root: Path, *, download: bool, seed: int) -> Data:
    """EMNIST "digits": 200,000 + 40,000 + 40,000 digits, 1 x 28 x 28, split like `emnist`."""
    return _emnist("emnist_digits", "digits", root, download)


def svhn(root: Path, *, download: bool, seed: int) -> Data:
    """SVHN, cropped: 63,257 + 10,000 + 26,032 house numbers, 3 x 32 x 32; the last training data validate."""
    kind = torchvision().datasets.SVHN
    folder, sides = root / "SVHN", ("train", "test")
    if download:
        fetch(lambda: [kind(folder, split=side, download=True) for side in sides], "svhn", folder)
    files = [kind.split_list[side][1:3] for side in sides]
    md5 = {f: checked(root, f"SVHN/{f}", advice=_advice("svhn"), md5=expected) for f, expected in files}
    train, test = (kind(folder, split=side) for side in sides)
    return _official(
        "svhn",
        whole(torch.from_numpy(train.data), torch.from_numpy(train.labels)),
        whole(torch.from_numpy(test.data), torch.from_numpy(test.labels)),
        classes=tuple("0123456789"),
        md5=md5,
    )


def cifar10(root: Path, *, download: bool, seed: int) -> Data:
    """CIFAR-10: 40,000 + 10,000 + 10,000 photographs, 3 x 32 x 32; the fifth training batch validates."""
    kind = torchvision().datasets.CIFAR10
    if download:
        fetch(lambda: kind(root, download=True), "cifar10", root)
    files = [*kind.train_list, *kind.test_list, (kind.meta["filename"], kind.meta["md5"])]
    # the files are pickles, so nothing may read them before the checksums are known to be right
    md5 = {
        f: checked(root, f"{kind.base_folder}/{f}", advice=_advice("cifar10"), md5=expected) for f, expected in files
    }
    train, test = (
        (side, whole(torch.from_numpy(side.data).permute(0, 3, 1, 2), torch.tensor(side.targets)))
        for side in (kind(root, train=True), kind(root, train=False))
    )
    return _official("cifar10", train[1], test[1], classes=tuple(train[0].classes), md5=md5)


def _digits_like(name: str, kind: str, root: Path, download: bool, classes: tuple[str, ...] | None = None) -> Data:
    cls = getattr(torchvision().datasets, kind)
    if download:
        fetch(lambda: cls(root, download=True), name, root)
    (train, md5), (test, more) = (_read(name, root, f"{kind}/raw/{side}") for side in ("train", "t10k"))
    return _official(name, train, test, classes=classes or tuple(cls.classes), md5=md5 | more)


def _emnist(name: str, part: str, root: Path, download: bool) -> Data:
    cls = torchvision().datasets.EMNIST
    if download:
        fetch(lambda: cls(root, split=part, download=True), name, root)
    prefix = f"EMNIST/raw/emnist-{part}"
    (train, md5), (test, more) = (_read(name, root, f"{prefix}-{side}") for side in ("train", "test"))
    classes = cls.classes_split_dict[part]
    unused = classes.index("N/A") + 1 if "N/A" in classes else 0  # "letters" count from 1
    train, test = (whole(s.x.mT, None if s.y is None else s.y - unused) for s in (train, test))
    return _official(name, train, test, classes=tuple(classes[unused:]), md5=md5 | more, validation=len(test))


def _read(name: str, root: Path, prefix: str) -> tuple[Split, dict[str, str]]:
    mnist = torchvision().datasets.mnist
    images, labels = f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"
    md5 = {Path(f).name: checked(root, f, advice=_advice(name)) for f in (images, labels)}
    try:
        x: Tensor = mnist.read_image_file(str(root / images))
        return whole(x[:, None], mnist.read_label_file(str(root / labels))), md5
    except (AssertionError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"expected {root / images} and the labels beside it to be whole IDX files, got "
            f"{type(error).__name__}: {error}; remove them and {_advice(name)}"
        ) from error


def _official(
    name: str,
    train: Split,
    test: Split,
    *,
    classes: tuple[str, ...],
    validation: int | None = None,
    **source: Any,
) -> Data:
    last = len(train) - (validation or _VALIDATION)
    if last < 1:
        raise ValueError(
            f"{name} expects more than {validation or _VALIDATION} training data, got {len(train)}; "
            f"remove its files and {_advice(name)}"
        )
    return collect(
        name, train[:last], train[last:], test, domain=Domain("levels", levels=256), classes=classes, **source
    )


def _advice(name: str) -> str:
    return (
        f"call load({name!r}, download=True), put the file there, or name another folder by data_dir or $PPL_VAE_DATA"
    )
