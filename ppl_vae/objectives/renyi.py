"""Rényi's bound, between the ELBO and log p(x)."""

from __future__ import annotations

import math

from pyro.poutine import Trace
from torch import Tensor

from ppl_vae import traces
from ppl_vae.arguments import Count, NonNegative, checked
from ppl_vae.objectives import needs
from ppl_vae.objectives.vectorized_elbo import VectorizedELBO

__all__ = ["Renyi"]


@checked
class Renyi(VectorizedELBO):
    """The Rényi bound, E log (mean_k w_k^(1 - alpha)) / (1 - alpha), w = p(x, z) / q(z | x), for each datum.

    At alpha = 0 it is `IWAE`, at 1 the mean of K ELBOs. Of any alpha >= 0 the value is a bound on log p(x): a power
    mean of the weights is at most their mean. An alpha below 0 gives none and is refused. Above 1 q is drawn to cover
    p(z | x), as the smallest weights count most, and the gradient is noisy. Pyro's `RenyiELBO` scales log weights, so
    that under a scale its value is no bound; here a scale is refused.

    Parameters
    ----------
    alpha
        Order of the divergence, 0 or more.
    num_particles
        Number of draws K.

    Raises
    ------
    ValueError
        For what `IWAE` refuses.

    References
    ----------
    Li & Turner 2016, arXiv:1602.02311.
    """

    def __init__(self, alpha: NonNegative = 0.5, num_particles: Count = 5) -> None:
        super().__init__(num_particles)
        self.alpha = alpha

    def _check(self, model: Trace, guide: Trace) -> None:
        needs.unscaled("Renyi", model, guide)
        needs.densities("Renyi", guide)

    def _loss(self, model: Trace, guide: Trace, x: Tensor, where: traces.Plates) -> Tensor:
        num, power = self.num_particles, 1 - self.alpha
        log_w = traces.log_weights(model, guide, where, num)
        if power == 0:
            return -log_w.mean(0).sum()
        return ((math.log(num) - (power * log_w).logsumexp(0)) / power).sum()
