"""Priors without parameters."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

from ppl_vae.arguments import Count, Name, checked
from ppl_vae.distributions import DiagonalNormal, Improper
from ppl_vae.priors.prior import Prior

__all__ = ["Flat", "Laplace", "StandardNormal"]


@checked
class StandardNormal(Prior):
    """p(z) = N(z; 0, I).

    Parameters
    ----------
    latent_dim
        Dimension of z.
    site
        Name of the Pyro sample site.

    Examples
    --------
    >>> round(StandardNormal(2).given().log_prob(torch.zeros(2)).item(), 4)
    -1.8379
    """

    uses_context = False

    loc: Tensor

    def __init__(self, latent_dim: Count, *, site: Name = "z") -> None:
        super().__init__(site)
        self.register_buffer("loc", torch.zeros(latent_dim))

    def given(self, *context: Tensor) -> TorchDistribution:
        """The prior; the context is ignored."""
        return DiagonalNormal(self.loc, torch.ones_like(self.loc))


@checked
class Laplace(Prior):
    """p(z) = prod_i Laplace(z_i; 0, 1 / sqrt(2)): unit variance, and codes shrunk towards exact zeros.

    With a `Point` posterior, an L1-regularized, sparse autoencoder.

    Parameters
    ----------
    latent_dim
        Dimension of z.
    site
        Name of the Pyro sample site.
    """

    uses_context = False

    loc: Tensor

    def __init__(self, latent_dim: Count, *, site: Name = "z") -> None:
        super().__init__(site)
        self.register_buffer("loc", torch.zeros(latent_dim))

    def given(self, *context: Tensor) -> TorchDistribution:
        """The prior; the context is ignored."""
        return dist.Laplace(self.loc, torch.full_like(self.loc, 0.5**0.5)).to_event(1)


@checked
class Flat(Prior):
    """p(z) = 1, improper. With a `Point` posterior the ELBO is the reconstruction log-likelihood: an autoencoder.

    It cannot be sampled, and with a posterior that has a density the ELBO is no bound.

    Parameters
    ----------
    latent_dim
        Dimension of z.
    site
        Name of the Pyro sample site.
    """

    uses_context = False

    def __init__(self, latent_dim: Count, *, site: Name = "z") -> None:
        super().__init__(site)
        self.latent_dim = latent_dim

    def given(self, *context: Tensor) -> TorchDistribution:
        """The improper density."""
        return Improper(constraints.real_vector, (), (self.latent_dim,))
