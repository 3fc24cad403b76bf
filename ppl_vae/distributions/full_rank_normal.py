"""A normal of any covariance whose density at its own draws takes no solve."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor

__all__ = ["FullRankNormal"]


class FullRankNormal(dist.MultivariateNormal):
    """`MultivariateNormal` that knows the noise of its last draw, whose density is then that of the noise.

    Elsewhere a density takes a triangular solve for each value. At a draw, log q as a function of the parameters is the
    same with and without the solve; as a function of the draw alone it has no gradient.

    Parameters
    ----------
    loc, covariance_matrix, precision_matrix, scale_tril
        As those of `MultivariateNormal`.
    """

    _drawn: tuple[Tensor, Tensor] | None = None

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws, with a gradient."""
        shape = self._extended_shape(torch.Size(sample_shape))
        noise = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        value = self.loc + (self._unbroadcasted_scale_tril @ noise.unsqueeze(-1)).squeeze(-1)
        self._drawn = value, noise
        return value

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, in nats."""
        if self._drawn is None or value is not self._drawn[0]:
            found: Tensor = super().log_prob(value)
            return found
        if self._validate_args:
            self._validate_sample(value)
        noise, scale = self._drawn[1], self._unbroadcasted_scale_tril.diagonal(dim1=-2, dim2=-1)
        squares = noise.square().sum(-1) + self.event_shape[0] * math.log(2 * math.pi)
        return -0.5 * squares - scale.log().sum(-1)
