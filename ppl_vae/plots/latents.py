"""Latent space: draws of z, coloured by label, and over the density of the prior."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from ppl_vae.arguments import Numbers
from ppl_vae.plots.canvas import COLOURS, array, axes, plot
from ppl_vae.plots.grid import Extent, coordinates, density, levels

__all__ = ["aggregate_posterior", "latent_space"]

MARKERS = ("o", "^")
MAX_CLASSES = len(COLOURS) * len(MARKERS)
MASSES = (0.5, 0.9, 0.99)


@plot
def latent_space(
    z: Numbers,
    labels: ArrayLike | None = None,
    *,
    dims: tuple[int, int] = (0, 1),
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Encoded data in two latent units, coloured by label, on equal scales.

    Up to 20 distinct labels get a legend, to the right of the Axes; more numeric ones a colour bar.

    Parameters
    ----------
    z
        Latent variables (n, latent), at least two units, in the units of the prior: a posterior mean or one
        draw for each datum.
    labels
        Labels (n,), classes or numbers.
    dims
        The two latent units to draw.
    ax
        Axes to draw into; by default a new figure's.
    **kwargs
        Passed to `Axes.scatter`.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        `z` is not finite and (n, 2 or more), `dims` are not two of its columns, `labels` has another
        length, or more than 20 distinct labels are not numbers.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> z = np.random.default_rng(0).normal(size=(100, 3))
    >>> ax = latent_space(z, labels=z[:, 0] > 0, dims=(0, 2))
    >>> print(ax.get_xlabel(), ax.get_ylabel(), *(text.get_text() for text in ax.get_legend().get_texts()))
    z[0] z[2] False True
    >>> plt.close(ax.figure)
    """
    z = draws(z, "latent_space")
    if len(dims) != 2 or not all(0 <= dim < z.shape[1] for dim in dims):
        raise ValueError(
            f"latent_space expects two columns of z as dims, got dims={dims}, z of shape {z.shape}; choose "
            f"from 0 to {z.shape[1] - 1}, and draw a single latent unit as a histogram."
        )
    ax = axes(ax, 6.2, 5)
    z = z[:, list(dims)]
    frame(ax, z, scatter(ax, z, labels, kwargs))
    ax.set(xlabel=f"z[{dims[0]}]", ylabel=f"z[{dims[1]}]")
    return ax


@plot
def aggregate_posterior(
    z: Numbers,
    log_prior: Numbers | None = None,
    *,
    extent: Extent | None = None,
    labels: ArrayLike | None = None,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Draws from the aggregate posterior, the average of q(z | x) over the data, over contours of the prior.

    Draws where the prior has no mass, or contours without draws, are where samples from the prior differ from
    the data. The contours enclose 50, 90 and 99 % of the prior's mass *on the grid*, which is all of it only
    if the grid is wide enough.

    Parameters
    ----------
    z
        Draws (n, 2) in the units of the prior, one or more for each datum.
    log_prior
        Log-density of the prior on a regular grid (rows, columns), nats: rows from low to high z[1], columns
        from low to high z[0]. Minus infinity is allowed.
    extent
        (z[0] of the first column, z[0] of the last, z[1] of the first row, z[1] of the last).
    labels
        Labels (n,), classes or numbers, as in `latent_space`.
    ax
        Axes to draw into; by default a new figure's.
    **kwargs
        Passed to `Axes.scatter`.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        `z` is not finite and (n, 2), `log_prior` is no grid of log-densities, only one of `log_prior` and
        `extent` is given, or `labels` do not fit (see `latent_space`).

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> grid = np.linspace(-4, 4, 81)
    >>> log_prior = -0.5 * (grid[:, None] ** 2 + grid**2) - np.log(2 * np.pi)
    >>> z = np.random.default_rng(0).normal(size=(100, 2))
    >>> ax = aggregate_posterior(z, log_prior, extent=(-4, 4, -4, 4))
    >>> print(*(text.get_text() for text in ax.get_legend().get_texts()), sep=", ")
    draws of q(z | x), prior: 50, 90, 99 % of its mass
    >>> plt.close(ax.figure)
    """
    z = draws(z, "aggregate_posterior")
    if z.shape[1] != 2:
        raise ValueError(
            f"aggregate_posterior expects z of shape (n, 2), got {z.shape}; choose two columns, and give the "
            "prior's marginal density of the same two."
        )
    if (log_prior is None) != (extent is None):
        raise ValueError(
            f"aggregate_posterior expects log_prior and extent together, got extent={extent} and log_prior "
            f"{'missing' if log_prior is None else 'given'}; say where on z the grid of log_prior lies."
        )
    ax = axes(ax, 7.8, 5)
    handles = scatter(ax, z, labels, kwargs)
    if labels is None:
        handles = [Line2D([], [], color=COLOURS[0], marker="o", linestyle="", label="draws of q(z | x)")]
    if log_prior is not None and extent is not None:
        handles.append(contours(ax, log_prior, extent))
        z = np.vstack([z, np.reshape(extent, (2, 2)).T])
    frame(ax, z, handles)
    ax.set(xlabel="z[0]", ylabel="z[1]")
    return ax


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


def contours(ax: Axes, log_prior: Numbers, extent: Extent) -> Line2D:
    """Contours that enclose `MASSES` of the prior; return the legend's handle."""
    p = density(log_prior, "log_prior")
    within = levels(p, MASSES)
    if within.size:
        ax.contour(*coordinates(p, extent), p, levels=within, colors="black", linewidths=1.2)
    masses = ", ".join(f"{100 * mass:.0f}" for mass in MASSES)
    return Line2D([], [], color="black", linewidth=1.2, label=f"prior: {masses} % of its mass")


def frame(ax: Axes, z: np.ndarray, handles: list[Line2D]) -> None:
    """Equal scales in a square around z (n, 2), and the legend outside, where it hides no point."""
    low, high = z.min(axis=0), z.max(axis=0)
    half = (high - low).max() / 2  # of the wider unit: a collapsed one shows as a line, not as a sliver of a frame
    ax.update_datalim([(low + high) / 2 - half, (low + high) / 2 + half])
    ax.autoscale_view()
    ax.set_aspect("equal")
    if handles:
        ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0, fontsize="small")
