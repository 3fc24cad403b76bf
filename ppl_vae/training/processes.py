"""Several processes that train one program: each has some rows of every batch, and all have its gradient."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Self

import torch
from torch import Tensor, distributed

from ppl_vae.group import Group
from ppl_vae.modelled import Modelled
from ppl_vae.training.batch import Batch
from ppl_vae.training.fingerprint import plain
from ppl_vae.training.row_draws import RowDraws

__all__ = ["Processes"]

_WORK = "a training", "start all of them again, with resume=True (--resume) to go on from the last checkpoint"


class Processes(Group):
    """The processes of torch's initialized process group; this one alone where there is none.

    Every process has the same weights, optimizer and random states. It takes its rows of each batch, with the random
    numbers that they have in the whole of it (see `RowDraws`), and the sum of all gradients. So a training is the same
    with any number of processes, up to the rounding of sums.

    Attributes
    ----------
    rank, size
        Number of this process, from 0, and how many there are.
    beside
        Sizes of the dimensions to the left of the data in the program's draws: particles and other plates.
    """

    beside: Collection[int] = ()

    def __init__(self) -> None:
        super().__init__(_WORK)
        self._total, self._rows, self._whole = 0, slice(None), self.size == 1

    @classmethod
    def checked(cls, threads: int | None = None) -> Self:
        """The processes, and a warning where their threads do not fit the cores."""
        found = cls()
        found.check_threads(threads)
        return found

    def device(self, name: str) -> str:
        """What ``"auto"`` is: of several processes on a machine each has a GPU of its own, by LOCAL_RANK."""
        if self.size == 1 or name != "auto":
            return name
        count = torch.cuda.device_count()
        return f"cuda:{int(os.environ.get('LOCAL_RANK', self.rank)) % count}" if count else "cpu"

    def share(self, total: int) -> slice:
        """The rows of a batch of so many that are this process's."""
        self._total, self._rows = total, slice(0, total)
        if not self._whole:
            self._rows = slice(total * self.rank // self.size, total * (self.rank + 1) // self.size)
        return self._rows

    @property
    def part(self) -> tuple[int, int]:
        """Rows of the batch of the last `share`, and the first one of this process."""
        return self._total, self._rows.start or 0

    def drawing(self) -> AbstractContextManager[Any]:
        """A scope in which the rows of the last `share` are given their random numbers."""
        return nullcontext() if self._whole else RowDraws(self._total, self._rows)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """A scope in which each process has all rows."""
        before, self._whole = self._whole, True
        try:
            yield
        finally:
            self._whole = before

    def check_rows(self) -> None:
        """Refuse a batch of fewer rows than processes, or whose rows `RowDraws` would not know from particles.

        Raises
        ------
        ValueError
            In every process.
        """
        if not self._whole and self._total < self.size:
            raise ValueError(
                f"{self.size} processes expect a datum each of every batch, got a batch of {self._total}; give another "
                "batch_size, which leaves a larger last batch, or drop_last=True to a DataLoader"
            )
        rows = {self._total // self.size, -(-self._total // self.size)}
        if not self._whole and rows.intersection(self.beside):
            raise ValueError(
                f"{self.size} processes expect another number of rows each than of particles, or than the size of a "
                f"plate beside that of the data, got {rows.intersection(self.beside).pop()} of both in a batch of "
                f"{self._total}; give another batch_size or num_particles, or drop_last=True to a DataLoader"
            )

    def same_weights(self, program: Modelled) -> None:
        """Give every process the parameters and buffers of the first."""
        if self.size > 1:
            with torch.no_grad(), self.told():
                for _, tensor in (*program.named_parameters(), *program.named_buffers()):
                    distributed.broadcast(tensor.detach(), src=0)

    def same_data(self, batch: Batch) -> None:
        """Refuse data that differ from those of the first process, by a whole batch of each.

        Raises
        ------
        ValueError
            In every process.
        """
        said = self.gathered([plain(tensor) for tensor in (batch.x, *batch.context, torch.as_tensor(batch.mask))])
        if others := [rank for rank, other in enumerate(said) if other != said[0]]:
            raise ValueError(
                f"{self.size} processes expect the same data in the same order, got other ones in process {others[0]} "
                "than in process 0; load and shuffle them by the same seed in all"
            )

    def sum_gradients(self, parameters: Iterable[Tensor], failed: bool = False) -> None:
        """Replace the gradients by their sums over all processes, in messages of at most 25 MiB, all under way at once.

        A parameter that no process has a gradient of is left without.

        Raises
        ------
        FloatingPointError
            Where another process says that it `failed`: no process may step.
        """
        if self.size == 1:
            return
        by_dtype: dict[torch.dtype, list[Tensor]] = {}
        for p in parameters:
            by_dtype.setdefault(p.dtype, []).append(p)
        some_failed = [self._summed(group, failed) for group in by_dtype.values()]  # all messages, or others wait
        if any(some_failed) and not failed:
            raise FloatingPointError("a loss in another process, which says more,")

    def _summed(self, parameters: Sequence[Tensor], failed: bool) -> bool:
        """Sum gradients of one dtype; whether some process failed."""
        own = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        said = own[0].new_tensor([failed, *(p.grad is not None for p in parameters)])
        parts = _parts([said, *own])
        messages = [torch.cat([tensor.flatten() for tensor in part]) for part in parts]
        with self.told():
            for sent in [distributed.all_reduce(message, async_op=True) for message in messages]:
                sent.wait()
        sums = [
            found
            for message, part in zip(messages, parts, strict=True)
            for found in message.split([tensor.numel() for tensor in part])
        ]
        some_failed, *there = sums[0].tolist()
        for parameter, found, reached in zip(parameters, sums[1:], there, strict=True):
            parameter.grad = found.view_as(parameter) if reached else None
        return bool(some_failed)


_MESSAGE = 25 * 2**20  # bytes, as torch's DistributedDataParallel has it


def _parts(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """Tensors one after the other, in parts of as many bytes as a message has; a larger one is a part of its own."""
    parts: list[list[Tensor]] = [[]]
    size = 0
    for tensor in tensors:
        size += tensor.nbytes
        if parts[-1] and size > _MESSAGE:
            parts.append([])
            size = tensor.nbytes
        parts[-1].append(tensor)
    return parts
