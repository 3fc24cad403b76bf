"""Normal posteriors, their covariance diagonal, of low rank or full."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_vae import distributions
from ppl_vae.arguments import Count, Name, checked
from ppl_vae.conditional import Net
from ppl_vae.distributions import positive
from ppl_vae.nets import MLP
from ppl_vae.posteriors.posterior import Posterior

__all__ = ["DiagonalNormal", "FullRankNormal", "LowRankNormal"]

Shape = Sequence[Count]


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
        return distributions.FullRankNormal(loc, scale_tril=scale.unsqueeze(-1) * unit)


@checked
class LowRankNormal(Posterior):
    """q(z | x) = N(z; m(x), W(x) W(x)^T + diag(s(x)^2)), W of a few columns: the correlations that matter most.

    The encoder gives (2 + rank) latent_dim numbers, where a `FullRankNormal` takes (1 + latent_dim) latent_dim.

    Parameters
    ----------
    x_shape, latent_dim, net
        See `Posterior`.
    rank
        Number of columns of W.
    context, site
        See `Posterior`.

    References
    ----------
    Ong et al. 2018, arXiv:1701.03208.

    Examples
    --------
    >>> q = LowRankNormal((3,), latent_dim=4, rank=1)
    >>> q.distribution(torch.ones(3, 4)).variance[0] > 1 + positive(torch.ones(())) ** 2 - 1e-3
    tensor(True)
    """

    def __init__(
        self,
        x_shape: Shape,
        latent_dim: Count,
        net: Net = MLP,
        rank: Count = 4,
        *,
        context: Sequence[Shape] = (),
        site: Name = "z",
    ) -> None:
        self.rank = rank
        super().__init__(x_shape, latent_dim, net, context=context, site=site)

    def param_shape(self, latent_dim: int) -> tuple[int, ...]:
        """Mean, scale and the columns of W."""
        return 2 + self.rank, latent_dim

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From means, unconstrained scales and columns of W, (*leading, 2 + rank, latent_dim)."""
        loc, raw_scale, factor = params[..., 0, :], params[..., 1, :], params[..., 2:, :]
        return distributions.LowRankNormal(loc, factor.mT, positive(raw_scale))

    def settings(self) -> str:
        """What `formula` adds."""
        return f"rank={self.rank}"
