"""The ELBO's loss and a penalty of the latent draws."""

from __future__ import annotations

import abc

from pyro.poutine import Trace
from torch import Tensor

from ppl_vae import traces
from ppl_vae.arguments import Count, NonNegative, checked
from ppl_vae.objectives import needs
from ppl_vae.objectives.vectorized_elbo import VectorizedELBO

__all__ = ["Penalized", "by_unit"]


@checked
class Penalized(VectorizedELBO):
    """-E log p(x | z) + kl * KL + weight * penalty, summed over the data. Its value is no bound.

    The warm-up beta weighs the KL, not the penalty; a scale of all sites, as that of a subsampled plate, scales the
    penalty too, one of some sites (`poutine.scale`) does not. Weights of the data scale it by their mean: in the
    penalty all data count alike.

    Parameters
    ----------
    weight
        Weight of the penalty, 0 or more.
    num_particles
        Number of draws.
    kl
        Weight of the KL; at 0 it is left out.

    Raises
    ------
    TypeError
        For what is no number.
    ValueError
        For a negative weight, or a number of draws that is not whole, or below 1.
    """

    def __init__(self, weight: NonNegative, num_particles: Count = 1, kl: float = 1.0) -> None:
        super().__init__(num_particles)
        self.weight, self.kl = weight, kl

    @abc.abstractmethod
    def _penalty(self, model: Trace, guide: Trace, x: Tensor) -> Tensor:
        """Penalty, summed over the data, the mean over particles."""

    def _loss(self, model: Trace, guide: Trace, x: Tensor, where: traces.Plates) -> Tensor:
        of_data, prior, q = traces.observed(model), traces.latents(model), traces.latents(guide)
        loss = -sum(s["log_prob_sum"] for s in of_data.values()) / self.num_particles
        if self.kl != 0:
            kl = sum(q[name]["log_prob_sum"] - prior[name]["log_prob_sum"] for name in q)
            loss = loss + self.kl * kl / self.num_particles
        if self.weight == 0:
            return loss
        return loss + self.weight * needs.scale_of_data(model, where) * self._penalty(model, guide, x)


def by_unit(value: Tensor, event_dim: int, where: traces.Plates) -> Tensor:
    """A latent's values, in any plates and of any event shape, as (particles, n, units)."""
    batch = value.dim() - event_dim
    value = value[(None,) * (where.depth + 1 - batch)]
    return value.movedim(where.depth + 1 + where.data, 1).reshape(len(value), where.size, -1)
