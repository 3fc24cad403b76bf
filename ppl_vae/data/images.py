"""A folder of pictures as arrays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["read_images"]

_ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_GREY = ("1", "L", "LA")
_COLOUR = ("CMYK", "P", "RGB", "RGBA", "YCbCr")


def read_images(folder: Path) -> tuple[np.ndarray, list[str] | None]:
    """The pictures of a folder, in the order of their names.

    Parameters
    ----------
    folder
        Holds pictures of one size, or subfolders of them, whose names are the labels.

    Returns
    -------
    x
        Grey or colour levels, uint8, (n, channels, height, width): 1 channel where all are grey, else 3.
    y
        The subfolder of each, or `None`.

    Raises
    ------
    ValueError
        For no pictures, pictures both in the folder and in subfolders, subfolders that look like splits,
        pictures of different sizes or more than 8 bits a channel, and a file that is no picture.
    """
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in _ENDINGS)
    labels = {f.relative_to(folder).parts[0] if f.parent != folder else None for f in files}
    if not files or (None in labels and len(labels) > 1):
        raise ValueError(
            f"expected pictures ({', '.join(_ENDINGS)}) in {folder}, or in subfolders named after their "
            f"labels, got {'none' if not files else 'some in both'}; move them, or name another folder"
        )
    if labels <= {"train", "training", "val", "valid", "validation", "test"}:
        raise ValueError(
            f"expected the subfolders of {folder} to be labels, got {sorted(map(str, labels))}, which look "
            "like splits; read each by `read_images` and give them to `from_arrays` (x, x_validation, x_test)"
        )
    pictures = [_read(file) for file in files]
    for file, picture in zip(files, pictures, strict=True):
        if picture.size != pictures[0].size:
            raise ValueError(
                f"expected pictures of one size, got {pictures[0].size} for {files[0]} and {picture.size} "
                f"for {file} (width, height); crop or scale them to one size"
            )
    grey = all(picture.mode in _GREY for picture in pictures)
    x = np.stack([np.asarray(picture.convert("L" if grey else "RGB")) for picture in pictures])
    y = None if None in labels else [file.relative_to(folder).parts[0] for file in files]
    return x[:, None] if grey else np.moveaxis(x, -1, 1), y


def _read(file: Path) -> Image.Image:
    from PIL import Image

    try:
        with Image.open(file) as picture:
            picture.load()
    except OSError as error:  # what is no picture is one too
        raise ValueError(f"expected a picture, got {error} for {file}; repair or remove it") from error
    if picture.mode not in _GREY + _COLOUR:
        raise ValueError(
            f"expected 8 bits a channel, got mode {picture.mode} for {file}; convert it, or give the values "
            "to `from_arrays`"
        )
    return picture
