"""Latent units: how many nats each one carries, and how much it varies with the data."""

from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from ppl_vae.arguments import NonNegative, Numbers, Positive
from ppl_vae.plots.canvas import COLOURS, array, axes, numbers, plot

__all__ = ["kl_per_unit", "unit_activity"]

MAX_NAMED = 40


@plot
def kl_per_unit(
    kl: Numbers,
    *,
    labelled: str = "KL",
    threshold: NonNegative | None = None,
    active: Numbers | None = None,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Bars of the KL of each latent unit, nats per datum, the largest first.

    Parameters
    ----------
    kl
        KL (latent,), nats: per datum, or of all data together.
    labelled
        What `kl` is, for the axis: "KL" for that of a datum, else what stands in for it, such as
        "dimension-wise KL", which is one of all data together.
    threshold
        Where to draw a line, nats per datum. It colours nothing: `active` does.
    active
        Which units are active (latent,), boolean; they get their own colour and are counted in the legend.
    ax
        Axes to draw into; by default a new figure's.
    **kwargs
        Passed to `Axes.bar`.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        `kl` is not (latent,) and finite, or `active` is not boolean with one value for each unit.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> ax = kl_per_unit([0.01, 2.5, 1.2], active=[False, True, True])
    >>> print(*(label.get_text() for label in ax.get_xticklabels()))
    1 2 0
    >>> print(ax.get_legend().get_texts()[0].get_text())
    active: 2 of 3 units
    >>> plt.close(ax.figure)
    """
    kl = array(kl, "kl_per_unit", ("latent",), "average over the data first").astype(float)
    if not np.isfinite(kl).all():
        raise ValueError(
            f"kl_per_unit expects finite values, got {np.sum(~np.isfinite(kl))} of {kl.size} that are not; "
            f"find the data for which q(z | x) has no finite KL."
        )
    on = np.ones(len(kl), dtype=bool) if active is None else np.asarray(active)
    if on.shape != kl.shape or on.dtype != bool:
        raise ValueError(
            f"active expects booleans of shape {kl.shape}, got {on.dtype} of shape {on.shape}; give one for each unit."
        )
    order = np.argsort(-kl, kind="stable")
    ax = axes(ax, float(np.clip(0.28 * len(kl), 5, 11)), 3.6)
    colours = np.where(on, COLOURS[0], COLOURS[3])[order]
    ax.bar(np.arange(len(kl)), kl[order], **({"color": colours} | kwargs))
    handles: list[Artist] = []
    if active is not None:
        handles = [
            Patch(color=COLOURS[0], label=f"active: {on.sum()} of {len(kl)} units"),
            Patch(color=COLOURS[3], label=f"inactive: {(~on).sum()}"),
        ]
    if threshold is not None:
        line = ax.axhline(threshold, color=COLOURS[2], linestyle="--", label=f"threshold: {threshold:g} nats")
        handles.append(line)
    ax.margins(x=0.02)
    if handles:
        ax.set_ylim(top=1.4 * max(ax.get_ylim()[1], 1e-12))  # room above the bars
        ax.legend(handles=handles, loc="upper right")
    if len(kl) <= MAX_NAMED:
        ax.set_xticks(np.arange(len(kl)), [str(unit) for unit in order])
        ax.tick_params("x", labelsize="small", labelrotation=90 if len(kl) > 25 else 0)
        ax.set_xlabel("latent unit, largest first")
    else:
        ax.set_xlabel("rank of the latent unit")
    ax.set_ylabel(f"{labelled}, nats per datum" if labelled == "KL" else f"{labelled}, nats")
    return ax


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
    if count <= MAX_NAMED:
        ax.set_xticks(np.arange(count), [str(unit) for unit in order])
        ax.tick_params("x", labelsize="small", labelrotation=90 if count > 25 else 0)
        ax.set_xlabel("latent unit, largest variance first")
    else:
        ax.set_xlabel("rank of the latent unit, and of the eigenvalue")
    ax.set_ylabel("variance of E[z | x] over the data\n(squared units of z)")
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0, fontsize="small")
    return ax
