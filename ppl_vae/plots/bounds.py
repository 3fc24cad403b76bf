"""Brackets of log p(x): stochastic lower and upper bounds on simulated data."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ppl_vae.arguments import Numbers
from ppl_vae.plots.canvas import COLOURS, array, axes, bulk, numbers, plot

__all__ = ["bounds"]


@plot
def bounds(
    lower: Numbers,
    upper: Numbers,
    *,
    exact: Numbers | None = None,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Lower and upper bound of log p(x) of each simulation, relative to the exact value or to their middle.

    The bounds hold in the mean over simulations, not for each: single pairs may well be swapped, or lie on one
    side of the exact value. Their means stand as lines with bands of 2 standard errors.

    Parameters
    ----------
    lower, upper
        Bounds (simulation,), nats. Simulations with a bound that is not finite are left out, and counted.
    exact
        log p(x) (simulation,), nats, where it is known.
    ax
        Axes to draw into; by default a new figure's.
    **kwargs
        Passed to `Axes.scatter` for the bounds.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        `lower` is not (simulation,), or another argument has another shape.

    References
    ----------
    Grosse, Ghahramani, Adams (2015), Sandwiching the marginal likelihood using bidirectional Monte Carlo,
    arXiv:1511.02543.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> ax = bounds([-10.2, -12.1], [-9.8, -12.0], exact=[-10.0, -12.05])
    >>> print(ax.get_legend().get_texts()[0].get_text())
    mean upper bound: +0.125 ± 0.15
    >>> plt.close(ax.figure)
    """
    lower = array(lower, "bounds: lower", ("simulation",), "give one value a simulation").astype(float)
    upper = numbers(upper, "upper", lower.shape, "give one value a simulation")
    middle = (lower + upper) / 2 if exact is None else numbers(exact, "exact", lower.shape, "give one a simulation")
    finite = np.isfinite(lower + upper + middle)
    around = np.stack([upper - middle, lower - middle])[:, finite]
    around = around[:, np.argsort(around[0] - around[1], kind="stable")]
    rank = np.arange(around.shape[1])
    ax = axes(ax, 7, 4)
    ax.vlines(rank, *around, color="0.75", linewidth=np.clip(200 / max(len(rank), 1), 0.3, 1.5), zorder=0)
    ax.axhline(0, color="black", linewidth=0.8)
    style: dict[str, Any] = {"s": float(np.clip(2000 / max(len(rank), 1), 3, 20)), "linewidths": 0}
    for name, value, colour in zip(("upper", "lower"), around, (COLOURS[2], COLOURS[0]), strict=True):
        ax.scatter(rank, value, **(style | {"color": colour} | kwargs))
        if value.size:
            draw_mean(ax, f"mean {name} bound", value, colour)
    if not finite.all():
        ax.plot([], [], " ", label=f"left out, not finite: {(~finite).sum()}")
    if around.size:
        low, high = bulk(np.append(around, 0.0))
        height = (high - low) or 1.0
        ax.set_ylim(low - 0.05 * height, high + 0.25 * height)
    ax.margins(x=0.02)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    ax.set_xlabel("simulation, smallest bracket first")
    ax.set_ylabel(f"bound − {'middle of both' if exact is None else 'exact log p(x)'}, nats")
    ax.legend(loc="upper left", ncols=2, fontsize="small")
    return ax


def draw_mean(ax: Axes, name: str, value: np.ndarray, colour: str) -> None:
    """A line at the mean, in a band of 2 standard errors where there are two values or more."""
    mean, label = value.mean(), f"{name}: {value.mean():+.3g}"
    if len(value) > 1:
        error = 2 * value.std(ddof=1) / np.sqrt(len(value))
        ax.axhspan(mean - error, mean + error, color=colour, alpha=0.2, linewidth=0)
        label += f" ± {error:.2g}"
    ax.axhline(mean, color=colour, linestyle="--", linewidth=1.2, label=label)
