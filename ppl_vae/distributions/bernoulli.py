"""A Bernoulli distribution with an accurate variance at extreme logits."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution
from torch import Tensor

__all__ = ["Bernoulli"]

Shape = Sequence[int]


class Bernoulli(dist.Bernoulli):
    """P(x = 1) = sigmoid(logit).

    torch's variance p (1 - p) is 0 in float32 from a logit of 17 on.

    Parameters
    ----------
    logits
        (*batch,).
    """

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        super().__init__(logits=logits, validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: TorchDistribution | None = None) -> Bernoulli:
        """Expanded to `batch_shape`."""
        return super().expand(batch_shape, _instance=self._get_checked_instance(Bernoulli, _instance))

    def log_prob_sum(self, value: Tensor, num_dims: int) -> Tensor:
        """Log density summed over the last `num_dims` dimensions, in nats, in fewer passes than `log_prob`.

        log P(x) = -log(1 + e^(-l)) for x = 1 and -log(1 + e^l) for x = 0: each term is exact, whatever its size.
        """
        return -F.softplus((1 - 2 * value) * self.logits, threshold=40).flatten(-num_dims).sum(-1)

    @property
    def variance(self) -> Tensor:
        """P(x = 1) P(x = 0), (*batch,)."""
        return torch.sigmoid(self.logits) * torch.sigmoid(-self.logits)
