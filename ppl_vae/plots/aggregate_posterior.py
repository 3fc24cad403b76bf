"""Aggregate posterior over the density of the prior."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from ppl_vae.arguments import Numbers
from ppl_vae.plots.canvas import COLOURS, axes, plot
from ppl_vae.plots.density_grid import Extent, coordinates, density, levels
from ppl_vae.plots.scatter import draws, frame, scatter

__all__ = ["aggregate_posterior"]

MASSES = (0.5, 0.9, 0.99)


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


def contours(ax: Axes, log_prior: Numbers, extent: Extent) -> Line2D:
    """Contours that enclose `MASSES` of the prior; return the legend's handle."""
    p = density(log_prior, "log_prior")
    within = levels(p, MASSES)
    if within.size:
        ax.contour(*coordinates(p, extent), p, levels=within, colors="black", linewidths=1.2)
    masses = ", ".join(f"{100 * mass:.0f}" for mass in MASSES)
    return Line2D([], [], color="black", linewidth=1.2, label=f"prior: {masses} % of its mass")
