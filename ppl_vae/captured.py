"""Functions of tensors as graphs of torch's operations, without the Python that made them."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
import pyro
import torch
from torch import Tensor
from torch.nn.utils.stateless import _reparametrize_module
from torch.overrides import TorchFunctionMode

from ppl_vae.assumed import assuming
from ppl_vae.isolation import random_states, set_random_states
from ppl_vae.modelled import TorchModule
from ppl_vae.precision import in_float64
from ppl_vae.recorded import Function, as_cuda_graph

__all__ = [
    "Function",
    "NotAssumed",
    "NotCaptured",
    "acts",
    "capture",
    "first_line",
    "functional",
    "graph_of",
    "shortened",
]


class NotCaptured(Exception):  # noqa: N818, nothing went wrong: the function is called as it is
    """Why a function is not replayed as a graph, in a sentence without its end."""


@contextmanager
def functional(module: TorchModule, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """A scope in which a module computes with these tensors, by name, in the place of its parameters and buffers."""
    # of a module with two names each tensor is replaced twice; `stack_weights` puts the first one back last
    with _reparametrize_module(module, dict(tensors), tie_weights=True, stack_weights=True):  # type: ignore[arg-type]
        yield


class NotAssumed(Exception):  # noqa: N818, the function is called as it is
    """A condition that a graph assumes does not hold: see `assumed.assume`."""


def capture(
    f: Function, *example: Tensor, lowered: Callable[[Any, Sequence[Tensor]], Function] | None = None
) -> Function:
    """f as a graph of torch's operations for tensors of these shapes, called without gradients.

    All that changes from call to call must be an argument: Python's numbers, and tensors that f uses without being
    given them, are constants of the graph. Random numbers are drawn anew at every call, as f draws them. f is called
    once, on tensors without values: no random number is drawn, and no argument changes. Pyro's validation, which
    compares values, is off in it; a number taken out of a tensor by `item` stays a tensor. `lowered` makes of the graph
    and the example what is called in its place. On a GPU its kernels are recorded: see `as_cuda_graph`.

    Raises
    ------
    NotCaptured
        If control flow or shapes depend on values, or f does what cannot be recorded. The function that is returned
        raises `NotAssumed` where what f assumes does not hold.
    """
    conditions: list[Tensor] = []

    def listed(*tensors: Tensor) -> list[Tensor]:
        with assuming() as assumed:
            found = list(f(*tensors))
        conditions[:] = assumed
        return [*found, *([torch.stack(assumed).all()] if assumed else [])]

    without_values = {"tracing_mode": "fake", "_allow_non_fake_inputs": True}
    graph = graph_of(listed, example, _Numbers(), _no_nan(), **without_values)
    short = shortened(graph, lambda node: node.target in _COPIES)
    # `forward` is the same without what a module does for its hooks at each call
    called = as_cuda_graph(short.forward if lowered is None else lowered(short, example), example)
    return partial(_checked, called) if conditions else called


def graph_of(
    f: Function, example: Sequence[Tensor], *scopes: AbstractContextManager[Any], **settings: Any
) -> torch.fx.GraphModule:
    """The operations of f on an example, as `make_fx` records them with some settings, and inside some scopes.

    f is called without gradients and without Pyro's validation; all random states are as before.

    Raises
    ------
    NotCaptured
        If an error is raised.
    """
    from torch.fx.experimental.proxy_tensor import make_fx  # a second of imports

    states, python, numpy = random_states(example), random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with (
            torch.no_grad(),
            pyro.validation_enabled(False),
            warnings.catch_warnings(),
            ExitStack() as stack,
        ):
            warnings.simplefilter("ignore")  # f was called before, and has said what it says
            for scope in scopes:
                stack.enter_context(scope)
            return make_fx(f, **settings)(*(t.detach() for t in example))
    except NotCaptured:
        raise
    except Exception as error:  # whatever a program may do; called as it is, it works
        raise NotCaptured(_why_not(error)) from error
    finally:
        set_random_states(states, example)
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def shortened(graph: torch.fx.GraphModule, is_copy: Callable[[Any], bool]) -> torch.fx.GraphModule:
    """The graph without what no result needs, and with the first argument of a node that `is_copy` in its place.

    What draws random numbers or changes a tensor in place stays.
    """
    for node in list(graph.graph.nodes):
        if is_copy(node):
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code(is_impure_node=lambda node: node.op in ("placeholder", "output") or acts(node))
    graph.recompile()
    return graph


def acts(node: Any) -> bool:
    """Whether a node of a graph draws random numbers or changes a tensor in place."""
    schema, tags = getattr(node.target, "_schema", None), getattr(node.target, "tags", ())
    return (schema is not None and schema.is_mutable) or torch.Tag.nondeterministic_seeded in tags


_COPIES = {torch.ops.aten.detach.default, torch.ops.aten.alias.default}
"""Operations that give their argument as it is."""


class _Numbers(TorchFunctionMode):
    """Keeps what `item` takes out of a tensor in the graph, in float64 as Python's numbers are."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.item:
            value = args[0].detach()
            return in_float64(value) if value.is_floating_point() else value
        if func in (torch.Tensor.numpy, torch.Tensor.__array__):
            raise NotCaptured("it computes with arrays of NumPy")
        return func(*args, **(kwargs or {}))


@contextmanager
def _no_nan() -> Iterator[None]:
    """A scope in which Pyro does not ask whether its losses are NaN, which it does even without validation."""
    asked = pyro.util.torch_isnan
    pyro.util.torch_isnan = lambda value: False  # type: ignore[assignment]
    try:
        yield
    finally:
        pyro.util.torch_isnan = asked


def _checked(graph: Function, *tensors: Tensor) -> Sequence[Tensor]:
    """What a graph returns before its last result, whether what it assumes holds."""
    *found, holds = graph(*tensors)
    if not holds:
        raise NotAssumed("what the graph assumes does not hold")
    return found


_BY_VALUES = ("GuardOnDataDependentSymNode", "DataDependentOutputException", "DynamicOutputShapeException")
"""Errors of torch, by name, for a value that is asked for where there are none yet."""


def _why_not(error: Exception) -> str:
    """Why a function is not captured, from the error of recording it."""
    if type(error).__name__ in _BY_VALUES:
        return "its control flow or its shapes depend on values"
    return f"it cannot be recorded ({type(error).__name__}: {first_line(error)})"


def first_line(error: Exception) -> str:
    """The message of an error, without what follows its first line."""
    return str(error).partition("\n")[0].strip()
