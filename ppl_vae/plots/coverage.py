"""Coverage of intervals of q against their nominal probability."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ppl_vae.arguments import Numbers
from ppl_vae.plots.canvas import INSIDE, STRONG, array, axes, numbers, plot

__all__ = ["coverage"]


@plot
def coverage(
    nominal: Numbers,
    observed: Numbers,
    se: Numbers | None = None,
    *,
    names: Sequence[str] | None = None,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Share of truths within intervals of q, against the nominal probability of the intervals.

    Below the diagonal q is too narrow (or biased), above it too wide. Of more than eight quantities
    only the five farthest from the diagonal, in standard errors, are coloured and named.

    Parameters
    ----------
    nominal
        Probabilities of the intervals (prob,).
    observed
        Coverage (prob,), or (prob, quantity) of several quantities. What is not finite is left out.
    se
        Standard errors, of the shape of `observed`.
    names
        Of the quantities; by default 0, 1, 2, ...
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
        `nominal` is not (prob,) in [0, 1], `observed` not in [0, 1], `se` below 0, or shapes do not follow.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> ax = coverage([0.5, 0.9], [[0.4, 0.5], [0.8, 0.91]], [[0.02, 0.02], [0.01, 0.01]], names=["z[0]", "z[1]"])
    >>> print(*(text.get_text() for text in ax.get_legend().get_texts()), sep=", ")
    z[0], z[1], calibrated
    >>> plt.close(ax.figure)
    """
    p = array(nominal, "coverage: nominal", ("prob",), "give the probability of each interval").astype(float)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(
            f"coverage expects nominal probabilities in [0, 1], got {p.min()} to {p.max()}; divide by 100."
        )
    single = np.ndim(observed) == 1
    shares, errors = columns(len(p), observed, se)
    count = shares.shape[1]
    labels = [str(name) for name in (range(count) if names is None else names)]
    if len(labels) != count:
        raise ValueError(f"coverage expects {count} names, got {len(labels)}; give one for each quantity.")
    shown = np.arange(count) if count <= len(STRONG) else np.sort(farthest(p, shares, errors)[:5])
    order = np.argsort(p, kind="stable")
    ax = axes(ax, 6.5, 4.5)
    ax.axline((0, 0), slope=1, color="black", linestyle="--", linewidth=1)
    style: dict[str, Any] = {"linewidth": 1.2, "elinewidth": 1, "capsize": 2, "marker": "o", "markersize": 3}
    handles = [Line2D([], [], color="black", linestyle="--", label="calibrated")]
    for unit in np.setdiff1d(np.arange(count), shown):
        ax.plot(p[order], shares[order, unit], **INSIDE)
    if len(shown) < count:
        handles.insert(0, Line2D([], [], label=f"{count - len(shown)} nearer to the diagonal", **INSIDE))
    for unit, colour in reversed(list(zip(shown, STRONG, strict=False))):
        ax.errorbar(p[order], shares[order, unit], 2 * errors[order, unit], **(style | {"color": colour} | kwargs))
        if not (single and names is None):
            handles.insert(0, Line2D([], [], color=colour, marker="o", markersize=3, label=labels[unit]))
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    ax.set_xlabel("nominal probability")
    ax.set_ylabel("observed coverage (share)" + ("" if se is None else "\nbars: ± 2 standard errors"))
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0, fontsize="small")
    return ax


def columns(size: int, observed: Numbers, se: Numbers | None) -> tuple[np.ndarray, np.ndarray]:
    """Coverage and standard errors (prob, quantity); NaN for errors that are not given."""
    shares = np.asarray(observed, dtype=float)
    shares = shares[:, None] if shares.ndim == 1 else shares
    shares = numbers(shares, "observed", (size, *shares.shape[1:2]), "give one row for each probability")
    if ((shares < 0) | (shares > 1)).any():  # NaN is neither
        came = f"{np.nanmin(shares):g} to {np.nanmax(shares):g}"
        raise ValueError(f"coverage expects observed shares in [0, 1], got {came}; divide per cent by 100.")
    errors = np.full(shares.shape, np.nan) if se is None else np.asarray(se, dtype=float)
    errors = numbers(errors[:, None] if errors.ndim == 1 else errors, "se", shares.shape, "give one for each coverage")
    if (errors < 0).any():
        raise ValueError(f"coverage expects standard errors of 0 or more, got {np.nanmin(errors):g}; take their size.")
    return shares, errors


def farthest(p: np.ndarray, shares: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Quantities by their largest distance from the diagonal, in standard errors where known."""
    distance = np.abs(shares - p[:, None])
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.where(errors > 0, distance / errors, distance)
    return np.argsort(-np.nan_to_num(distance).max(axis=0), kind="stable")
