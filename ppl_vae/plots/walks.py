"""Walks between codes: what they decode to, and the paths they take."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike

from ppl_vae.arguments import Numbers
from ppl_vae.plots.canvas import array, axes, numbers, plot
from ppl_vae.plots.grid import Extent
from ppl_vae.plots.latents import scatter
from ppl_vae.plots.mosaic import bare, centres, draw, tiled_axes, tiles

__all__ = ["paths", "walk"]

STYLES = (("black", "--"), ("#832db6", "-."), ("#d62728", "-"), ("#e76300", ":"))


@plot
def walk(
    x_hat: Numbers,
    *,
    kinds: Sequence[str],
    lengths: Numbers | None = None,
    largest_steps: Numbers | None = None,
    unit: str = "",
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Decoded walks between the same two codes, a row for each kind, from left to right.

    Parameters
    ----------
    x_hat
        Decoded images (kinds, steps, channels, height, width), 1 or 3 channels; 8 to 16 steps fit a page.
    kinds
        Names of the rows.
    lengths, largest_steps
        Length of each decoded path and its largest step (kinds,), for the labels of the rows; perhaps over more steps
        than are drawn.
    unit
        Of the lengths.
    ax
        Axes to draw into; by default a new figure's.
    **kwargs
        `vmin` and `vmax` as in `images`, and those of `Axes.imshow`.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        `x_hat` has another shape or no finite value, or there is not one of the others for each row.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> x_hat = np.random.default_rng(0).random((2, 5, 1, 8, 8))
    >>> ax = walk(x_hat, kinds=["linear", "geodesic"], lengths=[9.5, 8.25], unit="grey levels")
    >>> print(*(label.get_text() for label in ax.get_yticklabels()), sep="; ")
    linear
    length 9.5; geodesic
    length 8.25
    >>> plt.close(ax.figure)
    """
    x_hat = tiles(x_hat, "walk", "kinds", "steps")
    rows, _, _, height, _ = x_hat.shape
    if len(kinds) != rows:
        raise ValueError(f"walk expects a name for each of {rows} rows, got kinds={list(kinds)}; name them all.")
    labels = list(kinds)
    for name, values in (("length", lengths), ("largest step", largest_steps)):
        if values is not None:
            found = numbers(values, f"walk: {name}", (rows,), "give one for each row")
            labels = [
                f"{label}\n{name} {value:{'.0f' if value >= 100 else '.3g'}}"
                for label, value in zip(labels, found, strict=True)
            ]
    ax = tiled_axes(ax, x_hat, left=1.6, below=0.4)
    draw(ax, x_hat, gap=1, **kwargs)
    bare(ax)
    ax.set_yticks(centres(rows, height, 1), labels, fontsize="small")
    if unit:
        ax.set_xlabel(f"lengths in {unit}")
    return ax


@plot
def paths(
    z: Mapping[str, Numbers],
    *,
    log_magnification: Numbers | None = None,
    extent: Extent | None = None,
    codes: Numbers | None = None,
    labels: ArrayLike | None = None,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Paths through a two-dimensional code, over the magnification factor of the decoder and the codes of data.

    Where the magnification is high, a small move of the code changes the data much: a short path keeps to where it is
    low.

    Parameters
    ----------
    z
        Paths by kind, at most four kinds, each (n, steps, 2).
    log_magnification
        log10 of sqrt(det J^T J), J the decoder's Jacobian, on a regular grid (rows, columns): rows from low to high
        z[1], columns from low to high z[0].
    extent
        (z[0] of the first column, z[0] of the last, z[1] of the first row, z[1] of the last).
    codes
        Codes of data (m, 2), drawn small.
    labels
        Labels (m,) of the codes, as in `latent_space`.
    ax
        Axes to draw into; by default a new figure's.
    **kwargs
        Passed to `Axes.plot`, for the paths.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        There are no kinds or more than four, a path is not (n, steps, 2), or only one of `log_magnification` and
        `extent` is given.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> line = np.stack([np.linspace(-1, 1, 20), np.linspace(0, 1, 20)], -1)[None]
    >>> ax = paths({"linear": line, "geodesic": line**3}, codes=np.random.default_rng(0).normal(size=(50, 2)))
    >>> print(*(text.get_text() for text in ax.get_legend().get_texts()))
    linear geodesic
    >>> plt.close(ax.figure)
    """
    found = {
        kind: array(path, f"paths: {kind}", ("n", "steps", "2"), "give paths (n, steps, 2)") for kind, path in z.items()
    }
    if not 0 < len(found) <= len(STYLES) or any(path.shape[-1] != 2 for path in found.values()):
        raise ValueError(
            f"paths expects one to {len(STYLES)} kinds of paths (n, steps, 2), got "
            f"{ {kind: path.shape for kind, path in found.items()} }; choose kinds, and two units of the code."
        )
    if (log_magnification is None) != (extent is None):
        raise ValueError(
            f"paths expects log_magnification and extent together, got extent={extent} and log_magnification "
            f"{'missing' if log_magnification is None else 'given'}; say where on z the grid lies."
        )
    ax = axes(ax, 7.4, 5.4)
    if log_magnification is not None and extent is not None:
        _background(ax, log_magnification, extent)
    outline = [withStroke(linewidth=3.2, foreground="white", alpha=0.8)]
    handles = []
    if codes is not None:
        points = array(codes, "paths: codes", ("m", "2"), "give one code a row")
        handles = scatter(ax, points, labels, {"s": 5, "alpha": 0.6, "zorder": 1.5})
    for (kind, path), (colour, line) in zip(found.items(), STYLES, strict=False):
        style: dict[str, Any] = {"color": colour, "linestyle": line, "linewidth": 1.8, "path_effects": outline} | kwargs
        ax.plot(path[..., 0].T, path[..., 1].T, **style)
        handles.append(Line2D([], [], label=kind, **style))
    ends = next(iter(found.values()))[:, [0, -1]].reshape(-1, 2)
    ax.plot(*ends.T, "o", markersize=5, markerfacecolor="white", markeredgecolor="black", zorder=3)
    ax.set(xlabel="z[0]", ylabel="z[1]", aspect="equal")
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0, fontsize="small")
    return ax


def _background(ax: Axes, log_magnification: Numbers, extent: Extent) -> None:
    grid = array(log_magnification, "paths: log_magnification", ("rows", "columns"), "evaluate it on a regular grid")
    columns, rows = np.linspace(*extent[:2], grid.shape[1]), np.linspace(*extent[2:], grid.shape[0])
    grid = np.where(np.isfinite(grid), grid, np.nan)
    low, high = np.nanmin(grid), np.nanmax(grid)
    dark = 2 * high - low + 1e-9  # the upper half of the colours is left out: paths and codes must stay visible
    mesh = ax.pcolormesh(columns, rows, grid, cmap="Greys", vmin=low, vmax=dark, shading="nearest", rasterized=True)
    label = r"$\log_{10}$ magnification, $\sqrt{\det J^T J}$"
    beside = ax.inset_axes((0, 1.02, 1, 0.03))  # stays at the panel, whatever its aspect
    bar = ax.figure.colorbar(mesh, cax=beside, label=label, location="top")
    bar.ax.set_xlim(low, max(high, low + 1e-9))
