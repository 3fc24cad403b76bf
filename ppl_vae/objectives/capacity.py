"""A KL that is held near a number of nats."""

from __future__ import annotations

import torch
from pyro.poutine import Trace
from torch import Tensor

from ppl_vae import traces
from ppl_vae.arguments import Count, NonNegative, checked
from ppl_vae.objectives import needs
from ppl_vae.objectives.vectorized_elbo import VectorizedELBO

__all__ = ["Capacity"]


@checked
class Capacity(VectorizedELBO):
    """-E log p(x | z) + weight * |KL - C|, KL the batch mean in nats per datum over all sites: no bound.

    C is `nats` times the warm-up beta: with `beta=Linear(epochs)` it is annealed from 0 to `nats` and stays there;
    without one it is a target for the KL from the start. Where the decoder explains the data with fewer nats than C,
    the KL is driven up to it all the same. KL is in closed form where there is one. `fit` chooses the best epoch by the
    ELBO.

    Parameters
    ----------
    nats
        Capacity at the end, in nats per datum.
    weight
        Weight of the distance; the paper's gamma.
    num_particles
        Number of draws.

    Raises
    ------
    ValueError
        For a point mass, or one code a datum, as the posterior.

    References
    ----------
    Burgess et al. 2018, arXiv:1804.03599, equation 8.
    """

    sums_over_data = False

    def __init__(self, nats: NonNegative = 10.0, weight: NonNegative = 10.0, num_particles: Count = 1) -> None:
        super().__init__(num_particles)
        self.nats, self.weight = nats, weight

    def _check(self, model: Trace, guide: Trace) -> None:
        needs.densities("Capacity", guide)

    def _loss(self, model: Trace, guide: Trace, x: Tensor, where: traces.Plates) -> Tensor:
        size = where.size
        reconstruction = sum(s["log_prob_sum"] for s in traces.observed(model).values()) / self.num_particles
        kl = torch.zeros((), dtype=x.dtype if x.is_floating_point() else None, device=x.device)
        for _, mean in needs.mean_kls(model, guide, self.num_particles * size):
            kl = kl + mean
        scale = needs.scale_of_data(model, where)
        beta = needs.scale_of_latents(model) / scale
        return scale * size * self.weight * (kl - beta * self.nats).abs() - reconstruction
