"""The continuous Bernoulli distribution, an exponential density on [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

__all__ = ["ContinuousBernoulli"]

Shape = Sequence[int]

# B_2, B_4, ..., B_20: the cumulants of the uniform distribution on [0, 1] are B_n / n, and the odd ones 0 but the mean
_B = (
    1 / 6,
    -1 / 30,
    1 / 42,
    -1 / 30,
    5 / 66,
    -691 / 2730,
    7 / 6,
    -3617 / 510,
    43867 / 798,
    -174611 / 330,
)
_CUMULANTS = {2 * i + 2: b / (2 * i + 2) for i, b in enumerate(_B)}


class ContinuousBernoulli(TorchDistribution):
    """p(x) = exp(l x) / Z(l) on [0, 1], with Z(l) = (e^l - 1) / l: the uniform distribution tilted by the logit l.

    All quantities are computed from the logit: for |l| >= 1 from the distance to the end of higher density, for |l| < 1
    from the series of the uniform distribution's cumulants. torch's distribution of the same name clamps the
    probability but not the logit: in float32 it integrates to 0.3 at l = 50.

    Parameters
    ----------
    logits
        l, any finite number, (*batch,).

    References
    ----------
    Loaiza-Ganem & Cunningham 2019, arXiv:1907.06845.

    Examples
    --------
    >>> p = ContinuousBernoulli(torch.tensor([-500.0, 500.0]))
    >>> p.mean
    tensor([0.0020, 0.9980])
    >>> p.log_prob(torch.tensor([0.25, 0.25]))
    tensor([-118.7854, -368.7854])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {"logits": constraints.real}
    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        self.logits = logits
        super().__init__(logits.shape, validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: TorchDistribution | None = None) -> ContinuousBernoulli:
        """Expanded to `batch_shape`."""
        new = self._get_checked_instance(ContinuousBernoulli, _instance)
        new.logits = self.logits.expand(batch_shape)
        super(ContinuousBernoulli, new).__init__(torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        near = (value - 0.5) * self.logits - _series(self._small, 0)
        a = self._large
        far = a.log() - (-torch.expm1(-a)).log() - a * torch.where(self.logits > 0, 1 - value, value)
        return torch.where(self._is_small, near, far)

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        """Inverse CDF of the distance from the end of higher density."""
        shape = self._extended_shape(torch.Size(sample_shape))
        u = torch.rand(shape, dtype=self.logits.dtype, device=self.logits.device)
        a = self.logits.abs().clamp_min(1e-20)  # where the distance is u
        distance = (-torch.log1p(u * torch.expm1(-a)) / a).clamp(0, 1)
        return torch.where(self.logits > 0, 1 - distance, distance)

    @property
    def mean(self) -> Tensor:
        """Between 0 and 1, (*batch,)."""
        a = self._large
        distance = 1 / a - torch.exp(-a) / -torch.expm1(-a)
        far = torch.where(self.logits > 0, 1 - distance, distance)
        return torch.where(self._is_small, 0.5 + _series(self._small, 1), far)

    @property
    def variance(self) -> Tensor:
        """Between 0 and 1/12, (*batch,)."""
        a = self._large
        far = a.reciprocal().square() - torch.exp(-a) / torch.expm1(-a).square()
        return torch.where(self._is_small, _series(self._small, 2), far)

    # clamp the input of each branch, so that the branch not selected has finite gradients too
    @property
    def _is_small(self) -> Tensor:
        return self.logits.abs() < 1

    @property
    def _small(self) -> Tensor:
        return torch.where(self._is_small, self.logits, torch.zeros_like(self.logits))

    @property
    def _large(self) -> Tensor:
        return torch.where(self._is_small, torch.ones_like(self.logits), self.logits).abs()


def _series(logits: Tensor, derivative: int) -> Tensor:
    """A derivative of log Z(l) - l / 2, the sum of cumulants k_n l^n / n!, for |l| < 1; to 1e-16."""
    square, total = logits.square(), torch.zeros_like(logits)
    for n, cumulant in reversed(_CUMULANTS.items()):
        total = total * square + cumulant / math.factorial(n - derivative)
    return total * logits ** (2 - derivative)
