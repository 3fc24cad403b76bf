"""Normal posteriors, their covariance diagonal or of full rank."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_vae import distributions
from ppl_vae.distributions import positive
from ppl_vae.posteriors.posterior import Posterior

__all__ = ["DiagonalNormal", "FullRankNormal"]


class DiagonalNormal(Posterior):
    """q(z | x) = N(z; m(x), diag(s(x)^2)), the mean-field posterior of the original VAE.

    Also a level of a hierarchy, q(z1 | z2, x), with z2 in the place of x and x as context.

    Parameters
    ----------
    x_shape, latent_dim, net, context, site
        See `Posterior`.

    References
    ----------
    Kingma & Welling 2014, arXiv:1312.6114.

    Examples
    --------
    >>> DiagonalNormal((1, 8, 8), latent_dim=2).given(torch.zeros(5, 1, 8, 8))
    DiagonalNormal(Normal(loc: torch.Size([5, 2]), scale: torch.Size([5, 2])), 1)
    """

    def param_shape(self, latent_dim: int) -> tuple[int, ...]:
        """Mean and scale."""
        return 2, latent_dim

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From means and unconstrained scales, (*leading, 2, latent_dim)."""
        loc, raw_scale = params.unbind(-2)
        return distributions.DiagonalNormal(loc, positive(raw_scale))


class FullRankNormal(Posterior):
    """q(z | x) = N(z; m(x), L(x) L(x)^T), L = diag(s(x)) (I + N(x)) with N strictly lower triangular.

    The scale multiplies whole rows of L: a unit whose scale shrinks also loses the noise it shares with others.

    Parameters
    ----------
    x_shape, latent_dim, net, context, site
        See `Posterior`.
    """

    def param_shape(self, latent_dim: int) -> tuple[int, ...]:
        """Mean, and the rows of a square matrix: unconstrained scales on its diagonal, N below."""
        return 1 + latent_dim, latent_dim

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From means and square matrices, (*leading, 1 + latent_dim, latent_dim)."""
        loc, square = params[..., 0, :], params[..., 1:, :]
        scale = positive(square.diagonal(dim1=-2, dim2=-1))
        unit = square.tril(-1) + torch.eye(square.shape[-1], dtype=square.dtype, device=square.device)
        return dist.MultivariateNormal(loc, scale_tril=scale.unsqueeze(-1) * unit)
