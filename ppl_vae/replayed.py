"""Functions of tensors that are replayed as graphs, one for each combination of shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ppl_vae.captured import (
    Function,
    NotAssumed,
    NotCaptured,
    capture,
    first_line,
)
from ppl_vae.isolation import random_states, set_random_states

__all__ = ["FEW", "Replayed", "all_close"]


@dataclass
class _Kept:
    """What is kept of a combination of shapes: the trials left, the calls so far, and the graph once there is one."""

    trials: int
    calls: int = 0
    graph: Function | None = None


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
        self._kept: dict[Any, _Kept] = {}
        self._last: tuple[Sequence[Tensor], Sequence[Any], _Kept | None] = (), (), None
        self._misses = 0

    def make_by(self, by: Callable[..., Function]) -> None:
        """Make the graphs by something else from now on, those that are there anew."""
        self.by = by
        self._forget()

    def __call__(self, *tensors: Tensor, again: bool = False) -> Sequence[Tensor]:
        """f(*tensors); with `again` both run, as in a trial."""
        if self.reason is not None:
            return self.plain(*tensors)
        kept = self._last[-1]
        if again or kept is None or not self._as_before(tensors):
            kept = self._look_up(tensors)
        if kept is None:
            return self.plain(*tensors)
        kept.calls += 1
        if kept.calls <= self.after:
            return self.plain(*tensors)
        try:
            kept.graph = kept.graph or self.by(self.f, *tensors)
        except NotCaptured as error:
            return self._given_up(str(error), tensors)
        if again or kept.trials > 0:
            kept.trials -= 1
            return self._tried(kept.graph, tensors)
        return self._replayed(kept.graph, tensors)

    def _as_before(self, tensors: Sequence[Tensor]) -> bool:
        """Whether their shapes are those looked up last; the same tensor is not asked for its shape again."""
        last, kinds, _ = self._last
        each = zip(tensors, last, kinds, strict=False)
        return len(tensors) == len(last) and all(t is old or _kind(t) == kind for t, old, kind in each)

    def _look_up(self, tensors: Sequence[Tensor]) -> _Kept | None:
        """What is kept of these shapes; nothing is of those beyond the largest number of graphs."""
        kinds = tuple(map(_kind, tensors))
        if kinds not in self._kept and len(self._kept) < self.most:
            self._kept[kinds] = _Kept(self.trials)
        self._last = tensors, kinds, self._kept.get(kinds)
        return self._last[-1]

    def _forget(self) -> None:
        self._kept.clear()
        self._last = (), (), None

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
            return self._given_up(f"its graph failed on other data ({first_line(error)})", tensors)
        self.replays += 1
        return found

    def _tried(self, graph: Function, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """The function as it is; the graph is called on the same tensors with the values they had, and compared."""
        before, states = _values(tensors), random_states(tensors)
        expected = self.plain(*tensors)
        wanted, after, states_after = _values(expected), _values(tensors), random_states(tensors)
        try:
            set_random_states(states, tensors)
            _put_back(before, tensors)
            with torch.no_grad():
                found = graph(*tensors)
            drawn = all(map(torch.equal, random_states(tensors), states_after))
            alike = drawn and self.close([*found, *(t.detach() for t in tensors)], [*wanted, *after])
        except NotAssumed as error:
            return self._missed(str(error), expected)
        except (RuntimeError, IndexError) as error:
            self.reason = f"its graph failed on other data ({first_line(error)})"
            return expected
        finally:
            set_random_states(states_after, tensors)
            _put_back(after, tensors)
        if not alike:
            self.reason = "it depends on more than its arguments: replayed on the same random numbers it differs"
        return expected

    def _missed(self, reason: str, expected: Sequence[Tensor]) -> Sequence[Tensor]:
        """What was called as it is because an assumption failed; where it often does the graph is given up."""
        self._misses += 1
        if self._misses > FEW and self._misses > self.replays / FEW:
            self.reason = reason
        return expected

    def _given_up(self, reason: str, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        self.reason = reason
        self._forget()
        return self.plain(*tensors)


FEW = 10
"""Failed assumptions, and replays for each, up to which a graph is kept."""


def _kind(tensor: Tensor) -> Any:
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device


def _values(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [t.detach().clone() for t in tensors]


@torch.no_grad()
def _put_back(values: Sequence[Tensor], tensors: Sequence[Tensor]) -> None:
    """Give tensors these values again where they changed."""
    for tensor, value in zip(tensors, values, strict=True):
        if not torch.equal(tensor, value) and not _equal_but_for_nan(tensor, value):
            tensor.copy_(value)


def _equal_but_for_nan(found: Tensor, expected: Tensor) -> bool:
    """Whether tensors that are not equal are so because of NaN at the same places."""
    return bool(found.isnan().any()) and torch.allclose(found, expected, rtol=0.0, atol=0.0, equal_nan=True)


def all_close(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    """Whether results agree to rounding of the largest element of each; NaN and infinity at the same places."""
    return len(found) == len(expected) and all(map(_close, found, expected))


def _close(found: Tensor, expected: Tensor) -> bool:
    expected = expected.detach().to(found.device)  # "fine" is on the CPU where nothing was to be asked
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    if not found.is_floating_point():
        return torch.equal(found, expected)
    largest = expected.nan_to_num(0.0, 0.0, 0.0).abs().max() if expected.numel() else torch.zeros(())
    tolerance = 1000 * torch.finfo(expected.dtype).eps * float(largest)
    return torch.allclose(found, expected, rtol=0.0, atol=tolerance, equal_nan=True)
