"""Whether the parameters of a distribution keep their bounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

__all__ = ["kept"]


def kept(fn: Any) -> list[Tensor]:
    """Whether each parameter of a distribution, and of those that it is made of, keeps its bounds, 0-dimensional.

    This is what torch asks where a distribution is made with validation, but that a real parameter is a number: one
    that is not has a density that is not.
    """
    found = []
    for part in _parts(fn):
        for name, bounds in part.arg_constraints.items():
            if name in vars(part) and not constraints.is_dependent(bounds) and bounds not in _REAL:
                found.append(torch.as_tensor(bounds.check(torch.as_tensor(vars(part)[name]))).all())
    return found


_REAL = (constraints.real, constraints.real_vector)


def _parts(fn: Any) -> Iterator[Any]:
    """A distribution, and those among its attributes."""
    if isinstance(fn, list | tuple):
        for each in fn:
            yield from _parts(each)
    elif isinstance(fn, torch.distributions.Distribution):
        yield fn
        yield from _parts(list(vars(fn).values()))
