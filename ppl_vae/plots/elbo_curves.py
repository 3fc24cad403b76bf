"""Training: the ELBO and its two terms, epoch by epoch."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox, TransformedBbox

from ppl_vae.plots.canvas import COLOURS, axes, bulk, plot

__all__ = ["elbo_curves"]

STYLES = {"train": (0, (3, 1.5)), "validation": "-"}


@plot
def elbo_curves(history: pd.DataFrame, *, ax: Axes | None = None, **kwargs: Any) -> Axes:
    """ELBO and reconstruction (above, left axis) and KL of each latent site (below, right axis), by epoch.

    The best validation epoch is marked. The y-ranges follow the bulk of the epochs, so curves may start
    outside of them, and are cut off there.

    Parameters
    ----------
    history
        One row an epoch, `epoch` as index or column. Columns, nats per datum: `train_elbo`, and where known
        `train_reconstruction`, `train_kl_<site>` for each latent site, and the same with `validation_`.
        Values that are not finite are left out; other columns are ignored.
    ax
        Axes to draw into, on which the KL gets a twin; by default a new figure's.
    **kwargs
        Passed to `Axes.plot` for every curve.

    Returns
    -------
    Axes
        Those of ELBO and reconstruction.

    Raises
    ------
    ValueError
        `history` has no row, or no finite `train_elbo`.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import pandas as pd
    >>> history = pd.DataFrame({
    ...     "epoch": [0, 1, 2],
    ...     "train_elbo": [-150.0, -120.0, -110.0],
    ...     "validation_elbo": [-140.0, -119.0, -121.0],
    ...     "train_kl_z": [8.0, 14.0, 17.0],
    ... })
    >>> ax = elbo_curves(history)
    >>> print(*(text.get_text() for text in ax.get_legend().get_texts()), sep=", ")
    ELBO, KL of z (right axis), train, validation, best validation: epoch 1
    >>> plt.close(ax.figure)
    """
    table = by_epoch(history)
    sites = sorted({name.split("_kl_", 1)[1] for name in table.columns if "_kl_" in name})
    left = {"ELBO": "elbo", "reconstruction": "reconstruction"}
    if coincide(table):
        left = {"ELBO = reconstruction": "elbo"}
    ax = axes(ax, 7.5, 5)
    upper = (0.54, 0.97) if sites else (0.28, 0.97)
    handles = curves(ax, table, left, COLOURS, upper, kwargs)
    ax.set_ylabel(", ".join(left) + "\n(nats per datum)", y=sum(upper) / 2)
    if sites:
        twin = ax.twinx()
        ax.figure.sca(ax)
        right = {f"KL of {site} (right axis)": f"kl_{site}" for site in sites}
        lower = (0.25, 0.47)
        handles += curves(twin, table, right, COLOURS[4:] + COLOURS[2:4], lower, kwargs)
        twin.set_ylabel("KL\n(nats per datum)", y=sum(lower) / 2)
    handles += [
        Line2D([], [], color="black", linestyle=style, label=split)
        for split, style in STYLES.items()
        if f"{split}_elbo" in table
    ]
    if "validation_elbo" in table:
        handles.append(best_epoch(ax, table["validation_elbo"].dropna()))
    epochs = table.index.to_numpy()
    ax.set(xlabel="epoch", xlim=(epochs.min() - 0.5, epochs.max() + 0.5))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    ax.legend(handles=handles, loc="lower right", ncols=2 if len(sites) < 4 else 3, fontsize="small")
    return ax


def by_epoch(history: pd.DataFrame) -> pd.DataFrame:
    """Columns of the terms that have a finite value, as floats, indexed by epoch; the rest is NaN."""
    table = history.set_index("epoch") if "epoch" in history else history
    names = table.columns.astype(str).str.startswith(tuple(f"{split}_" for split in STYLES))
    table = (
        table.loc[:, names]
        .apply(pd.to_numeric, errors="coerce")
        .astype(float)
        .replace([np.inf, -np.inf], np.nan)
        .dropna(axis="columns", how="all")
    )
    if "train_elbo" not in table:
        raise ValueError(
            f"elbo_curves expects finite 'train_elbo' (nats per datum), got {len(history)} rows with columns "
            f"{list(history)}; give the history that training returned."
        )
    return table


def coincide(table: pd.DataFrame) -> bool:
    """Whether ELBO and reconstruction are one curve, as in an autoencoder."""
    pairs = [(f"{split}_elbo", f"{split}_reconstruction") for split in STYLES]
    drawn = [pair for pair in pairs if set(pair) <= set(table)]
    return bool(drawn) and all(np.allclose(table[a], table[b], equal_nan=True) for a, b in drawn)


def curves(
    ax: Axes,
    table: pd.DataFrame,
    terms: dict[str, str],
    colours: tuple[str, ...],
    band: tuple[float, float],
    kwargs: dict[str, Any],
) -> list[Line2D]:
    """Draw a colour for each term, a line style for each split; return the legend's handles of the terms."""
    ranges, lines, handles = [], [], []
    for index, (label, term) in enumerate(terms.items()):
        colour = colours[index % len(colours)]
        splits = [split for split in STYLES if f"{split}_{term}" in table]
        for split in splits:
            curve = table[f"{split}_{term}"].dropna()
            style = {"color": colour, "linestyle": STYLES[split], "marker": "." if len(curve) < 20 else ""}
            lines += ax.plot(curve.index, curve, **(style | kwargs))
            ranges.append(bulk(curve.to_numpy()))
        if splits:
            handles.append(Line2D([], [], color=colour, linewidth=3, label=label))
    low, high = np.transpose(ranges)
    confine(ax, lines, low.min(), high.max(), band)
    return handles


def confine(ax: Axes, lines: list[Line2D], low: float, high: float, band: tuple[float, float]) -> None:
    """Let [low, high] fill a band (fractions) of the height, with ticks and lines only there."""
    pad = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - pad, high + pad
    unit = (high - low) / (band[1] - band[0])
    ax.set_ylim(low - band[0] * unit, high + (1 - band[1]) * unit)
    locator = MaxNLocator(2 + round(8 * (band[1] - band[0])), steps=[1, 2, 2.5, 5, 10])
    ticks = np.asarray(locator.tick_values(low, high))
    ax.set_yticks(ticks[(ticks >= low) & (ticks <= high)])
    for line in lines:
        line.set_clip_path(None)
        line.set_clip_box(TransformedBbox(Bbox.from_extents(0, band[0], 1, 1), ax.transAxes))


def best_epoch(ax: Axes, elbo: pd.Series) -> Line2D:
    """Mark the epoch of the largest validation ELBO; return the legend's handle."""
    best = int(elbo.to_numpy().argmax())
    epoch = elbo.index.to_numpy()[best]
    ax.axvline(epoch, color="0.6", linewidth=1, zorder=0)
    (marker,) = ax.plot(
        [epoch], [elbo.iloc[best]], "*", color="black", markersize=10, label=f"best validation: epoch {epoch}"
    )
    return marker
