"""A density of two latent units on a regular grid, and the regions that hold its mass."""

import numpy as np
from numpy.typing import ArrayLike

from ppl_vae.plots.canvas import array

__all__ = ["Extent", "coordinates", "density", "levels"]

Extent = tuple[float, float, float, float]
"""(z[0] of the first column, z[0] of the last, z[1] of the first row, z[1] of the last)."""


def density(log_density: ArrayLike, name: str) -> np.ndarray:
    """The density (rows, columns) as a share of its largest value, so that nothing under- or overflows.

    Raises
    ------
    ValueError
        It is no grid of log-densities: minus infinity may be among them, NaN and infinity may not.
    """
    log_p = array(log_density, name, ("rows", "columns"), "evaluate it on a regular grid").astype(float)
    if min(log_p.shape) < 2 or np.isnan(log_p).any() or not np.isfinite(log_p.max()):
        raise ValueError(
            f"{name} expects log-densities on a grid of at least 2 x 2 points, -inf allowed, got shape "
            f"{log_p.shape}, values from {log_p.min()} to {log_p.max()}; evaluate it on another grid."
        )
    p: np.ndarray = np.exp(log_p - log_p.max())
    return p


def levels(p: np.ndarray, masses: tuple[float, ...]) -> np.ndarray:
    """Increasing values of p (rows, columns) above which these shares of its sum lie; a flat p has none."""
    ordered = np.sort(p, axis=None)[::-1]
    within = np.searchsorted(ordered.cumsum() / ordered.sum(), masses)
    found: np.ndarray = np.unique(ordered[np.minimum(within, ordered.size - 1)])
    between: np.ndarray = found[(found > p.min()) & (found < p.max())]
    return between


def coordinates(p: np.ndarray, extent: Extent) -> tuple[np.ndarray, np.ndarray]:
    """z[0] of the columns and z[1] of the rows."""
    return np.linspace(extent[0], extent[1], p.shape[1]), np.linspace(extent[2], extent[3], p.shape[0])
