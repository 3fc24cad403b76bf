"""Batches of data: from tensors in memory, or from whatever can be iterated."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from ppl_vae.rows import Rows, dense
from ppl_vae.split import Split
from ppl_vae.tensors import check_precision, is_array
from ppl_vae.training.batch import Batch, as_batch
from ppl_vae.training.processes import Processes

__all__ = ["Batch", "Batches", "batches", "loader_of", "split_of"]

_ONCE = (
    "an iterator or generator can be passed over once only: give a DataLoader, or an object whose __iter__ starts anew"
)
_SAMPLERS = (BatchSampler, RandomSampler, SequentialSampler, SubsetRandomSampler, WeightedRandomSampler)


class Batches(abc.ABC):
    """Data in batches, one pass at a time.

    Attributes
    ----------
    num_data
        Number of data; `None` where it is unknown.
    """

    num_data: int | None = None

    @abc.abstractmethod
    def __iter__(self) -> Iterator[Batch]:
        """One pass, in a fresh random order where there is one."""

    @abc.abstractmethod
    def __len__(self) -> int:
        """Number of batches of a pass; 0 where it is unknown."""

    def smallest(self) -> int:
        """Number of data in the smallest batch of a pass; 0 where it is unknown."""
        return 0

    def join_single(self) -> bool:
        """Join a last batch of a single datum to the batch before it; whether there is one, and it can be done."""
        return False

    def limit(self, rows: int) -> None:  # noqa: B027, a loader cuts its own batches
        """Take at most so many data a batch."""

    def one_of_each_kind(self) -> list[Batch]:
        """Batches to try before a training: the first, one of every other kind as far as known, and the smallest."""
        first = next(iter(self))
        return [first, first.first(self.smallest())] if 0 < self.smallest() < len(first.x) else [first]

    def not_resumable(self) -> str | None:
        """Why a training on them could not be resumed exactly; `None` where it can."""
        return None

    def state(self) -> list[Tensor]:
        """States of the random number generators of its own."""
        return []

    def set_state(self, states: Sequence[Tensor]) -> None:  # noqa: B027, nothing to restore by default
        """Restore `state`."""

    @contextmanager
    def rewound(self) -> Iterator[None]:
        """A scope that restores the generators of its own."""
        states = self.state()
        try:
            yield
        finally:
            self.set_state(states)


class InMemory(Batches):
    """Tensors in memory, cut into batches without a `DataLoader`; on a GPU they live there if they fit.

    Parameters
    ----------
    split
        The data.
    batch_size
        Data a batch; the last one may be smaller, or larger by one: see `join_single`.
    device, dtype
        Where the batches go, and their precision.
    shuffle
        Whether each pass has an order of its own; see `Rows.shuffled` for data on disk.
    processes
        The processes that share each batch; this one reads its own rows. `None` where it is alone.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        device: torch.device,
        dtype: torch.dtype,
        shuffle: bool = True,
        processes: Processes | None = None,
    ) -> None:
        self.processes = processes or Processes()
        self.split = split.to(device) if _fits(split, device) else split
        self.batch_size, self.device, self.dtype, self.shuffle = batch_size, device, dtype, shuffle
        self.joined, self.num_data = 0, len(split)

    def __iter__(self) -> Iterator[Batch]:
        n, x = len(self.split), self.split.x
        shuffled = x.shuffled if isinstance(x, Rows) else partial(torch.randperm, n)
        order = shuffled() if self.shuffle else torch.arange(n)
        order = order.to(self.split.x.device)
        for number in range(len(self)):
            start, last = number * self.batch_size, number == len(self) - 1
            rows = order[start : n if last else start + self.batch_size]
            rows = rows[self.processes.share(len(rows))]
            x = dense(_taken(self.split.x, rows)).to(self.device, self.dtype)
            with self.processes.drawing():
                for transform in self.split.pending:
                    x = transform(x)
            mask = True if self.split.mask is None else dense(_taken(self.split.mask, rows))
            if isinstance(mask, Tensor) and self.split.pending:
                x = x.masked_fill(~mask.to(x.device), 0.0)  # as Split.drawn leaves it
            yield Batch(x, tuple(_taken(c, rows) for c in self.split.context), mask).to(self.device, self.dtype)

    def __len__(self) -> int:
        return math.ceil((len(self.split) - self.joined) / self.batch_size)

    def smallest(self) -> int:
        """Number of data in the last batch."""
        n = len(self.split)
        return n - (len(self) - 1) * self.batch_size if len(self) == 1 or not self.joined else self.batch_size

    def limit(self, rows: int) -> None:
        """Take at most so many data a batch."""
        self.batch_size = min(self.batch_size, rows)

    def join_single(self) -> bool:
        """Join a last batch of a single datum to the batch before it; whether there is one before it."""
        self.joined = int(1 < self.batch_size < len(self.split))
        return bool(self.joined)


def _taken(values: Any, rows: Tensor) -> Any:
    """Some rows: of a tensor by `index_select`, which takes a quarter of the time of an index."""
    return values.index_select(0, rows) if isinstance(values, Tensor) else values[rows]


class Loader(Batches):
    """A `DataLoader`, or any iterable of batches `x`, `(x, *context)`, `Batch`, or a mapping of its fields.

    Parameters
    ----------
    iterable
        Gives the batches; iterated anew for each pass.
    device, dtype
        Where the batches go, and their precision.
    processes
        Each reads every batch, and keeps its rows of it.
    """

    def __init__(
        self, iterable: Iterable[Any], device: torch.device, dtype: torch.dtype, processes: Processes | None = None
    ) -> None:
        self.iterable, self.device, self.dtype = iterable, device, dtype
        self.processes = processes or Processes()

    def __iter__(self) -> Iterator[Batch]:
        empty = True
        for item in self.iterable:
            batch = as_batch(item)
            if empty:  # in every pass, the dry run before training included
                _check_precision(batch.x, batch.context, self.dtype)
            empty = False
            yield batch.at(self.processes.share(len(batch.x))).to(self.device, self.dtype)
        if empty:
            raise ValueError(
                "training expects at least one batch in every pass over the data, got none; give data that are not "
                f"empty, nor fewer than a batch with drop_last=True; {_ONCE}"
            )

    def __len__(self) -> int:
        try:
            return len(self.iterable)  # type: ignore[arg-type]
        except TypeError:  # no __len__, or a DataLoader over data of unknown length
            return 0

    def smallest(self) -> int:
        """Where it is known without a pass: of a list of batches, and of a `DataLoader` that cuts its own."""
        if isinstance(self.iterable, list | tuple):
            return min((len(as_batch(item).x) for item in self.iterable), default=0)
        size = getattr(self.iterable, "batch_size", None)
        if not isinstance(self.iterable, DataLoader) or not size or isinstance(self.iterable.dataset, IterableDataset):
            return 0
        with suppress(TypeError):  # a sampler without a length
            rest = len(self.iterable.sampler) % size  # type: ignore[arg-type]
            return int(rest if rest and not self.iterable.drop_last else size)
        return 0

    def one_of_each_kind(self) -> list[Batch]:
        """Of a list of batches one of each kind, too."""
        first = super().one_of_each_kind()
        if not isinstance(self.iterable, list | tuple):
            return first
        each = {batch.kind: batch for batch in map(as_batch, reversed(self.iterable))}
        del each[as_batch(self.iterable[0]).kind]
        smallest = min((as_batch(item) for item in self.iterable), key=lambda batch: len(batch.x))
        others = [batch.to(self.device, self.dtype) for batch in (*each.values(), smallest)]
        return [first[0], *others]

    def not_resumable(self) -> str | None:
        """Why the random state of the loader is unknown; `None` where it is known."""
        loader = self.iterable
        if not isinstance(loader, DataLoader):
            return (
                f"{type(loader).__name__} is an iterable of its own, and its position and random state are "
                "unknown; give tensors, or a DataLoader over a map-style data set"
            )
        if isinstance(loader.dataset, IterableDataset):
            return "the data set is an IterableDataset, whose position is unknown; give a map-style data set"
        if strange := [type(s).__name__ for s in _samplers(loader) if type(s) not in _SAMPLERS]:
            return f"{strange[0]} is a sampler of its own, and its state is unknown; give one of torch's"
        if loader.persistent_workers:
            return "the workers persist, and their random states are unknown; set persistent_workers=False"
        return None

    def state(self) -> list[Tensor]:
        """States of the generators that the loader and its samplers were given."""
        return [generator.get_state() for generator in self._generators()]

    def set_state(self, states: Sequence[Tensor]) -> None:
        """Restore them."""
        for generator, state in zip(self._generators(), states, strict=True):
            generator.set_state(state)

    def _generators(self) -> list[torch.Generator]:
        if not isinstance(self.iterable, DataLoader):
            return []
        found = [getattr(part, "generator", None) for part in (self.iterable, *_samplers(self.iterable))]
        return list({id(g): g for g in found if isinstance(g, torch.Generator)}.values())


def batches(
    data: Any,
    batch_size: int,
    device: torch.device,
    dtype: torch.dtype,
    *,
    shuffle: bool = True,
    processes: Processes | None = None,
) -> Batches:
    """Batches of a `Split`, a tensor or array, a tuple of these (x, *context), or of an iterable of batches.

    Raises
    ------
    TypeError
        For data that are none of these.
    ValueError
        For no data, a batch size below 1, and for a generator, which can be passed over once only.
    """
    split = split_of(data)
    if split is not None:
        if batch_size < 1:
            raise ValueError(f"fit expects a batch_size of 1 or more, got {batch_size}; give more")
        _check_precision(split.x, split.context, dtype, split.mask)
        return InMemory(split, batch_size, device, dtype, shuffle, processes)
    if isinstance(data, Mapping):
        raise TypeError(
            f"fit expects tensors or an iterable of batches (x, *context), got {type(data).__name__} of "
            f"{', '.join(map(str, data))}, which is neither; give x itself, data['x'], or (x, *context)"
        )
    if not isinstance(data, Iterable):
        raise TypeError(
            f"fit expects tensors or an iterable of batches (x, *context), got {type(data).__name__}; give a "
            "Split, a tensor, a tuple of tensors or a DataLoader"
        )
    if iter(data) is data:
        raise ValueError(f"training passes over its data in every epoch, got {type(data).__name__}; {_ONCE}")
    return Loader(data, device, dtype, processes)


def loader_of(data: Any, batch_size: int, *, shuffle: bool = True) -> Any:
    """A `DataLoader` of a map-style data set of torch; other data are returned unchanged."""
    if not isinstance(data, Dataset) or isinstance(data, IterableDataset):
        return data
    if not len(data):  # type: ignore[arg-type]  # one of positions has a length
        raise ValueError(f"training expects one datum or more, got an empty {type(data).__name__}; give data")
    return DataLoader(data, batch_size, shuffle=shuffle)


def split_of(data: Any) -> Split | None:
    """The data as a `Split`, if they are in memory.

    Raises
    ------
    TypeError
        For arrays of anything but numbers.
    ValueError
        If there are none.
    """
    if is_array(data):
        data = (data,)
    if type(data) is tuple and data and all(map(is_array, data)):
        x, *context = data
        data = Split(x, torch.arange(len(x) if x.shape else 1), context=tuple(context))
    if not isinstance(data, Split):
        return None
    if len(data) == 0:
        raise ValueError("data expect at least one datum, got none; check the split or the selection")
    return data


def _check_precision(x: Tensor, context: tuple[Tensor, ...], dtype: torch.dtype, mask: Tensor | None = None) -> None:
    check_precision("x", x, dtype, mask)
    for c in context:
        if c.is_floating_point():  # whole numbers stay what they are
            check_precision("context", c, dtype)


def _samplers(loader: DataLoader[Any]) -> list[Any]:
    batched = loader.batch_sampler
    return [s for s in (loader.sampler, batched, getattr(batched, "sampler", None)) if s is not None]


def _fits(split: Split, device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return 2 * split.x.nbytes < free
