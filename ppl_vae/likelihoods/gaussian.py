"""The normal likelihood of real x."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_vae.arguments import Count, Name, Positive, checked
from ppl_vae.conditional import Net
from ppl_vae.distributions import positive, unconstrained
from ppl_vae.likelihoods.likelihood import Likelihood, Shape
from ppl_vae.likelihoods.marginals import mean_and_variance
from ppl_vae.nets import MLP

__all__ = ["Gaussian"]


@checked
class Gaussian(Likelihood):
    """p(x_i | z) = N(x_i; m_i, s_i^2), for real x.

    On data with finitely many levels the density with a learned scale is unbounded: dequantize first.

    Parameters
    ----------
    latent_dim, x_shape, net
        See `Likelihood`.
    scale
        A number; ``"learned"``, one for all elements; ``"elementwise"``, one learned for each element of x; or
        ``"decoder"``, computed from z.
    context, site
        See `Likelihood`.

    References
    ----------
    Rybkin et al. 2021, arXiv:2006.13202 (the learned scale).
    """

    kinds = ("real", "unit")
    base_measure = "density"

    def __init__(
        self,
        latent_dim: Count,
        x_shape: Shape,
        net: Net = MLP,
        scale: Positive | Literal["learned", "elementwise", "decoder"] = "learned",
        *,
        context: Sequence[Shape] = (),
        site: Name = "x",
    ) -> None:
        self.scale = scale
        super().__init__(latent_dim, x_shape, net, context=context, site=site)
        if scale == "learned":
            self.raw_scale = nn.Parameter(torch.zeros(()))
        if scale == "elementwise":
            self.raw_scale = nn.Parameter(torch.zeros(*x_shape))

    def param_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Mean, and the scale where the decoder computes it."""
        return 2 if self.scale == "decoder" else 1, *x_shape

    def elementwise(self, loc: Tensor, *raw: Tensor) -> TorchDistribution:
        """From means, and unconstrained scales where the decoder computes them."""
        if raw:
            return dist.Normal(loc, positive(raw[0]))
        return dist.Normal(loc, self.scale if isinstance(self.scale, int | float) else positive(self.raw_scale))

    def start_from(self, x: Tensor, mask: Tensor, *context: Tensor) -> Tensor:
        """Mean and standard deviation of each element; the one scale of all is that of the mean variance."""
        mean, variance = mean_and_variance(x, mask)
        if self.scale == "decoder":
            return torch.stack([mean, unconstrained(variance.sqrt())])
        if not isinstance(self.scale, int | float):
            with torch.no_grad():
                each = variance if self.scale == "elementwise" else variance.mean()
                self.raw_scale.copy_(unconstrained(each.sqrt()))
        return mean.unsqueeze(0)

    def settings(self) -> str:
        """What `formula` adds."""
        return f"scale={self.scale}"
