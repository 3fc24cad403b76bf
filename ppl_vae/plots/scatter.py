"""Scatter plots of latent values by label, shared by the plots of a latent space."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from ppl_vae.arguments import Numbers
from ppl_vae.plots.canvas import COLOURS, array

__all__ = ["MAX_CLASSES", "draws", "frame", "scatter"]

MARKERS = ("o", "^")
MAX_CLASSES = len(COLOURS) * len(MARKERS)


def draws(z: Numbers, name: str) -> np.ndarray:
    """`z` as an array (n, latent), checked to be finite."""
    found = array(z, f"{name}: z", ("n", "latent"), "give one row a draw, with particles stacked")
    if not np.isfinite(found).all():
        raise ValueError(
            f"{name} expects finite z, got {np.sum(~np.isfinite(found).all(1))} of {len(found)} rows "
            "that are not; find the data for which the encoder fails."
        )
    return found


def scatter(ax: Axes, z: np.ndarray, labels: ArrayLike | None, kwargs: dict[str, Any]) -> list[Line2D]:
    """Draw z (n, 2); return the legend's handles, one a class, none with a colour bar or without labels."""
    defaults: dict[str, Any] = {"s": float(np.clip(20000 / len(z), 4, 30)), "alpha": 0.8, "linewidths": 0}
    if labels is None:
        ax.scatter(*z.T, **(defaults | {"color": COLOURS[0]} | kwargs))
        return []
    labels = array(labels, "labels", ("n",), "give one label for each row of z")
    if len(labels) != len(z):
        raise ValueError(f"labels expects {len(z)} values, got {len(labels)}; give one label for each row of z.")
    classes, index = np.unique(labels, return_inverse=True)
    if len(classes) > MAX_CLASSES:
        if not np.issubdtype(labels.dtype, np.number):
            raise ValueError(
                f"labels expects numbers, or at most {MAX_CLASSES} classes, got {len(classes)} classes of "
                f"{labels.dtype}; merge classes, or give a number for each datum."
            )
        points = ax.scatter(*z.T, **(defaults | {"c": labels, "cmap": "viridis"} | kwargs))
        ax.figure.colorbar(points, ax=ax, label="label")
        return []
    colours = np.array(COLOURS)[index % len(COLOURS)]
    for which, marker in enumerate(MARKERS):
        # One scatter for all classes of a marker: drawn in the order of the data, no class hides another.
        of_marker = index // len(COLOURS) == which
        if of_marker.any():
            ax.scatter(*z[of_marker].T, **(defaults | {"c": colours[of_marker], "marker": marker} | kwargs))
    styles = [(marker, colour) for marker in MARKERS for colour in COLOURS]
    return [
        Line2D([], [], marker=marker, color=colour, linestyle="", label=str(label))
        for (marker, colour), label in zip(styles, classes, strict=False)
    ]


def frame(ax: Axes, z: np.ndarray, handles: list[Line2D]) -> None:
    """Equal scales in a square around z (n, 2), and the legend outside, where it hides no point."""
    low, high = z.min(axis=0), z.max(axis=0)
    half = (high - low).max() / 2  # of the wider unit: a collapsed one shows as a line, not as a sliver of a frame
    ax.update_datalim([(low + high) / 2 - half, (low + high) / 2 + half])
    ax.autoscale_view()
    ax.set_aspect("equal")
    if handles:
        ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0, fontsize="small")
