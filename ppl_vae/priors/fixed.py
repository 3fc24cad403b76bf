"""Priors without parameters."""

from __future__ import annotations

import math
from typing import Annotated

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

from ppl_vae import distributions
from ppl_vae.arguments import Count, Name, Range, checked
from ppl_vae.distributions import DiagonalNormal, Improper
from ppl_vae.priors.prior import Prior

__all__ = ["Flat", "Laplace", "Logistic", "StandardNormal", "StudentT", "Uniform"]


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
class Logistic(Prior):
    """p(z) = prod_i Logistic(z_i; 0, sqrt(3) / pi): unit variance, tails of exponential rate, smooth at 0.

    Parameters
    ----------
    latent_dim
        Dimension of z.
    site
        Name of the Pyro sample site.

    References
    ----------
    Dinh et al. 2015, arXiv:1410.8516 (as the base of a flow).
    """

    uses_context = False

    loc: Tensor

    def __init__(self, latent_dim: Count, *, site: Name = "z") -> None:
        super().__init__(site)
        self.register_buffer("loc", torch.zeros(latent_dim))

    def given(self, *context: Tensor) -> TorchDistribution:
        """The prior; the context is ignored."""
        return distributions.Logistic(self.loc, torch.full_like(self.loc, math.sqrt(3) / math.pi)).to_event(1)


@checked
class StudentT(Prior):
    """p(z) = prod_i StudentT(z_i; df, 0, sqrt((df - 2) / df)): unit variance, and tails of a power of z.

    Codes far from 0 cost log z, where under a normal they cost z^2. A q with lighter tails than the prior's, as a
    `DiagonalNormal`, has unbounded importance weights; `posteriors.StudentT` has tails of its kind. The likelihood of
    this name is `ppl_vae.StudentT`.

    Parameters
    ----------
    latent_dim
        Dimension of z.
    df
        Degrees of freedom, above 2, so that there is a variance.
    site
        Name of the Pyro sample site.

    References
    ----------
    Mathieu et al. 2019, arXiv:1812.02833, section 5 (heavy-tailed priors that are not rotation invariant).

    Examples
    --------
    >>> StudentT(2, df=4.0).given().variance.round(decimals=4)
    tensor([1., 1.])
    """

    uses_context = False

    loc: Tensor

    def __init__(
        self, latent_dim: Count, df: Annotated[float, Range(2, above=True)] = 5.0, *, site: Name = "z"
    ) -> None:
        super().__init__(site)
        self.df = df
        self.register_buffer("loc", torch.zeros(latent_dim))

    def given(self, *context: Tensor) -> TorchDistribution:
        """The prior; the context is ignored."""
        scale = math.sqrt((self.df - 2) / self.df)
        df, s = torch.full_like(self.loc, self.df), torch.full_like(self.loc, scale)
        return distributions.StudentT(df, self.loc, s).to_event(1)

    def settings(self) -> str:
        """What `formula` adds."""
        return f"df={self.df:g}"


@checked
class Uniform(Prior):
    """p(z) = 1 on the box [0, 1]^latent_dim. With a `posteriors.Beta`, whose draws lie in it.

    A posterior on all real numbers has mass where p(z) = 0: its ELBO is minus infinity, and it is refused.

    Parameters
    ----------
    latent_dim
        Dimension of z.
    site
        Name of the Pyro sample site.

    Examples
    --------
    >>> Uniform(2).given().log_prob(torch.tensor([0.3, 1.0])).round(decimals=6)
    tensor(0.)
    """

    uses_context = False

    one: Tensor

    def __init__(self, latent_dim: Count, *, site: Name = "z") -> None:
        super().__init__(site)
        self.register_buffer("one", torch.ones(latent_dim))

    def given(self, *context: Tensor) -> TorchDistribution:
        """The prior, Beta(1, 1) in each coordinate, which has both ends in its support; the context is ignored."""
        return distributions.Beta(self.one, self.one).to_event(1)


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
