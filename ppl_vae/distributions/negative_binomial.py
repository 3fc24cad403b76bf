"""The negative binomial distribution, for overdispersed counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

from ppl_vae.distributions.once import once
from ppl_vae.precision import has_float64

__all__ = ["NegativeBinomial"]

Shape = Sequence[int]
_LARGE = 1e6
"""A concentration above which the difference of two gamma functions is taken of Stirling's series: it loses digits."""


class NegativeBinomial(TorchDistribution):
    """A Poisson distribution whose rate is Gamma(r, r / m): mean m, variance m + m^2 / r.

    The mass is computed in float64 where the device supports it: it is a difference of terms of the size of x log x and
    r log r.

    Parameters
    ----------
    rate
        Mean m, above 0, (*batch,).
    concentration
        r, above 0, (*batch,); the limit of large r is Poisson, to rounding from 1e16 on.

    Examples
    --------
    >>> p = NegativeBinomial(torch.tensor(3.0), torch.tensor(1.0))  # geometric
    >>> p.log_prob(torch.tensor([0.0, 1.0])).exp()
    tensor([0.2500, 0.1875])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "rate": constraints.positive,
        "concentration": constraints.positive,
    }
    support = constraints.nonnegative_integer

    def __init__(self, rate: Tensor, concentration: Tensor, validate_args: bool | None = None) -> None:
        self.rate, self.concentration = torch.broadcast_tensors(rate, concentration)
        super().__init__(self.rate.shape, validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: TorchDistribution | None = None) -> NegativeBinomial:
        """Expanded to `batch_shape`."""
        new = self._get_checked_instance(NegativeBinomial, _instance)
        new.rate, new.concentration = self.rate.expand(batch_shape), self.concentration.expand(batch_shape)
        super(NegativeBinomial, new).__init__(torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Log mass, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        precise = torch.float64 if has_float64(self.rate.device) else self.rate.dtype
        x, m, r = (v.to(precise) for v in (value, self.rate, once(self.concentration)))
        is_large, small, ratio = r > _LARGE, r.clamp_max(_LARGE), m * r.reciprocal()
        ways = torch.lgamma(small + x) - torch.lgamma(small)
        # ways - x log r, by Stirling's series
        limit = (r + x - 0.5) * torch.log1p(x / r) - x - x / (12 * r * (r + x))
        ways = torch.where(is_large, limit, ways) - torch.lgamma(1 + x)
        log_p = ways - (r + x) * torch.log1p(ratio) + torch.xlogy(x, torch.where(is_large, m, ratio))
        return log_p.to(self.rate.dtype)

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        """Counts, as floats."""
        with torch.no_grad():
            shape = self._extended_shape(torch.Size(sample_shape))
            r = self.concentration.expand(shape)
            return torch.poisson(torch._standard_gamma(r) * (self.rate / self.concentration))

    @property
    def mean(self) -> Tensor:
        """Of the counts, (*batch,)."""
        return self.rate

    @property
    def variance(self) -> Tensor:
        """Of the counts, (*batch,)."""
        return self.rate + self.rate.square() / self.concentration
