"""Batches of data: from tensors in memory, or from whatever can be iterated."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from ppl_vae.split import Split

__all__ = ["Batch", "Batches", "batches", "split_of"]


class Batch(NamedTuple):
    """What a model and guide are called with."""

    x: Tensor
    context: tuple[Tensor, ...] = ()
    mask: Tensor | bool = True

    def to(self, device: torch.device, dtype: torch.dtype) -> Batch:
        """The batch on a device, real numbers in the precision of the model."""
        x, *context = (
            t.to(device, dtype if t.is_floating_point() else None, non_blocking=True) for t in (self.x, *self.context)
        )
        return Batch(x, tuple(context), self.mask.to(device) if isinstance(self.mask, Tensor) else self.mask)


class Batches(abc.ABC):
    """Data in batches, one pass at a time."""

    checksum: str | None = None

    @abc.abstractmethod
    def __iter__(self) -> Iterator[Batch]:
        """One pass, in a fresh random order where there is one."""

    @abc.abstractmethod
    def __len__(self) -> int:
        """Number of batches of a pass; 0 where nobody knows."""

    def not_resumable(self) -> str | None:
        """Why a training on them could not be resumed exactly; `None` where it can."""
        return None

    def state(self) -> Tensor | None:
        """State of the random numbers of its own, if it has any."""
        return None

    def set_state(self, state: Tensor) -> None:
        """Restore `state`."""


class InMemory(Batches):
    """Tensors in memory, cut into batches without a `DataLoader`; on a GPU they live there if they fit.

    Parameters
    ----------
    split
        The data.
    batch_size
        Data a batch; the last one may be smaller.
    device, dtype
        Where the batches go, and their precision.
    shuffle
        Whether each pass has an order of its own.
    """

    def __init__(
        self, split: Split, batch_size: int, device: torch.device, dtype: torch.dtype, shuffle: bool = True
    ) -> None:
        self.split = split.to(device) if _fits(split, device) else split
        self.batch_size, self.device, self.dtype, self.shuffle = batch_size, device, dtype, shuffle

    def __iter__(self) -> Iterator[Batch]:
        n = len(self.split)
        order = torch.randperm(n) if self.shuffle else torch.arange(n)
        order = order.to(self.split.x.device)
        for start in range(0, n, self.batch_size):
            rows = order[start : start + self.batch_size]
            x = self.split.x[rows].to(self.device, self.dtype)
            for transform in self.split.pending:
                x = transform(x)
            mask = True if self.split.mask is None else self.split.mask[rows]
            yield Batch(x, tuple(c[rows] for c in self.split.context), mask).to(self.device, self.dtype)

    def __len__(self) -> int:
        return math.ceil(len(self.split) / self.batch_size)


class Loader(Batches):
    """A `DataLoader`, or any iterable of batches `x`, `(x, *context)` or `Batch`.

    Parameters
    ----------
    iterable
        Gives the batches; iterated anew for each pass.
    device, dtype
        Where the batches go, and their precision.
    """

    def __init__(self, iterable: Iterable[Any], device: torch.device, dtype: torch.dtype) -> None:
        self.iterable, self.device, self.dtype = iterable, device, dtype

    def __iter__(self) -> Iterator[Batch]:
        empty = True
        for item in self.iterable:
            empty = False
            yield _batch(item).to(self.device, self.dtype)
        if empty:
            raise ValueError(
                "training expects at least one batch in every pass over the data, got none; an iterator or generator "
                "can be passed over once only: give a DataLoader or an object whose __iter__ starts anew"
            )

    def __len__(self) -> int:
        return len(self.iterable) if hasattr(self.iterable, "__len__") else 0

    def not_resumable(self) -> str | None:
        """An exact resume needs to know where the data's own randomness stands."""
        if not isinstance(self.iterable, DataLoader):
            return (
                f"{type(self.iterable).__name__} is an iterable of its own, and its position and random state are "
                "unknown; give tensors, or a DataLoader over a map-style data set"
            )
        if isinstance(self.iterable.dataset, IterableDataset):
            return "its data set is an IterableDataset, whose position is unknown; give a map-style data set"
        return None

    def state(self) -> Tensor | None:
        """State of the loader's generator, if it was given one."""
        generator = getattr(self.iterable, "generator", None)
        return None if generator is None else generator.get_state()

    def set_state(self, state: Tensor) -> None:
        """Restore the loader's generator."""
        self.iterable.generator.set_state(state)  # type: ignore[attr-defined]


def batches(data: Any, batch_size: int, device: torch.device, dtype: torch.dtype) -> Batches:
    """Batches of a `Split`, a tensor, a tuple of tensors (x, *context), or of an iterable of batches."""
    split = split_of(data)
    if split is None:
        return Loader(data, device, dtype)
    return InMemory(split, batch_size, device, dtype)


def split_of(data: Any) -> Split | None:
    """The data as a `Split`, if they are in memory.

    Raises
    ------
    ValueError
        If there are none.
    """
    if isinstance(data, Tensor):
        data = (data,)
    if isinstance(data, tuple) and data and all(isinstance(t, Tensor) for t in data):
        x, *context = data
        data = Split(x, torch.arange(len(x)), context=tuple(context))
    if not isinstance(data, Split):
        return None
    if len(data) == 0:
        raise ValueError("data expect at least one datum, got none; check the split or the selection")
    return data


def _batch(item: Any) -> Batch:
    if isinstance(item, Batch):
        return item
    x, *context = item if isinstance(item, tuple | list) else (item,)
    return Batch(x, tuple(context))


def _fits(split: Split, device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return 2 * split.x.nbytes < free
