"""Decoded grid of a 2-D latent space."""

from typing import Any

from matplotlib.axes import Axes

from ppl_vae.arguments import Numbers
from ppl_vae.plots.canvas import plot
from ppl_vae.plots.mosaic import bare, draw, tiled_axes, tiles

__all__ = ["manifold"]

_GAP = 1  # pixels between tiles


@plot
def manifold(
    x_hat: Numbers,
    *,
    extent: tuple[float, float, float, float] | None = None,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """A two-dimensional latent space, decoded on a grid, a line of one pixel between the images.

    Parameters
    ----------
    x_hat
        Decoded images (rows, columns, channels, height, width), 1 or 3 channels: columns from low to high
        z[0], rows from *high* z[1] (top) to low.
    extent
        (z[0] of the first column, z[0] of the last column, z[1] of the last row, z[1] of the first row):
        where the images were decoded, so the middles of the outer images. By default the axes have no values.
    ax
        Axes to draw into; by default a new figure's.
    **kwargs
        `vmin` and `vmax` as in `images`, and those of `Axes.imshow`.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        `x_hat` has another shape or no finite value, or `extent` is not four numbers, each pair increasing.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> ax = manifold(np.random.default_rng(0).random((5, 5, 1, 9, 9)), extent=(-2, 2, -2, 2))
    >>> ax.get_images()[0].get_extent()  # half an image, .45 of the way to the next, beyond the outer grid points
    [-2.45, 2.45, -2.45, 2.45]
    >>> plt.close(ax.figure)
    """
    x_hat = tiles(x_hat, "manifold", "rows", "columns")
    rows, columns, _, height, width = x_hat.shape
    if extent is not None:
        left, right, bottom, top = outer_edges(extent, (rows, columns), (height, width))
        high, wide = rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP
        square = high / wide * (right - left) / (top - bottom)
        kwargs = {"extent": (left, right, bottom, top), "aspect": square, "origin": "upper"} | kwargs
    ax = tiled_axes(ax, x_hat, left=0.6, below=0.5)
    draw(ax, x_hat, gap=_GAP, **kwargs)
    if extent is None:
        bare(ax)
    ax.set(xlabel="z[0]", ylabel="z[1]")
    return ax


def outer_edges(
    extent: tuple[float, float, float, float], count: tuple[int, int], size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Edges (left, right, bottom, top) of a grid of tiles, (height, width) pixels, with outer *middles* at `extent`."""
    if len(extent) != 4 or not (extent[0] < extent[1] and extent[2] < extent[3]):
        raise ValueError(
            f"manifold expects extent = (z[0] min, z[0] max, z[1] min, z[1] max), each pair increasing, "
            f"got {extent}; give the first and last grid point of each latent unit."
        )
    left, right, bottom, top = extent
    half_y, half_x = (
        (high - low) / max(number - 1, 1) / 2 * pixels / (pixels + _GAP)
        for low, high, number, pixels in zip((bottom, left), (top, right), count, size, strict=True)
    )
    return left - half_x, right + half_x, bottom - half_y, top + half_y
