"""Kinds of arguments, as annotations: a type and its range."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import ArrayLike

__all__ = [
    "Count",
    "Floats",
    "Fraction",
    "Name",
    "NonNegative",
    "Numbers",
    "Positive",
    "Range",
    "Rate",
    "Rule",
    "Seed",
    "Share",
    "Whole",
    "as_array",
]


@dataclass(frozen=True)
class Range:
    """The range of a number, as metadata of an `Annotated`.

    Parameters
    ----------
    low, high
        The bounds. Infinity is no value, unless `high` is infinite and included.
    above, below
        Whether the lower and the upper bound are left out.
    words
        The range in words, where its bounds are no short numbers.
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = True
    words: str = ""

    def __contains__(self, value: float) -> bool:
        low = value > self.low if self.above or math.isinf(self.low) else value >= self.low
        return low and (value < self.high if self.below else value <= self.high)

    def __str__(self) -> str:
        if self.words:
            return self.words
        low = f"above {self.low:g}" if self.above else f"from {self.low:g}"
        if math.isinf(self.high):
            return low if self.above else f"{low} on"
        return f"{low} and below {self.high:g}" if self.below else f"{low} to {self.high:g}"


@dataclass(frozen=True)
class Rule:
    """A further condition on a value, as metadata of an `Annotated`: in words, and as a predicate."""

    words: str
    holds: Callable[[Any], bool]

    def __contains__(self, value: Any) -> bool:
        return self.holds(value)

    def __str__(self) -> str:
        return self.words


Count = Annotated[int, Range(1)]
"""A whole number, 1 or more."""
Whole = Annotated[int, Range(0)]
"""A whole number, 0 or more."""
Seed = Annotated[int, Range(0, 2**63, words="from 0 to 2^63 - 1")]
"""A seed as torch accepts it."""
Positive = Annotated[float, Range(0, above=True)]
"""A finite number above 0."""
NonNegative = Annotated[float, Range(0)]
"""A finite number, 0 or more."""
Share = Annotated[float, Range(0, 1, below=False)]
"""A number from 0 to 1."""
Rate = Annotated[float, Range(0, 1, above=True, below=False, words="above 0 and at most 1")]
"""A number above 0 and at most 1."""
Fraction = Annotated[float, Range(0, 1, above=True)]
"""A number in (0, 1)."""
Name = Annotated[str, Rule("that is not empty", bool)]
"""Text of one letter or more."""
Numbers = Annotated[ArrayLike, Rule("of real numbers", lambda v: as_array(v).dtype.kind in "biuf")]
"""An array, or what NumPy makes one of, of whole or real numbers."""
Floats = Annotated[torch.Tensor, Rule("of floats", lambda v: torch.is_tensor(v) and v.is_floating_point())]
"""A tensor of floats."""


def as_array(values: ArrayLike | torch.Tensor) -> np.ndarray:
    """What NumPy makes of values; of a tensor, wherever it is, its numbers."""
    return np.asarray(values.detach().cpu() if isinstance(values, torch.Tensor) else values)
