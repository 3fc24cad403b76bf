"""A normal prior whose parameters a network computes from the context."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_vae import distributions
from ppl_vae.arguments import Count, Name, checked
from ppl_vae.conditional import Amortized, Net
from ppl_vae.distributions import positive
from ppl_vae.nets import MLP
from ppl_vae.priors.prior import Prior

__all__ = ["ConditionalNormal"]

Shape = Sequence[Count]


@checked
class ConditionalNormal(Prior, Amortized):
    """p(z | c) = N(z; m(c), diag(s(c)^2)): a level of a hierarchy, or the learned prior of a conditional VAE.

    Parameters
    ----------
    latent_dim
        Dimension of z.
    net
        Factory of the network of m and s.
    context
        Shapes of the context; in a hierarchy the level above, (dim,), comes first. Without a context, m and s are
        learned constants.
    site
        Name of the Pyro sample site.

    References
    ----------
    Sohn et al. 2015, Advances in Neural Information Processing Systems 28 (conditional VAE); Sønderby et al. 2016,
    arXiv:1602.02282 (levels).

    Examples
    --------
    >>> ConditionalNormal(4, context=[(2,)], site="z1").given(torch.zeros(5, 2)).shape()
    torch.Size([5, 4])
    """

    def __init__(self, latent_dim: Count, net: Net = MLP, *, context: Sequence[Shape] = (), site: Name = "z") -> None:
        first, *rest = context or [()]
        super().__init__(first, (2, latent_dim), net if context else _Constant, context=rest, site=site)

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From means and unconstrained scales, (*leading, 2, latent_dim)."""
        loc, raw_scale = params.unbind(-2)
        return distributions.DiagonalNormal(loc, positive(raw_scale))


class _Constant(nn.Module):
    """Learned constants instead of a network's output; initially a standard normal."""

    def __init__(self, in_shape: Shape, out_shape: Shape) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(*out_shape))

    def forward(self, *context: Tensor) -> Tensor:
        return self.values
