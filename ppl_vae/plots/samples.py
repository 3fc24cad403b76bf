"""Samples of a model as images."""

from typing import Any

from matplotlib.axes import Axes

from ppl_vae.arguments import Numbers
from ppl_vae.plots.canvas import plot
from ppl_vae.plots.images import images

__all__ = ["samples"]


@plot
def samples(
    x: Numbers, *, labelled: str = "decoded draws from the prior", ax: Axes | None = None, **kwargs: Any
) -> Axes:
    """A grid of samples: draws from the prior, decoded.

    Parameters
    ----------
    x
        Decoded draws (n, channels, height, width), 1 or 3 channels, in the units of the data.
    labelled
        What they are, below the grid.
    ax
        Axes to draw into; by default a new figure's.
    **kwargs
        Passed to `images`: `columns`, `vmin`, `vmax`, and those of `Axes.imshow`.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        `x` has another shape or no finite value, or `columns` is below 1.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> ax = samples(np.random.default_rng(0).random((9, 1, 8, 8)), vmin=0, vmax=1)
    >>> print(ax.get_xlabel())
    decoded draws from the prior
    >>> plt.close(ax.figure)
    """
    ax = images(x, ax=ax, **kwargs)
    ax.set_xlabel(labelled)
    return ax
