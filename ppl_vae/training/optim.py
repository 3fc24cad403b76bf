"""One torch optimizer over all parameters, as a `PyroOptim`; and learning-rate schedules."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pyro.optim import PyroOptim
from torch import Tensor
from torch.optim import Optimizer, SparseAdam
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from ppl_vae.arguments import Fraction, Positive, checked
from ppl_vae.training.counters import Counters

__all__ = ["NamedOptim", "OneCycle", "made_optimizer", "made_schedule", "step_schedule", "without_denormals"]


class NamedOptim(PyroOptim):
    """A `PyroOptim` that steps one torch optimizer over named parameters.

    Pyro's own make one torch optimizer a parameter, and `SVI` hands over a set of parameters, whose order
    changes from process to process; here the order is that of the names given, and the state is stored by
    name.

    Parameters
    ----------
    named_parameters
        Names and parameters, in a fixed order.
    optimizer
        Makes the torch optimizer of a list of parameters.
    clip_norm
        Largest norm of the gradient over all parameters; longer ones are shortened. No limit if `None`.

    Attributes
    ----------
    counters
        The numbers of steps that the parameters have taken.
    only
        Names of the parameters that the next step moves; `None` for all.
    paced
        Whether some steps move some parameters alone.
    """

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, Tensor]],
        optimizer: Callable[[list[Tensor]], Optimizer],
        clip_norm: float | None = None,
    ) -> None:
        given = dict(named_parameters)
        self.optimizer = made_optimizer(given, optimizer)
        names = {id(p): name for name, p in given.items()}
        stepped = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.parameters = {names[id(p)]: p for p in stepped}  # in the order of the optimizer's state
        self.clip_norm, self.counters = clip_norm, Counters(self.optimizer)
        self.only: Collection[str] | None = None
        self.paced = False
        self.unreached = set(given)
        self.optimizer.zero_grad()

    def __call__(self, params: Iterable[Tensor], *args: Any, **kwargs: Any) -> None:
        """Step every parameter, or `only` some, then drop the gradients.

        Raises
        ------
        FloatingPointError
            If a gradient is not finite; the parameters are left as they were.
        ValueError
            If no parameter has one in the first step, or one that asks for it came after the optimizer.
        """
        self._check_known(params)
        gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        self._check_reached(gradients)
        if self.only is not None:
            for name in self.parameters.keys() - self.only:
                self.parameters[name].grad = None
            gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        norm = self._norm(gradients)
        if not norm.isfinite():
            names = [n for n, p in self.parameters.items() if p.grad is not None and not p.grad.isfinite().all()]
            raise FloatingPointError(f"the gradient of {names[0] if names else 'some parameter'}")
        if self.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(list(self.parameters.values()), self.clip_norm, norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def drop_denormals(self) -> None:
        """Let 0 take the place of denormal numbers in the optimizer's state, on the CPU: see `without_denormals`."""
        for kept in self.optimizer.state.values():
            for value in kept.values():
                if isinstance(value, Tensor) and value.dim() and value.is_floating_point() and not value.is_cuda:
                    value.copy_(without_denormals(value))

    def _norm(self, gradients: list[Tensor]) -> Tensor:
        """The gradient's norm where it is clipped; else what is finite where that is, and cheaper."""
        kinds = {(g.dtype, g.device) for g in gradients}
        if self.clip_norm is not None or len(kinds) != 1:
            return torch.nn.utils.get_total_norm(gradients)
        return torch.stack(torch._foreach_norm(gradients)).sum()

    def _check_known(self, params: Iterable[Tensor]) -> None:
        known = {id(p) for p in self.parameters.values()}
        if late := [tuple(p.shape) for p in params if p.requires_grad and id(p) not in known]:
            raise ValueError(
                f"fit expects all parameters to be there and to ask for a gradient before the first step, got one of "
                f"shape {late[0]} that came later and would stay as it is; call program.guide and program.model once "
                "on such a batch before fit, and freeze or unfreeze before it"
            )

    def _check_reached(self, gradients: list[Tensor]) -> None:
        if not self.unreached:
            return
        if not gradients and len(self.unreached) == len(self.parameters):
            raise ValueError(
                f"fit expects a gradient, got none for any of {len(self.parameters)} parameters ({self._some()}): "
                "nothing would change; let the model and the guide call the networks that the program owns "
                "(Program(model, guide, *networks)), without detach() or torch.no_grad()"
            )
        self.unreached -= {name for name in self.unreached if self.parameters[name].grad is not None}

    def warn_of_unreached(self) -> None:
        """Warn once of parameters that no gradient has reached in any step so far."""
        if self.unreached:
            warnings.warn(
                f"no gradient reached {len(self.unreached)} of {len(self.parameters)} parameters ({self._some()}), "
                "which stay as they are; let the model or the guide use them, or freeze them: requires_grad_(False)",
                stacklevel=2,
            )
            self.unreached = set()

    def _some(self) -> str:
        names = [name for name in self.parameters if name in self.unreached]
        return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")

    def get_state(self) -> dict[str, Any]:
        """The state by parameter name: `tensors` {"name|key": Tensor}, and plain `values` and `groups`."""
        state = self.optimizer.state_dict()
        names = list(self.parameters)
        entries = {f"{names[i]}|{key}": v for i, s in state["state"].items() for key, v in s.items()}
        return {
            # a counter may be a part of another tensor
            "tensors": {n: v if v.dim() else v.clone() for n, v in entries.items() if isinstance(v, Tensor)},
            "values": {name: v for name, v in entries.items() if not isinstance(v, Tensor)},
            "groups": [{**group, "params": [names[i] for i in group["params"]]} for group in state["param_groups"]],
        }

    def set_state(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what `get_state` returned."""
        numbers = {name: i for i, name in enumerate(self.parameters)}
        state: dict[int, dict[str, Any]] = {}
        for entry, value in {**state_dict["tensors"], **state_dict["values"]}.items():
            name, _, key = entry.rpartition("|")
            state.setdefault(numbers[name], {})[key] = value
        groups = [{**g, "params": [numbers[name] for name in g["params"]]} for g in state_dict["groups"]]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})


def without_denormals(value: Tensor) -> Tensor:
    """A tensor with 0 in the place of what is below 1e-31, so small that products of it may be denormal in float32.

    Where gradients stay 0, as those of a unit that is never active, the running means of an optimizer decay to
    denormal numbers and stay there. Arithmetic with these takes many times as long on some processors.
    """
    return torch.where(value.abs() < 1e-31, 0.0, value)


@checked
@dataclass(frozen=True)
class OneCycle:
    """A learning rate that rises to a peak and then falls close to 0 over the whole training.

    It starts at a 25th of the peak, whatever the optimizer's own rate.

    Parameters
    ----------
    peak
        The largest learning rate, positive.
    rise
        Part of the training spent rising, in (0, 1).

    Raises
    ------
    TypeError
        For what is no number.
    ValueError
        For a peak that is not positive and finite, or a part outside (0, 1).

    References
    ----------
    Smith & Topin 2017, arXiv:1708.07120.
    """

    peak: Positive = 2e-3
    rise: Fraction = 0.3

    def __call__(self, optimizer: Optimizer, num_steps: int) -> LRScheduler:
        """The schedule of an optimizer over that many steps."""
        return OneCycleLR(optimizer, max_lr=self.peak, total_steps=num_steps, pct_start=self.rise)


def made_optimizer(named: Mapping[str, Tensor], make: Callable[[list[Tensor]], Optimizer]) -> Optimizer:
    """The optimizer, after a check that it can step on the gradients of a batch.

    Raises
    ------
    TypeError
        For what makes no torch optimizer of a list of parameters.
    ValueError
        For one that cannot be made, that leaves parameters out or takes others, that runs the program itself, or that
        wants sparse gradients.
    """
    fix = "give optimizer=partial(torch.optim.Adam, lr=1e-3), say"
    try:
        made = make(list(named.values()))
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise ValueError(f"fit expects optimizer= to make one of a list of parameters, got: {error}; {fix}") from error
    name = type(made).__name__
    if not isinstance(made, Optimizer):
        raise TypeError(f"fit expects optimizer= to make a torch.optim.Optimizer, got {name}; {fix}")
    closure = inspect.signature(made.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise ValueError(
            f"fit expects an optimizer that steps on the gradient of a batch, got {name}, whose step runs the program "
            f"again (closure); {fix}"
        )
    if isinstance(made, SparseAdam):
        raise ValueError(f"fit expects an optimizer for dense gradients, got {name}; {fix}")
    stepped = {id(p) for group in made.param_groups for p in group["params"]}
    if left_out := [n for n, p in named.items() if id(p) not in stepped]:
        raise ValueError(
            f"fit expects an optimizer of all parameters that ask for a gradient, got {name} without {left_out[0]!r}; "
            "make it of the whole list it is given, and freeze what is not to be trained: requires_grad_(False)"
        )
    if stepped - {id(p) for p in named.values()}:
        raise ValueError(f"fit expects an optimizer of the program's parameters alone, got {name} with others; {fix}")
    return made


def made_schedule(optimizer: Optimizer, make: Callable[[Optimizer, int], Any] | None, num_steps: int) -> Any:
    """The schedule of an optimizer, or `None`; learning rates that are not positive and finite are refused.

    Raises
    ------
    TypeError
        For what is no torch schedule of that optimizer.
    ValueError
        For a learning rate that is not positive and finite where no schedule sets it, and for a schedule that cannot be
        made.
    """
    if make is None:
        for group in optimizer.param_groups:
            rate = float(group.get("lr", 1.0))
            if not 0 < rate < math.inf:
                raise ValueError(f"fit expects a positive learning rate, got lr={rate}; give lr=1e-3, say")
        return None
    try:
        made = make(optimizer, num_steps)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"fit expects schedule= to make one of an optimizer and the number of steps, got: {error}; give "
            "schedule=OneCycle(), say"
        ) from error
    if not isinstance(made, LRScheduler) or getattr(made, "optimizer", None) is not optimizer:
        raise TypeError(
            f"fit expects schedule= to make a torch.optim.lr_scheduler of the optimizer it is given, got "
            f"{type(made).__name__}; give schedule=OneCycle(), say"
        )
    return made


def step_schedule(schedule: LRScheduler) -> None:
    """Step a schedule after a batch.

    Raises
    ------
    ValueError
        For one that has ended.
    """
    try:
        schedule.step()
    except ValueError as error:
        if "total steps" not in str(error):  # of torch's OneCycleLR, which may be a part of the schedule
            raise
        raise ValueError(
            f"fit expects a schedule as long as the training, got one that has ended ({error}), "
            f"{type(schedule).__name__}; make it of the number of steps that it is given: schedule=lambda optimizer, "
            "num_steps: ..., or give schedule=OneCycle()"
        ) from error
