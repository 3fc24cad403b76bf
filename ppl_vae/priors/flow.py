"""A learned flow."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_vae.arguments import Count, Name, checked
from ppl_vae.distributions import AutoregressiveFlow, DiagonalNormal
from ppl_vae.nets.network import joined, widths
from ppl_vae.priors.prior import Prior

__all__ = ["FlowPrior"]

Shape = Sequence[Count]


@checked
class FlowPrior(Prior):
    """p(z) = N(f(z); 0, I) |det df/dz|, f a learned autoregressive flow, conditioned on the context if there is any.

    The flow maps z to the noise: a density takes one pass, a sample `latent_dim` passes.

    Parameters
    ----------
    latent_dim
        Dimension of z, at least 2.
    num_transforms
        Number of autoregressive transforms.
    hidden_dim
        Width of their networks.
    context
        Shapes of the context.
    site
        Name of the Pyro sample site.

    References
    ----------
    Papamakarios et al. 2017, arXiv:1705.07057.
    """

    loc: Tensor

    def __init__(
        self,
        latent_dim: Count,
        num_transforms: Count = 4,
        hidden_dim: Count = 64,
        *,
        context: Sequence[Shape] = (),
        site: Name = "z",
    ) -> None:
        super().__init__(site)
        self._shapes = tuple(map(tuple, context))
        self.context_shapes = self._shapes[1:]  # besides the level above, as those of `ConditionalNormal`
        self.register_buffer("loc", torch.zeros(latent_dim))
        self.flow = AutoregressiveFlow(latent_dim, widths(context), num_transforms, hidden_dim)

    def given(self, *context: Tensor) -> TorchDistribution:
        """The flow's density given the context."""
        base = DiagonalNormal(torch.zeros_like(self.loc), torch.ones_like(self.loc))
        together = joined([c.to(self.loc) for c in context], self._shapes) if context else None
        transforms = self.flow.transforms(together)
        if together is not None:
            base = base.expand(together.shape[:-1])
        shift = dist.transforms.AffineTransform(self.loc, 1.0, event_dim=1)
        return dist.TransformedDistribution(base, [*(t.inv for t in reversed(transforms)), shift])

    def start_from(self, z: Tensor) -> None:
        """Initialize the flow near a normal with the means and standard deviations of z.

        Standard deviations outside e^(-1.8 num_transforms) to e^(1.8 num_transforms) are only approached.
        """
        self.loc.copy_(z.mean(0))
        self.flow.start_from(z.std(0, correction=0).clamp_min(1e-6))

    def settings(self) -> str:
        """What `formula` adds."""
        return str(len(self.flow.nets))
