"""Functions of tensors on a GPU, whose kernels are launched together as a CUDA graph."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ppl_vae.isolation import random_states, set_random_states

__all__ = ["Function", "Recorded", "as_cuda_graph"]

Function = Callable[..., Sequence[Tensor]]
"""A function f(*tensors) of tensors to a sequence of tensors, of which some may be changed in place."""


def as_cuda_graph(f: Function, example: Sequence[Tensor]) -> Function:
    """The function, recorded where all its arguments are on one GPU."""
    return Recorded(f) if example and example[0].is_cuda and len({t.device for t in example}) == 1 else f


class Recorded:
    """A function of tensors that are all on one GPU, recorded as a CUDA graph: one launch in the place of hundreds.

    The first call runs the function. The second records it: an argument that is the same tensor in both is used where
    it lies, and may be changed in place; the others are copied into tensors of the graph in every call. The results are
    copies. Random numbers are drawn from torch's generator of the GPU as the function draws them. A call with other
    tensors in the place of those that are used where they lie runs the function, and the next one records it again.

    Parameters
    ----------
    f
        The function, called without gradients and always with the same shapes, dtypes and strides. What it does on the
        CPU is done at the recording alone.

    Attributes
    ----------
    reason
        Why it is not recorded: it waits for the GPU, say. `None` where it is or may be.
    """

    def __init__(self, f: Function) -> None:
        self.f = f
        self.reason: str | None = None
        self._before: Sequence[Tensor] | None = None  # kept, so that no other tensor can have their addresses
        self._moves: set[int] = set()
        self._inputs: list[Tensor] = []
        self._outputs: list[Tensor] = []
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, *tensors: Tensor) -> Sequence[Tensor]:
        """f(*tensors)."""
        if self._graph is None and not self._record(tensors):
            return self.f(*tensors)
        fixed = [number for number in range(len(tensors)) if number not in self._moves]
        if any(tensors[n].data_ptr() != self._inputs[n].data_ptr() for n in fixed):
            self._graph, self._before = None, self._inputs
            self._moves_between(self._inputs, tensors)
            return self.f(*tensors)
        if self._moves:
            torch._foreach_copy_([self._inputs[n] for n in self._moves], [tensors[n] for n in self._moves])
        assert self._graph is not None
        self._graph.replay()
        return [t.clone() for t in self._outputs]

    def _moves_between(self, before: Sequence[Tensor], now: Sequence[Tensor]) -> None:
        pairs = enumerate(zip(before, now, strict=True))
        self._moves |= {number for number, (a, b) in pairs if a.data_ptr() != b.data_ptr()}

    def _record(self, tensors: Sequence[Tensor]) -> bool:
        """Record the function where it is called for the second time; whether there is a graph now."""
        before, self._before = self._before, tensors
        if before is None or self.reason is not None:
            return False
        self._moves_between(before, tensors)
        states = random_states(tensors)
        try:
            self._inputs = [t.detach().clone() if n in self._moves else t.detach() for n, t in enumerate(tensors)]
            self._warm_up()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._outputs = list(self.f(*self._inputs))
            self._graph = graph
        except RuntimeError as error:
            self.reason = str(error.__context__ or error).partition("\n")[0].strip()
            warnings.warn(
                f"kernels of the GPU are launched one by one, as a function cannot be recorded: {self.reason}",
                stacklevel=2,
            )
        finally:
            self._before = None
            set_random_states(states, tensors)
        return self._graph is not None

    def _warm_up(self) -> None:
        """Call the function on copies, off the stream that others use, as libraries allocate in their first call.

        Raises
        ------
        RuntimeError
            If it waits for the GPU, or changes an argument that is not the same tensor in every call.
        """
        copies, mode = [t.clone() for t in self._inputs], torch.cuda.get_sync_debug_mode()
        stream, current = torch.cuda.Stream(), torch.cuda.current_stream()
        stream.wait_stream(current)
        torch.cuda.set_sync_debug_mode("error")  # a recording that fails would leave torch's generator recording
        try:
            with torch.cuda.stream(stream):
                self.f(*copies)
        finally:
            torch.cuda.set_sync_debug_mode(mode)
            current.wait_stream(stream)
        if any(not torch.equal(copies[n], self._inputs[n]) for n in self._moves):
            raise RuntimeError("it changes a tensor in place that is another one in every call")
