"""Likelihoods of real x with outliers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_vae import distributions
from ppl_vae.arguments import Count, Name, Range, checked
from ppl_vae.conditional import Net
from ppl_vae.distributions import positive
from ppl_vae.likelihoods.likelihood import Shape
from ppl_vae.likelihoods.scales import Scale, Scaled
from ppl_vae.nets import MLP

__all__ = ["Laplace", "StudentT"]

Df = Annotated[float, Range(2, above=True)]
"""Degrees of freedom with which a Student-t distribution has a variance."""


class Laplace(Scaled):
    """p(x_i | z) = Laplace(x_i; m_i, s_i), a density for real x: absolute errors |x_i - m_i| in the place of squared.

    The variance is 2 s_i^2. The prior of this name is `ppl_vae.Laplace`. On data with finitely many levels the density
    with a learned scale is unbounded: dequantize first.

    Parameters
    ----------
    latent_dim, x_shape, net
        See `Likelihood`.
    scale
        A number; ``"learned"``, one for all elements; ``"elementwise"``, one learned for each element of x; or
        ``"decoder"``, computed from z.
    context, site
        See `Likelihood`.
    """

    kinds = ("real", "unit", "positive")
    base_measure = "density"

    def elementwise(self, loc: Tensor, *raw: Tensor) -> TorchDistribution:
        """From locations, and unconstrained scales where the decoder computes them."""
        return dist.Laplace(loc, self.scale_of(loc, *raw))


@checked
class StudentT(Scaled):
    """p(x_i | z) = StudentT(x_i; df, m_i, s_i), a density for real x with outliers.

    The encoder sees asinh(x), so that outliers do not outweigh all else. On data with finitely many levels the density
    with a learned scale is unbounded: dequantize first.

    Parameters
    ----------
    latent_dim, x_shape, net
        See `Likelihood`.
    scale
        As in `Laplace`; the variance is s_i^2 df / (df - 2).
    df
        Degrees of freedom, above 2, so that mean and variance exist: a number; ``"learned"``, one for all elements; or
        ``"elementwise"``, one learned for each element of x. What is learned starts at 3.
    context, site
        See `Likelihood`.

    References
    ----------
    Takahashi et al. 2018, doi:10.24963/ijcai.2018/374 (a VAE with this likelihood).
    """

    kinds = ("real", "unit", "positive")
    base_measure = "density"

    def __init__(
        self,
        latent_dim: Count,
        x_shape: Shape,
        net: Net = MLP,
        scale: Scale = "learned",
        df: Df | Literal["learned", "elementwise"] = "learned",
        *,
        context: Sequence[Shape] = (),
        site: Name = "x",
    ) -> None:
        super().__init__(latent_dim, x_shape, net, scale, context=context, site=site)
        self.df = df
        if isinstance(df, str):
            self.raw_df = nn.Parameter(torch.zeros(() if df == "learned" else tuple(x_shape)))

    def elementwise(self, loc: Tensor, *raw: Tensor) -> TorchDistribution:
        """From locations, and unconstrained scales where the decoder computes them."""
        df = 2 + positive(self.raw_df) if isinstance(self.df, str) else loc.new_tensor(self.df)
        return distributions.StudentT(df, loc, self.scale_of(loc, *raw))

    def standardize(self, x: Tensor) -> Tensor:
        """asinh(x), which is x near 0 and grows like its logarithm."""
        return x.asinh()

    def settings(self) -> str:
        """What `formula` adds."""
        return f"{super().settings()}, df={self.df}"
