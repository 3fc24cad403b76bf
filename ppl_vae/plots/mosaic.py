"""Many images as one: a grid of tiles drawn by a single `imshow`."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike

from ppl_vae.plots.canvas import array, axes

__all__ = ["bare", "centres", "draw", "mosaic", "tiled_axes", "tiles"]


_BETWEEN = "#7f9fc9"
"""Colour of the gaps, which is neither a grey level nor white: an image that ends black or white still has an edge."""


def tiles(x: ArrayLike, name: str, *leading: str) -> np.ndarray:
    """`x` as floats, checked to have shape (*leading, channels, height, width) with 1 or 3 channels.

    Raises
    ------
    ValueError
        Another number of dimensions or channels, or no finite value at all.
    """
    dims = (*leading, "channels", "height", "width")
    found = array(x, name, dims, "reshape it, with a channel axis of 1 for grey images").astype(float)
    if found.shape[-3] not in (1, 3):
        raise ValueError(
            f"{name} expects 1 (grey) or 3 (colour) channels in ({', '.join(dims)}), got {found.shape}; "
            "choose the channels to draw, and put them before height and width."
        )
    if not np.isfinite(found).any():
        raise ValueError(f"{name} expects finite pixel values, got none in {found.size}; look at the decoder's output.")
    return found


def mosaic(x: np.ndarray, gap: int) -> np.ndarray:
    """Tiles (rows, columns, channels, height, width) as (pixels, pixels, channels), NaN in the gaps."""
    rows, columns, channels, height, width = x.shape
    grid = np.full((rows, height + gap, columns, width + gap, channels), np.nan)
    grid[:, :height, :, :width] = x.transpose(0, 3, 1, 4, 2)
    grid = grid.reshape(rows * (height + gap), columns * (width + gap), channels)
    return grid[: grid.shape[0] - gap, : grid.shape[1] - gap]


def centres(count: int, size: int, gap: int) -> np.ndarray:
    """Pixel coordinates (count,) of the middles of tiles `size` pixels wide."""
    return np.arange(count) * (size + gap) + (size - 1) / 2


def tiled_axes(ax: Axes | None, x: np.ndarray, left: float = 0.1, below: float = 0.1) -> Axes:
    """The Axes given, or a new figure's, sized for the tiles and for labels `left` and `below` (inches)."""
    height, width = x.shape[0] * x.shape[-2], x.shape[1] * x.shape[-1]
    inches = min(max(0.8 * max(x.shape[:2]), 2.0), 8.0) / max(height, width)
    return axes(ax, max(width * inches, 2.0) + left, height * inches + below)


def draw(
    ax: Axes, x: np.ndarray, *, gap: int, vmin: float | None = None, vmax: float | None = None, **kwargs: Any
) -> AxesImage:
    """One picture of tiles (rows, columns, channels, height, width), blue between them and where not finite."""
    ax.set_facecolor(_BETWEEN)
    finite = x[np.isfinite(x)]
    low = float(finite.min()) if vmin is None else vmin
    high = float(finite.max()) if vmax is None else vmax
    pixels = mosaic(x, gap)
    if x.shape[2] == 3:
        seen = np.isfinite(pixels).all(-1, keepdims=True)
        scaled = np.clip((pixels - low) / ((high - low) or 1.0), 0.0, 1.0)
        pixels = np.concatenate([np.where(seen, scaled, 1.0), seen], axis=-1)  # red, green, blue, opacity
    else:
        pixels = pixels[..., 0]
    defaults: dict[str, Any] = {"cmap": "gray", "interpolation": "nearest", "vmin": low, "vmax": high}
    return ax.imshow(pixels, **(defaults | kwargs))


def bare(ax: Axes) -> None:
    """Leave the labels of rows and columns, without frame, tick marks or other ticks."""
    ax.set(xticks=[], yticks=[])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
