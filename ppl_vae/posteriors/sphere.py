"""A posterior on the unit sphere."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_vae import distributions
from ppl_vae.distributions import positive
from ppl_vae.distributions.power_spherical import check_sphere
from ppl_vae.posteriors.posterior import Posterior

__all__ = ["PowerSpherical"]


class PowerSpherical(Posterior):
    """q(z | x) proportional to (1 + mu(x)^T z)^kappa(x) on the unit sphere; with the prior `SphericalUniform`.

    At first kappa is near latent_dim, at which a draw lies at 60 degrees from mu, whatever the dimension. Draws are
    exact and have gradients, where those of a von Mises-Fisher are by rejection; the KL to the uniform density is in
    closed form. A sphere has no coordinates on all real numbers: diagnostics that need such (HMC, adaptive proposals)
    leave it out, with the reason. Codes of length 1 say little to a fresh decoder: train with a warm-up, as
    `beta=Linear(10)`, or q may stay at the prior.

    Parameters
    ----------
    x_shape, latent_dim, net, context, site
        See `Posterior`; latent_dim >= 2.

    Raises
    ------
    ValueError
        For latent_dim of 1.

    References
    ----------
    De Cao & Aziz 2020, arXiv:2006.04437.
    """

    def param_shape(self, latent_dim: int) -> tuple[int, ...]:
        """The mean direction before it is scaled to length 1, and the concentration."""
        check_sphere(latent_dim, "PowerSpherical")
        return 1, latent_dim + 1

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From directions and unconstrained concentrations, (*leading, 1, latent_dim + 1)."""
        direction, raw = params[..., 0, :-1], params[..., 0, -1]
        first = torch.eye(direction.shape[-1], dtype=params.dtype, device=params.device)[0]
        nowhere = direction.norm(dim=-1, keepdim=True) < 1e-12  # at exactly 0 there is no direction
        loc = F.normalize(torch.where(nowhere, first, direction), dim=-1)
        return distributions.PowerSpherical(loc, direction.shape[-1] * positive(raw))
