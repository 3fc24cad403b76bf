"""Functions of tensors as graphs of torch's operations, replayed without the Python that made them."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pyro
import torch
from torch import Tensor
from torch.nn.utils.stateless import _reparametrize_module
from torch.overrides import TorchFunctionMode

from ppl_vae.assumed import assuming
from ppl_vae.isolation import gpus_of
from ppl_vae.modelled import TorchModule
from ppl_vae.precision import in_float64

__all__ = [
    "Function",
    "NotAssumed",
    "NotCaptured",
    "Replayed",
    "all_close",
    "capture",
    "functional",
    "random_states",
    "set_random_states",
    "why_not",
]

Function = Callable[..., Sequence[Tensor]]
"""A function f(*tensors) of tensors to a sequence of tensors, of which some may be changed in place."""


class NotCaptured(Exception):  # noqa: N818, nothing went wrong: the function is called as it is
    """Why a function is not replayed as a graph, in a sentence without its end."""


@contextmanager
def functional(module: TorchModule, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """A scope in which a module computes with these tensors, by name, in the place of its parameters and buffers."""
    with _reparametrize_module(module, dict(tensors), tie_weights=True):  # type: ignore[arg-type]
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
    and the example what is called in its place.

    Raises
    ------
    NotCaptured
        If control flow or shapes depend on values, or f does what cannot be recorded. The function that is returned
        raises `NotAssumed` where what f assumes does not hold.
    """
    from torch.fx.experimental.proxy_tensor import make_fx  # a second of imports

    conditions: list[Tensor] = []

    def listed(*tensors: Tensor) -> list[Tensor]:
        with assuming() as assumed:
            found = list(f(*tensors))
        conditions[:] = assumed
        return [*found, *([torch.stack(assumed).all()] if assumed else [])]

    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.no_grad(), _Numbers(), pyro.validation_enabled(False), _no_nan(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # f was called before, and has said what it says
            graph = make_fx(listed, tracing_mode="fake", _allow_non_fake_inputs=True)(*(t.detach() for t in example))
    except NotCaptured:
        raise
    except Exception as error:  # whatever a program may do; called as it is, it works
        raise NotCaptured(why_not(error)) from error
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
    called = _shortened(graph)
    called = called if lowered is None else lowered(called, example)
    return partial(_checked, called) if conditions else called


class Replayed:
    """A function of tensors that is replayed as a graph, one for each combination of shapes.

    The first calls with new shapes run the function as it is. The next one captures it, and in this and some more
    calls both run, on the same random numbers; from then on the graph alone does. What is not captured, or differs, is
    called as it is for good, and `reason` says why.

    Parameters
    ----------
    f
        The function to capture: see `capture`.
    plain
        What is called in its place: the same function, with whatever else it does; f itself by default.
    most
        Largest number of graphs; other shapes are called as they are.
    trials
        Calls in which both run.
    after
        Calls of each combination of shapes that run the function as it is, before its graph is made. Making it may
        take as long as a hundred calls.
    by
        Makes the graph: `capture`, or `folded.folded`.
    close
        Whether the results of the graph and its arguments after it are those expected; by default `all_close`.

    Attributes
    ----------
    reason
        Why nothing is replayed, or `None`.
    replays
        Number of calls answered by a graph.
    """

    def __init__(
        self,
        f: Function,
        plain: Function | None = None,
        *,
        most: int = 4,
        trials: int = 2,
        after: int = 1,
        by: Callable[..., Function] = capture,
        close: Callable[[Sequence[Tensor], Sequence[Tensor]], bool] | None = None,
    ) -> None:
        self.f, self.plain, self.most, self.trials, self.by = f, plain or f, most, trials, by
        self.after = after
        self.close = close or all_close
        self.reason: str | None = None
        self.replays = 0
        self._graphs: dict[Any, Function | None] = {}
        self._calls: dict[Any, int] = {}
        self._trials: dict[Any, int] = {}
        self._misses = 0

    def make_by(self, by: Callable[..., Function]) -> None:
        """Make the graphs by something else from now on, those that are there anew."""
        self.by = by
        self._graphs.clear()
        self._calls.clear()

    def __call__(self, *tensors: Tensor, again: bool = False) -> Sequence[Tensor]:
        """f(*tensors); with `again` both run, as in a trial."""
        key = tuple((t.shape, t.stride(), t.dtype, t.device) for t in tensors)
        if self.reason is not None or (key not in self._graphs and len(self._graphs) >= self.most):
            return self.plain(*tensors)
        graph = self._graphs.setdefault(key, None)
        self._calls[key] = self._calls.get(key, 0) + 1
        if self._calls[key] <= self.after:
            return self.plain(*tensors)
        try:
            if graph is None:
                graph = self._graphs[key] = self.by(self.f, *tensors)
                self._trials[key] = self.trials
        except NotCaptured as error:
            return self._given_up(str(error), tensors)
        if again or self._trials[key] > 0:
            self._trials[key] -= 1
            return self._tried(graph, tensors)
        return self._replayed(graph, tensors)

    def _replayed(self, graph: Function, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        states = random_states(tensors)
        try:
            with torch.no_grad():
                found = graph(*tensors)
        except NotAssumed as error:
            set_random_states(states, tensors)
            return self._missed(str(error), self.plain(*tensors))
        except (RuntimeError, IndexError) as error:  # an error of the data is raised by `plain`, too
            set_random_states(states, tensors)
            return self._given_up(f"its graph failed on other data ({_first_line(error)})", tensors)
        self.replays += 1
        return found

    def _tried(self, graph: Function, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """The function as it is, after which the graph is called on copies and compared."""
        copies, before = [t.detach().clone() for t in tensors], random_states(tensors)
        expected = self.plain(*tensors)
        after = random_states(tensors)
        try:
            set_random_states(before, tensors)
            with torch.no_grad():
                found = graph(*copies)
            drawn = all(map(torch.equal, random_states(tensors), after))
        except NotAssumed as error:
            return self._missed(str(error), expected)
        except (RuntimeError, IndexError) as error:
            self.reason = f"its graph failed on other data ({_first_line(error)})"
            return expected
        finally:
            set_random_states(after, tensors)
        if not drawn or not self.close([*found, *copies], [*expected, *tensors]):
            self.reason = "it depends on more than its arguments: replayed on the same random numbers it differs"
        return expected

    def _missed(self, reason: str, expected: Sequence[Tensor]) -> Sequence[Tensor]:
        """What was called as it is because an assumption failed; where it often does the graph is given up."""
        self._misses += 1
        if self._misses > _FEW and self._misses > self.replays / _FEW:
            self.reason = reason
        return expected

    def _given_up(self, reason: str, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        self.reason = reason
        self._graphs.clear()
        return self.plain(*tensors)


_FEW = 10
"""Failed assumptions, and replays for each, up to which a graph is kept."""


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


def why_not(error: Exception) -> str:
    """Why a function is not captured, from the error of recording it."""
    if type(error).__name__ in _BY_VALUES:
        return "its control flow or its shapes depend on values"
    return f"it cannot be recorded ({type(error).__name__}: {_first_line(error)})"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].strip()


def _shortened(graph: Any) -> Function:
    """The graph without what no result needs; what draws random numbers or changes an argument stays."""
    for node in list(graph.graph.nodes):
        if node.target in (torch.ops.aten.detach.default, torch.ops.aten.alias.default):
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code(is_impure_node=_impure)
    graph.recompile()
    shortened: Function = graph
    return shortened


def _impure(node: Any) -> bool:
    if node.op in ("placeholder", "output"):
        return True
    schema, tags = getattr(node.target, "_schema", None), getattr(node.target, "tags", ())
    return (schema is not None and schema.is_mutable) or torch.Tag.nondeterministic_seeded in tags


def random_states(tensors: Sequence[Tensor]) -> list[Tensor]:
    """States of torch's generators of the CPU and of the tensors' GPUs."""
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state(number) for number in gpus_of(tensors))]


def set_random_states(states: Sequence[Tensor], tensors: Sequence[Tensor]) -> None:
    """Restore what `random_states` gave."""
    torch.set_rng_state(states[0])
    for state, number in zip(states[1:], gpus_of(tensors), strict=True):
        torch.cuda.set_rng_state(state, number)


def all_close(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    """Whether results agree to rounding of the largest element of each; NaN and infinity at the same places."""
    return len(found) == len(expected) and all(map(_close, found, expected))


def _close(found: Tensor, expected: Tensor) -> bool:
    expected = expected.detach()
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    if not found.is_floating_point():
        return torch.equal(found, expected)
    largest = expected.nan_to_num(0.0, 0.0, 0.0).abs().max() if expected.numel() else torch.zeros(())
    tolerance = 1000 * torch.finfo(expected.dtype).eps * float(largest)
    return torch.allclose(found, expected, rtol=0.0, atol=tolerance, equal_nan=True)
