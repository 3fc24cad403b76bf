"""Runs: the marginal likelihood of several models, with the error of each."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ppl_vae.plots.canvas import COLOURS, axes, plot

__all__ = ["nll_with_errors"]


@plot
def nll_with_errors(table: pd.DataFrame, *, ax: Axes | None = None, **kwargs: Any) -> Axes:
    """Negative log-likelihood of each run, nats per datum, with bars of 2 standard errors; the best on top.

    Overlapping bars do not show that two runs are equal: evaluated on the same data, their *difference* has a
    smaller standard error than either.

    Parameters
    ----------
    table
        One row a run, indexed by its name, with columns `nll` and `nll_se` (its standard error), nats per
        datum. A run without a finite `nll` is listed last, without a dot; one without `nll_se` has no bar.
    ax
        Axes to draw into; by default a new figure's.
    **kwargs
        Passed to `Axes.errorbar`.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        `table` has no row, a column is missing, or a standard error is negative.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import pandas as pd
    >>> table = pd.DataFrame({"nll": [101.0, 98.0], "nll_se": [0.5, 0.4]}, index=["normal", "vamp"])
    >>> ax = nll_with_errors(table)
    >>> print(*(label.get_text() for label in ax.get_yticklabels()), ax.yaxis_inverted())
    vamp normal True
    >>> plt.close(ax.figure)
    """
    missing = {"nll", "nll_se"} - set(table)
    if missing or table.empty:
        raise ValueError(
            f"nll_with_errors expects columns 'nll' and 'nll_se' (nats per datum) and one row a run, got "
            f"{len(table)} rows with columns {list(table)}; evaluate every run first."
        )
    values = table[["nll", "nll_se"]].astype(float).replace([np.inf, -np.inf], np.nan).sort_values("nll")
    if (values["nll_se"] < 0).any():
        raise ValueError(
            f"nll_with_errors expects standard errors >= 0, got {values['nll_se'].min()}; correct the column."
        )
    rows = np.arange(len(values))
    ax = axes(ax, 7, max(2.0, 0.35 * len(values) + 1.0))
    style: dict[str, Any] = {"fmt": "o", "color": COLOURS[0], "ecolor": "0.35", "capsize": 3}
    ax.errorbar(values["nll"], rows, xerr=2 * values["nll_se"], **(style | kwargs))
    ax.set_yticks(rows, [str(name) for name in values.index])
    ax.set_ylim(len(values) - 0.5, -0.5)
    ax.grid(axis="x", color="0.9")
    ax.set_axisbelow(True)
    ax.set_xlabel("negative log-likelihood, nats per datum (bars: ± 2 standard errors)")
    return ax
