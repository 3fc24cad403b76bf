"""The worst-fitted data: their images, and the values by which they are the worst."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from ppl_vae.arguments import Count, Numbers
from ppl_vae.plots.canvas import numbers, plot
from ppl_vae.plots.mosaic import bare, centres, draw, tiled_axes, tiles

__all__ = ["worst_fitted"]

LINE = 12  # points


@plot
def worst_fitted(
    x: Numbers,
    values: Mapping[str, Numbers],
    *,
    x_hat: Numbers | None = None,
    obs: ArrayLike | None = None,
    num: Count = 10,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Images of the data with the largest values, worst first, above their values.

    Parameters
    ----------
    x
        Data (n, channels, height, width), 1 or 3 channels.
    values
        For each measure of misfit by name (with its unit), one value for each datum (n,), printed under the
        images. The first one orders the data: the largest are the worst, and NaN is worse than any value.
    x_hat
        Reconstructions, like `x`, in the same units, drawn below the data.
    obs
        Number of each datum (n,); by default 0, 1, 2, ...
    num
        How many data to draw, at most.
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
        `x` is no stack of images, another argument does not have one entry a datum, `values` is empty, or
        `num` is below 1.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> x = np.random.default_rng(0).random((4, 1, 8, 8))
    >>> ax = worst_fitted(x, {"gap (nats)": [0.5, 3.0, 9.25, 0.1]}, obs=[10, 11, 12, 13], num=2)
    >>> print(*(text.get_text().strip() for text in ax.texts), sep=", ")
    12, 11, datum (obs), 9.25, 3, gap (nats)
    >>> plt.close(ax.figure)
    """
    x = tiles(x, "worst_fitted: x", "n")
    n = len(x)
    if not values:
        raise ValueError(
            f"worst_fitted expects values that order the data, got {list(values)}; give the gap or the k-hat of each "
            "datum by name."
        )
    rows = {"data": x}
    if x_hat is not None:
        rows["reconstruction"] = numbers(x_hat, "x_hat", x.shape, "give one reconstruction for each datum")
    fix = "give one value for each datum"
    table = {name: numbers(column, name, (n,), fix) for name, column in values.items()}
    order = np.argsort(-np.nan_to_num(next(iter(table.values())), nan=np.inf), kind="stable")[:num]
    names = np.arange(n) if obs is None else np.asarray(obs)
    if names.shape != (n,):
        raise ValueError(f"obs expects shape {(n,)}, got {names.shape}; {fix}.")
    grid = np.stack([row[order] for row in rows.values()])
    ax = tiled_axes(ax, grid, left=1.2, below=0.2 + 0.2 * (1 + len(table)))
    draw(ax, grid, gap=1, **kwargs)
    bare(ax)
    ax.set_yticks(centres(len(rows), x.shape[-2], 1), list(rows))
    cells = {"datum (obs)": [str(name) for name in names[order]]}
    cells |= {name: [f"{value:.3g}" for value in column[order]] for name, column in table.items()}
    middles = centres(len(order), x.shape[-1], 1)
    for line, (name, row) in enumerate(cells.items(), start=1):
        # Texts on one baseline: the labels of ticks stand at the height of their tallest letter.
        place: dict[str, Any] = {"xytext": (0, -LINE * line), "textcoords": "offset points", "fontsize": "small"}
        for middle, cell in zip(middles, row, strict=True):
            ax.annotate(cell, (middle, 0), xycoords=ax.get_xaxis_transform(), ha="center", **place)
        ax.annotate(f"{name}  ", (0, 0), xycoords="axes fraction", ha="right", **place)
    return ax
