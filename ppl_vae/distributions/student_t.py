"""Student's t distribution, accurate at any degrees of freedom."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from pyro.distributions import constraints
from torch import Tensor

from ppl_vae.distributions.scalar import Scalar
from ppl_vae.distributions.stirling import stirling

__all__ = ["StudentT"]


class StudentT(Scalar):
    """p(x) proportional to (1 + t^2 / df)^(-(df + 1) / 2) / scale, with t = (x - loc) / scale.

    torch's constant is off by 0.08 nats in float32 at df = 1e6: it is a difference of log gamma functions.

    Parameters
    ----------
    df, loc, scale
        Degrees of freedom and scale above 0, (*batch,); the mean is NaN for df <= 1, the variance infinite for
        df <= 2.

    Examples
    --------
    >>> StudentT(torch.tensor(1.0), torch.tensor(0.0), torch.tensor(1.0)).log_prob(torch.tensor(0.0)).exp()  # 1 / pi
    tensor(0.3183)
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "df": constraints.positive,
        "loc": constraints.real,
        "scale": constraints.positive,
    }
    support = constraints.real
    has_rsample = True
    df: Tensor
    loc: Tensor
    scale: Tensor

    def _log_density(self, x: Tensor, df: Tensor, loc: Tensor, scale: Tensor) -> Tensor:  # type: ignore[override]
        half = df / 2
        # log Gamma(half + 1/2) - log Gamma(half) - log(half) / 2
        ratio = half * torch.log1p(0.5 / half) - 0.5 + stirling(half + 0.5) - stirling(half)
        tail = (half + 0.5) * torch.log1p(((x - loc) / scale).square() / df)
        return ratio - 0.5 * math.log(2 * math.pi) - scale.log() - tail

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """A normal variate over the root of a gamma variate, whose gradient by df is implicit."""
        shape = self._extended_shape(torch.Size(sample_shape))
        half = (self.df / 2).expand(shape)
        precision = torch._standard_gamma(half).clamp_min(torch.finfo(half.dtype).tiny) / half
        return self.loc + self.scale * torch.randn_like(half) * precision.rsqrt()

    @property
    def mean(self) -> Tensor:
        """(*batch,)."""
        return torch.where(self.df > 1, self.loc, math.nan)

    @property
    def variance(self) -> Tensor:
        """(*batch,)."""
        finite = self.scale.square() * (self.df / (self.df - 2).clamp_min(1e-30))
        return torch.where(self.df > 2, finite, torch.where(self.df > 1, math.inf, math.nan))
