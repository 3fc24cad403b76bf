"""The gamma distribution, accurate at large concentrations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from pyro.distributions import constraints
from torch import Tensor

from ppl_vae.distributions.scalar import Scalar
from ppl_vae.distributions.stirling import stirling

__all__ = ["Gamma"]


class Gamma(Scalar):
    """p(x) = rate^k x^(k-1) e^(-rate x) / Gamma(k) for x > 0, of mean k / rate and variance k / rate^2.

    torch's density is off by 0.09 nats in float32 at k = 1e5: it is a difference of terms of the size of k log k.

    Parameters
    ----------
    concentration, rate
        k and rate, above 0, (*batch,).

    Examples
    --------
    >>> Gamma(torch.tensor(1.0), torch.tensor(2.0)).log_prob(torch.tensor(0.5)).exp()  # 2 e^-1
    tensor(0.7358)
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "concentration": constraints.positive,
        "rate": constraints.positive,
    }
    support = constraints.positive
    concentration: Tensor
    rate: Tensor

    def _log_density(self, x: Tensor, k: Tensor, rate: Tensor) -> Tensor:  # type: ignore[override]
        excess = (x * rate - k) / k  # of x over the mean
        constant = 0.5 * (k / (2 * math.pi)).log() - stirling(k)
        return constant + k * ((x * rate / k).log() - excess) - x.log()

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Numbers above 0; what is too small for the type becomes its smallest normal number."""
        with torch.no_grad():
            shape = self._extended_shape(torch.Size(sample_shape))
            drawn = torch._standard_gamma(self.concentration.expand(shape)) / self.rate
            return drawn.clamp_min(torch.finfo(drawn.dtype).tiny)

    @property
    def mean(self) -> Tensor:
        """(*batch,)."""
        return self.concentration / self.rate

    @property
    def variance(self) -> Tensor:
        """(*batch,)."""
        return self.concentration / self.rate.square()
