"""One datum's posterior: draws of q(z | x) against a reference, over the exact density."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ppl_vae.arguments import Numbers, Whole
from ppl_vae.plots.canvas import COLOURS, axes, plot
from ppl_vae.plots.density_grid import Extent, coordinates, density, levels
from ppl_vae.plots.scatter import draws, frame

__all__ = ["posterior_against_reference"]

SHADES = {0.99: "0.92", 0.9: "0.82", 0.5: "0.70"}


@plot
def posterior_against_reference(
    q: Numbers,
    reference: Numbers | None = None,
    *,
    log_density: Numbers | None = None,
    extent: Extent | None = None,
    dims: tuple[Whole, Whole] = (0, 1),
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Draws of q(z | x) and of a reference for p(z | x), for one datum in two latent units.

    The shaded regions hold 50, 90 and 99 % of the exact posterior's mass *on the grid*. Draws of q outside of
    them, or regions without draws of q, are where q is wrong.

    Parameters
    ----------
    q
        Draws (n, 2) of q(z | x), in the units of the prior.
    reference
        Draws (m, 2) of a reference for the posterior, such as HMC's.
    log_density
        log p(z | x) on a regular grid (rows, columns), nats, up to a constant: rows from low to high z[1],
        columns from low to high z[0]. Minus infinity is allowed. At a latent dimension of two, log p(x, z).
    extent
        (z[0] of the first column, z[0] of the last, z[1] of the first row, z[1] of the last).
    dims
        Numbers of the two latent units, for the labels.
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
        Draws are not finite and (n, 2), `log_density` is no grid of log-densities, only one of `log_density`
        and `extent` is given, or there is neither `reference` nor `log_density`.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> grid = np.linspace(-4, 4, 81)
    >>> log_density = -0.5 * (grid[:, None] ** 2 + grid**2)
    >>> q, reference = np.random.default_rng(0).normal(size=(2, 100, 2))
    >>> ax = posterior_against_reference(0.5 * q, reference, log_density=log_density, extent=(-4, 4, -4, 4))
    >>> print(*(text.get_text() for text in ax.get_legend().get_texts()), sep=", ")
    q(z | x), reference, exact: 50 %, exact: 90 %, exact: 99 %
    >>> plt.close(ax.figure)
    """
    if (log_density is None) != (extent is None) or (log_density is None and reference is None):
        raise ValueError(
            "posterior_against_reference expects a reference, or log_density together with its extent, got "
            f"reference {'missing' if reference is None else 'given'}, log_density "
            f"{'missing' if log_density is None else 'given'}, extent={extent}; give what q is compared with."
        )
    clouds = {"q(z | x)": (of_two(q, "q"), COLOURS[2])}
    if reference is not None:
        clouds["reference"] = (of_two(reference, "reference"), COLOURS[0])
    p = None if log_density is None else density(log_density, "log_density")
    ax = axes(ax, 6.2, 4.5)
    handles: list[Any] = []
    corners = [z for z, _ in clouds.values()]
    for label, (_, colour) in clouds.items():
        handles.append(Line2D([], [], color=colour, marker="o", linestyle="", label=label))
    if p is not None and extent is not None:
        corners.append(shaded(ax, p, extent))
        regions = reversed(SHADES.items())
        handles += [
            Patch(facecolor=shade, edgecolor="black", label=f"exact: {100 * mass:.0f} %") for mass, shade in regions
        ]
    mixed(ax, clouds, kwargs)
    frame(ax, np.vstack(corners), handles)
    ax.set(xlabel=f"z[{dims[0]}]", ylabel=f"z[{dims[1]}]")
    return ax


def of_two(z: Numbers, name: str) -> np.ndarray:
    """Finite draws (n, 2)."""
    found = draws(z, f"posterior_against_reference: {name}")
    if found.shape[1] != 2:
        raise ValueError(
            f"posterior_against_reference expects {name} of shape (n, 2), got {found.shape}; choose two columns."
        )
    return found


def shaded(ax: Axes, p: np.ndarray, extent: Extent) -> np.ndarray:
    """Fill the regions that hold `SHADES` of the mass; return two corners (2, 2) of the grid around them."""
    within = levels(p, tuple(SHADES))
    z0, z1 = coordinates(p, extent)
    if within.size:
        rows, columns = (seen(p >= within[0], axis) for axis in (1, 0))
        p, z0, z1 = p[rows, columns], z0[columns], z1[rows]
        shades = list(SHADES.values())[-within.size :]
        ax.contourf(z0, z1, p, levels=[*within, np.inf], colors=shades, zorder=0)
        ax.contour(z0, z1, p, levels=within, colors="black", linewidths=0.8, zorder=3)  # draws may hide the shades
    return np.array([[z0[0], z1[0]], [z0[-1], z1[-1]]])


def seen(inside: np.ndarray, axis: int) -> slice:
    """The rows (axis 1) or columns (axis 0) in which something is inside, and a margin on either side."""
    (index,) = np.nonzero(inside.any(axis=axis))
    margin = 1 + np.ptp(index) // 10
    return slice(max(index[0] - margin, 0), index[-1] + margin + 1)


def mixed(ax: Axes, clouds: dict[str, tuple[np.ndarray, str]], kwargs: dict[str, Any]) -> None:
    """One scatter of all draws, interleaved, so that neither hides the other."""
    turn = np.argsort(np.concatenate([np.linspace(0, 1, len(z)) for z, _ in clouds.values()]), kind="stable")
    z = np.vstack([z for z, _ in clouds.values()])[turn]
    colours = np.concatenate([np.full(len(z), colour) for z, colour in clouds.values()])[turn]
    style: dict[str, Any] = {"s": float(np.clip(8000 / len(z), 3, 20)), "alpha": 0.6, "linewidths": 0}
    ax.scatter(*z.T, **(style | {"c": colours} | kwargs))
