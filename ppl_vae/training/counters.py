"""The numbers of steps that an optimizer's parameters have taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

__all__ = ["Counters"]


class Counters:
    """The numbers of steps that an optimizer's parameters have taken, as views of one tensor: one operation counts all.

    Parameters
    ----------
    optimizer
        The optimizer, in whose state they are.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self._all = torch.empty(0)
        self._views: list[Tensor] = []
        self._known: list[float] = []
        self._version = -1
        self._added: Sequence[Tensor] = ()
        self._places: list[float] = []
        self._ones = torch.empty(0)

    def read(self) -> list[set[float]]:
        """The numbers of each group, of its parameters that have one.

        A GPU on which they are is waited for where they changed otherwise than by `add`.
        """
        groups = [self._states(group["params"]) for group in self.optimizer.param_groups]
        states = [state for own in groups for state in own]
        if self._version != self._all._version or [id(s["step"]) for s in states] != [*map(id, self._views)]:
            self._join(states)
        known = iter(self._known)
        return [{next(known) for _ in own} for own in groups]

    def add(self, parameters: Sequence[Tensor], number: int) -> None:
        """Add a number to those of some parameters, after `read`."""
        if self._added is not parameters:
            own = {id(state) for state in self._states(parameters)}
            states = self._states([p for group in self.optimizer.param_groups for p in group["params"]])
            self._added = parameters
            self._places = [float(id(state) in own) for state in states]
            self._ones = self._all.new_tensor(self._places)
        self._all.add_(self._ones, alpha=number)
        self._known = [n + number * place for n, place in zip(self._known, self._places, strict=True)]
        self._version = self._all._version

    def _states(self, parameters: Sequence[Tensor]) -> list[dict[str, Any]]:
        states = self.optimizer.state
        return [states[p] for p in parameters if "step" in states.get(p, ())]

    def _join(self, states: Sequence[dict[str, Any]]) -> None:
        self._all = torch.stack([state["step"] for state in states]) if states else torch.empty(0)
        self._views = [self._all[i] for i in range(len(states))]
        for state, view in zip(states, self._views, strict=True):
            state["step"] = view
        self._known, self._version, self._added = self._all.tolist(), self._all._version, ()
