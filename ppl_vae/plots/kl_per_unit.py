"""KL of each latent unit."""

from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from ppl_vae.arguments import NonNegative, Numbers
from ppl_vae.plots.canvas import COLOURS, array, axes, plot
from ppl_vae.plots.unit_axis import name_units

__all__ = ["kl_per_unit"]


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
    name_units(ax, order, "latent unit, largest first", "rank of the latent unit")
    ax.set_ylabel(f"{labelled}, nats per datum" if labelled == "KL" else f"{labelled}, nats")
    return ax
