"""A normal posterior transformed by coupling splines of zuko."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.distributions import Transform

from ppl_vae import distributions
from ppl_vae.arguments import Count, Name, checked
from ppl_vae.conditional import Net
from ppl_vae.distributions import positive, zuko_flows
from ppl_vae.nets import MLP
from ppl_vae.posteriors.posterior import Posterior

__all__ = ["SplineFlow"]

Shape = Sequence[Count]


@checked
class SplineFlow(Posterior):
    """q(z | x): a standard normal transformed by coupling splines that depend on x, then moved and scaled.

    Sampling takes one pass of each transform and the density at any value two, in any dimension, where `IAF` takes
    `latent_dim`. Splines act within 5 standard deviations; beyond, q is the diagonal normal of means and scales.

    Parameters
    ----------
    x_shape, latent_dim, net
        See `Posterior`; latent_dim >= 2.
    num_transforms
        Number of coupling transforms.
    hidden_dim
        Width of the two hidden layers of their networks.
    num_bins
        Number of bins of a spline, at least 2.
    context, site
        See `Posterior`.

    Raises
    ------
    ImportError
        Without zuko, the extra `ppl_vae[zuko]`.
    ValueError
        For latent_dim of 1.

    References
    ----------
    Durkan et al. 2019, arXiv:1906.04032.
    """

    def __init__(
        self,
        x_shape: Shape,
        latent_dim: Count,
        net: Net = MLP,
        num_transforms: Count = 2,
        hidden_dim: Count = 64,
        num_bins: Count = 8,
        *,
        context: Sequence[Shape] = (),
        site: Name = "z",
    ) -> None:
        if latent_dim < 2:
            raise ValueError(
                f"SplineFlow expects latent_dim of 2 or more, got {latent_dim}; use GaussianMixturePosterior in one "
                "dimension"
            )
        if num_bins < 2:
            raise ValueError(f"SplineFlow expects num_bins of 2 or more, got {num_bins}; give 8, say")
        super().__init__(x_shape, latent_dim, net, context=context, site=site)
        self.flow = zuko_flows("SplineFlow").NSF(
            latent_dim,
            latent_dim,
            bins=num_bins,
            transforms=num_transforms,
            passes=2,
            hidden_features=(hidden_dim, hidden_dim),
        )

    def param_shape(self, latent_dim: int) -> tuple[int, ...]:
        """Mean and scale, and the context of the transforms."""
        return 3, latent_dim

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From means, unconstrained scales and the transforms' context, (*leading, 3, latent_dim)."""
        loc, raw_scale, seen = params.unbind(-2)
        base = distributions.DiagonalNormal(loc.new_zeros(()).expand_as(loc), loc.new_ones(()).expand_as(loc))
        moved = dist.transforms.AffineTransform(loc, positive(raw_scale), event_dim=1, cache_size=1)
        return dist.TransformedDistribution(base, [_Cached(self.flow.transform(seen)), moved])

    def settings(self) -> str:
        """What `formula` adds."""
        return str(len(self.flow.transform.transforms))


class _Cached(Transform):
    """A transform of zuko that remembers its last value and Jacobian, as Pyro scores its own draws.

    `pyro.contrib.zuko` wraps a distribution that cannot be sampled without a gradient, and has no support.
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, transform: Any) -> None:
        super().__init__(cache_size=1)
        self.transform = transform
        self._scored: tuple[Tensor | None, Tensor | None] = (None, None)

    def _call(self, x: Tensor) -> Tensor:
        y, log_det = self.transform.call_and_ladj(x)
        self._scored = (x, log_det)
        return y

    def _inverse(self, y: Tensor) -> Tensor:
        return self.transform.inv(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        scored, log_det = self._scored
        return self.transform.call_and_ladj(x)[1] if scored is not x or log_det is None else log_det
