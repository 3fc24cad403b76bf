"""The decoder across the latent space: on a grid of two units, and along each unit alone."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from ppl_vae.arguments import Numbers
from ppl_vae.plots.canvas import array, plot
from ppl_vae.plots.mosaic import bare, centres, draw, tiled_axes, tiles

__all__ = ["manifold", "traversals"]


@plot
def manifold(
    x_hat: Numbers,
    *,
    extent: tuple[float, float, float, float] | None = None,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """A two-dimensional latent space, decoded on a grid.

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
    >>> ax = manifold(np.random.default_rng(0).random((5, 5, 1, 8, 8)), extent=(-2, 2, -2, 2))
    >>> ax.get_images()[0].get_extent()  # half an image beyond the outer grid points
    [-2.5, 2.5, -2.5, 2.5]
    >>> plt.close(ax.figure)
    """
    x_hat = tiles(x_hat, "manifold", "rows", "columns")
    rows, columns, _, height, width = x_hat.shape
    if extent is not None:
        left, right, bottom, top = outer_edges(extent, rows, columns)
        square = (rows * height) / (columns * width) * (right - left) / (top - bottom)
        kwargs = {"extent": (left, right, bottom, top), "aspect": square, "origin": "upper"} | kwargs
    ax = tiled_axes(ax, x_hat, left=0.6, below=0.5)
    draw(ax, x_hat, gap=0, **kwargs)
    if extent is None:
        bare(ax)
    ax.set(xlabel="z[0]", ylabel="z[1]")
    return ax


def outer_edges(
    extent: tuple[float, float, float, float], rows: int, columns: int
) -> tuple[float, float, float, float]:
    """Edges (left, right, bottom, top) of a grid of tiles whose outer *middles* are at `extent`."""
    if len(extent) != 4 or not (extent[0] < extent[1] and extent[2] < extent[3]):
        raise ValueError(
            f"manifold expects extent = (z[0] min, z[0] max, z[1] min, z[1] max), each pair increasing, "
            f"got {extent}; give the first and last grid point of each latent unit."
        )
    left, right, bottom, top = extent
    half_x, half_y = (right - left) / max(columns - 1, 1) / 2, (top - bottom) / max(rows - 1, 1) / 2
    return left - half_x, right + half_x, bottom - half_y, top + half_y


@plot
def traversals(
    x_hat: Numbers,
    *,
    values: Numbers | None = None,
    units: ArrayLike | None = None,
    labelled: str = "value of the moving unit",
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """What each latent unit does: it moves along its row, while the others stay fixed.

    Parameters
    ----------
    x_hat
        Decoded images (latents, steps, channels, height, width), 1 or 3 channels: one row a latent unit.
    values
        Values of the moving unit (steps,); by default the columns carry none.
    units
        Indices or names of the moving units (latents,); by default 0, 1, 2, ...
    labelled
        What `values` are, for the axis.
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
        `x_hat` has another shape or no finite value, or `values` or `units` another length than the grid.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> ax = traversals(np.random.default_rng(0).random((2, 5, 1, 8, 8)), values=[-2, -1, 0, 1, 2])
    >>> print(*(label.get_text() for label in ax.get_yticklabels() + ax.get_xticklabels()))
    z[0] z[1] -2 -1 0 1 2
    >>> plt.close(ax.figure)
    """
    x_hat = tiles(x_hat, "traversals", "latents", "steps")
    rows, columns, _, height, width = x_hat.shape
    units = of_length(np.arange(rows) if units is None else units, rows, "units", "row (latent unit)")
    ticks = np.empty(0) if values is None else of_length(values, columns, "values", "column (step)")
    ax = tiled_axes(ax, x_hat, left=0.5, below=0.5)
    draw(ax, x_hat, gap=1, **kwargs)
    bare(ax)
    ax.set_yticks(centres(rows, height, 1), [f"z[{unit}]" for unit in units])
    every = -(-columns // 12)  # more labels would touch
    shown = slice(None, None, every)
    ax.set_xticks(centres(columns, width, 1)[shown] if len(ticks) else [], [f"{v:.3g}" for v in ticks[shown]])
    ax.set_xlabel(labelled)
    return ax


def of_length(values: Numbers, length: int, name: str, each: str) -> np.ndarray:
    """`values` as an array (length,)."""
    found = array(values, f"traversals: {name}", (each.split()[0] + "s",), f"give one of the {name} for each {each}")
    if len(found) != length:
        raise ValueError(f"traversals expects {length} {name}, got {len(found)}; give one for each {each} of x_hat.")
    return found
