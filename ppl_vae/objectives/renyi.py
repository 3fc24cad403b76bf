"""Rényi's bound, between the ELBO and log p(x)."""

from __future__ import annotations

import math

from torch import Tensor

from ppl_vae.arguments import Count, NonNegative, checked
from ppl_vae.objectives.iwae import OfWeights
from ppl_vae.precision import in_float64

__all__ = ["Renyi"]


@checked
class Renyi(OfWeights):
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

    def _bound(self, log_w: Tensor) -> Tensor:
        power = 1 - self.alpha
        if abs(power) < 1e-8:
            return log_w.mean(0)
        # near 1 a difference of nearly equal numbers is divided by one near 0: in float32 an error of nats
        return (((power * in_float64(log_w)).logsumexp(0) - math.log(len(log_w))) / power).to(log_w)
