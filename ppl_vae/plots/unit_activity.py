"""Variance of each unit's posterior mean, beside the eigenvalues of their covariance."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ppl_vae.arguments import Numbers, Positive
from ppl_vae.plots.canvas import COLOURS, array, axes, numbers, plot
from ppl_vae.plots.unit_axis import name_units

__all__ = ["unit_activity"]


@plot
def unit_activity(
    variance: Numbers,
    eigenvalues: Numbers,
    *,
    threshold: Positive = 0.01,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Variance over the data of each latent unit's posterior mean, beside the eigenvalues of their covariance.

    Rotating the latent space changes the variances, and with them the number of active units, but not the
    eigenvalues. Fewer eigenvalues than units above the threshold: units share what they carry.

    Parameters
    ----------
    variance
        Var_x(E_q[z]) of each unit (latent,), in squared units of z.
    eigenvalues
        Of Cov_x(E_q[z]) (latent,), in any order.
    threshold
        Above it a unit is active.
    ax
        Axes to draw into; by default a new figure's. Its ordinate becomes logarithmic: what lies below
        `threshold` / 1000, zero among it, is drawn there.
    **kwargs
        Passed to `Axes.plot` for both.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        `variance` is not (latent,) and finite, `eigenvalues` has another shape or is not finite, or
        `threshold` is not positive.

    References
    ----------
    Burda, Grosse, Salakhutdinov (2016), Importance weighted autoencoders, arXiv:1509.00519.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> ax = unit_activity([0.5, 0.4, 0.001], [0.9, 0.001, 0.0])
    >>> print(*(text.get_text() for text in ax.get_legend().get_texts()), sep=", ")
    units: 2 of 3 active, eigenvalues: 1 of 3 above, threshold: 0.01
    >>> plt.close(ax.figure)
    """
    variance = array(variance, "unit_activity", ("latent",), "give the variance of each unit's mean").astype(float)
    eigenvalues = numbers(eigenvalues, "eigenvalues", variance.shape, "give one for each unit")
    if not np.isfinite([variance, eigenvalues]).all() or threshold <= 0:
        raise ValueError(
            f"unit_activity expects finite values and a threshold above 0, got variances up to {variance.max()}, "
            f"eigenvalues up to {eigenvalues.max()}, threshold {threshold}; find the data for which the encoder fails."
        )
    count, order = len(variance), np.argsort(-variance, kind="stable")
    labels = [
        f"units: {np.sum(variance > threshold)} of {count} active",
        f"eigenvalues: {np.sum(eigenvalues > threshold)} of {count} above",
    ]
    ax = axes(ax, float(np.clip(0.28 * count, 5, 11)) + 2, 3.6)
    floor = threshold / 1000
    markers: list[dict[str, Any]] = [
        {"marker": "o", "color": COLOURS[0], "markersize": 5},
        {"marker": "D", "color": COLOURS[2], "markersize": 7, "fillstyle": "none"},  # seen around a dot, too
    ]
    for values, marker, label in zip((variance, eigenvalues), markers, labels, strict=True):
        style = marker | {"linestyle": ":", "linewidth": 0.8, "label": label}
        ax.plot(np.sort(np.maximum(values, floor))[::-1], **(style | kwargs))
    ax.axhline(threshold, color="black", linestyle="--", linewidth=1, label=f"threshold: {threshold:g}")
    ax.set_yscale("log")
    top = max(variance.max(), eigenvalues.max(), threshold)
    ax.set_ylim(floor / 1.5, 3 * top)
    name_units(ax, order, "latent unit, largest variance first", "rank of the latent unit, and of the eigenvalue")
    ax.set_ylabel("variance of E[z | x] over the data\n(squared units of z)")
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0, fontsize="small")
    return ax
