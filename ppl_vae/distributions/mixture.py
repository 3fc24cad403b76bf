"""A mixture of components of any family with a density."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

from ppl_vae.distributions.diagonal_normal import DiagonalNormal

__all__ = ["Mixture"]

Shape = Sequence[int]


class Mixture(TorchDistribution):
    """sum_k w_k p_k, a mixture over the last batch dimension of its components.

    Unlike `MixtureSameFamily` it takes any components with a `log_prob` at arbitrary values, flows included, and
    `expand` does not copy the parameters of the K components.

    Parameters
    ----------
    logits
        Unnormalized log weights, (K,) or (*batch, K).
    components
        Distribution with batch_shape (*batch, K) and a density.

    Raises
    ------
    ValueError
        Where the components are points: the density of their mixture is infinite.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, logits: Tensor, components: TorchDistribution, validate_args: bool | None = None) -> None:
        if isinstance(components, dist.Delta):
            raise ValueError(
                "a mixture expects components with a density, got point masses (Point or VectorQuantized): their "
                "mixture has an infinite density; use another posterior or another prior (VectorQuantized: CodePrior)"
            )
        self.log_weights = logits.log_softmax(-1)
        self.components = components
        batch_shape = torch.broadcast_shapes(logits.shape, components.batch_shape)[:-1]
        super().__init__(batch_shape, components.event_shape, validate_args=validate_args)

    @constraints.dependent_property
    def support(self) -> constraints.Constraint | None:
        """The components'."""
        return self.components.support

    def expand(self, batch_shape: Shape, _instance: TorchDistribution | None = None) -> Mixture:
        """Expanded to `batch_shape`; the components are not copied."""
        new = self._get_checked_instance(Mixture, _instance)
        new.log_weights, new.components = self.log_weights, self.components
        super(Mixture, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        return (self.log_weights + self._each(value)).logsumexp(-1).expand(self._extended(value))

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        """Draws from a component selected by its weight; of normal components no other is drawn from."""
        with torch.no_grad():
            shape = torch.Size(sample_shape) + self.batch_shape
            choice = dist.Categorical(logits=self.log_weights).expand(self.batch_shape).sample(torch.Size(sample_shape))
            choice = choice.reshape(*shape, 1, *(1 for _ in self.event_shape)).expand(*shape, 1, *self.event_shape)
            if isinstance(self.components, DiagonalNormal):
                return self.components.chosen(choice).sample().squeeze(len(shape))
            z = self.components.expand((*self.batch_shape, self.log_weights.shape[-1])).sample(torch.Size(sample_shape))
            return z.gather(len(shape), choice).squeeze(len(shape))

    @property
    def mean(self) -> Tensor:
        """(*batch, *event)."""
        weights = self.log_weights.exp().reshape(*self.log_weights.shape, *(1 for _ in self.event_shape))
        mean = (weights * self.components.mean).sum(-1 - len(self.event_shape))
        return mean.expand(*self.batch_shape, *self.event_shape)

    @property
    def variance(self) -> Tensor:
        """Variance of each coordinate, within plus between components, (*batch, *event)."""
        events = len(self.event_shape)
        weights = self.log_weights.exp().reshape(*self.log_weights.shape, *(1 for _ in self.event_shape))
        mean = (weights * self.components.mean).sum(-1 - events, keepdim=True)
        from_mean = self.components.mean - mean
        rounding = (weights * from_mean).sum(-1 - events, keepdim=True)  # of a mean far from 0
        each = self.components.variance + (from_mean - rounding).square()
        return (weights * each).sum(-1 - events).expand(*self.batch_shape, *self.event_shape)

    def _each(self, value: Tensor) -> Tensor:
        if isinstance(self.components, DiagonalNormal):
            return self.components.log_prob_each(value)
        # expanded, because a flow inverts each value with the context of its component
        value = value.unsqueeze(value.dim() - len(self.event_shape))
        shape = torch.broadcast_shapes(value.shape[: value.dim() - len(self.event_shape)], self.components.batch_shape)
        return self.components.log_prob(value.expand(*shape, *self.event_shape))

    def _extended(self, value: Tensor) -> torch.Size:
        return torch.broadcast_shapes(value.shape[: value.dim() - len(self.event_shape)], self.batch_shape)
