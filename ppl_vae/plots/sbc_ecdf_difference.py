"""ECDF of ranks against uniform ranks, with a simultaneous band."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ppl_vae.arguments import Numbers
from ppl_vae.plots.canvas import INSIDE, STRONG, array, axes, numbers, plot

__all__ = ["sbc_ecdf_difference"]


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
