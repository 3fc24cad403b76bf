"""Functions of tensors as graphs of what depends on their arguments alone: all else is computed once."""

from __future__ import annotations

import operator
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ppl_vae.captured import Function, NotCaptured, acts, graph_of, shortened
from ppl_vae.recorded import as_cuda_graph

__all__ = ["folded"]

_ATEN = torch.ops.aten
_FILLED = {_ATEN.zeros_like.default, _ATEN.ones_like.default, _ATEN.new_zeros.default, _ATEN.new_ones.default}
"""Tensors whose values do not depend on those of the one whose shape they have."""
_HIDDEN_VIEWS = {_ATEN._unsafe_view.default}
"""Views whose schemas do not say so."""
_RELAID = {_ATEN.detach.default, _ATEN.alias.default, _ATEN.view.default, _ATEN.expand.default, _ATEN.permute.default}


def folded(
    f: Function, *example: Tensor, lowered: Callable[[Any, Sequence[Tensor]], Function] | None = None
) -> Function:
    """f as a graph of torch's operations, as `captured.capture` makes it, in which constants have their values.

    Parameters, data and whatever else f uses without being given it stay as they are now, and what is computed of them
    alone is computed once: an encoder's output, pseudo-inputs encoded. Control flow may depend on these, not on the
    arguments. f is called once, on the example; the random state is as before. `lowered` makes of the graph and the
    example what is called in its place.

    Raises
    ------
    NotCaptured
        If control flow or shapes depend on the arguments, if f changes a tensor that it was not given, or does what
        cannot be recorded.
    """
    from torch._guards import TracingContext, tracing
    from torch._subclasses import FakeTensorMode

    one_mode = tracing(TracingContext(FakeTensorMode(allow_fallback_kernels=True)))  # else one a node, which is slower
    graph = graph_of(
        lambda *tensors: list(f(*tensors)), example, one_mode, _Reads(), _error_on_data_dependent_ops=False
    )
    short = _with_constants(graph)
    return as_cuda_graph(short if lowered is None else lowered(short, example), example)


class _Reads(TorchFunctionMode):
    """Refuses to read values of arguments outside of torch, where no graph sees what becomes of them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.Tensor.numpy, torch.Tensor.__array__, torch.Tensor.tolist) and _of_arguments(args[0]):
            raise NotCaptured("it reads values of its arguments")
        return func(*args, **(kwargs or {}))


def _of_arguments(tensor: Tensor) -> bool:
    """Whether a tensor, in a function that is recorded, depends on the arguments or on random numbers."""
    from torch.fx.experimental.proxy_tensor import get_innermost_proxy_mode, get_proxy_slot

    mode = get_innermost_proxy_mode()
    found = None if mode is None else get_proxy_slot(tensor, mode.tracer, None)
    todo, seen = [] if found is None else [found.proxy.node], set()
    while todo:
        node = todo.pop()
        if node.op == "placeholder" or acts(node):
            return True
        if node not in seen:
            seen.add(node)
            todo += node.all_input_nodes
    return False


def _with_constants(module: Any) -> Function:
    """The graph with every node that no argument and no random number reaches replaced by its value."""
    nodes, kept = list(module.graph.nodes), _changed(module)
    values: dict[Any, Any] = {}
    with torch.no_grad():
        for node in nodes:
            if node.op == "get_attr":
                values[node] = getattr(module, node.target)
            elif node.op == "call_function" and node not in kept and all(n in values for n in node.all_input_nodes):
                args, kwargs = torch.fx.map_arg((node.args, node.kwargs), values.__getitem__)
                values[node] = node.target(*args, **kwargs)
            elif node.target in _FILLED and node not in kept:
                like = node.args[0].meta["val"]  # without values
                like = torch.empty_strided(like.shape, like.stride(), dtype=like.dtype, device=like.device)
                values[node] = node.target(like, *node.args[1:], **node.kwargs)
            elif node.op == "call_function" and _by_value(node, values):
                raise NotCaptured("its control flow or its shapes depend on values")
    for number, node in enumerate(n for n in nodes if n in values and n.op == "call_function"):
        if all(user in values for user in node.users):
            continue
        name = f"_folded_{number}"
        module.register_buffer(name, values[node])
        with module.graph.inserting_before(node):
            node.replace_all_uses_with(module.graph.get_attr(name))
    return shortened(module, lambda node: node not in values and node not in kept and _same(node))


def _same(node: Any) -> bool:
    """Whether a node gives its input as it is: detached, or in the shape and layout that it has."""
    if node.target not in _RELAID or not isinstance(node.args[0], torch.fx.Node):
        return False
    was, now = node.args[0].meta["val"], node.meta["val"]
    return bool(was.shape == now.shape and was.stride() == now.stride())


def _changed(module: Any) -> set[Any]:
    """Nodes that draw random numbers or write into memory, and those of that memory: never computed once."""
    kept: set[Any] = set()
    for node in module.graph.nodes:
        if acts(node):
            kept.add(node)
        schema = getattr(node.target, "_schema", None)
        if schema is not None and schema.is_mutable:
            for number, argument in enumerate(schema.arguments):
                if argument.alias_info is not None and argument.alias_info.is_write:
                    given = node.args[number] if number < len(node.args) else node.kwargs.get(argument.name)
                    kept.update(_memory_of(given))
    if any(node.op == "get_attr" for node in kept):
        raise NotCaptured("it changes a tensor that is not its own")
    return kept


def _memory_of(node: Any) -> Iterator[Any]:
    """A node, and those whose memory it shares: what it is a view of."""
    if isinstance(node, torch.fx.Node):
        yield node
        schema = getattr(node.target, "_schema", None)
        views = schema is not None and (any(r.alias_info for r in schema.returns) or node.target in _HIDDEN_VIEWS)
        if views or node.target is operator.getitem:
            yield from _memory_of(node.args[0])
    elif isinstance(node, list | tuple):
        for each in node:
            yield from _memory_of(each)


def _by_value(node: Any, values: Container[Any]) -> bool:
    """Whether the shape or a number that a node gives depends on other than these values."""
    if node.target is _ATEN.index.Tensor and all(i is None or i in values or _whole(i) for i in node.args[1]):
        return False
    tags = getattr(node.target, "tags", ())
    return torch.Tag.data_dependent_output in tags or torch.Tag.dynamic_output_shape in tags


def _whole(node: Any) -> bool:
    """Whether a node gives whole numbers, and no mask."""
    return node.meta["val"].dtype in (torch.int64, torch.int32)
