"""Several processes that train one program: each has some rows of every batch, and all have its gradient."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from ppl_vae.modelled import Modelled
from ppl_vae.training.row_draws import RowDraws

__all__ = ["Processes", "launched"]

T = TypeVar("T")


class Processes:
    """The processes of torch's initialized process group; this one alone where there is none.

    Every process has the same weights, optimizer and random states. It takes its rows of each batch, with the random
    numbers that they have in the whole of it (see `RowDraws`), and the sum of all gradients. So a training is the same
    with any number of processes, up to the rounding of sums.

    Attributes
    ----------
    rank, size
        Number of this process, from 0, and how many there are.
    """

    def __init__(self) -> None:
        there = distributed.is_available() and distributed.is_initialized()
        self.rank, self.size = (distributed.get_rank(), distributed.get_world_size()) if there else (0, 1)
        self._total, self._rows, self._whole = 0, slice(None), self.size == 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

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
        """Refuse a batch of fewer rows than processes.

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

    def same_weights(self, program: Modelled) -> None:
        """Give every process the parameters and buffers of the first."""
        if self.size > 1:
            with torch.no_grad(), _told(self.size):
                for _, tensor in (*program.named_parameters(), *program.named_buffers()):
                    distributed.broadcast(tensor.detach(), src=0)

    def gathered(self, value: T) -> list[T]:
        """The values of all processes, in order: plain ones, or tensors on the CPU."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        with _told(self.size):
            distributed.all_gather_object(found, value)
        return found

    def of_first(self, value: T) -> T:
        """The value of the first process."""
        if self.size == 1:
            return value
        found: list[Any] = [value]
        with _told(self.size):
            distributed.broadcast_object_list(found, src=0)
        first: T = found[0]
        return first

    def sum_gradients(self, parameters: Iterable[Tensor], failed: bool = False) -> None:
        """Replace the gradients by their sums over all processes, by one message a dtype.

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
        for group in by_dtype.values():
            if _summed(group, failed, self.size) and not failed:
                raise FloatingPointError("a loss in another process, which says more,")


def _summed(parameters: Sequence[Tensor], failed: bool, size: int) -> bool:
    """Sum gradients of one dtype; whether some process failed."""
    own = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    said = own[0].new_tensor([failed, *(p.grad is not None for p in parameters)])
    flat = torch.cat([said, *(gradient.flatten() for gradient in own)])
    with _told(size):
        distributed.all_reduce(flat)
    some_failed, *there = flat[: len(said)].tolist()
    sums = flat[len(said) :].split([gradient.numel() for gradient in own])
    for parameter, found, reached in zip(parameters, sums, there, strict=True):
        parameter.grad = found.view_as(parameter) if reached else None
    return bool(some_failed)


@contextmanager
def _told(size: int) -> Iterator[None]:
    """A scope in which a message that does not arrive is told in a sentence."""
    try:
        yield
    except RuntimeError as error:
        first = re.sub(r"^\[.*?\]\s*", "", str(error).strip().partition("\n")[0]).partition(". ")[0]
        raise RuntimeError(
            f"a training by {size} processes expects all of them to go on, got no answer from another one ({first}); "
            "start all of them again, with resume=True (--resume) to go on from the last checkpoint"
        ) from error


@contextmanager
def launched() -> Iterator[Processes]:
    """A scope in the process group that `torchrun` asks for, if it started this process and there is none yet.

    NCCL where there is a GPU for each process, else gloo.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ or distributed.is_initialized():
        yield Processes()
        return
    on_gpus = torch.cuda.device_count() > 0
    if on_gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    distributed.init_process_group("nccl" if on_gpus else "gloo")
    try:
        yield Processes()
    finally:
        distributed.destroy_process_group()
