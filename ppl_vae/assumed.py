"""Choices by value where tensors have no values: in functions that are captured as graphs, and inside `torch.vmap`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["assume", "assuming", "in_vmap"]

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


def in_vmap() -> bool:
    """Whether `torch.vmap` is running a function: checks of values are left out, as there is no one value."""
    functorch = torch._C._functorch
    if functorch.maybe_current_level() is None:
        return False
    return any(level.key() == functorch.TransformType.Vmap for level in functorch.get_interpreter_stack() or [])
