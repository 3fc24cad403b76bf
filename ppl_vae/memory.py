"""What a computation takes of memory, measured, and how many rows fit into a bound of it."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["Allocated", "rows_at_once"]

MEMORY = 2**30
"""Bytes that the tensors of the rows taken at once may add up to; at any one time about a third of them are there."""


def rows_at_once(most: int, row_bytes: float) -> int:
    """How many rows to take at once: `most`, or as many as stay within `MEMORY`, but one at least."""
    return min(most, max(1, int(MEMORY // max(1, row_bytes))))


class Allocated(TorchDispatchMode):
    """Adds up the bytes of all tensors that operations inside make; views and what is changed in place are none.

    More than is there at any one time without gradients, and about what a graph keeps for its gradients. Operations
    are counted, whatever makes them: hidden layers, components and temporary results too.

    Attributes
    ----------
    bytes
        The sum.

    Examples
    --------
    >>> import torch
    >>> with Allocated() as made:
    ...     _ = torch.ones(10).view(2, 5).exp()
    >>> made.bytes
    80
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and count what it returns anew."""
        returned = func(*args, **(kwargs or {}))
        if not any(value.alias_info for value in func._schema.returns):
            self.bytes += sum(t.nbytes for t in tree_leaves(returned) if isinstance(t, Tensor))
        return returned
