"""Axes, colours and checked arrays, for every plot."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Text
from numpy.typing import ArrayLike

from ppl_vae.arguments import as_array, checked

__all__ = ["COLOURS", "INSIDE", "STRONG", "array", "as_written", "axes", "bulk", "numbers", "plot"]

F = TypeVar("F", bound=Callable[..., Any])

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

STRONG = tuple(colour for colour in COLOURS if colour not in ("#94a4a2", "#717581"))
"""Those that are not grey: grey is for what is in the background."""

INSIDE: dict[str, Any] = {"color": "0.55", "linewidth": 0.8}
"""Style of lines in the background."""


def plot(f: F) -> F:
    """A public function that draws: its arguments are `checked`, and a keyword that matplotlib refuses is named.

    A figure that was begun before an error is closed.
    """
    run = checked(f)

    @functools.wraps(f)
    def drawn(*args: Any, **kwargs: Any) -> Any:
        before = set(plt.get_fignums())
        try:
            return run(*args, **kwargs)
        except Exception as error:
            for number in set(plt.get_fignums()) - before:
                plt.close(number)
            if not isinstance(error, AttributeError) or "unexpected keyword" not in str(error):
                raise
            raise TypeError(
                f"{f.__name__} expects keywords of its own or of the matplotlib call it names, got {sorted(kwargs)}: "
                f"{error}; leave out the last"
            ) from None

    return cast(F, drawn)


def as_written(figure: Any) -> None:
    """Show the text of a figure of ours as it was given: two $ in a name, without a backslash, are no mathematics."""
    for text in figure.findobj(Text):
        if "$" in text.get_text() and "\\" not in text.get_text():
            text.set_parse_math(False)


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
    found = as_array(values)
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
    found = as_array(values).astype(float)
    if found.shape != shape:
        raise ValueError(f"{name} expects shape {shape}, got {found.shape}; {fix}.")
    return found


def bulk(values: np.ndarray) -> tuple[float, float]:
    """Range of finite values (n,), at most three interquartile ranges beyond their quartiles."""
    lower, upper = np.quantile(values, [0.25, 0.75])
    reach = 3 * (upper - lower) or np.inf
    return max(values.min(), lower - reach), min(values.max(), upper + reach)
