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

    Elsewhere a density takes a triangular solve for each value; so does that of a draw that was changed in place, or
    has no gradient by the parameters. At its own draw log q is the same function of the parameters as with the solve;
    by the draw alone it has no gradient.

    Parameters
    ----------
    loc, covariance_matrix, precision_matrix, scale_tril
        As those of `MultivariateNormal`.
    """

    _drawn: tuple[Tensor, Tensor, list[int]] | None = None

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws, with a gradient."""
        shape = self._extended_shape(torch.Size(sample_shape))
        noise = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        value = self.loc + (self._unbroadcasted_scale_tril @ noise.unsqueeze(-1)).squeeze(-1)
        # a draw without the gradient of its parameters, of `sample` say, has a score of which the noise knows nothing
        trained = self.loc.requires_grad or self._unbroadcasted_scale_tril.requires_grad
        known = value.requires_grad or not trained
        self._drawn = (value, noise, self._versions(value)) if known else None
        return value

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, in nats."""
        if self._drawn is None or value is not self._drawn[0] or self._versions(value) != self._drawn[2]:
            found: Tensor = super().log_prob(value)
            return found
        if self._validate_args:
            self._validate_sample(value)
        noise, scale = self._drawn[1], self._unbroadcasted_scale_tril.diagonal(dim1=-2, dim2=-1)
        squares = noise.square().sum(-1) + self.event_shape[0] * math.log(2 * math.pi)
        return -0.5 * squares - scale.log().sum(-1)

    def _versions(self, value: Tensor) -> list[int]:
        """How often the draw and the parameters were changed in place."""
        tensors = value, self.loc, self._unbroadcasted_scale_tril
        return [0 if each.is_inference() else each._version for each in tensors]
