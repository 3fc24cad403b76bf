"""Embeddings of the same data by several methods, side by side in one style."""

from collections.abc import Collection, Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from ppl_vae.arguments import Count, Numbers
from ppl_vae.plots.canvas import COLOURS, array, bulk, plot
from ppl_vae.plots.scatter import MAX_CLASSES, draws, scatter

__all__ = ["embeddings"]

MARK = COLOURS[2]


@plot
def embeddings(
    z: Mapping[str, Numbers],
    labels: ArrayLike | None = None,
    *,
    labelled: str = "label",
    captions: Mapping[str, str] | None = None,
    in_sample: Collection[str] = (),
    columns: Count | None = None,
    **kwargs: Any,
) -> list[Axes]:
    """One panel a method, the same data in the same colours, with one legend or colour bar for all.

    Neither the axes of an embedding nor their units mean anything from method to method: each panel has its own equal
    scales, without ticks. It shows the bulk, up to three interquartile ranges beyond the quartiles, and says how many
    points lie outside.

    Parameters
    ----------
    z
        Codes by method, (n, 2), or (n, 1), which is drawn along a line.
    labels
        Labels (n,), classes or numbers: up to 20 distinct ones get a legend, more a colour bar.
    labelled
        What the labels are, with their unit.
    captions
        A second line of a panel's title, such as a score.
    in_sample
        Methods that were fitted to the data they show: a dashed red frame and a word in the title.
    columns
        Panels a row; by default about as many as rows and one or two more.
    **kwargs
        Passed to `Axes.scatter`.

    Returns
    -------
    list of Axes
        Of the panels, in the order of `z`.

    Raises
    ------
    ValueError
        No method, codes that are not finite and (n, 1) or (n, 2), or that are not as many for each method and for
        `labels`.

    Examples
    --------
    >>> z = np.random.default_rng(0).normal(size=(2, 50, 2))
    >>> axs = embeddings({"PCA": z[0], "t-SNE": z[1]}, z[0, :, 0], in_sample=["t-SNE"], captions={"PCA": "k-NN 0.44"})
    >>> [ax.get_title().splitlines() for ax in axs]
    [['PCA', 'k-NN 0.44'], ['t-SNE (in-sample)']]
    >>> plt.close(axs[0].figure)
    """
    codes = {name: _plane(values, name) for name, values in z.items()}
    colour = None if labels is None else array(labels, "labels", ("n",), "give one label for each datum")
    sizes = {name: len(values) for name, values in codes.items()} | ({} if colour is None else {"labels": len(colour)})
    if not codes or len(set(sizes.values())) > 1:
        raise ValueError(f"embeddings expects codes of the same data from one method or more, got {sizes}; give these")
    columns = columns or int(np.ceil(np.sqrt(1.5 * len(codes))))
    rows = -(-len(codes) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(2.6 * columns + 1, 2.9 * rows), layout="constrained")
    axs = list(np.ravel(grid))
    for ax in axs[len(codes) :]:
        ax.set_axis_off()
    continuous = colour is not None and len(np.unique(colour)) > MAX_CLASSES and np.issubdtype(colour.dtype, np.number)
    for ax, (name, values) in zip(axs, codes.items(), strict=False):
        if continuous:
            style: dict[str, Any] = {"s": float(np.clip(20000 / len(values), 4, 30)), "linewidths": 0}
            points = ax.scatter(*values.T, **(style | {"c": colour, "cmap": "viridis"} | kwargs))
        else:
            handles = scatter(ax, values, colour, dict(kwargs))
        _frame(ax, values)
        _title(ax, name, (captions or {}).get(name), name in in_sample, two_lines=bool(captions))
    panels = axs[: len(codes)]
    if continuous:
        figure.colorbar(points, ax=axs, label=labelled, shrink=0.6)
    elif handles:
        figure.legend(handles=handles, loc="outside right upper", title=labelled, fontsize="small")
    return panels


def _plane(values: Numbers, name: str) -> np.ndarray:
    found = draws(values, f"embeddings: {name}")
    if found.shape[1] > 2:
        raise ValueError(
            f"embeddings expects {name} of shape (n, 2) or (n, 1), got {found.shape}; choose two columns of it"
        )
    return found if found.shape[1] == 2 else np.column_stack([found, np.zeros(len(found))])


def _frame(ax: Axes, values: np.ndarray) -> None:
    """A square around the bulk of the points, and how many it leaves out."""
    low, high = np.transpose([bulk(column) for column in values.T])
    half = 0.52 * (high - low).max() or 1.0
    middle = (low + high) / 2
    outside = int((np.abs(values - middle) > half).any(1).sum())
    ax.set(xlim=middle[0] + half * np.array([-1, 1]), ylim=middle[1] + half * np.array([-1, 1]), box_aspect=1)
    if outside:
        ax.set_xlabel(f"{outside} outside", fontsize="small")


def _title(ax: Axes, name: str, caption: str | None, in_sample: bool, *, two_lines: bool) -> None:
    title = f"{name} (in-sample)" if in_sample else name
    ax.set_title(f"{title}\n{caption or ''}" if two_lines else title, fontsize="medium")
    ax.set(xticks=[], yticks=[])
    if in_sample:
        for spine in ax.spines.values():
            spine.set(color=MARK, linestyle="--", linewidth=1.5)
