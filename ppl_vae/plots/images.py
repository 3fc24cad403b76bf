"""Images side by side."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ppl_vae.arguments import Count, Numbers
from ppl_vae.plots.canvas import plot
from ppl_vae.plots.mosaic import bare, draw, tiled_axes, tiles

__all__ = ["images"]


@plot
def images(
    x: Numbers,
    *,
    columns: Count | None = None,
    ax: Axes | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    **kwargs: Any,
) -> Axes:
    """A grid of images, row by row, on one grey scale.

    Parameters
    ----------
    x
        Images (n, channels, height, width), 1 or 3 channels, any units. What is not finite stays empty.
    columns
        Images a row; by default a grid about as wide as high.
    ax
        Axes to draw into; by default a new figure's.
    vmin, vmax
        Values drawn black and white (for colour: no and full intensity), in the units of `x`; by default the
        smallest and the largest value in `x`.
    **kwargs
        Passed to `Axes.imshow`.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        `x` has another shape or no finite value, or `columns` is below 1.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> ax = images(np.random.default_rng(0).random((6, 1, 8, 8)), columns=3)
    >>> ax.get_images()[0].get_array().shape  # 2 x 3 images, a gap of one pixel between them
    (17, 26)
    >>> plt.close(ax.figure)
    """
    x = tiles(x, "images", "n")
    columns = int(np.ceil(np.sqrt(len(x)))) if columns is None else columns
    if columns < 1:
        raise ValueError(f"images expects columns >= 1, got {columns}; give the number of images a row.")
    columns = min(columns, len(x))
    rows = -(-len(x) // columns)
    grid = np.full((rows * columns, *x.shape[1:]), np.nan)
    grid[: len(x)] = x
    grid = grid.reshape(rows, columns, *x.shape[1:])
    ax = tiled_axes(ax, grid, below=0.3)
    draw(ax, grid, gap=1, vmin=vmin, vmax=vmax, **kwargs)
    bare(ax)
    return ax
