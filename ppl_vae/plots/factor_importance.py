"""Latent units against known factors."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from ppl_vae.arguments import Numbers
from ppl_vae.plots.canvas import array, axes, plot

__all__ = ["factor_importance"]


@plot
def factor_importance(
    importance: Numbers,
    *,
    units: ArrayLike | None = None,
    factors: ArrayLike | None = None,
    labelled: str = "importance",
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Importance of each latent unit for each known factor, in shades; one dark cell a row and column if disentangled.

    Parameters
    ----------
    importance
        Shares in [0, 1] (units, factors): any table of `ppl_vae.evaluation.FactorScores`, which names both.
    units, factors
        Names of rows (units,) and columns (factors,); by default those of a table of pandas, or z[0], ... and v[0], ...
    labelled
        What the shades are, for the colour bar.
    ax
        Axes to draw into; by default a new figure's.
    **kwargs
        Passed to `Axes.imshow`; the shades go from 0 to 1 unless `vmin` and `vmax` say otherwise.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        `importance` has another shape or is not finite, or there are not as many names as rows and columns.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> ax = factor_importance([[0.9, 0.0], [0.1, 1.0]], factors=["scale", "angle"])
    >>> print(*(label.get_text() for label in ax.get_yticklabels() + ax.get_xticklabels()))
    z[0] z[1] scale angle
    >>> plt.close(ax.figure)
    """
    table = array(importance, "factor_importance", ("units", "factors"), "give one row a unit").astype(float)
    if not np.isfinite(table).all():
        raise ValueError(
            f"factor_importance expects finite values, got {np.sum(~np.isfinite(table))} of {table.size} that are not; "
            "leave their units or factors out."
        )
    own = (importance.index, importance.columns) if isinstance(importance, pd.DataFrame) else (None, None)
    rows = _names("units", units, own[0], "z", len(table))
    columns = _names("factors", factors, own[1], "v", table.shape[1])
    ax = axes(ax, float(np.clip(0.75 * len(columns), 2, 9)) + 2, float(np.clip(0.32 * len(rows), 2, 9)) + 1)
    style: dict[str, Any] = {"vmin": 0, "vmax": 1, "cmap": "Blues", "aspect": "auto"}
    image = ax.imshow(table, **(style | kwargs))
    ax.set_yticks(np.arange(len(rows)), rows)
    ax.set_xticks(np.arange(len(columns)), columns, rotation=30, ha="right", rotation_mode="anchor")
    if table.size <= 100:
        middle = np.mean(image.get_clim())
        for (row, column), value in np.ndenumerate(table):
            colour = "white" if value > middle else "black"
            ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize="x-small")
    ax.set(xlabel="factor", ylabel="latent unit")
    ax.figure.colorbar(image, ax=ax, label=labelled)
    return ax


def _names(what: str, given: Numbers | None, own: Numbers | None, letter: str, length: int) -> list[str]:
    found = given if given is not None else own
    names = [f"{letter}[{i}]" for i in range(length)] if found is None else [str(name) for name in np.asarray(found)]
    if len(names) != length:
        raise ValueError(
            f"factor_importance expects {length} {what}, got {len(names)}; give one for each, or none for numbers."
        )
    return names
