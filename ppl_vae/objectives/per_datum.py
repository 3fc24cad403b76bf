"""What the objectives of this package have in common: one differentiable loss of a pair of vectorized traces."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import torch
from pyro.infer import Trace_ELBO
from pyro.poutine import Trace
from torch import Tensor

__all__ = ["PerDatum"]


class PerDatum(Trace_ELBO, abc.ABC):
    """An objective written as one differentiable loss of a pair of vectorized traces.

    Parameters
    ----------
    num_particles
        Number of draws, taken at once.
    """

    differentiates_x: ClassVar[bool] = False
    """Whether the loss is made of derivatives by x, which is given a gradient for that, inside only."""

    def __init__(self, num_particles: int) -> None:
        super().__init__(num_particles=num_particles, vectorize_particles=True)

    @abc.abstractmethod
    def check(self, model: Trace, guide: Trace) -> None:
        """Refuse traces of which the loss would be a wrong number, with a `ValueError`."""

    @abc.abstractmethod
    def _loss(self, model: Trace, guide: Trace, args: tuple[Tensor, ...]) -> Tensor:
        """The loss of a pair of traces of a program called with (x, *context)."""

    def differentiable_loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Tensor:
        """The loss, summed over the batch, in nats."""
        if self.differentiates_x:
            args = (args[0].detach().requires_grad_(), *args[1:])
        with torch.set_grad_enabled(torch.is_grad_enabled() or self.differentiates_x):
            ((model_trace, guide_trace),) = self._get_traces(model, guide, args, kwargs)
            return self._loss(model_trace, guide_trace, args)

    def loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        """The loss as a number."""
        return self.differentiable_loss(model, guide, *args, **kwargs).item()

    def loss_and_grads(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        """The loss as a number, its gradient added to the parameters'."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward()
        return loss.item()
