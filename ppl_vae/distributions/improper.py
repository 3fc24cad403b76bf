"""The improper flat density, the prior of an autoencoder."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
from pyro.distributions import TorchDistribution
from torch import Tensor

__all__ = ["Improper"]

Shape = Sequence[int]


class Improper(dist.ImproperUniform):
    """The improper flat density 1 on R^dim, which cannot be sampled."""

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        """Refused."""
        raise ValueError(
            "sampling expects a proper prior, got Flat, which is none: an autoencoder has no prior to sample; fit one "
            "to its codes (ppl_vae.fit_prior, or ppl-vae fit-prior), or build with StandardNormal"
        )

    def expand(self, batch_shape: Shape, _instance: TorchDistribution | None = None) -> Improper:
        """Expanded to `batch_shape`."""
        return super().expand(batch_shape, _instance=self._get_checked_instance(Improper, _instance))

    def log_prob(self, value: Tensor) -> Tensor:
        """0."""
        return super().log_prob(value).to(value)
