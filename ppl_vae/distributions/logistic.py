"""The logistic distribution, accurate in both tails."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from pyro.distributions import constraints
from torch import Tensor

from ppl_vae.distributions.scalar import Scalar

__all__ = ["Logistic"]


class Logistic(Scalar):
    """p(x) = 1 / (4 s cosh^2((x - m) / 2 s)), the density whose distribution function is the sigmoid.

    Parameters
    ----------
    loc, scale
        Mean and scale s above 0, (*batch,); the standard deviation is pi s / sqrt(3).

    Examples
    --------
    >>> Logistic(torch.tensor(0.0), torch.tensor(1.0)).log_prob(torch.tensor(0.0)).exp()
    tensor(0.2500)
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "loc": constraints.real,
        "scale": constraints.positive,
    }
    support = constraints.real
    has_rsample = True
    loc: Tensor
    scale: Tensor

    def _log_density(self, x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:  # type: ignore[override]
        t = (x - loc).abs() / scale
        return -t - 2 * F.softplus(-t) - scale.log()

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """The difference of the logs of two exponential variates: no rounding cuts off a tail."""
        shape = self._extended_shape(torch.Size(sample_shape))
        a, b = (torch.empty(shape, dtype=self.loc.dtype, device=self.loc.device).exponential_() for _ in range(2))
        return self.loc + self.scale * (a.log() - b.log())

    @property
    def mean(self) -> Tensor:
        """(*batch,)."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """(*batch,)."""
        return self.scale.square() * (math.pi**2 / 3)
