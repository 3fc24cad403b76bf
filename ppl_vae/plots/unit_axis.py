"""The abscissa of plots with one value a latent unit."""

import numpy as np
from matplotlib.axes import Axes

__all__ = ["name_units"]

MAX_NAMED = 40


def name_units(ax: Axes, order: np.ndarray, named: str, ranked: str) -> None:
    """Write the number of each unit below it, in this order; of many units only the rank, and the other label."""
    if len(order) > MAX_NAMED:
        ax.set_xlabel(ranked)
        return
    ax.set_xticks(np.arange(len(order)), [str(unit) for unit in order])
    ax.tick_params("x", labelsize="small", labelrotation=90 if len(order) > 25 else 0)
    ax.set_xlabel(named)
