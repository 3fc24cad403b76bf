"""Functions of tensors compiled to machine code by torch's inductor."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ppl_vae import onednn
from ppl_vae.captured import Function, NotAssumed, NotCaptured, capture, first_line
from ppl_vae.folded import folded
from ppl_vae.isolation import random_states, set_random_states

__all__ = ["Compiler"]

_ATEN = torch.ops.aten


class Compiler:
    """Captures functions as graphs, and compiles these.

    Attributes
    ----------
    seconds
        What that has taken. Inductor keeps what it compiled on disk, where the next process finds it.
    reason
        Why `where_possible` has not compiled a graph; else `None`.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.reason: str | None = None

    def __call__(self, f: Function, *example: Tensor) -> Function:
        """f as machine code for tensors of these shapes: see `captured.capture`.

        Raises
        ------
        NotCaptured
            If it cannot be captured, or not be compiled: there is no C++ compiler, say.
        """
        return self._by(capture, f, example)

    def folded(self, f: Function, *example: Tensor) -> Function:
        """The same of a graph in which constants have their values: see `folded.folded`.

        Raises
        ------
        NotCaptured
            If it cannot be captured, or not be compiled.
        """
        return self._by(folded, f, example)

    def _by(self, graph: Callable[..., Function], f: Function, example: Sequence[Tensor]) -> Function:
        start, states = time.perf_counter(), random_states(example)
        try:
            return graph(f, *example, lowered=_made)
        finally:
            set_random_states(states, example)
            self.seconds += time.perf_counter() - start

    def where_possible(self, f: Function, *example: Tensor) -> Function:
        """The same; where f can be captured and not compiled, its graph.

        Raises
        ------
        NotCaptured
            If it cannot be captured.
        """
        try:
            return self(f, *example)
        except NotCaptured as error:
            self.reason = str(error)
            return capture(f, *example)


def _made(graph: Any, example: Sequence[Tensor]) -> Function:
    """A graph as machine code; where shapes depend on the values of boolean arguments, for these values alone."""
    masks = _places_known(graph, example)
    if onednn.is_faster():
        onednn.by_onednn(graph)
    compiled = _lowered(graph, example)
    return partial(_for_masks, compiled, masks) if masks else compiled


def _lowered(graph: Any, example: Sequence[Tensor]) -> Function:
    """A graph as machine code; random numbers are drawn by torch's own kernels, in the order of the graph."""
    import torch._inductor as inductor  # seconds of imports

    options = {"fallback_random": True, "reorder_for_peak_memory": False}
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what inductor says of the machine
            compiled: Function = inductor.compile(graph, [t.detach() for t in example], options=options)
    except Exception as error:  # whatever a compiler may do; the graph works without
        raise NotCaptured(f"its graph cannot be compiled ({type(error).__name__}: {first_line(error)})") from error
    return compiled


def _places_known(graph: Any, example: Sequence[Tensor]) -> dict[int, Tensor]:
    """Put what `nonzero` gives for the masks of the example, or for their complements, into a graph.

    Returns
    -------
    dict
        The masks that the graph now assumes, by the place of the argument.
    """
    arguments = [node for node in graph.graph.nodes if node.op == "placeholder"]
    masks = {node: (i, t) for i, (node, t) in enumerate(zip(arguments, example, strict=True)) if t.dtype == torch.bool}
    assumed = {}
    for node in list(graph.graph.nodes):
        if node.target not in (_ATEN.bitwise_not.default, _ATEN.nonzero.default) or node.args[0] not in masks:
            continue
        place, mask = masks[node.args[0]]
        if node.target is _ATEN.bitwise_not.default:
            masks[node] = place, ~mask
        else:
            assumed[place] = example[place].clone()
            graph.register_buffer(f"_places_{node.name}", mask.nonzero())
            with graph.graph.inserting_before(node):
                node.replace_all_uses_with(graph.graph.get_attr(f"_places_{node.name}"))
            graph.graph.erase_node(node)
    if assumed:
        graph.recompile()
    return assumed


def _for_masks(compiled: Function, masks: Mapping[int, Tensor], *tensors: Tensor) -> Sequence[Tensor]:
    """What a function gives that was compiled for these masks among its arguments."""
    if not all(torch.equal(tensors[place], mask) for place, mask in masks.items()):
        raise NotAssumed("a mask that shapes depend on has changed")
    return compiled(*tensors)
