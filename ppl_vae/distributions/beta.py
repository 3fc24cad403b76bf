"""The beta distribution, accurate at large and small concentrations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from pyro.distributions import constraints
from torch import Tensor

from ppl_vae.assumed import assume, in_vmap
from ppl_vae.distributions.scalar import Scalar
from ppl_vae.distributions.stirling import stirling

__all__ = ["END", "Beta", "log_gamma", "rounded"]

END = 2.0**-25
"""Width of the intervals of numbers that 0 and 1 stand for: from 1 - 2^-25 on a float32 rounds to 1."""
_TERMS = 30


class Beta(Scalar):
    """p(x) = x^(a-1) (1-x)^(b-1) / B(a, b) for x in [0, 1].

    Numbers within 2^-25 of 0 or 1 are drawn as 0 or 1, and scored there by the mean density of all of them: of a small
    or a large a or b these have much of the mass. The gradient of a draw leaves out what moves over that border.
    torch's density is off by 0.13 nats in float32 at a = b = 1e5, and at a = b = 1e-3 a quarter of its draws lie in
    (0.1, 0.9), 200 times too many.

    Parameters
    ----------
    concentration1, concentration0
        a and b, above 0, (*batch,); up to 1e9, beyond which the density at 0 and 1 is too low.

    Examples
    --------
    >>> Beta(torch.tensor(2.0), torch.tensor(1.0)).log_prob(torch.tensor(0.25)).exp()  # 2 x
    tensor(0.5000)
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "concentration1": constraints.positive,
        "concentration0": constraints.positive,
    }
    support = constraints.unit_interval
    has_rsample = True
    concentration1: Tensor
    concentration0: Tensor

    def _log_density(self, x: Tensor, a: Tensor, b: Tensor) -> Tensor:  # type: ignore[override]
        least, most, total = x == 0, x == 1, a + b
        # the mass of [0, END] is END / a times the density at END, times 2F1(a + b, 1; a + 1; END); at 1 with b for a
        power, series = torch.where(least, a, b), torch.ones_like(x)
        far = (least | most) & (END * total > 1e-6 * (power + 1))  # from 1, by more than rounding in float32
        if in_vmap() or not assume(~far.any()):
            for k in reversed(range(_TERMS)):
                series = 1 + END * (total + k) / (power + 1 + k) * series
        mean = torch.where(least | most, series.log() - power.log(), 0.0)
        x = torch.where(least, END, torch.where(most, 1 - END, x))
        y = 1 - x
        # a log(x / mean) + b log((1 - x) / (1 - mean)), both near 0 where the density is large
        shape = a * (x * total / a).log() + b * (y * total / b).log() - x.log() - y.log()
        constant = 0.5 * (a / total * b / (2 * math.pi)).log() + stirling(total) - stirling(a) - stirling(b)
        return shape + constant + mean

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Numbers in [0, 1], from logs of two gamma variates: these do not underflow. Its gradient is implicit."""
        shape = self._extended_shape(torch.Size(sample_shape))
        return rounded(log_gamma(self.concentration1.expand(shape)) - log_gamma(self.concentration0.expand(shape)))

    @property
    def mean(self) -> Tensor:
        """a / (a + b), (*batch,)."""
        return self.concentration1 / (self.concentration1 + self.concentration0)

    @property
    def variance(self) -> Tensor:
        """(*batch,)."""
        total = self.concentration1 + self.concentration0
        return self.mean * (self.concentration0 / total) / (total + 1)


def log_gamma(a: Tensor) -> Tensor:
    """Logs of gamma variates: G(a) is G(a + 1) U^(1/a)."""
    return torch._standard_gamma(a + 1).log() - torch.empty_like(a).exponential_() / a


def rounded(logit: Tensor) -> Tensor:
    """sigmoid(logit), and 0 or 1 where it is within `END` of them.

    >>> rounded(torch.tensor([-18.0, 0.0, 17.4, torch.nan]))
    tensor([0.0000, 0.5000, 1.0000,    nan])
    """
    inside = torch.sigmoid(logit).clamp(max=1 - torch.finfo(logit.dtype).eps / 2)
    return torch.where(logit.abs() >= _LOGIT, (logit > 0).to(inside.dtype), inside)


_LOGIT = math.log((1 - END) / END)
