"""What is the same for several elements of a distribution, computed once."""

from __future__ import annotations

from torch import Tensor

__all__ = ["once"]


def once(parameter: Tensor) -> Tensor:
    """A parameter with one element along each dimension in which it was expanded; broadcast it is what it was.

    >>> import torch
    >>> once(torch.ones(3).expand(1000, 3)).shape
    torch.Size([1, 3])
    """
    return parameter[tuple(slice(1) if stride == 0 else slice(None) for stride in parameter.stride())]
