"""The importance-weighted bound."""

from __future__ import annotations

import math

from pyro.poutine import Trace
from torch import Tensor

from ppl_vae import traces
from ppl_vae.arguments import Count, checked
from ppl_vae.objectives import needs
from ppl_vae.objectives.vectorized_elbo import VectorizedELBO

__all__ = ["IWAE"]


@checked
class IWAE(VectorizedELBO):
    """The importance-weighted bound, E log mean_k p(x, z_k) / q(z_k | x), for each datum.

    Its value is the bound itself, not a surrogate with the same gradient. Not with a beta other than 1, nor
    with a scaled plate: scaled weights give no bound. Not with a `Point` posterior.

    Parameters
    ----------
    num_particles
        Number of draws K; 1 gives the ELBO.

    References
    ----------
    Burda et al. 2016, arXiv:1509.00519.
    """

    def __init__(self, num_particles: Count = 5) -> None:
        super().__init__(num_particles)

    def _check(self, model: Trace, guide: Trace) -> None:
        """Refuse scaled sites, and a point mass or one code a datum as the posterior."""
        needs.unscaled("IWAE", model, guide)
        needs.densities("IWAE", guide)

    def _loss(self, model: Trace, guide: Trace, x: Tensor, where: traces.Plates) -> Tensor:
        num = self.num_particles
        return (math.log(num) - traces.log_weights(model, guide, where, num).logsumexp(0)).sum()
