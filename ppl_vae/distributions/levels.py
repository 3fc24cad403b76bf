"""A categorical distribution on grey levels."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

__all__ = ["Levels"]

Shape = Sequence[int]


class Levels(dist.Categorical):
    """A categorical distribution over the ordered levels 0, ..., K - 1, with mean and variance.

    Parameters
    ----------
    logits
        Unnormalized log probabilities, (*batch, K).
    """

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        # torch's `logits - logits.logsumexp(-1)` loses the last digits of logits that are large
        super().__init__(logits=logits.log_softmax(-1), validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """In levels, (*batch,)."""
        return (self.probs * self._levels).sum(-1)

    @property
    def variance(self) -> Tensor:
        """E[(k - mean)^2], (*batch,)."""
        from_mean = self._levels - self.mean.unsqueeze(-1)
        rounding = (self.probs * from_mean).sum(-1, keepdim=True)  # of a mean far from 0
        return (self.probs * (from_mean - rounding).square()).sum(-1)

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        """Levels in the floating type of the probabilities, as networks expect."""
        return super().sample(torch.Size(sample_shape)).to(self._param.dtype)

    def expand(self, batch_shape: Shape, _instance: TorchDistribution | None = None) -> Levels:
        """Expanded to `batch_shape`."""
        return super().expand(batch_shape, _instance=self._get_checked_instance(Levels, _instance))

    @property
    def _levels(self) -> Tensor:
        return torch.arange(self.probs.shape[-1], dtype=self.probs.dtype, device=self.probs.device)
