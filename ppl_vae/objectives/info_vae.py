"""InfoVAE, and with it the Wasserstein autoencoder: MMD between the aggregated posterior and the prior."""

from __future__ import annotations

import math

import torch
from pyro.poutine import Trace
from torch import Tensor

from ppl_vae import traces
from ppl_vae.arguments import Count, NonNegative, checked
from ppl_vae.objectives.mmd import squared_mmd
from ppl_vae.objectives.penalized import Penalized, by_unit

__all__ = ["InfoVAE"]


@checked
class InfoVAE(Penalized):
    """-E log p(x | z) + (1 - alpha) KL + weight * n * MMD^2(q(z), p(z)), summed over the n data: no bound.

    q(z) is the aggregated posterior, the mean of q(z | x) over the batch. At alpha = 1 there is no KL: with a `Point`
    posterior and a prior such as `StandardNormal` a deterministic Wasserstein autoencoder. As in the
    adversarial autoencoder (Makhzani et al. 2016, arXiv:1511.05644) codes become distributed as the prior, without a
    discriminator and its training loop. `weight` is Zhao et al.'s alpha + lambda - 1, per datum.

    MMD^2 is an unbiased estimate, the mean over particles, between one draw of q and one of p(z | context) a datum (see
    `objectives.mmd`; its base scale is the mean squared distance of two draws from the prior), and 0 on a batch of one
    datum. The prior is learned by its KL alone: at alpha = 1 it stays as it is. Sites of a hierarchy are compared one
    by one, z1 with p(z1 | z2) at the guide's z2. Weights of the data scale MMD^2 by their mean, and do not enter q(z).
    The history of a training still shows the ELBO, and `fit` chooses the best epoch by it: without the penalty, and
    with the whole KL where there is one.

    Parameters
    ----------
    alpha
        At most 1; 0 keeps the KL, 1 leaves it out. Only 1 with a `Point` posterior, whose KL does not exist.
    weight
        Weight of MMD^2, in nats per datum.
    num_particles
        Number of draws.

    Raises
    ------
    TypeError
        For what is no number.
    ValueError
        For alpha above 1, a negative weight.

    References
    ----------
    Zhao et al. 2019, arXiv:1706.02262; Tolstikhin et al. 2018, arXiv:1711.01558.
    """

    sums_over_data = False

    def __init__(self, alpha: float = 1.0, weight: NonNegative = 100.0, num_particles: Count = 1) -> None:
        if not -math.inf < alpha <= 1:
            raise ValueError(
                f"InfoVAE expects alpha of at most 1, got {alpha}; give 0 to 1 (above 1 the loss has no lower bound)"
            )
        super().__init__(weight, num_particles, kl=1 - alpha)
        self.alpha = alpha

    def _check(self, model: Trace, guide: Trace) -> None:
        """Refuse the KL of a point mass, and an improper prior, which has no draws."""
        sites = traces.latents(guide).values()
        if self.alpha != 1 and any(map(traces.singular, sites)):
            raise ValueError(
                f"InfoVAE expects alpha=1 with a point mass (Point), whose KL does not exist, got alpha={self.alpha}; "
                "give alpha=1, or use another posterior"
            )
        if any(map(traces.improper, traces.latents(model).values())):
            raise ValueError(
                "InfoVAE expects a prior to draw from, got an improper one (Flat); use StandardNormal, or another "
                "proper prior"
            )

    def _penalty(self, model: Trace, guide: Trace, x: Tensor) -> Tensor:
        where = traces.plates(model, len(x), name=self.data_plate)
        if where.size == 1:  # no pairs
            return x.new_zeros(())
        p = traces.latents(model)
        each = [_discrepancy(site, p[name], where).mean() for name, site in traces.latents(guide).items()]
        return where.size * torch.stack(each).sum()


def _discrepancy(q: traces.Site, p: traces.Site, where: traces.Plates) -> Tensor:
    """MMD^2 of each particle; the base scale is from draws of its own, or the estimate would be biased."""
    with torch.no_grad():
        drawn, other = (by_unit(p["fn"].sample(), p["fn"].event_dim, where) for _ in range(2))
        base = 2 * other.var(-2).sum(-1)[:, None, None]
    return squared_mmd(by_unit(q["value"], q["fn"].event_dim, where), drawn, base.clamp_min(1e-30))
