"""Objectives, as Pyro ELBOs; and beta, the weight of the KL while training.

An objective knows only traces. Free bits change the objective, beta the measure, IWAE the estimator.
"""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass, field
from typing import Any

import torch
from pyro.infer import ELBO, RenyiELBO, Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO, TraceTailAdaptive_ELBO
from pyro.poutine import Trace
from torch import Tensor

from ppl_vae import traces

__all__ = [
    "IWAE",
    "Beta",
    "Constant",
    "Cyclical",
    "FreeBits",
    "Linear",
    "TraceMeanField_ELBO",
    "Trace_ELBO",
    "check",
]


class _PerDatum(Trace_ELBO):
    """An objective written as one differentiable loss of a pair of vectorized traces."""

    def __init__(self, num_particles: int) -> None:
        super().__init__(num_particles=num_particles, vectorize_particles=True)

    def _loss(self, model: Trace, guide: Trace, size: int) -> Tensor:
        raise NotImplementedError

    def differentiable_loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Tensor:
        """The loss, summed over the batch, in nats."""
        ((model_trace, guide_trace),) = self._get_traces(model, guide, args, kwargs)
        return self._loss(model_trace, guide_trace, len(args[0]))

    def loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        """The loss as a number."""
        return self.differentiable_loss(model, guide, *args, **kwargs).item()

    def loss_and_grads(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        """The loss as a number, its gradient added to the parameters'."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward()
        return loss.item()


class IWAE(_PerDatum):
    """The importance-weighted bound, E log mean_k p(x, z_k) / q(z_k | x), for each datum by itself.

    Its value is the bound: never a weighted loss whose gradient alone is right. Not with a beta other than 1, nor
    with a scaled plate: scaled weights give no bound. Not with a `Point` posterior.

    Parameters
    ----------
    num_particles
        Number of draws K; 1 gives the ELBO.

    References
    ----------
    Burda et al. 2016, arXiv:1509.00519.
    """

    def __init__(self, num_particles: int = 5) -> None:
        super().__init__(num_particles)

    def _loss(self, model: Trace, guide: Trace, size: int) -> Tensor:
        where, num = traces.plates(model, size), self.num_particles
        log_p = [traces.log_prob(s, where, num) for s in (traces.latents(model) | traces.observed(model)).values()]
        log_q = [traces.log_prob(s, where, num) for s in traces.latents(guide).values()]
        log_w = torch.stack(log_p).sum(0) - torch.stack(log_q).sum(0)
        return (math.log(num) - log_w.logsumexp(0)).sum()


class FreeBits(_PerDatum):
    """The ELBO with each site's KL free up to a number of nats: E log p(x | z) - sum over sites max(nats, KL).

    KL is the batch mean of the site's KL, in closed form where there is one. The value is not a bound on log p(x).

    Parameters
    ----------
    nats
        What each site may cost for free, per datum.
    num_particles
        Number of draws.

    References
    ----------
    Kingma et al. 2016, arXiv:1606.04934, section C.8.
    """

    def __init__(self, nats: float = 0.5, num_particles: int = 1) -> None:
        super().__init__(num_particles)
        self.nats = nats

    def _loss(self, model: Trace, guide: Trace, size: int) -> Tensor:
        reconstruction = sum(s["log_prob_sum"] for s in traces.observed(model).values()) / self.num_particles
        cost = torch.zeros(())
        for name, q in traces.latents(guide).items():
            p = model.nodes[name]
            kl = traces.analytic_kl(q, p)
            mean = (traces.total(q) - traces.total(p) if kl is None else kl.sum()) / (self.num_particles * size)
            cost = cost + q["scale"] * size * mean.clamp_min(self.nats)
        return cost - reconstruction


def check(objective: ELBO, model: Trace, guide: Trace) -> None:
    """Refuse an objective that would run on these traces and print a wrong number.

    Raises
    ------
    ValueError
        For a guide that samples its sites in another order under `TraceMeanField_ELBO`; a scaled site under IWAE,
        Rényi or the tail-adaptive objective; an enumerated site under anything but `TraceEnum_ELBO`; a point mass
        under these three or free bits; a site without reparametrized draws under IWAE, the tail-adaptive objective
        or free bits.
    """
    name = type(objective).__name__
    q = traces.latents(guide)
    weighted = isinstance(objective, IWAE | RenyiELBO | TraceTailAdaptive_ELBO)
    if isinstance(objective, TraceMeanField_ELBO) and list(q) != list(traces.latents(model)):
        raise ValueError(
            f"{name} expects model and guide to sample their sites in the same order, got "
            f"{list(traces.latents(model))} and {list(q)}: its KLs would be of the wrong distributions; use Trace_ELBO"
        )
    if weighted and any(_scaled(s) for t in (model, guide) for s in (traces.latents(t) | traces.observed(t)).values()):
        raise ValueError(
            f"{name} expects unscaled sites, got a scaled one (beta, poutine.scale or a subsampled plate): the "
            "weighted mean would be no bound; train with beta=1 and a plate as long as the batch, or use Trace_ELBO"
        )
    if any(map(traces.enumerated, q.values())) and not isinstance(objective, TraceEnum_ELBO):
        raise ValueError(f"an enumerated site expects TraceEnum_ELBO, got {name}; use TraceEnum_ELBO")
    if any(map(traces.singular, q.values())) and (weighted or isinstance(objective, FreeBits)):
        raise ValueError(
            f"{name} expects a posterior with a density, got a point mass (Point): its weights and its KL do not "
            "exist; use Trace_ELBO, or another posterior"
        )
    if isinstance(objective, _PerDatum | TraceTailAdaptive_ELBO) and not all(s["fn"].has_rsample for s in q.values()):
        raise ValueError(
            f"{name} expects reparametrized draws, got {[n for n, s in q.items() if not s['fn'].has_rsample]} without: "
            "the gradient through what is drawn would be lost; use Trace_ELBO"
        )


def _scaled(site: dict[str, Any]) -> bool:
    scale = site["scale"]
    return bool((torch.as_tensor(scale) != 1).any())


class Beta(abc.ABC):
    """The weight of the KL at each step of the training: `beta(step, steps_per_epoch)`, in (0, inf).

    Attributes
    ----------
    epochs
        After how many epochs it stays what it is; early stopping waits for that.
    """

    epochs: float

    @abc.abstractmethod
    def __call__(self, step: int, steps_per_epoch: int) -> float:
        """The weight at a step, counted from 0."""


@dataclass(frozen=True)
class Constant(Beta):
    """Always the same weight; other than 1 it is a beta-VAE, whose objective is not the ELBO.

    Parameters
    ----------
    beta
        The weight.

    References
    ----------
    Higgins et al. 2017, openreview.net/forum?id=Sy2fzU9gl.
    """

    beta: float = 1.0
    epochs: float = field(default=0, init=False)

    def __post_init__(self) -> None:
        _check_positive("beta", self.beta)

    def __call__(self, step: int, steps_per_epoch: int) -> float:
        """The weight at a step, counted from 0."""
        return self.beta


@dataclass(frozen=True)
class Linear(Beta):
    """Linear warm-up, (t + 1) / T over the steps of the first epochs, then 1.

    Parameters
    ----------
    epochs
        Length of the warm-up.

    References
    ----------
    Bowman et al. 2016, arXiv:1511.06349; Sønderby et al. 2016, arXiv:1602.02282.

    Examples
    --------
    >>> [Linear(epochs=2)(step, 2) for step in range(5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """

    epochs: float = 10

    def __post_init__(self) -> None:
        _check_positive("epochs", self.epochs)

    def __call__(self, step: int, steps_per_epoch: int) -> float:
        """The weight at a step, counted from 0."""
        return min(1.0, (step + 1) / (self.epochs * steps_per_epoch))


@dataclass(frozen=True)
class Cyclical(Beta):
    """Cyclical warm-up: in each cycle linearly from 0 to 1 over its first part, then 1; after all cycles 1.

    Never quite 0, at which Pyro's scale is not defined: at least 1e-6.

    Parameters
    ----------
    epochs
        Length of all cycles together.
    cycles
        Number of cycles.
    ramp
        Part of each cycle spent rising.

    References
    ----------
    Fu et al. 2019, arXiv:1903.10145.
    """

    epochs: float = 40
    cycles: int = 4
    ramp: float = 0.5

    def __post_init__(self) -> None:
        _check_positive("epochs", self.epochs)
        _check_positive("cycles", self.cycles)
        _check_positive("ramp", self.ramp)

    def __call__(self, step: int, steps_per_epoch: int) -> float:
        """The weight at a step, counted from 0."""
        if step >= self.epochs * steps_per_epoch:
            return 1.0
        phase = (step * self.cycles / (self.epochs * steps_per_epoch)) % 1.0
        return min(1.0, max(1e-6, phase / self.ramp))


def _check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} expects a positive number, got {value}; give one above 0")
