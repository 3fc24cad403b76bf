"""A normal posterior whose coordinates are reflected."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_vae.arguments import Count, Name, checked
from ppl_vae.conditional import Net
from ppl_vae.distributions import positive, rotated_normal
from ppl_vae.nets import MLP
from ppl_vae.posteriors.posterior import Posterior

__all__ = ["Householder"]

Shape = Sequence[Count]


@checked
class Householder(Posterior):
    """q(z | x) = N(z; m(x), H(x) diag(s(x)^2) H(x)^T), H a product of reflections: a normal with correlated latents.

    The Householder flow: volume-preserving, so that its density is exact and as cheap as a draw. With `latent_dim` - 1
    reflections it is any normal; with T it takes (2 + T) latent_dim numbers of the encoder. Where these are 0 it is the
    mean field.

    Parameters
    ----------
    x_shape, latent_dim, net
        See `Posterior`.
    num_reflections
        Number of reflections T.
    context, site
        See `Posterior`.

    References
    ----------
    Tomczak & Welling 2016, arXiv:1611.09630.

    Examples
    --------
    >>> q = Householder((3,), latent_dim=4, num_reflections=2)
    >>> q.param_shape(4), q.settings()
    ((4, 4), '2')
    """

    def __init__(
        self,
        x_shape: Shape,
        latent_dim: Count,
        net: Net = MLP,
        num_reflections: Count = 4,
        *,
        context: Sequence[Shape] = (),
        site: Name = "z",
    ) -> None:
        self.num_reflections = num_reflections
        super().__init__(x_shape, latent_dim, net, context=context, site=site)

    def param_shape(self, latent_dim: int) -> tuple[int, ...]:
        """Mean, scale and the normals of the planes."""
        return 2 + self.num_reflections, latent_dim

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From means, unconstrained scales, and normals less unit vectors, (*leading, 2 + T, latent_dim)."""
        loc, raw_scale, normals = params[..., 0, :], params[..., 1, :], params[..., 2:, :]
        axes = torch.arange(normals.shape[-2], device=params.device) % normals.shape[-1]
        units = torch.nn.functional.one_hot(axes, normals.shape[-1]).to(params.dtype)
        return rotated_normal(loc, positive(raw_scale), normals + units)

    def settings(self) -> str:
        """What `formula` adds."""
        return str(self.num_reflections)
