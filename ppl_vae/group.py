"""The processes of torch's process group, and plain values that they tell each other."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import distributed

__all__ = ["Group", "launched", "num_cores"]

T = TypeVar("T")


class Group:
    """The processes of torch's initialized process group; this one alone where there is none.

    Parameters
    ----------
    work
        What they do together, and what to do where one of them ends: both are in the error that the others raise.

    Attributes
    ----------
    rank, size
        Number of this process, from 0, and how many there are.
    """

    def __init__(self, work: tuple[str, str]) -> None:
        there = _initialized()
        self.rank, self.size = (distributed.get_rank(), distributed.get_world_size()) if there else (0, 1)
        self.work = work

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def check_threads(self, threads: int | None = None) -> None:
        """Warn, once, where the threads of a machine's processes are more than its cores, or at most half of them.

        Few threads are right where there is a GPU.

        Warns
        -----
        UserWarning
            In the first process, with the number of threads to set.
        """
        here, threads = int(os.environ.get("LOCAL_WORLD_SIZE", self.size)), threads or torch.get_num_threads()
        cores = num_cores()
        too_many = threads > 1 and here * threads > cores
        too_few = 2 * here * threads <= cores and not torch.cuda.is_available()  # which wants no more than a thread
        if self.size == 1 or not self.first or not (too_many or too_few):
            return
        what = "so that they wait for each other" if too_many else "so that the other cores do nothing"
        warnings.warn(
            f"{here} processes of this machine have {threads} threads each for {cores} cores, {what}; set "
            f"OMP_NUM_THREADS={max(1, cores // here)} before they start, or give threads={max(1, cores // here)}",
            stacklevel=2,
        )

    def gathered(self, value: T) -> list[T]:
        """The values of all processes, in order: plain ones, or tensors on the CPU."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        with self.told():
            distributed.all_gather_object(found, value)
        return found

    def of_first(self, value: T) -> T:
        """The value of the first process."""
        if self.size == 1:
            return value
        found: list[Any] = [value]
        with self.told():
            distributed.broadcast_object_list(found, src=0)
        first: T = found[0]
        return first

    def merged(self, own: Iterable[T], order: Callable[[T], Any]) -> Iterable[T]:
        """What each process makes, as all of them have it, in an order; alone it is made one by one.

        Raises
        ------
        RuntimeError
            Where another process raised an error, which says more. An error of this one is raised as it is.
        """
        if self.size == 1:
            return own
        made: list[T] = []
        failed: Exception | None = None
        try:
            made.extend(own)
        except Exception as error:  # whatever it is, the others must not wait for an answer
            failed = error
        said = None if failed is None else f"{type(failed).__name__}: {str(failed).partition(chr(10))[0]}"
        answers = self.gathered((made, said))
        if failed is not None:
            raise failed
        if others := [f"process {rank} has {error}" for rank, (_, error) in enumerate(answers) if error]:
            what, fix = self.work
            raise RuntimeError(f"{what} by {self.size} processes expects all of them to go on, but {others[0]}; {fix}")
        return sorted((item for items, _ in answers for item in items), key=order)

    @contextmanager
    def told(self) -> Iterator[None]:
        """A scope in which a message that does not arrive is told in a sentence.

        Raises
        ------
        RuntimeError
            For a process that ended, or does not answer.
        """
        try:
            yield
        except RuntimeError as error:
            first = re.sub(r"^\[.*?\]\s*", "", str(error).strip().partition("\n")[0]).partition(". ")[0]
            what, fix = self.work
            raise RuntimeError(
                f"{what} by {self.size} processes expects all of them to go on, got no answer from another one "
                f"({first}); {fix}"
            ) from error


def _initialized() -> bool:
    return distributed.is_available() and distributed.is_initialized()  # some builds of torch have no process groups


def num_cores() -> int:
    """How many cores this process may use; all of the machine where the system does not say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def launched() -> Iterator[bool]:
    """A scope in the process group that `torchrun` asks for, if it started this process and there is none yet.

    NCCL where there is a GPU for each process, else gloo.

    Yields
    ------
    bool
        Whether this is the process that writes files and prints.
    """
    there = _initialized()
    if there or int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
        yield not there or distributed.get_rank() == 0
        return
    on_gpus = torch.cuda.device_count() > 0
    if on_gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    distributed.init_process_group("nccl" if on_gpus else "gloo")
    try:
        yield distributed.get_rank() == 0
    finally:
        distributed.destroy_process_group()
