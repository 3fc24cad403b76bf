"""Predictive checks: a statistic of the data against the same statistic of data the model generates."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ppl_vae.arguments import Numbers, Share
from ppl_vae.plots.canvas import COLOURS, array, axes, bulk, plot

__all__ = ["predictive_check"]


@plot
def predictive_check(
    observed: float,
    replicated: Numbers,
    *,
    label: str,
    p_value: Share | None = None,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Histogram of a statistic of replicated data sets, and its value for the data as a line.

    Parameters
    ----------
    observed
        The statistic of the data.
    replicated
        The statistic of each replicated data set (draws,). What is not finite, or
        far from all others, is not drawn, but counted.
    label
        What the statistic is, with its unit.
    p_value
        Posterior predictive p-value, for the legend.
    ax
        Axes to draw into; by default a new figure's.
    **kwargs
        Passed to `Axes.hist`.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        `observed` is not a finite number, or `replicated` not (draws,) with a finite value.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> replicated = np.random.default_rng(0).normal(100, 5, size=400)
    >>> ax = predictive_check(112.0, replicated, label="mean ink (grey levels)", p_value=0.01)
    >>> print(*(text.get_text() for text in ax.get_legend().get_texts()), sep=", ")
    replicated data (400), data: 112, p = 0.01
    >>> plt.close(ax.figure)
    """
    found = array(replicated, "predictive_check: replicated", ("draws",), "give one value a data set").astype(float)
    values = found[np.isfinite(found)]
    if not values.size or not np.isfinite(observed):
        raise ValueError(
            f"predictive_check expects finite values, got observed {observed} and {values.size} finite of "
            f"{found.size} replicated; look at what the model generates."
        )
    ax = axes(ax, 5, 3.2)
    low, high = bulk(values)
    drawn = values[(values >= low) & (values <= high)]
    lost = f", {found.size - drawn.size} not drawn" if drawn.size < found.size else ""
    style: dict[str, Any] = {"bins": int(np.clip(np.sqrt(drawn.size), 5, 60)), "histtype": "stepfilled", "alpha": 0.7}
    style |= {"color": COLOURS[0], "edgecolor": COLOURS[0], "label": f"replicated data ({found.size}{lost})"}
    ax.hist(drawn, **(style | kwargs))
    p = "" if p_value is None else f", p = {p_value:.3g}"
    ax.axvline(observed, color=COLOURS[2], linewidth=2, label=f"data: {observed:.4g}{p}")
    ax.set_ylim(top=1.45 * ax.get_ylim()[1])  # room for the legend
    ax.set(xlabel=label, ylabel="replicated data sets (count)")
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.legend(loc="upper left", fontsize="small")
    return ax
