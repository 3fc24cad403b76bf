"""Normal priors whose mean and covariance are learned."""

from __future__ import annotations

import torch
from pyro.distributions import MultivariateNormal, TorchDistribution
from torch import Tensor, nn

from ppl_vae import distributions
from ppl_vae.arguments import Count, Name, checked
from ppl_vae.distributions import positive, unconstrained
from ppl_vae.precision import in_float64
from ppl_vae.priors.prior import Prior

__all__ = ["DiagonalNormal", "FullRankNormal"]


@checked
class DiagonalNormal(Prior):
    """p(z) = N(z; m, diag(s^2)), m and s learned; at first a standard normal.

    Behind a decoder with an affine first layer the family of p(x) is that of a `StandardNormal`: what it helps is a q
    of limited scale, a prior fitted afterwards (`fit_prior`), and `p(z)` of a size that one wants to read. The
    posterior of this name is `ppl_vae.DiagonalNormal`; p(z | c) by a network is `ConditionalNormal`.

    Parameters
    ----------
    latent_dim
        Dimension of z.
    site
        Name of the Pyro sample site.

    Examples
    --------
    >>> DiagonalNormal(2).given().variance.detach().round(decimals=3)
    tensor([1., 1.])
    """

    uses_context = False

    def __init__(self, latent_dim: Count, *, site: Name = "z") -> None:
        super().__init__(site)
        self.loc = nn.Parameter(torch.zeros(latent_dim))
        self.raw_scale = nn.Parameter(torch.zeros(latent_dim))

    def given(self, *context: Tensor) -> TorchDistribution:
        """The normal; the context is ignored."""
        return distributions.DiagonalNormal(self.loc, positive(self.raw_scale))

    def start_from(self, z: Tensor) -> None:
        """Initialize mean and scale with those of z."""
        with torch.no_grad():
            self.loc.copy_(z.mean(0))
            self.raw_scale.copy_(unconstrained(z.std(0, correction=0)))


@checked
class FullRankNormal(Prior):
    """p(z) = N(z; m, L L^T), L = diag(s) (I + N) with N strictly lower triangular, all learned.

    At first a standard normal. The posterior of this name is `ppl_vae.FullRankNormal`.

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
        self.loc = nn.Parameter(torch.zeros(latent_dim))
        self.raw_scale = nn.Parameter(torch.zeros(latent_dim))
        self.lower = nn.Parameter(torch.zeros(latent_dim * (latent_dim - 1) // 2))

    def given(self, *context: Tensor) -> TorchDistribution:
        """The normal; the context is ignored."""
        rows, columns = torch.tril_indices(len(self.loc), len(self.loc), -1)
        unit = torch.eye(len(self.loc), dtype=self.loc.dtype, device=self.loc.device)
        unit = unit.index_put((rows.to(unit.device), columns.to(unit.device)), self.lower)
        return MultivariateNormal(self.loc, scale_tril=positive(self.raw_scale).unsqueeze(-1) * unit)

    def start_from(self, z: Tensor) -> None:
        """Initialize mean and covariance with those of z, whose covariance gets 1e-6 of its mean variance added."""
        centred = in_float64(z - z.mean(0))
        covariance = centred.mT @ centred / len(z)
        ridge = 1e-6 * covariance.diagonal().mean().clamp_min(1e-12)
        tril = torch.linalg.cholesky(covariance + ridge * torch.eye(len(covariance)).to(covariance))
        scale = tril.diagonal()
        with torch.no_grad():
            self.loc.copy_(z.mean(0))
            self.raw_scale.copy_(unconstrained(scale))
            self.lower.copy_((tril / scale.unsqueeze(-1))[tuple(torch.tril_indices(len(tril), len(tril), -1))])
