"""The importance-weighted bound."""

from __future__ import annotations

import abc
import math

from pyro.poutine import Trace
from torch import Tensor

from ppl_vae import traces
from ppl_vae.arguments import Count, checked
from ppl_vae.objectives import needs
from ppl_vae.objectives.vectorized_elbo import VectorizedELBO

__all__ = ["IWAE", "OfWeights"]


class OfWeights(VectorizedELBO, abc.ABC):
    """A bound on log p(x) of each datum that is a function of the log weights of its draws."""

    def _check(self, model: Trace, guide: Trace) -> None:
        needs.weights(type(self).__name__, model, guide)

    def _loss(self, model: Trace, guide: Trace, x: Tensor, where: traces.Plates) -> Tensor:
        return -self._bound(traces.log_weights(model, guide, where, self.num_particles)).sum()

    @abc.abstractmethod
    def _bound(self, log_w: Tensor) -> Tensor:
        """The bound, (n,), of log p(x, z) - log q(z | x), (K, n), in nats."""


@checked
class IWAE(OfWeights):
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

    def _bound(self, log_w: Tensor) -> Tensor:
        return log_w.logsumexp(0) - math.log(len(log_w))
