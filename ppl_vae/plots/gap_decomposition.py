"""Amortization and approximation gap of each datum."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from ppl_vae.arguments import Numbers
from ppl_vae.plots.canvas import COLOURS, array, axes, bulk, numbers, plot

__all__ = ["gap_decomposition"]

PARTS = {"approximation gap (the family of q)": COLOURS[0], "amortization gap (the encoder)": COLOURS[1]}
MAX_NAMED = 40
MAX_STEPS = 200


@plot
def gap_decomposition(
    amortization: Numbers,
    approximation: Numbers,
    *,
    obs: ArrayLike | None = None,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Amortization gap stacked on the approximation gap, datum by datum, the largest sum first.

    Both are estimates with an error. A negative one is drawn below zero, and their sum is a line. A few bars
    far above all others are cut off at the top, and counted. More than 200 data are averaged, neighbours in
    rank together.

    Parameters
    ----------
    amortization, approximation
        Gaps (obs,), nats: of q(z | x) below the best member of its family, and of that below log p(x). Data
        with a gap that is not finite are left out, and counted.
    obs
        Number of each datum (obs,), named below the bars of up to 40 data; by default 0, 1, 2, ...
    ax
        Axes to draw into; by default a new figure's.
    **kwargs
        Passed to `Axes.bar` (above 40 data, to `Axes.stairs`) for both gaps.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        `amortization` is not (obs,), or another argument has another shape.

    References
    ----------
    Cremer, Li, Duvenaud (2018), Inference suboptimality in variational autoencoders, arXiv:1801.03558.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> ax = gap_decomposition([0.5, 1.0, 0.1], [0.2, 0.2, 0.2], obs=[7, 8, 9])
    >>> print(*(label.get_text() for label in ax.get_xticklabels()))
    8 7 9
    >>> plt.close(ax.figure)
    """
    amortization = array(amortization, "gap_decomposition", ("obs",), "give one value for each datum").astype(float)
    fix = "give one value for each datum"
    approximation = numbers(approximation, "approximation", amortization.shape, fix)
    names = np.arange(len(amortization)) if obs is None else np.asarray(obs)
    if names.shape != amortization.shape:
        raise ValueError(f"obs expects shape {amortization.shape}, got {names.shape}; {fix}.")
    total = amortization + approximation
    finite = np.isfinite(total)
    order = np.flatnonzero(finite)[np.argsort(-total[finite], kind="stable")]
    ax = axes(ax, float(np.clip(0.3 * len(order), 5, 9)), 4)
    parts = np.stack([approximation, amortization])[:, order]
    (stacked if len(order) <= MAX_NAMED else areas)(ax, parts, kwargs)
    limits(ax, parts)
    if not finite.all():
        ax.plot([], [], " ", label=f"left out, not finite: {(~finite).sum()}")
    ax.axhline(0, color="black", linewidth=0.8)
    if len(order) <= MAX_NAMED:
        ax.set_xticks(np.arange(len(order)), [str(name) for name in names[order]])
        ax.tick_params("x", labelsize="small", labelrotation=90 if len(order) > 12 else 0)
        ax.set_xlabel("datum (obs), largest sum first")
    ax.set_ylabel("gap, nats")
    ax.legend(loc="upper right", fontsize="small")
    return ax


def starts(parts: np.ndarray) -> np.ndarray:
    """Where the bars of both gaps (2, n) start: the second on the first, but at zero if it has the other sign."""
    return np.stack([np.zeros_like(parts[0]), np.where(parts[0] * parts[1] > 0, parts[0], 0)])


def stacked(ax: Axes, parts: np.ndarray, kwargs: dict[str, Any]) -> None:
    """A bar for each datum, parts (2, n)."""
    rank = np.arange(parts.shape[1])
    for base, part, (label, colour) in zip(starts(parts), parts, PARTS.items(), strict=True):
        ax.bar(rank, part, bottom=base, **({"label": label, "color": colour} | kwargs))
    ax.hlines(parts.sum(axis=0), rank - 0.4, rank + 0.4, color="black", linewidth=1.2, label="sum")
    ax.set_xlim(-0.6, max(len(rank), 5) - 0.4)


def areas(ax: Axes, parts: np.ndarray, kwargs: dict[str, Any]) -> None:
    """Areas, parts (2, n), averaged over runs of data so that single ones do not blur the picture."""
    edges = np.linspace(0, parts.shape[1], min(parts.shape[1], MAX_STEPS) + 1).astype(int)
    means = np.add.reduceat(parts, edges[:-1], axis=1) / np.diff(edges)
    for base, part, (label, colour) in zip(starts(means), means, PARTS.items(), strict=True):
        style: dict[str, Any] = {"label": label, "color": colour, "fill": True}
        ax.stairs(base + part, edges, baseline=base, **(style | kwargs))
    ax.stairs(means.sum(axis=0), edges, baseline=None, color="black", linewidth=1.2, label="sum")
    ax.set_xlim(-0.01 * edges[-1], 1.01 * edges[-1])
    each = parts.shape[1] / len(means[0])
    ax.set_xlabel("rank of the datum, largest sum first" + (f" (means of {each:.0f})" if each > 1 else ""))


def limits(ax: Axes, parts: np.ndarray) -> None:
    """Let the bulk of the bars (2, n) fill the height; say how many go beyond."""
    tops, bottoms = (np.append(part.sum(axis=0), 0.0) for part in (np.maximum(parts, 0), np.minimum(parts, 0)))
    high, low = bulk(tops)[1], bulk(bottoms)[0]
    height = (high - low) or 1.0
    ax.set_ylim(low - 0.05 * height * (low < 0), high + 0.35 * height)  # the legend fits above small gaps
    beyond = tops > ax.get_ylim()[1]
    if beyond.any():
        ax.plot([], [], " ", label=f"beyond the axis: {beyond.sum()}, up to {tops.max():.3g} nats")
