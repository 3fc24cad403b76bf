"""One torch optimizer over all parameters, in Pyro's clothes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pyro.optim import PyroOptim
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from ppl_vae.arguments import Fraction, Positive, checked

__all__ = ["NamedOptim", "OneCycle"]


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
    """

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, Tensor]],
        optimizer: Callable[[list[Tensor]], Optimizer],
        clip_norm: float | None = None,
    ) -> None:
        self.parameters = dict(named_parameters)
        self.optimizer = optimizer(list(self.parameters.values()))
        self.clip_norm = clip_norm

    def __call__(self, params: Iterable[Tensor], *args: Any, **kwargs: Any) -> None:
        """Step every parameter, then drop the gradients.

        Raises
        ------
        FloatingPointError
            If a gradient is not finite; the parameters are left as they were.
        """
        gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if not norm.isfinite():
            names = [n for n, p in self.parameters.items() if p.grad is not None and not p.grad.isfinite().all()]
            raise FloatingPointError(f"the gradient of {names[0] if names else 'some parameter'}")
        if self.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(list(self.parameters.values()), self.clip_norm, norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def get_state(self) -> dict[str, Any]:
        """The state by parameter name: `tensors` {"name|key": Tensor}, and plain `values` and `groups`."""
        state = self.optimizer.state_dict()
        names = list(self.parameters)
        entries = {f"{names[i]}|{key}": v for i, s in state["state"].items() for key, v in s.items()}
        return {
            "tensors": {name: v for name, v in entries.items() if isinstance(v, Tensor)},
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


@checked
@dataclass(frozen=True)
class OneCycle:
    """A learning rate that rises to a peak and falls to nearly nothing over the whole training.

    Parameters
    ----------
    peak
        The largest learning rate.
    rise
        Part of the training spent rising.

    References
    ----------
    Smith & Topin 2017, arXiv:1708.07120.
    """

    peak: Positive = 2e-3
    rise: Fraction = 0.3

    def __call__(self, optimizer: Optimizer, num_steps: int) -> LRScheduler:
        """The schedule of an optimizer over that many steps."""
        return OneCycleLR(optimizer, max_lr=self.peak, total_steps=num_steps, pct_start=self.rise)
