"""Denoised images: a row for each noise, a column for each method."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ppl_vae.arguments import Numbers
from ppl_vae.plots.canvas import axes, numbers, plot
from ppl_vae.plots.mosaic import bare, centres, draw, tiles

__all__ = ["denoising"]

_WIDE, _GAP = 1.4, 0.22  # inches, of a column and of the space in which its score is written


@plot
def denoising(
    x_hat: Numbers,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    psnr: Numbers | None = None,
    ssim: Numbers | None = None,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """The same images under every noise (rows), noisy and as every method restored them (columns).

    Parameters
    ----------
    x_hat
        Images (rows, columns, n, channels, height, width), 1 or 3 channels, on one grey scale: n images side by side
        in each cell.
    rows, columns
        Names of the noises and of the methods; the clean and the noisy images are columns like the others.
    psnr
        Mean PSNR (rows, columns), in dB, written below the cells; nothing where not finite. By default none.
    ssim
        Mean SSIM (rows, columns), beside it.
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
        `x_hat` has another shape or no finite value, or the names or scores are not as many as the cells.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> x_hat = np.random.default_rng(0).random((1, 2, 3, 1, 8, 8))
    >>> ax = denoising(x_hat, rows=["sd 0.5"], columns=["clean", "noisy"], psnr=[[np.nan, 6.02]])
    >>> [text.get_text() for text in ax.texts]
    ['6.0 dB']
    >>> plt.close(ax.figure)
    """
    cells = tiles(x_hat, "denoising", "rows", "columns", "n")
    shape = cells.shape[:2]
    if (len(rows), len(columns)) != shape:
        raise ValueError(
            f"denoising expects a name for each of {shape[0]} rows and {shape[1]} columns, got {len(rows)} and "
            f"{len(columns)}; give as many names as x_hat has rows and columns."
        )
    apart = np.pad(cells, [*[(0, 0)] * 5, (0, 1)], constant_values=np.nan)
    cells = np.concatenate(np.moveaxis(apart, 2, 0), axis=-1)[..., :-1]  # the images of a cell side by side
    height, width = cells.shape[-2:]
    per_inch = width / _WIDE
    gap = max(int(np.ceil(_GAP * per_inch)), 1)
    ax = axes(ax, shape[1] * (width + gap) / per_inch + 1.4, shape[0] * (height + gap) / per_inch + 0.6)
    draw(ax, cells, gap=gap, **kwargs)
    bare(ax)
    at_rows, at_columns = centres(shape[0], height, gap), centres(shape[1], width, gap)
    ax.set_yticks(at_rows, rows)
    ax.set_xticks(at_columns, columns)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.set_ylim(at_rows[-1] + height / 2 + gap, -0.5)  # room for the scores of the last row
    written = _scores(psnr, ssim, shape)
    for i, j in np.argwhere(written != ""):
        below = float(at_rows[i]) + height / 2 + gap / 2
        ax.text(float(at_columns[j]), below, written[i, j], ha="center", va="center", fontsize="small")
    return ax


def _scores(psnr: Numbers | None, ssim: Numbers | None, shape: tuple[int, ...]) -> np.ndarray:
    """The text below each cell."""
    written = np.full(shape, "", dtype=object)
    for values, name, form in ((psnr, "psnr", "{:.1f} dB"), (ssim, "ssim", "SSIM {:.2f}")):
        if values is not None:
            found = numbers(values, name, shape, "give a number for each cell of x_hat")
            for cell in np.argwhere(np.isfinite(found)):
                at = tuple(cell)
                written[at] += (", " if written[at] else "") + form.format(found[at])
    return written
