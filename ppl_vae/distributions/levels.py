"""Any distribution on grey levels."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

__all__ = ["Levels"]

Shape = Sequence[int]


class Levels(dist.Categorical):
    """A categorical distribution over the levels 0, ..., K - 1, which unlike a label has a mean."""

    @property
    def mean(self) -> Tensor:
        return (self.probs * torch.arange(self.probs.shape[-1], device=self.probs.device)).sum(-1)

    @property
    def variance(self) -> Tensor:
        levels = torch.arange(self.probs.shape[-1], device=self.probs.device)
        return (self.probs * levels.square()).sum(-1) - self.mean.square()

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        """Levels as a network takes them: in the floating type of the probabilities."""
        return super().sample(torch.Size(sample_shape)).to(self._param.dtype)

    def expand(self, batch_shape: Shape, _instance: TorchDistribution | None = None) -> Levels:
        return super().expand(batch_shape, _instance=self._get_checked_instance(Levels, _instance))
