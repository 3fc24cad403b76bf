"""Reweighted wake-sleep: the importance-weighted bound for the model, coverage of p(z | x) for q."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae import traces
from ppl_vae.arguments import Count, checked
from ppl_vae.objectives import needs
from ppl_vae.objectives.vectorized_elbo import VectorizedELBO

__all__ = ["RWS"]


class _Detached(Messenger):
    """Takes the gradient off each draw."""

    def _pyro_post_sample(self, msg: dict[str, Any]) -> None:
        if isinstance(msg["value"], Tensor) and not msg["is_observed"]:
            msg["value"] = msg["value"].detach()


@checked
class RWS(VectorizedELBO):
    """The value and the gradient by the model of `IWAE`; q minimizes KL(p(z | x) || q(z | x)), by the same weights.

    The gradient by q is sum_k w_k d log q(z_k | x) (wake phase), w normalized, at draws without a gradient: they need
    no reparametrization. The value is the bound, which a step of q alone need not raise. Wrong with few draws: where
    one weight is nearly all, q is fitted to that draw. For simulated data (sleep phase) see `WakeSleep`.

    Parameters
    ----------
    num_particles
        Number of draws K, 2 or more.

    Raises
    ------
    ValueError
        For one draw, whose weight says nothing, and for what `IWAE` refuses.

    References
    ----------
    Bornschein & Bengio 2015, arXiv:1406.2751; Le et al. 2019, arXiv:1805.10469.
    """

    differentiates_draws: ClassVar[bool] = False
    scores_elsewhere = True
    draws_within = _Detached

    def __init__(self, num_particles: Count = 10) -> None:
        if num_particles < 2:
            raise ValueError(f"RWS expects num_particles of 2 or more, to weigh, got {num_particles}; give 10, say")
        super().__init__(num_particles)

    def _check(self, model: Trace, guide: Trace) -> None:
        needs.weights("RWS", model, guide)

    def _loss(self, model: Trace, guide: Trace, x: Tensor, where: traces.Plates) -> Tensor:
        num = self.num_particles
        log_q = torch.stack([traces.log_prob(s, where, num) for s in traces.latents(guide).values()]).sum(0)
        log_w = traces.log_weights(model, guide, where, num)
        weights = log_w.detach().softmax(0)
        step = (weights * (log_w + 2 * log_q)).sum()  # log p + log q, each draw by its weight
        value = (math.log(num) - log_w.logsumexp(0)).sum()
        return value.detach() - (step - step.detach())
