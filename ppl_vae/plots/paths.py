"""Walks in a 2-D latent space."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike

from ppl_vae.arguments import Numbers
from ppl_vae.plots.canvas import array, axes, plot
from ppl_vae.plots.density_grid import Extent
from ppl_vae.plots.scatter import scatter

__all__ = ["paths"]

STYLES = (("black", "--"), ("#832db6", "-."), ("#d62728", "-"), ("#e76300", ":"))


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

    Where the magnification is high, a small move of the code changes the data much: the shortest path stays where it
    is low.

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
