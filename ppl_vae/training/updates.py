"""Steps of torch's optimizers as functions of tensors, for graphs of a whole training step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from ppl_vae.captured import NotCaptured
from ppl_vae.training.counters import Counters
from ppl_vae.training.optim import without_denormals

__all__ = ["Update"]

Group = Mapping[str, Any]
State = Mapping[str, Tensor]


class Update:
    """The step of a torch optimizer as a function of parameters, gradients and its state.

    Parameters
    ----------
    optimizer
        The optimizer, to whose state and settings the steps belong.
    parameters
        Its parameters by name.
    counters
        The numbers of steps that they have taken.

    Attributes
    ----------
    why_not
        Why its step is no such function; `None` where it is.
    """

    def __init__(self, optimizer: Optimizer, parameters: Mapping[str, Tensor], counters: Counters) -> None:
        self.optimizer, self.parameters, self.counters = optimizer, parameters, counters
        self.why_not = _why_not(optimizer, parameters)
        self._settings = self._now()
        self._stepped: list[Tensor] = []
        self._taken: list[set[float]] = []

    def changed(self) -> str | None:
        """What changed of the optimizer so that a graph made before is no longer its step."""
        if self._now() != self._settings:
            return "the settings of its optimizer changed"
        self._taken = self.counters.read()
        if any(len(steps) > 1 for steps in self._taken):
            return "its parameters have taken different numbers of steps"
        return None

    def numbers(self) -> list[Tensor]:
        """The numbers of the next step of each group, (k,), after `changed`; a schedule may have changed them."""
        like = next(iter(self.parameters.values()))
        numbers = _RULES[type(self.optimizer)].numbers
        found = [numbers(g, max(own, default=0.0) + 1) for g, own in zip(self._groups, self._taken, strict=True)]
        # a copy from memory that is not pinned would wait for the GPU
        rows = [torch.tensor(row, dtype=like.dtype, pin_memory=like.is_cuda) for row in found]
        return [row.to(like.device, non_blocking=True) for row in rows]

    def state(self) -> list[Tensor]:
        """What the optimizer keeps for each parameter, but for the number of steps."""
        return [value for p in self.parameters.values() for value in _kept(self.optimizer, p).values()]

    def step(
        self,
        numbers: Sequence[Tensor],
        state: Sequence[Tensor],
        parameters: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Parameters and state with what they become, for those that a gradient reaches.

        Raises
        ------
        NotCaptured
            For a parameter without a state, as none was stepped yet.
        """
        rule, each = _RULES[type(self.optimizer)], iter(state)
        groups = {id(p): number for number, g in enumerate(self._groups) for p in g["params"]}
        self._stepped = []
        for name, p in self.parameters.items():
            own = dict(zip(_kept(self.optimizer, p), each, strict=False))
            if name not in gradients:
                continue
            number = groups[id(p)]
            group = self._groups[number]
            gradient = -gradients[name] if group.get("maximize") else gradients[name]
            try:
                new, after = rule.step(group, numbers[number].unbind(), parameters[name], gradient, own)
            except KeyError as error:
                raise NotCaptured("its optimizer has not stepped every parameter yet") from error
            self._stepped.append(p)
            yield parameters[name], new
            yield from ((own[key], without_denormals(value)) for key, value in after.items())

    def count(self, number: int = 1) -> None:
        """Count a step that was taken as a graph."""
        self.counters.add(self._stepped, number)

    def _now(self) -> list[list[bool]]:
        return [[bool(group.get(name)) for name in _SETTINGS] for group in self._groups]

    @property
    def _groups(self) -> list[dict[str, Any]]:
        groups: list[dict[str, Any]] = self.optimizer.param_groups
        return groups


_SETTINGS = (
    *("amsgrad", "centered", "decoupled_weight_decay", "differentiable"),
    *("maximize", "momentum", "nesterov", "weight_decay"),
)
"""Settings of optimizers by which their steps branch."""


def _why_not(optimizer: Optimizer, parameters: Mapping[str, Tensor]) -> str | None:
    if type(optimizer) not in _RULES:
        return f"the step of {type(optimizer).__name__} is not part of it"
    if len({(p.dtype, p.device) for p in parameters.values()}) > 1:
        return "the optimizer's step is not part of it, as its parameters have several dtypes or devices"
    if any(group.get("differentiable") for group in optimizer.param_groups):
        return "the optimizer's step is not part of it, as it is asked to be differentiable"
    return None


def _kept(optimizer: Optimizer, parameter: Tensor) -> State:
    state: Mapping[str, Any] = optimizer.state.get(parameter, {})
    return {key: value for key, value in state.items() if key != "step" and isinstance(value, Tensor)}


class _Rule(NamedTuple):
    """The numbers of a group at its t-th step, and the step of one parameter: what it and its state become."""

    numbers: Callable[[Group, float], Sequence[float]]
    step: Callable[[Group, Sequence[Tensor], Tensor, Tensor, State], tuple[Tensor, dict[str, Tensor]]]


def _adam_numbers(group: Group, t: float) -> Sequence[float]:
    (b1, b2), lr, decay = map(float, group["betas"]), float(group["lr"]), group["weight_decay"]
    root = (1 - b2**t) ** 0.5
    return root * lr / (1 - b1**t), 1 - b1, b2, 1 - b2, root * group["eps"], decay, 1 - lr * decay


def _adam(
    group: Group, n: Sequence[Tensor], p: Tensor, g: Tensor, state: State, *, decoupled: bool = False
) -> tuple[Tensor, dict[str, Tensor]]:
    """Kingma & Ba 2015, arXiv:1412.6980 (section 2, last paragraph); Loshchilov & Hutter 2019, arXiv:1711.05101."""
    rate, a, b, c, eps, decay, left = n
    if group["weight_decay"] and (decoupled or group.get("decoupled_weight_decay")):
        p = p * left
    elif group["weight_decay"]:
        g = g + decay * p
    m = state["exp_avg"] + a * (g - state["exp_avg"])
    v = b * state["exp_avg_sq"] + c * g * g
    after, largest = {"exp_avg": m, "exp_avg_sq": v}, v
    if group["amsgrad"]:
        largest = after["max_exp_avg_sq"] = torch.maximum(state["max_exp_avg_sq"], v)
    return p - rate * m / (largest.sqrt() + eps), after


def _sgd_numbers(group: Group, t: float) -> Sequence[float]:
    return float(group["lr"]), group["momentum"], 1 - group["dampening"], group["weight_decay"]


def _sgd(group: Group, n: Sequence[Tensor], p: Tensor, g: Tensor, state: State) -> tuple[Tensor, dict[str, Tensor]]:
    rate, momentum, damped, decay = n
    if group["weight_decay"]:
        g = g + decay * p
    if not group["momentum"]:
        return p - rate * g, {}
    v = momentum * state["momentum_buffer"] + damped * g
    return p - rate * (g + momentum * v if group["nesterov"] else v), {"momentum_buffer": v}


def _rmsprop_numbers(group: Group, t: float) -> Sequence[float]:
    alpha = group["alpha"]
    return float(group["lr"]), alpha, 1 - alpha, group["eps"], group["weight_decay"], group["momentum"]


def _rmsprop(group: Group, n: Sequence[Tensor], p: Tensor, g: Tensor, state: State) -> tuple[Tensor, dict[str, Tensor]]:
    rate, a, b, eps, decay, momentum = n
    if group["weight_decay"]:
        g = g + decay * p
    v = a * state["square_avg"] + b * g * g
    after, spread = {"square_avg": v}, v
    if group["centered"]:
        mean = after["grad_avg"] = state["grad_avg"] + b * (g - state["grad_avg"])
        spread = v - mean * mean
    step = g / (spread.sqrt() + eps)
    if group["momentum"]:
        step = after["momentum_buffer"] = momentum * state["momentum_buffer"] + step
    return p - rate * step, after


_RULES = {
    Adam: _Rule(_adam_numbers, _adam),
    AdamW: _Rule(_adam_numbers, partial(_adam, decoupled=True)),
    SGD: _Rule(_sgd_numbers, _sgd),
    RMSprop: _Rule(_rmsprop_numbers, _rmsprop),
}
