"""Choices by value in functions that are captured as graphs, in which there are no values yet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

__all__ = ["assume", "assuming"]

_ASSUMED: list[list[Tensor]] = []


def assume(condition: Tensor) -> bool:
    """Whether a condition, one boolean, holds. While a graph is captured it is taken to hold.

    Where it does not hold when the graph is replayed, the function is called as it is: see `captured.capture`.
    """
    if not _ASSUMED:
        return bool(condition)
    _ASSUMED[-1].append(condition.detach())
    return True


@contextmanager
def assuming() -> Iterator[list[Tensor]]:
    """A scope in which conditions are assumed to hold, and collected."""
    _ASSUMED.append([])
    try:
        yield _ASSUMED[-1]
    finally:
        _ASSUMED.pop()
