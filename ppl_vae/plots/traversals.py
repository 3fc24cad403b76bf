"""Decoded traversals: one latent unit moves in each row."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from ppl_vae.arguments import Numbers
from ppl_vae.plots.canvas import array, plot
from ppl_vae.plots.mosaic import bare, centres, draw, tiled_axes, tiles

__all__ = ["traversals"]


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
    """The effect of each latent unit: it varies along its row, while the others stay fixed.

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
