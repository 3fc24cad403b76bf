"""The aggregate posterior against the prior, one latent unit at a time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ppl_vae.arguments import Count, Numbers, Whole
from ppl_vae.plots.canvas import COLOURS, axes, plot
from ppl_vae.plots.scatter import draws

__all__ = ["aggregate_marginals"]


@plot
def aggregate_marginals(
    z_q: Numbers,
    z_p: Numbers,
    *,
    units: Sequence[Whole] | None = None,
    num: Count = 8,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Marginal densities of the aggregate posterior over those of the prior, a row for each latent unit.

    Rows say nothing about dependence: q(z) may miss the prior although every marginal fits. At the end of a
    row stands the Kolmogorov-Smirnov distance of the two samples (0: same, 1: apart), which is never quite 0.
    The axis leaves out the outer 0.1 % of the draws of each unit.

    Parameters
    ----------
    z_q
        Draws (n, latent) from the aggregate posterior, the average of q(z | x) over the data.
    z_p
        Draws (m, latent) from the prior.
    units
        Latent units to draw, from the top; by default those with the largest distance.
    num
        How many units, where `units` does not say.
    ax
        Axes to draw into; by default a new figure's.
    **kwargs
        Passed to `Axes.stairs` for the aggregate posterior.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        Draws are not finite and (n, latent) with as many units in both, or `units` are none of them.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> z_p, z_q = np.random.default_rng(0).normal(size=(2, 500, 3))
    >>> ax = aggregate_marginals(z_q * [1.0, 0.5, 1.0], z_p, num=2)
    >>> print(ax.get_yticklabels()[0].get_text())
    z[1]
    >>> plt.close(ax.figure)
    """
    z_q, z_p = draws(z_q, "aggregate_marginals: z_q"), draws(z_p, "aggregate_marginals: z_p")
    latent = z_q.shape[1]
    if z_p.shape[1] != latent:
        raise ValueError(
            f"aggregate_marginals expects as many units from q and prior, got {z_q.shape} and {z_p.shape}; flatten "
            "the latent sites of both in the same order."
        )
    distances = np.array([kolmogorov_smirnov(z_q[:, unit], z_p[:, unit]) for unit in range(latent)])
    chosen = list(np.argsort(-distances, kind="stable")[:num] if units is None else units)
    if not chosen or not all(0 <= unit < latent for unit in chosen):
        raise ValueError(f"aggregate_marginals expects units from 0 to {latent - 1}, got {chosen}; choose one or more.")
    low, high = span(np.vstack([z_q, z_p])[:, chosen])
    edges = np.linspace(low, high, 81)
    ax = axes(ax, 7, max(2.5, 0.6 * len(chosen) + 1.0))
    for row, unit in enumerate(chosen):
        heights = [np.histogram(z[:, unit], edges)[0] / len(z) for z in (z_q, z_p)]
        of_q, of_p = (row - 0.85 * height / max(map(np.max, heights)) for height in heights)
        filled: dict[str, Any] = {"fill": True, "color": COLOURS[0], "alpha": 0.6}
        ax.stairs(of_q, edges, baseline=row, **(filled | kwargs))
        ax.stairs(of_p, edges, baseline=None, color="black", linewidth=1)
        ax.annotate(f"{distances[unit]:.2f}", (1.01, row), xycoords=ax.get_yaxis_transform(), fontsize="small")
    ax.annotate("distance", (1.01, -0.95), xycoords=ax.get_yaxis_transform(), fontsize="small")
    ax.set_yticks(np.arange(len(chosen)), [f"z[{unit}]" for unit in chosen])
    ax.set(xlim=(low, high), ylim=(len(chosen) - 0.85, -1.05))
    ax.set(xlabel="value of the latent unit", ylabel="density (rows scaled)")
    handles = [
        Patch(color=COLOURS[0], alpha=0.6, label="aggregate posterior q(z)"),
        Line2D([], [], color="black", label="prior p(z)"),
    ]
    ax.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.01), ncols=2, fontsize="small")
    return ax


def span(z: np.ndarray) -> tuple[float, float]:
    """The widest of the units' ranges (draws, units), without the outer 0.1 % of each, and never empty."""
    low = float(np.quantile(z, 0.001, axis=0, method="lower").min())
    high = float(np.quantile(z, 0.999, axis=0, method="higher").max())
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def kolmogorov_smirnov(a: np.ndarray, b: np.ndarray) -> float:
    """Largest distance between the distribution functions of two samples."""
    a, b = np.sort(a), np.sort(b)
    both = np.concatenate([a, b])
    return float(np.abs(np.searchsorted(a, both, "right") / len(a) - np.searchsorted(b, both, "right") / len(b)).max())
