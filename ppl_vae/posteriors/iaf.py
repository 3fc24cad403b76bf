"""A normal posterior transformed by an inverse autoregressive flow."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_vae import distributions
from ppl_vae.arguments import Count, Name, checked
from ppl_vae.conditional import Net
from ppl_vae.distributions import AutoregressiveFlow, positive
from ppl_vae.nets import MLP
from ppl_vae.posteriors.posterior import Posterior

__all__ = ["IAF"]

Shape = Sequence[Count]


@checked
class IAF(Posterior):
    """q(z | x): a diagonal normal transformed by autoregressive transforms that depend on x.

    Sampling, and the density of its own samples, take one pass; the density at any other value takes `latent_dim`.

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
        latent_dim: Count,
        net: Net = MLP,
        num_transforms: Count = 2,
        hidden_dim: Count = 64,
        *,
        context: Sequence[Shape] = (),
        site: Name = "z",
    ) -> None:
        super().__init__(x_shape, latent_dim, net, context=context, site=site)
        self.flow = AutoregressiveFlow(latent_dim, latent_dim, num_transforms, hidden_dim)

    def param_shape(self, latent_dim: int) -> tuple[int, ...]:
        """Mean and scale of the base distribution, and the context of the transforms."""
        return 3, latent_dim

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From means, unconstrained scales and the transforms' context, (*leading, 3, latent_dim)."""
        loc, raw_scale, seen = params.unbind(-2)
        base = distributions.DiagonalNormal(loc, positive(raw_scale))
        return dist.TransformedDistribution(base, self.flow.transforms(seen))

    def settings(self) -> str:
        """What `formula` adds."""
        return str(len(self.flow.nets))
