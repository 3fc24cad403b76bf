"""A logistic distribution on grey levels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

__all__ = ["DiscretizedLogistic"]

Shape = Sequence[int]


class DiscretizedLogistic(TorchDistribution):
    """A logistic distribution discretized to the levels 0, ..., levels - 1.

    P(k) is the logistic's mass in [k - 1/2, k + 1/2]; the first and last level include the tails.

    Parameters
    ----------
    loc, scale
        Location and scale in levels, (*batch,).
    levels
        Number of levels.

    References
    ----------
    Kingma et al. 2016, arXiv:1606.04934, section 5.2; Salimans et al. 2017, arXiv:1701.05517.

    Examples
    --------
    >>> p = DiscretizedLogistic(torch.tensor(1.2), torch.tensor(0.7), levels=4)
    >>> round(p.log_prob(torch.arange(4.0)).exp().sum().item(), 6)
    1.0
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "loc": constraints.real,
        "scale": constraints.positive,
    }

    def __init__(self, loc: Tensor, scale: Tensor, levels: int, validate_args: bool | None = None) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        self.levels = levels
        super().__init__(self.loc.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        """The levels."""
        return constraints.integer_interval(0, self.levels - 1)

    def expand(self, batch_shape: Shape, _instance: TorchDistribution | None = None) -> DiscretizedLogistic:
        """Expanded to `batch_shape`."""
        new = self._get_checked_instance(DiscretizedLogistic, _instance)
        new.loc, new.scale, new.levels = self.loc.expand(batch_shape), self.scale.expand(batch_shape), self.levels
        super(DiscretizedLogistic, new).__init__(torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Log mass, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        low, high = (value - 0.5 - self.loc) / self.scale, (value + 0.5 - self.loc) / self.scale
        # log(sigmoid(high) - sigmoid(low)) without a difference of near-equal numbers
        inner = torch.log(-torch.expm1(-1 / self.scale))
        from_below = torch.where(value > 0, F.logsigmoid(-low), torch.zeros_like(low))
        to_above = torch.where(value < self.levels - 1, F.logsigmoid(high), torch.zeros_like(high))
        return from_below + to_above + torch.where((value > 0) & (value < self.levels - 1), inner, 0.0)

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        """Whole numbers; the log ratio of exponential variates is logistic, without the tails cut by rounding of u."""
        with torch.no_grad():
            a, b = self.loc.new_empty(2, *self._extended_shape(torch.Size(sample_shape))).exponential_().log()
            return (self.loc + self.scale * (a - b)).round().clamp(0, self.levels - 1)

    @property
    def mean(self) -> Tensor:
        """In levels, (*batch,)."""
        # E[k] = sum of P(k > j), one level at a time: the table over all levels may not fit in memory
        if torch.compiler.is_compiling():
            edges = self._along(self.levels - 1) + 0.5
            return torch.sigmoid((self.loc - edges) / self.scale).sum(0)
        mean = torch.zeros_like(self.loc)
        for level in range(self.levels - 1):
            mean = mean + torch.sigmoid((self.loc - level - 0.5) / self.scale)
        return mean

    @property
    def variance(self) -> Tensor:
        """E[(k - mean)^2], (*batch,)."""
        mean = self.mean
        rounding = self._expected(lambda k: k - mean)  # of a mean far from 0
        return self._expected(lambda k: (k - mean - rounding).square())

    def _expected(self, f: Callable[[Tensor], Tensor]) -> Tensor:
        """E[f(k)], one level at a time, as for the mean; in an exported graph, whose length that would be, at once."""
        if torch.compiler.is_compiling():
            k = self._along(self.levels)
            return (self.log_prob(k).exp() * f(k)).sum(0)
        total = torch.zeros_like(self.loc)
        for level in range(self.levels):
            k = torch.full_like(self.loc, level)
            total = total + self.log_prob(k).exp() * f(k)
        return total

    def _along(self, levels: int) -> Tensor:
        """The first levels, (levels, 1, ..., 1), against the batch."""
        k = torch.arange(levels, dtype=self.loc.dtype, device=self.loc.device)
        return k.reshape(-1, *(1 for _ in self.loc.shape))
