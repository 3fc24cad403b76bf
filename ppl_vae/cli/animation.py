"""Animated GIFs, by Pillow, a dependency of Matplotlib."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["gif"]


def gif(frames: ArrayLike, path: str | Path, *, seconds: float = 0.1) -> None:
    """Write frames as an animated GIF that loops without end.

    Colour frames share a palette of 64 greys, for pictures, and 64 colours, for lines.

    Parameters
    ----------
    frames
        (n, height, width) grey or (n, height, width, 3) colour, 8-bit.
    path
        The file; its folder is made.
    seconds
        Of each frame; GIF counts hundredths.

    Raises
    ------
    ValueError
        For frames of another shape or type.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     gif(np.zeros((3, 8, 8), np.uint8), Path(folder, "a.gif"))
    ...     Path(folder, "a.gif").read_bytes()[:6]
    b'GIF89a'
    """
    from PIL import Image

    found = np.asarray(frames)
    if (
        found.dtype != np.uint8
        or found.ndim not in (3, 4)
        or len(found) == 0
        or (found.ndim == 4 and found.shape[-1] != 3)
    ):
        raise ValueError(
            f"gif expects 8-bit frames (n, height, width) or (n, height, width, 3), got {found.dtype} of shape "
            f"{found.shape}; scale them to 0, ..., 255 and convert them"
        )
    pictures = [Image.fromarray(frame) for frame in found]
    if found.ndim == 4:
        palette = Image.new("P", (1, 1))
        palette.putpalette(_palette(found).tobytes())
        pictures = [p.quantize(palette=palette, dither=Image.Dither.NONE) for p in pictures]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    duration = round(1000 * seconds)
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=duration, loop=0, optimize=False)


def _palette(frames: np.ndarray) -> np.ndarray:
    """64 greys and as many colours (128, 3), which would otherwise be lost among the pixels of grey pictures."""
    from PIL import Image

    some = frames[:: max(1, len(frames) // 16)].reshape(-1, 3)
    coloured = some[np.ptp(some, axis=-1) > 24]
    greys = np.linspace(0, 255, 64).round().astype(np.uint8).repeat(3).reshape(-1, 3)
    if len(coloured) == 0:
        return greys
    found = Image.fromarray(coloured[None]).quantize(64, method=Image.Quantize.MAXCOVERAGE).getpalette()
    return np.concatenate([greys, np.array(found, dtype=np.uint8).reshape(-1, 3)])
