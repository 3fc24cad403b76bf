"""What every plot needs: the Axes it draws into, colours, and an array of the right shape."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

__all__ = ["COLOURS", "array", "axes", "bulk", "numbers"]

COLOURS = (
    "#3f90da",  # blue
    "#ffa90e",  # orange
    "#bd1f01",  # red
    "#94a4a2",  # grey
    "#832db6",  # violet
    "#a96b59",  # brown
    "#e76300",  # dark orange
    "#b9ac70",  # sand
    "#717581",  # slate
    "#92dadd",  # pale cyan
)
"""Ten colours that stay apart for colour-blind readers (Petroff, 2021, arXiv:2107.02270)."""


def axes(ax: Axes | None, width: float, height: float) -> Axes:
    """The Axes given, or those of a new figure, `width` by `height` inches."""
    if ax is None:
        # "constrained" would cut labels of Axes with a fixed aspect, images among them.
        ax = plt.subplots(figsize=(width, height), layout="compressed")[1]
    return ax


def array(values: ArrayLike, name: str, dims: tuple[str, ...], fix: str) -> np.ndarray:
    """`values` as an array with one non-empty dimension for each of `dims`.

    Raises
    ------
    ValueError
        The number of dimensions differs, or one of them is empty; the message ends with `fix`.
    """
    found = np.asarray(values)
    if found.ndim != len(dims) or 0 in found.shape:
        expected = f"({dims[0]},)" if len(dims) == 1 else f"({', '.join(dims)})"
        raise ValueError(f"{name} expects a non-empty array of shape {expected}, got {found.shape}; {fix}.")
    return found


def numbers(values: ArrayLike, name: str, shape: tuple[int, ...], fix: str) -> np.ndarray:
    """`values` as floats of just this shape, finite or not.

    Raises
    ------
    ValueError
        The shape differs; the message ends with `fix`.
    """
    found = np.asarray(values, dtype=float)
    if found.shape != shape:
        raise ValueError(f"{name} expects shape {shape}, got {found.shape}; {fix}.")
    return found


def bulk(values: np.ndarray) -> tuple[float, float]:
    """Range of finite values (n,), at most three interquartile ranges beyond their quartiles."""
    lower, upper = np.quantile(values, [0.25, 0.75])
    reach = 3 * (upper - lower) or np.inf
    return max(values.min(), lower - reach), min(values.max(), upper + reach)
