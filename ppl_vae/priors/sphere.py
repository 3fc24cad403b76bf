"""A prior on the unit sphere."""

from __future__ import annotations

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_vae import distributions
from ppl_vae.arguments import Count, Name, checked
from ppl_vae.distributions.power_spherical import check_sphere
from ppl_vae.priors.prior import Prior

__all__ = ["SphericalUniform"]


@checked
class SphericalUniform(Prior):
    """p(z) = 1 / area of the unit sphere in R^latent_dim. With a `PowerSpherical` posterior.

    Parameters
    ----------
    latent_dim
        Dimension of z, a vector of length 1; at least 2, a circle.
    site
        Name of the Pyro sample site.

    Raises
    ------
    ValueError
        For latent_dim of 1.

    References
    ----------
    Davidson et al. 2018, arXiv:1804.00891.
    """

    uses_context = False

    like: Tensor

    def __init__(self, latent_dim: Count, *, site: Name = "z") -> None:
        check_sphere(latent_dim, "SphericalUniform")
        super().__init__(site)
        self.latent_dim = latent_dim
        self.register_buffer("like", torch.zeros(()))

    def given(self, *context: Tensor) -> TorchDistribution:
        """The prior; the context is ignored."""
        return distributions.SphericalUniform(self.latent_dim, self.like)
