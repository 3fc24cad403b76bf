"""Images: data, reconstructions and samples."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ppl_vae.arguments import Count, Numbers
from ppl_vae.plots.canvas import plot
from ppl_vae.plots.mosaic import bare, centres, draw, tiled_axes, tiles

__all__ = ["images", "reconstructions", "samples"]


@plot
def images(
    x: Numbers,
    *,
    columns: Count | None = None,
    ax: Axes | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    **kwargs: Any,
) -> Axes:
    """A grid of images, row by row, on one grey scale.

    Parameters
    ----------
    x
        Images (n, channels, height, width), 1 or 3 channels, any units. What is not finite stays empty.
    columns
        Images a row; by default a grid about as wide as high.
    ax
        Axes to draw into; by default a new figure's.
    vmin, vmax
        Values drawn black and white (for colour: no and full intensity), in the units of `x`; by default the
        smallest and the largest value in `x`.
    **kwargs
        Passed to `Axes.imshow`.

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
    >>> ax = images(np.random.default_rng(0).random((6, 1, 8, 8)), columns=3)
    >>> ax.get_images()[0].get_array().shape  # 2 x 3 images, a gap of one pixel between them
    (17, 26)
    >>> plt.close(ax.figure)
    """
    x = tiles(x, "images", "n")
    columns = int(np.ceil(np.sqrt(len(x)))) if columns is None else columns
    if columns < 1:
        raise ValueError(f"images expects columns >= 1, got {columns}; give the number of images a row.")
    columns = min(columns, len(x))
    rows = -(-len(x) // columns)
    grid = np.full((rows * columns, *x.shape[1:]), np.nan)
    grid[: len(x)] = x
    grid = grid.reshape(rows, columns, *x.shape[1:])
    ax = tiled_axes(ax, grid, below=0.3)
    draw(ax, grid, gap=1, vmin=vmin, vmax=vmax, **kwargs)
    bare(ax)
    return ax


@plot
def samples(x: Numbers, *, ax: Axes | None = None, **kwargs: Any) -> Axes:
    """A grid of samples: draws from the prior, decoded.

    Parameters
    ----------
    x
        Decoded draws (n, channels, height, width), 1 or 3 channels, in the units of the data.
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
    ax.set_xlabel("decoded draws from the prior")
    return ax


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
