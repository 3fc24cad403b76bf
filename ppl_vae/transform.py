"""The base of the steps of preprocessing that are applied to every batch."""

from __future__ import annotations

import abc
from typing import ClassVar

from torch import Tensor

__all__ = ["Transform"]


class Transform(abc.ABC):
    """A map of x, (n, *x_shape) to the same shape.

    Any other function can be pending in a `Split`, too; it is taken to be random.
    """

    deterministic: ClassVar[bool] = False
    """Whether it draws nothing and maps each row alone: data that are sparse or on disk then stay so."""

    @abc.abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """x after the step."""
