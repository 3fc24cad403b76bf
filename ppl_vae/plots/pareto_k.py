"""Pareto k-hat: for which data importance sampling from q(z | x) is believed."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from ppl_vae.arguments import Count, NonNegative, Numbers
from ppl_vae.plots.canvas import COLOURS, array, axes, bulk, numbers, plot

__all__ = ["pareto_k"]


@plot
def pareto_k(
    k: Numbers,
    *,
    threshold: NonNegative | None = None,
    obs: ArrayLike | None = None,
    num_samples: Count | None = None,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Pareto k-hat of the importance weights p(x, z) / q(z | x), datum by datum.

    Above the threshold neither the estimate of log p(x) for that datum nor its standard error is believed.

    Parameters
    ----------
    k
        k-hat (obs,), dimensionless. Values that are not finite count as above the threshold, and are drawn as
        triangles at the top edge; so are values far above all others.
    threshold
        Largest value that is believed; by default min(1 - 1 / log10(num_samples), 0.7), or 0.7 without `num_samples`.
    obs
        Number of each datum (obs,); by default 0, 1, 2, ...
    num_samples
        Importance samples for each datum, at least 25.
    ax
        Axes to draw into; by default a new figure's.
    **kwargs
        Passed to `Axes.scatter` for the finite values.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        `k` is not (obs,), `obs` has another length, or `num_samples` is below 25.

    References
    ----------
    Vehtari, Simpson, Gelman, Yao, Gabry (2024), Pareto smoothed importance sampling, arXiv:1507.02646.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> ax = pareto_k([0.1, 0.3, 0.9, float("inf")], num_samples=100)
    >>> print(*(text.get_text() for text in ax.get_legend().get_texts()), sep=", ")
    threshold 0.50, above: 2 of 4 (50.0 %), of them not finite: 1
    >>> plt.close(ax.figure)
    """
    k = array(k, "pareto_k", ("obs",), "give one value for each datum").astype(float)
    obs = numbers(np.arange(len(k)) if obs is None else obs, "obs", k.shape, "give one position for each value of k")
    limit = trusted(num_samples) if threshold is None else threshold
    finite = np.isfinite(k)
    above = ~(finite & (k <= limit))
    ax = axes(ax, 7.5, 4)
    colours = np.where(above, COLOURS[2], COLOURS[0])[finite]
    size = float(np.clip(8000 / len(k), 5, 30))
    low, high = span(k[finite], limit)
    style: dict[str, Any] = {"c": colours, "s": size, "alpha": 0.8, "linewidths": 0}
    ax.scatter(obs[finite], k[finite], **(style | kwargs))
    ax.axhline(limit, color="black", linestyle="--", linewidth=1, label=f"threshold {limit:.2f}")
    share = f"above: {above.sum()} of {len(k)} ({100 * above.mean():.1f} %)"
    ax.plot([], [], "o", color=COLOURS[2], label=share)
    mark_beyond(ax, obs, k, high)
    margin = 0.02 * float(np.ptp(obs)) or 0.5
    ax.set_ylim(low - 0.25 * (high - low), high + 0.12 * (high - low))  # the legend goes below, triangles above
    ax.set_xlim(obs.min() - margin, obs.max() + margin)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    ax.set(xlabel="datum (obs)", ylabel=r"Pareto $\hat{k}$ (dimensionless)")
    ax.legend(loc="lower center", ncols=3, fontsize="small", columnspacing=1.0, handletextpad=0.3)
    return ax


def mark_beyond(ax: Axes, obs: np.ndarray, k: np.ndarray, high: float) -> None:
    """Triangles at the top edge for values above the range that is drawn, and for those that are not finite."""
    finite = np.isfinite(k)
    beyond = ~finite | (k > high)
    if not beyond.any():
        return
    counts = {"not finite": (~finite).sum(), f"beyond {high:.2g}": (finite & beyond).sum()}
    label = "of them " + ", ".join(f"{what}: {count}" for what, count in counts.items() if count)
    style: dict[str, Any] = {"clip_on": False, "s": 40, "marker": "^", "linewidths": 0, "color": COLOURS[2]}
    height = np.full(beyond.sum(), 0.98)
    ax.scatter(obs[beyond], height, label=label, transform=ax.get_xaxis_transform(), **style)


def span(k: np.ndarray, limit: float) -> tuple[float, float]:
    """Range of k to draw: up to 2, or to the end of its bulk, so that one large value does not compress the rest."""
    values = np.append(k, [0.0, limit])
    return values.min(), values[values <= max(bulk(values)[1], 2.0, limit)].max()


def trusted(num_samples: int | None) -> float:
    """Largest k-hat at which an estimate from `num_samples` draws is believed (Vehtari et al., 2024)."""
    if num_samples is None:
        return 0.7
    if num_samples < 25:
        raise ValueError(f"pareto_k expects num_samples >= 25, got {num_samples}; k-hat needs more draws.")
    return float(min(1 - 1 / np.log10(num_samples), 0.7))
