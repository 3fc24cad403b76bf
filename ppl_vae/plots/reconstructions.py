"""Images above their reconstructions."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ppl_vae.arguments import Numbers
from ppl_vae.plots.canvas import plot
from ppl_vae.plots.mosaic import bare, centres, draw, tiled_axes, tiles

__all__ = ["reconstructions"]


@plot
def reconstructions(x: Numbers, x_hat: Numbers, *, ax: Axes | None = None, **kwargs: Any) -> Axes:
    """Originals in a row above their reconstructions, on one grey scale.

    Parameters
    ----------
    x, x_hat
        Data and reconstructions (n, channels, height, width), 1 or 3 channels, in the same units; 8 to 16 fit
        a page. Pixels that are not finite (missing ones, say) stay empty.
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
        The two shapes differ, or are not those of images, or one has no finite value.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> x = np.random.default_rng(0).random((5, 1, 8, 8))
    >>> ax = reconstructions(x, x.round())
    >>> print(*(label.get_text() for label in ax.get_yticklabels()))
    data reconstruction
    >>> plt.close(ax.figure)
    """
    x, x_hat = tiles(x, "reconstructions: x", "n"), tiles(x_hat, "reconstructions: x_hat", "n")
    if x.shape != x_hat.shape:
        raise ValueError(
            f"reconstructions expects x and x_hat of the same shape, got {x.shape} and {x_hat.shape}; "
            "give one reconstruction for each datum (average over particles first)."
        )
    grid = np.stack([x, x_hat])
    ax = tiled_axes(ax, grid, left=1.2)
    draw(ax, grid, gap=1, **kwargs)
    bare(ax)
    ax.set_yticks(centres(2, x.shape[-2], 1), ["data", "reconstruction"])
    return ax
