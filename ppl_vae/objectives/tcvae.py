"""The total correlation of the latent units, which beta-TCVAE weighs."""

from __future__ import annotations

import math
from typing import Any, Literal

import pyro.distributions as dist
import torch
from pyro.poutine import Trace
from torch import Tensor

from ppl_vae import traces
from ppl_vae.arguments import Count, checked
from ppl_vae.objectives import needs
from ppl_vae.objectives.penalized import Penalized
from ppl_vae.support import layers

__all__ = ["BetaTCVAE"]


@checked
class BetaTCVAE(Penalized):
    """Trace_ELBO's loss + (beta - 1) * n * TC, TC = KL(q(z) || prod_i q(z_i)) the total correlation: no bound.

    Of the KL's three parts, mutual information, total correlation and KL by unit, it weighs the second by beta, where a
    beta-VAE weighs all. q(z) = mean_j q(z | x_j) is estimated on the batch, by weights of the number of data N:
    ``"weighted"`` is biased upwards, and N moves its value alone; ``"stratified"`` counts each datum as often as it is
    in the data, all pairs of a batch without its own, and is exact where the batch is all. Both are far from TC for
    small batches of many units, where log q(z) is that of the nearest datum. The estimate may be negative. Weights of
    the data scale it by their mean, and do not enter q(z). `fit` chooses the best epoch by the ELBO.

    Parameters
    ----------
    beta
        Weight of TC, 1 or more; 1 gives `Trace_ELBO`.
    estimator
        How a batch stands for all data.
    num_data
        N; by default the number of the training data where `fit` knows it (data in memory), else the batch is all.
    num_particles
        Number of draws.

    Raises
    ------
    ValueError
        For a beta below 1, several sites, a posterior whose units are not independent given x, or without a density,
        and a batch larger than num_data.

    References
    ----------
    Chen et al. 2018, arXiv:1802.04942, equations S5 (weighted) and S6 (stratified).
    """

    sums_over_data = False

    def __init__(
        self,
        beta: float = 6.0,
        estimator: Literal["weighted", "stratified"] = "weighted",
        num_data: Count | None = None,
        num_particles: Count = 1,
    ) -> None:
        if beta < 1:
            raise ValueError(f"BetaTCVAE expects beta of 1 or more, got {beta}; give 1 for the ELBO, or more")
        super().__init__(beta - 1, num_particles)
        self.beta, self.estimator, self.num_data = beta, estimator, num_data

    def _check(self, model: Trace, guide: Trace) -> None:
        needs.densities("BetaTCVAE", guide)
        sites = traces.latents(guide)
        for name, site in sites.items():
            if len(sites) > 1 or not _by_unit(site["fn"]):
                raise ValueError(
                    "BetaTCVAE expects one latent site whose units are independent given x, as in DiagonalNormal, got "
                    f"{list(sites)} and {type(site['fn']).__name__} at {name!r}; use another posterior, or InfoVAE"
                )

    def _penalty(self, model: Trace, guide: Trace, x: Tensor) -> Tensor:
        (site,), size = traces.latents(guide).values(), len(x)
        if self.num_data is not None and self.num_data < size:
            raise ValueError(
                f"BetaTCVAE expects num_data of the whole data, got {self.num_data} and a batch of {size}; give more"
            )
        where = traces.plates(model, size, name=self.data_plate)
        if where.depth > 1:
            raise ValueError(
                f"BetaTCVAE expects the plate of the data alone, got plates of {where.depth} dimensions; move the "
                "others into the event (to_event), or use InfoVAE"
            )
        z = site["value"].reshape(self.num_particles, size, -1).transpose(0, 1).unsqueeze(2)
        each = _by_unit(site["fn"]).log_prob(z)  # (n of z, particles, n of q, units)
        num = self.num_data or max(self.data_size or size, size)  # a validation may have a larger batch
        log_w = self._log_weights(num, size, each).unsqueeze(1)
        log_q = (each.sum(-1) + log_w).logsumexp(-1)
        product = (each + log_w.unsqueeze(-1)).logsumexp(-2).sum(-1)
        return (log_q - product).mean(1).sum()

    def _log_weights(self, num: int, size: int, like: Tensor) -> Tensor:
        """Log weights of q(z_i | x_j) in q(z_i), (n, n)."""
        if self.estimator == "weighted" or size == 1:
            return like.new_full((size, size), -math.log(num * size))
        if num == size:
            return like.new_full((size, size), -math.log(size))
        others = size - 1
        weights = like.new_full((size, size), 1 / others)
        index = torch.arange(size)
        weights[index, index] = 1 / num
        weights[index, (index + 1) % size] = (num - others) / (num * others)
        return weights.log()


def _by_unit(fn: Any) -> Any:
    """The distribution of each unit, where they are independent; `None` elsewhere."""
    found = next((layer for layer in layers(fn) if isinstance(layer, dist.Independent)), None)
    return found.base_dist if found is not None and not found.base_dist.event_shape else None
