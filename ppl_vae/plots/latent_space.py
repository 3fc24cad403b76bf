"""Scatter plot of two latent units."""

from typing import Any

from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from ppl_vae.arguments import Numbers
from ppl_vae.plots.canvas import axes, plot
from ppl_vae.plots.scatter import draws, frame, scatter

__all__ = ["latent_space"]


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
