"""Mean gaps of several guides."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ppl_vae.arguments import Numbers
from ppl_vae.plots.canvas import array, axes, numbers, plot
from ppl_vae.plots.gap_decomposition import PARTS

__all__ = ["gaps_by_guide"]


@plot
def gaps_by_guide(gaps: Mapping[str, tuple[Numbers, Numbers]], *, ax: Axes | None = None, **kwargs: Any) -> Axes:
    """Mean amortization and approximation gap of several guides, with bars of 2 standard errors over the data.

    Parameters
    ----------
    gaps
        For each guide by name, its amortization and its approximation gap (obs,), nats. Data with a gap that
        is not finite are left out of both means; the number kept stands below the name.
    ax
        Axes to draw into; by default a new figure's.
    **kwargs
        Passed to `Axes.barh`.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        There is no guide, or its two gaps are not of one shape (obs,).

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> ax = gaps_by_guide({"mean field": ([0.2, 0.3], [0.5, 0.4]), "flow": ([0.4, 0.5], [0.1, 0.1])})
    >>> print(*(f"{bar.get_width():.2f}" for bar in ax.patches))  # mean field and flow, one gap after the other
    0.45 0.10 0.25 0.45
    >>> plt.close(ax.figure)
    """
    if not gaps:
        raise ValueError("gaps_by_guide expects the gaps of one guide or more, got none; give them by name.")
    means, errors, names = [], [], []
    for name, (amortization, approximation) in gaps.items():
        first = array(amortization, f"gaps_by_guide: {name}", ("obs",), "give one value for each datum").astype(float)
        second = numbers(approximation, f"approximation gap of {name}", first.shape, "give both for each datum")
        both = np.stack([second, first])
        both = both[:, np.isfinite(both).all(axis=0)]
        n = both.shape[1]
        means.append(both.mean(axis=1) if n else np.full(2, np.nan))
        errors.append(both.std(axis=1, ddof=1) / np.sqrt(n) if n > 1 else np.full(2, np.nan))
        names.append(f"{name}\n({n} of {len(first)} data)" if n < len(first) else f"{name}\n({n} data)")
    rows = np.arange(len(names))
    ax = axes(ax, 7, max(2.2, 0.75 * len(names) + 1.0))
    style: dict[str, Any] = {"height": 0.36, "ecolor": "0.2", "capsize": 3}
    for side, (label, colour) in enumerate(PARTS.items()):
        mean, error = np.array(means)[:, side], 2 * np.array(errors)[:, side]
        place = rows + 0.36 * (side - 0.5)
        ax.barh(place, mean, xerr=error, **(style | {"color": colour, "label": label} | kwargs))
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_yticks(rows, names)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel("mean gap, nats per datum (bars: ± 2 standard errors)")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.01), ncols=2, fontsize="small")
    return ax
