"""Calibration: whether ranks are uniform, and whether intervals hold what they promise."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ppl_vae.arguments import Numbers
from ppl_vae.plots.canvas import COLOURS, array, axes, numbers, plot

__all__ = ["coverage", "sbc_ecdf_difference"]

STRONG = tuple(colour for colour in COLOURS if colour not in ("#94a4a2", "#717581"))
"""Colours that are not grey: grey is for what needs no attention."""
INSIDE: dict[str, Any] = {"color": "0.55", "linewidth": 0.8}


@plot
def sbc_ecdf_difference(
    pit: Mapping[str, Numbers],
    band: tuple[Numbers, Numbers, Numbers],
    *,
    labelled: str = "simultaneous band",
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Empirical distribution of PIT values (ranks in [0, 1]) minus the uniform one, with a simultaneous band.

    Only quantities that leave the band are coloured and named, the eight farthest outside at most. With u the
    share of draws of q below the truth, a line first above and then below zero is a q too narrow, first below
    and then above one too wide; above zero everywhere, q lies too high. The band holds one quantity: of 40
    good ones, a band of 95 % is left by two.

    Parameters
    ----------
    pit
        For each quantity by name, values (n,), or (n, k) for k units of it, in [0, 1]. All have the same n,
        one value a datum: several draws for one datum depend on each other, and leave the band too often.
    band
        Points (points,) in [0, 1], increasing, and the lower and upper limits (points,) of the empirical
        distribution function (*not* of its difference) at those points, for n values.
    labelled
        What the band is, for the legend, such as "simultaneous band (95 %)".
    ax
        Axes to draw into; by default a new figure's.
    **kwargs
        Passed to `Axes.plot` for every quantity.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        There is no quantity, one has another shape or leaves [0, 1] (NaN does), or the three arrays of `band`
        are not of one shape (points,).

    References
    ----------
    Säilynoja, Bürkner, Vehtari (2022), Graphical test for discrete uniformity and its applications in goodness
    of fit evaluation and multiple sample comparison, arXiv:2103.10522.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> u, points = np.random.default_rng(0).random((200, 3)), np.linspace(0.01, 0.99, 99)
    >>> band = points, points - 0.1, points + 0.1
    >>> ax = sbc_ecdf_difference({"z": u, "log p(x, z)": u[:, 0] ** 2}, band)
    >>> print(*(text.get_text() for text in ax.get_legend().get_texts()), sep=", ")
    log p(x, z), inside: 3 of 4 quantities, simultaneous band
    >>> plt.close(ax.figure)
    """
    points = array(band[0], "sbc_ecdf_difference: points", ("points",), "give the band's points").astype(float)
    lower, upper = (numbers(side, "band", points.shape, "give the limits at every point") - points for side in band[1:])
    lines = {name: ecdf(u, points) - points for name, u in by_name(pit).items()}
    excess = {name: np.maximum(lower - line, line - upper).max() for name, line in lines.items()}
    outside = sorted((name for name in lines if excess[name] > 0), key=lambda name: -excess[name])
    named = dict(zip(outside, STRONG, strict=False))
    ax = axes(ax, 7.5, 4)
    ax.fill_between(points, lower, upper, color="0.88", linewidth=0, zorder=0)
    ax.axhline(0, color="black", linewidth=0.8, zorder=0)
    for name in sorted(lines, key=excess.__getitem__):
        style = {"color": named.get(name, "0.25"), "linewidth": 1.6} if name in outside else INSIDE
        ax.plot(points, lines[name], **(style | kwargs))
    handles: list[Artist] = [Line2D([], [], color=colour, label=name) for name, colour in named.items()]
    if len(outside) > len(named):
        handles.append(Line2D([], [], color="0.25", label=f"outside, too: {len(outside) - len(named)} more"))
    count = f"inside: {len(lines) - len(outside)} of {len(lines)} quantities"
    handles += [Line2D([], [], label=count, **INSIDE), Patch(color="0.88", label=labelled)]
    largest = max(np.abs([lower, upper]).max(), *(np.abs(line).max() for line in lines.values()))
    ax.set(xlim=(0, 1), ylim=(-1.1 * largest, 1.1 * largest))
    ax.set(xlabel="PIT value u (probability)", ylabel="ECDF(u) − u (probability)")
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0, fontsize="small")
    return ax


def by_name(pit: Mapping[str, Numbers]) -> dict[str, np.ndarray]:
    """Values (n,) for each quantity: z (n, k) becomes z[0] to z[k-1]."""
    if not pit:
        raise ValueError("sbc_ecdf_difference expects PIT values of one quantity or more, got none; give them by name.")
    found: dict[str, np.ndarray] = {}
    for name, values in pit.items():
        u = np.asarray(values, dtype=float)
        if u.ndim not in (1, 2) or u.size == 0 or not ((u >= 0) & (u <= 1)).all():
            raise ValueError(
                f"sbc_ecdf_difference expects values in [0, 1] of shape (n,) or (n, k), got {name!r} of shape "
                f"{u.shape} with {np.sum(~((u >= 0) & (u <= 1)))} values outside; divide ranks by their largest, "
                "and find the simulations in which the guide fails."
            )
        found |= {name: u} if u.ndim == 1 else {f"{name}[{unit}]": column for unit, column in enumerate(u.T)}
    sizes = {len(u) for u in found.values()}
    if len(sizes) > 1:
        raise ValueError(
            f"sbc_ecdf_difference expects as many values of every quantity, got {sorted(sizes)}; a band holds for "
            "one number of values: draw the others apart."
        )
    return found


def ecdf(u: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Share of values u (n,) at or below each point (points,)."""
    return np.searchsorted(np.sort(u), points, side="right") / len(u)


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
    """Share of truths within intervals of q, against the probability those intervals promise.

    Below the diagonal q is too narrow (or beside the truth), above it too wide. Of more than eight quantities
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
        `nominal` is not (prob,) in [0, 1], or the shapes of the others do not follow.

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
    shares = np.asarray(observed, dtype=float)
    single = shares.ndim == 1
    shares = shares[:, None] if single else shares
    shares = numbers(shares, "observed", (len(p), *shares.shape[1:2]), "give one row for each probability")
    errors = np.full(shares.shape, np.nan) if se is None else np.asarray(se, dtype=float)
    errors = numbers(errors[:, None] if errors.ndim == 1 else errors, "se", shares.shape, "give one for each coverage")
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


def farthest(p: np.ndarray, shares: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Quantities by their largest distance from the diagonal, in standard errors where known."""
    distance = np.abs(shares - p[:, None])
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.where(errors > 0, distance / errors, distance)
    return np.argsort(-np.nan_to_num(distance).max(axis=0), kind="stable")
