"""Posteriors q(z | x), their parameters computed by an encoder."""

from __future__ import annotations

import abc
from collections.abc import Sequence

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_vae import distributions
from ppl_vae.conditional import Amortized, Net
from ppl_vae.distributions import AutoregressiveFlow, positive
from ppl_vae.nets import MLP

__all__ = ["IAF", "DiagonalNormal", "FullRankNormal", "Point", "Posterior"]

Shape = Sequence[int]


class Posterior(Amortized):
    """q(z | x, context), its parameters computed by an encoder; the base of every posterior.

    Parameters
    ----------
    x_shape
        Shape of one datum, or of whatever it is given first (the level above, in a hierarchy).
    latent_dim
        Dimension of z.
    net
        Encoder factory.
    context
        Shapes of what else the encoder sees.
    site
        Name of the Pyro sample site.
    """

    def __init__(
        self,
        x_shape: Shape,
        latent_dim: int,
        net: Net = MLP,
        context: Sequence[Shape] = (),
        site: str = "z",
    ) -> None:
        super().__init__(x_shape, (self.rows(latent_dim), latent_dim), net, context, site)
        self.latent_dim = latent_dim

    @staticmethod
    @abc.abstractmethod
    def rows(latent_dim: int) -> int:
        """Number of parameters of the distribution per latent dimension."""


class DiagonalNormal(Posterior):
    """q(z | x) = N(z; m(x), diag(s(x)^2)), the mean field of the classic VAE.

    Also a level of a hierarchy: p(z1 | z2), with z2 in the place of x.

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

    @staticmethod
    def rows(latent_dim: int) -> int:
        """Mean and scale."""
        return 2

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From means and unconstrained scales, (*leading, 2, latent_dim)."""
        loc, raw_scale = params.unbind(-2)
        return distributions.DiagonalNormal(loc, positive(raw_scale))


class FullRankNormal(Posterior):
    """q(z | x) = N(z; m(x), L(x) L(x)^T), L = diag(s(x)) (I + N(x)) with N strictly lower triangular.

    The rows are scaled as a whole, so that a unit whose scale shrinks loses the noise it shares with others too.

    Parameters
    ----------
    x_shape, latent_dim, net, context, site
        See `Posterior`.
    """

    @staticmethod
    def rows(latent_dim: int) -> int:
        """Mean, and the rows of a square matrix: unconstrained scales on its diagonal, N below."""
        return 1 + latent_dim

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From means and square matrices, (*leading, 1 + latent_dim, latent_dim)."""
        loc, square = params[..., 0, :], params[..., 1:, :]
        scale = positive(square.diagonal(dim1=-2, dim2=-1))
        unit = square.tril(-1) + torch.eye(square.shape[-1], dtype=square.dtype, device=square.device)
        return dist.MultivariateNormal(loc, scale_tril=scale.unsqueeze(-1) * unit)


class IAF(Posterior):
    """q(z | x): a diagonal normal carried through autoregressive transforms that see x.

    Sampling and scoring its own samples costs one pass; a foreign value takes `latent_dim` of them.

    Parameters
    ----------
    x_shape, latent_dim, net
        See `Posterior`; latent_dim >= 2.
    num_transforms
        Number of autoregressive transforms.
    hidden_dim
        Width of their networks.
    context, site
        See `Posterior`.

    References
    ----------
    Kingma et al. 2016, arXiv:1606.04934.
    """

    def __init__(
        self,
        x_shape: Shape,
        latent_dim: int,
        net: Net = MLP,
        num_transforms: int = 2,
        hidden_dim: int = 64,
        context: Sequence[Shape] = (),
        site: str = "z",
    ) -> None:
        super().__init__(x_shape, latent_dim, net, context, site)
        self.flow = AutoregressiveFlow(latent_dim, latent_dim, num_transforms, hidden_dim)

    @staticmethod
    def rows(latent_dim: int) -> int:
        """Mean and scale of the start, and what the transforms see of x."""
        return 3

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From means, unconstrained scales and the transforms' context, (*leading, 3, latent_dim)."""
        loc, raw_scale, seen = params.unbind(-2)
        base = distributions.DiagonalNormal(loc, positive(raw_scale))
        return dist.TransformedDistribution(base, self.flow.transforms(seen))

    def settings(self) -> str:
        """What `formula` adds."""
        return str(len(self.flow.nets))


class Point(Posterior):
    """q(z | x) = delta(z - e(x)): the code of an autoencoder, no density.

    log p(x), KL and k-hat do not exist for it.

    Parameters
    ----------
    x_shape, latent_dim, net, context, site
        See `Posterior`.
    """

    @staticmethod
    def rows(latent_dim: int) -> int:
        """The code."""
        return 1

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From codes, (*leading, 1, latent_dim)."""
        return dist.Delta(params[..., 0, :], event_dim=1)
