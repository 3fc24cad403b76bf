"""Decoded walks between two codes."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from ppl_vae.arguments import Numbers
from ppl_vae.plots.canvas import numbers, plot
from ppl_vae.plots.mosaic import bare, centres, draw, tiled_axes, tiles

__all__ = ["walk"]


@plot
def walk(
    x_hat: Numbers,
    *,
    kinds: Sequence[str],
    lengths: Numbers | None = None,
    largest_steps: Numbers | None = None,
    unit: str = "",
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Decoded walks between the same two codes, a row for each kind, from left to right.

    Parameters
    ----------
    x_hat
        Decoded images (kinds, steps, channels, height, width), 1 or 3 channels; 8 to 16 steps fit a page.
    kinds
        Names of the rows.
    lengths, largest_steps
        Length of each decoded path and its largest step (kinds,), for the labels of the rows; perhaps over more steps
        than are drawn.
    unit
        Of the lengths.
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
        `x_hat` has another shape or no finite value, or there is not one of the others for each row.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> x_hat = np.random.default_rng(0).random((2, 5, 1, 8, 8))
    >>> ax = walk(x_hat, kinds=["linear", "geodesic"], lengths=[9.5, 8.25], unit="grey levels")
    >>> print(*(label.get_text() for label in ax.get_yticklabels()), sep="; ")
    linear
    length 9.5; geodesic
    length 8.25
    >>> plt.close(ax.figure)
    """
    x_hat = tiles(x_hat, "walk", "kinds", "steps")
    rows, _, _, height, _ = x_hat.shape
    if len(kinds) != rows:
        raise ValueError(f"walk expects a name for each of {rows} rows, got kinds={list(kinds)}; name them all.")
    labels = list(kinds)
    for name, values in (("length", lengths), ("largest step", largest_steps)):
        if values is not None:
            found = numbers(values, f"walk: {name}", (rows,), "give one for each row")
            labels = [
                f"{label}\n{name} {value:{'.0f' if value >= 100 else '.3g'}}"
                for label, value in zip(labels, found, strict=True)
            ]
    ax = tiled_axes(ax, x_hat, left=1.6, below=0.4)
    draw(ax, x_hat, gap=1, **kwargs)
    bare(ax)
    ax.set_yticks(centres(rows, height, 1), labels, fontsize="small")
    if unit:
        ax.set_xlabel(f"lengths in {unit}")
    return ax
