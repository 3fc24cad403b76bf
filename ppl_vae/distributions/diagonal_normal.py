"""A normal distribution with independent coordinates."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

__all__ = ["DiagonalNormal"]

Shape = Sequence[int]


class DiagonalNormal(dist.Independent):
    """Normal with independent coordinates, event_shape (dim,).

    As the components of a `Mixture` its K densities at a value come from one matrix product instead of a
    (values, K, dim) array.

    Parameters
    ----------
    loc, scale
        Mean and standard deviation, (*batch, dim).
    """

    def __init__(self, loc: Tensor, scale: Tensor, validate_args: bool | None = None) -> None:
        super().__init__(dist.Normal(loc, scale, validate_args=validate_args), 1, validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: TorchDistribution | None = None) -> DiagonalNormal:
        new = self._get_checked_instance(DiagonalNormal, _instance)
        base = self.base_dist.expand(torch.Size(batch_shape) + self.event_shape)
        super(DiagonalNormal, new).__init__(base, 1, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob_each(self, value: Tensor) -> Tensor:
        """Log density of values (*leading, dim) under each component of a batch (*batch, K), in nats.

        Expanding (v - m)^2 / s^2 subtracts large numbers from each other, so it is done in float64.
        """
        loc, scale = self.base_dist.loc.double(), self.base_dist.scale.double()
        precision, v = scale.square().reciprocal(), value.double().unsqueeze(-2)  # (*leading, 1, dim)
        quadratic = torch.cat([precision, -2 * loc * precision], -1).mT  # (*batch, 2 dim, K)
        distance = (torch.cat([v.square(), v], -1) @ quadratic).squeeze(-2) + (loc.square() * precision).sum(-1)
        constant = scale.log().sum(-1) + 0.5 * loc.shape[-1] * math.log(2 * math.pi)
        return (-0.5 * distance - constant).to(value.dtype)
