"""The base class of this package's objectives: one differentiable loss of a pair of vectorized traces."""

from __future__ import annotations

import abc
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import torch
from pyro.infer import Trace_ELBO
from pyro.poutine import Trace
from torch import Tensor

from ppl_vae import traces
from ppl_vae.objectives import needs

__all__ = ["VectorizedELBO"]


class VectorizedELBO(Trace_ELBO, abc.ABC):
    """An objective written as one differentiable loss of a pair of vectorized traces.

    Parameters
    ----------
    num_particles
        Number of draws, taken at once.
    """

    differentiates_x: ClassVar[bool] = False
    """Whether the loss contains derivatives by x, which then requires a gradient inside it."""

    differentiates_draws: ClassVar[bool] = True
    """Whether the gradient passes through the draws, which must then be reparametrized."""

    scores_elsewhere: ClassVar[bool] = False
    """Whether it computes log q at values that q did not draw last."""

    sums_over_data: ClassVar[bool] = True
    """Whether the loss is a sum over data, so that several processes may each compute a part of it."""

    draws_within: ClassVar[type[AbstractContextManager[Any]]] = nullcontext
    """Scope in which model and guide draw, a Pyro handler for instance."""

    kl: float = 1.0
    """Weight of the KL in the loss; 0 where the loss has none."""

    data_plate: str | None = None
    """Name of the plate over the data, which `fit` finds, for a batch that another plate is as long as."""

    data_size: int | None = None
    """Number of the training data, which `fit` knows of data in memory; `None` where it is unknown."""

    def __init__(self, num_particles: int = 1) -> None:
        super().__init__(num_particles=num_particles, vectorize_particles=True)

    @abc.abstractmethod
    def _check(self, model: Trace, guide: Trace) -> None:
        """Refuse traces of which the loss would be a wrong number, with a `ValueError`."""

    @abc.abstractmethod
    def _loss(self, model: Trace, guide: Trace, x: Tensor, where: traces.Plates) -> Tensor:
        """The loss of a pair of traces of a program called with x, which lies in its plates there."""

    def check(self, model: Trace, guide: Trace) -> None:
        """Refuse traces of which the loss would be a wrong number, or its gradient wrong.

        Raises
        ------
        ValueError
            For a model and guide of different sites, for draws without reparametrization, for an enumerated site, and
            for what else the objective cannot do.
        """
        name = type(self).__name__
        needs.drawn(name, guide)
        if self.differentiates_draws:
            needs.reparametrized(name, guide)
        self._check(model, guide)
        traces.check_sites(model, guide)

    def differentiable_loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Tensor:
        """The loss, summed over the batch, in nats.

        Raises
        ------
        ValueError
            For traces of which it would be a wrong number: see `check` and `traces.plates`.
        """
        if self.differentiates_x:
            args = (args[0].detach().requires_grad_(), *args[1:])
        with torch.set_grad_enabled(torch.is_grad_enabled() or self.differentiates_x):
            with self.draws_within():
                ((model_trace, guide_trace),) = self._get_traces(model, guide, args, kwargs)
            self.check(model_trace, guide_trace)
            where = traces.plates(model_trace, len(args[0]), name=self.data_plate)
            return self._loss(model_trace, guide_trace, args[0], where)

    def loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        """The loss as a number."""
        return self.differentiable_loss(model, guide, *args, **kwargs).item()

    def loss_and_grads(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        """The loss as a number, its gradient added to the parameters'."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward()
        return loss.item()
