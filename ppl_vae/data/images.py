"""A folder of pictures as arrays."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

from ppl_vae.arguments import checked
from ppl_vae.data.steps import ROLE_OF

__all__ = ["Pictures", "pictures", "read_images", "split_folders"]

_ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # decoders allowed, whatever the suffix of a file
_GREY = ("1", "L", "LA", "La")
_COLOUR = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "YCbCr")
_DEEP = ("I;16", "I;16B", "I;16L", "I;16N")


class Pictures(NamedTuple):
    """Pictures of one size.

    Parameters
    ----------
    x
        Levels, (n, channels, height, width): uint8, or uint16 where the files have 16 bits.
    y
        The subfolder of each, or `None`.
    transparent
        How many had transparent pixels, and were laid on the background.
    """

    x: np.ndarray
    y: list[str] | None
    transparent: int


@checked
def read_images(folder: Path, *, background: str = "white") -> tuple[np.ndarray, list[str] | None]:
    """The pictures of a folder, in the order of their names, upright as their EXIF orientation says.

    Parameters
    ----------
    folder
        Holds pictures of one size, or subfolders of them, whose names are the labels: BMP, GIF, JPEG, PGM, PNG, PPM,
        TIFF or WebP. Hidden files are left out.
    background
        The colour that transparent pixels are laid on, as Pillow names it: ``"black"``, ``"#8080ff"``.

    Returns
    -------
    x
        Grey or colour levels, (n, channels, height, width): 1 channel where all are grey, else 3. uint8, or uint16
        for grey pictures of 16 bits.
    y
        The subfolder of each, or `None`.

    Raises
    ------
    ValueError
        For no pictures, pictures both in the folder and in subfolders, subfolders that look like splits,
        pictures of different sizes or depths, of several frames, of colour in more than 8 bits, of floats or in CMYK,
        for a file that is no picture, is damaged or decodes to more than Pillow's `Image.MAX_IMAGE_PIXELS`, and for an
        unknown colour.
    """
    read = pictures(folder, background)
    return read.x, read.y


def split_folders(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """The subfolders of training, validation and test data, and the names of the others; none where there is no train.

    So MVTec AD and many others are laid out: train, test, and masks in a folder of their own.
    """
    inside = sorted(f for f in folder.iterdir() if f.is_dir() and f.name[0] != ".")
    found = {ROLE_OF[f.name.lower()]: f for f in inside if f.name.lower() in ROLE_OF}
    if "train" not in found or len(found) < 2:
        return {}, []
    return found, [f.name for f in inside if f not in found.values()]


def pictures(folder: Path, background: str = "white", size: tuple[int, int] | None = None) -> Pictures:
    """`read_images`, and how many of the pictures were transparent; cropped and scaled to a height and width."""
    ground = _colour(background)
    found = (f for f in folder.rglob("*") if f.suffix.lower() in _ENDINGS and not f.is_dir())
    files = sorted(f for f in found if not any(part[0] == "." for part in f.relative_to(folder).parts))
    labels = {f.relative_to(folder).parts[0] if f.parent != folder else None for f in files}
    if not files or (None in labels and len(labels) > 1):
        raise ValueError(
            f"expected pictures ({', '.join(_ENDINGS)}) in {folder}, or in subfolders named after their "
            f"labels, got {'none' if not files else 'some in both'}; move them, or name another folder"
        )
    if labels <= ROLE_OF.keys():
        raise ValueError(
            f"expected the subfolders of {folder} to be labels, got {sorted(map(str, labels))}, which look "
            "like splits; read each by `read_images` and give them to `from_arrays` (x, x_validation, x_test)"
        )
    arrays: list[np.ndarray] = []
    transparent = 0
    for file in files:
        array, see_through = _read(file, ground)
        array = array if size is None else _fitted(array, size)
        arrays.append(array)
        transparent += see_through
        _check_alike(files[0], arrays[0], file, array)
    grey = all(array.ndim == 2 for array in arrays)
    x = np.stack(arrays if grey else [_coloured(array) for array in arrays])
    y = None if None in labels else [file.relative_to(folder).parts[0] for file in files]
    return Pictures(x[:, None] if grey else np.moveaxis(x, -1, 1), y, transparent)


def _check_alike(first: Path, a: np.ndarray, file: Path, b: np.ndarray) -> None:
    if a.shape[:2] != b.shape[:2]:
        raise ValueError(
            f"expected pictures of one size, got {a.shape[1::-1]} for {first} and {b.shape[1::-1]} "
            f"for {file} (width, height); crop and scale them: size=(64, 64), --size 64 64"
        )
    if a.dtype != b.dtype:
        raise ValueError(
            f"expected pictures of one depth, got {8 * a.itemsize} bits for {first} and {8 * b.itemsize} bits for "
            f"{file}; convert them to one depth"
        )


def _colour(background: str) -> tuple[int, ...]:
    from PIL import ImageColor

    try:
        return ImageColor.getcolor(background, "RGBA")[:3]
    except (AttributeError, ValueError) as error:
        raise ValueError(
            f"background expects a colour that Pillow knows, got {background!r}; give 'white', 'black' or '#8080ff'"
        ) from error


def _read(file: Path, ground: tuple[int, ...]) -> tuple[np.ndarray, bool]:
    """Levels, (height, width) or (height, width, 3), and whether some of it was transparent."""
    from PIL import Image, ImageOps

    if not file.is_file():  # reading a pipe or a device would wait for ever
        raise ValueError(f"expected a picture, got no regular file for {file}; remove it")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.filterwarnings("ignore", module="PIL")  # of damaged metadata, which nothing is read from
            with Image.open(file, formats=_FORMATS) as picture:
                frames, deep = getattr(picture, "n_frames", 1), any(map(_deep, picture.tile))
                if frames == 1:
                    picture.load()
                    upright = ImageOps.exif_transpose(picture)
    except Exception as error:  # a decoder may raise any exception on other files
        came = error if str(error) else type(error).__name__
        raise ValueError(f"expected a picture, got {came} for {file}; repair or remove it") from error
    if frames != 1:
        raise ValueError(f"expected one picture a file, got {frames} frames for {file}; store each by itself")
    return _levels(upright, deep, file, ground)


def _deep(tile: Any) -> bool:
    """Whether a part of a file has more than 8 bits a channel. Of colour Pillow silently keeps the upper 8."""
    return ";16" in str(tile.args) or (tile.codec_name.startswith("ppm") and tile.args[-1] > 255)


def _levels(picture: Image.Image, deep: bool, file: Path, ground: tuple[int, ...]) -> tuple[np.ndarray, bool]:
    if picture.mode in _DEEP or picture.mode == "I":
        array = np.asarray(picture)
        if array.min() >= 0 and array.max() < 2**16:
            return array.astype(np.uint16), False
    if picture.mode not in _GREY + _COLOUR or deep:
        raise ValueError(
            f"expected grey levels of 8 or 16 bits or RGB of 8 bits a channel, got mode {picture.mode}"
            f"{' of more bits' if deep else ''} for {file}; convert it, or give the values to `from_arrays`"
        )
    grey = picture.mode in _GREY
    see_through = picture.has_transparency_data
    if see_through:
        from PIL import Image

        over = picture.convert("RGBA")
        see_through = over.getextrema()[3][0] < 255
        under = Image.new("RGBA", picture.size, (*ground, 255))
        picture = Image.alpha_composite(under, over)
        grey = grey and (not see_through or len(set(ground)) == 1)
    return np.asarray(picture.convert("L" if grey else "RGB")), see_through


def _fitted(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Levels (height, width) or (height, width, 3), cropped about the middle and scaled to a height and width."""
    from PIL import Image, ImageOps

    channels = array[..., None] if array.ndim == 2 else array
    made = [
        ImageOps.fit(Image.fromarray(c.astype(np.float32)), (size[1], size[0])) for c in np.moveaxis(channels, -1, 0)
    ]
    top = np.iinfo(array.dtype).max
    levels = np.stack([np.asarray(c) for c in made], -1).round().clip(0, top).astype(array.dtype)
    return levels[..., 0] if array.ndim == 2 else levels


def _coloured(array: np.ndarray) -> np.ndarray:
    return array if array.ndim == 3 else np.repeat(array[..., None], 3, -1)
