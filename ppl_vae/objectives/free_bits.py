"""Free bits: the KL of a site counts only above a number of nats."""

from __future__ import annotations

import torch
from pyro.poutine import Trace
from torch import Tensor

from ppl_vae import traces
from ppl_vae.arguments import Count, NonNegative, checked
from ppl_vae.objectives import needs
from ppl_vae.objectives.vectorized_elbo import VectorizedELBO

__all__ = ["FreeBits"]


@checked
class FreeBits(VectorizedELBO):
    """The ELBO with each site's KL free up to a number of nats: E log p(x | z) - sum over sites max(nats, KL).

    KL is the batch mean of the site's KL, in closed form where there is one. The value is not a bound on log p(x);
    `fit` chooses the best epoch by the ELBO, with the whole KL.

    Parameters
    ----------
    nats
        KL of each site that is free, in nats per datum, 0 or more.
    num_particles
        Number of draws.

    Raises
    ------
    TypeError
        For what is no number.
    ValueError
        For negative nats, or a number of draws that is not whole, or below 1.

    References
    ----------
    Kingma et al. 2016, arXiv:1606.04934, section C.8.
    """

    sums_over_data = False

    def __init__(self, nats: NonNegative = 0.5, num_particles: Count = 1) -> None:
        super().__init__(num_particles)
        self.nats = nats

    def _check(self, model: Trace, guide: Trace) -> None:
        """Refuse a point mass, or one code a datum, as the posterior, and a guide that draws in another order."""
        needs.densities("FreeBits", guide)
        if traces.latents(model).keys() == traces.latents(guide).keys():  # else Pyro names the sites
            needs.one_order("FreeBits", model, guide, instead="Trace_ELBO or Capacity")

    def _loss(self, model: Trace, guide: Trace, x: Tensor, where: traces.Plates) -> Tensor:
        size = where.size
        reconstruction = sum(s["log_prob_sum"] for s in traces.observed(model).values()) / self.num_particles
        cost = torch.zeros(())
        for q, mean in needs.mean_kls(model, guide, self.num_particles * size):
            cost = cost + needs.mean_scale(q) * size * mean.clamp_min(self.nats)
        return cost - reconstruction
