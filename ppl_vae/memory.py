"""Memory use of a computation, measured, the number of rows that fit into a bound, and freed memory that is kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["CACHED", "Allocated", "chunks", "keep_freed", "rows_at_once"]

MEMORY = 2**30
"""Bound in bytes on the sum of all tensors created for one batch of rows; about a third of them coexist."""

CACHED = 2**27
"""The same where a processor computes without gradients: of so many bytes those in use fit its cache. Measured at 1,000
draws an image, in blocks of 250 to 50,000 rows, on cores that share 32 MiB of cache."""


def rows_at_once(most: int, row_bytes: float, bound: int | None = None) -> int:
    """Rows per batch: `most`, or as many as stay within a bound in bytes, `MEMORY` by default; at least one."""
    return min(most, max(1, int((MEMORY if bound is None else bound) // max(1, row_bytes))))


def chunks(size: int, rows_each: int, max_rows: int) -> Iterator[slice]:
    """Slices of `size` items, each item of `rows_each` rows, with at most `max_rows` rows a slice; one item at least.

    Raises
    ------
    ValueError
        For `max_rows` below 1.
    """
    if max_rows < 1:
        raise ValueError(f"max_rows expects one row or more, got {max_rows}; give max_rows=10_000, say")
    step = max(1, max_rows // rows_each)
    for start in range(0, size, step):
        yield slice(start, min(start + step, size))


class Allocated(TorchDispatchMode):
    """Sums the bytes of all tensors that operations inside create; views and in-place operations do not count.

    An upper bound on the memory without gradients, and about what an autograd graph keeps. All operations count,
    including hidden layers, mixture components and temporaries.

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
        """Run an operation, and count the new tensors that it returns."""
        returned = func(*args, **(kwargs or {}))
        if not any(value.alias_info for value in func._schema.returns):
            self.bytes += sum(t.nbytes for t in tree_leaves(returned) if isinstance(t, Tensor))
        return returned


def keep_freed() -> None:
    """Let the process keep some 60 MiB of what it frees, for what is made next.

    glibc gives freed memory back to the system beyond a bound, and asks for it anew: of a gradient of log p(x, z) on
    800 rows that was a fifth of the time. The bound is twice the largest block that was ever freed, of at most 32 MiB
    (`mallopt(3)`, M_TRIM_THRESHOLD). This frees one, whose pages are never used. Elsewhere it has no effect.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8, device="cpu")
