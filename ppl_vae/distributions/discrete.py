"""Masses over vectors of independent discrete latents: bits, and one-hot vectors."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.distributions import register_kl

from ppl_vae.support import OneHotVectors

__all__ = ["MOST_STATES", "Bits", "OneHots", "categories"]

Shape = Sequence[int]

MOST_STATES = 4096
"""Largest number of joint states that are enumerated."""


class _States(TorchDistribution, abc.ABC):
    """prod_i w_i(state of unit i), a mass over all vectors of states, each unit of K states.

    Parameters
    ----------
    log_weights
        Log probabilities of the states of each unit, (*batch, units, K).
    temperature
        `None` for draws without a gradient; else the gradient of draws is that of softmax((log_weights + noise) / t),
        noise the Gumbel variates they were chosen by: the straight-through estimator, which is biased.

    References
    ----------
    Jang et al. 2017, arXiv:1611.01144.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_enumerate_support = True

    def __init__(self, log_weights: Tensor, temperature: float | None, validate_args: bool | None) -> None:
        self.log_weights, self.temperature = log_weights, temperature
        event = self._vector(torch.zeros(log_weights.shape[-2:])).shape
        super().__init__(log_weights.shape[:-2], event, validate_args=validate_args)

    @abc.abstractmethod
    def _vector(self, one_hot: Tensor) -> Tensor:
        """Values (*leading, dim) of one-hot states (*leading, units, K)."""

    @abc.abstractmethod
    def _one_hot(self, value: Tensor) -> Tensor:
        """The inverse of `_vector`."""

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether draws have a gradient."""
        return self.temperature is not None

    def expand(self, batch_shape: Shape, _instance: TorchDistribution | None = None) -> Self:
        """Expanded to `batch_shape`."""
        new = self._get_checked_instance(type(self), _instance)
        new.log_weights = self.log_weights.expand(*batch_shape, *self.log_weights.shape[-2:])
        new.temperature = self.temperature
        super(_States, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Log of the mass, in nats; minus infinity for what is no vector of states."""
        log_p = (self._one_hot(value) * self.log_weights).sum((-1, -2))
        within = self._one_hot(value.detach()) == self._chosen(self._one_hot(value.detach()))
        return torch.where(within.flatten(-2).all(-1), log_p, -math.inf)

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        """Vectors of states (*sample_shape, *batch, dim)."""
        with torch.no_grad():
            return self._vector(self._chosen(self._perturbed(sample_shape)))

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        """The same with a gradient.

        Raises
        ------
        NotImplementedError
            Without a temperature.
        """
        if self.temperature is None:
            raise NotImplementedError(
                f"{type(self).__name__} expects a temperature for draws with a gradient, got none; use Trace_ELBO"
            )
        perturbed = self._perturbed(sample_shape)
        soft = (perturbed / self.temperature).softmax(-1)
        return self._vector(self._chosen(perturbed) + (soft - soft.detach()))

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All vectors of states, (states, *batch, dim); with 1 in place of the batch unless `expand`.

        Raises
        ------
        NotImplementedError
            For more states than `MOST_STATES`.
        """
        units, num = self.log_weights.shape[-2:]
        if num**units > MOST_STATES:
            raise NotImplementedError(
                f"an exact sum expects at most {MOST_STATES} joint states, got {num}^{units}; draw instead"
            )
        each = torch.cartesian_prod(*[torch.arange(num, device=self.log_weights.device)] * units)
        values = self._vector(F.one_hot(each.reshape(-1, units), num).to(self.log_weights.dtype))
        values = values.reshape(len(values), *(1 for _ in self.batch_shape), -1)
        return values.expand(-1, *self.batch_shape, -1) if expand else values

    @property
    def mean(self) -> Tensor:
        """(*batch, dim)."""
        return self._vector(self.log_weights.exp())

    @property
    def variance(self) -> Tensor:
        """(*batch, dim)."""
        p = self.log_weights.exp()
        rest = torch.where(p < 0.5, 1 - p, -torch.expm1(self.log_weights))
        return self._vector(p * rest)

    def entropy(self) -> Tensor:
        """In nats, (*batch,)."""
        return -(self.log_weights.exp() * self.log_weights).sum((-1, -2))

    def _perturbed(self, sample_shape: Shape) -> Tensor:
        """Log weights plus Gumbel noise, whose largest is at the state that is drawn."""
        shape = (*sample_shape, *self.log_weights.shape)
        noise = torch.empty(shape, dtype=self.log_weights.dtype, device=self.log_weights.device).exponential_()
        return self.log_weights - noise.clamp_min(torch.finfo(noise.dtype).tiny).log()

    def _chosen(self, perturbed: Tensor) -> Tensor:
        return F.one_hot(perturbed.argmax(-1), perturbed.shape[-1]).to(perturbed.dtype)


class Bits(_States):
    """prod_i p_i^(z_i) (1 - p_i)^(1 - z_i) of vectors z of zeros and ones.

    Parameters
    ----------
    logits
        Of z_i = 1, (*batch, dim).
    temperature
        `None` for draws without a gradient; else that of the straight-through estimator.

    Examples
    --------
    >>> Bits(torch.tensor([0.0, 0.0])).log_prob(torch.tensor([[0.0, 1.0], [1.0, 1.0]])).exp()
    tensor([0.2500, 0.2500])
    """

    support = constraints.independent(constraints.boolean, 1)

    def __init__(self, logits: Tensor, temperature: float | None = None, validate_args: bool | None = None) -> None:
        super().__init__(F.logsigmoid(torch.stack([-logits, logits], -1)), temperature, validate_args)

    def _vector(self, one_hot: Tensor) -> Tensor:
        return one_hot[..., 1]

    def _one_hot(self, value: Tensor) -> Tensor:
        return torch.stack([1 - value, value], -1)


class OneHots(_States):
    """prod_i w_i(k_i) of vectors that concatenate the one-hot vectors of k_1, k_2, ...

    Parameters
    ----------
    logits
        Unnormalized log weights, (*batch, units, K).
    temperature
        `None` for draws without a gradient; else that of the straight-through estimator.

    Examples
    --------
    >>> p = OneHots(torch.zeros(2, 3))
    >>> p.log_prob(torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0, 1.0])).exp()
    tensor(0.1111)
    """

    def __init__(self, logits: Tensor, temperature: float | None = None, validate_args: bool | None = None) -> None:
        super().__init__(logits.log_softmax(-1), temperature, validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        """Vectors of that many one-hot vectors."""
        return OneHotVectors(self.log_weights.shape[-1])

    def _vector(self, one_hot: Tensor) -> Tensor:
        return one_hot.flatten(-2)

    def _one_hot(self, value: Tensor) -> Tensor:
        return value.unflatten(-1, (-1, self.log_weights.shape[-1]))


@register_kl(_States, _States)  # type: ignore[untyped-decorator]
def _kl(q: _States, p: _States) -> Tensor:
    if type(q) is not type(p) or q.log_weights.shape[-2:] != p.log_weights.shape[-2:]:
        raise NotImplementedError
    return (q.log_weights.exp() * (q.log_weights - p.log_weights)).sum((-1, -2))


def categories(name: str, latent_dim: int, num_latents: int) -> int:
    """Number of categories of each latent, for a prior or posterior of this name.

    Raises
    ------
    ValueError
        For latents without two categories.
    """
    if latent_dim % num_latents or latent_dim < 2 * num_latents:
        raise ValueError(
            f"{name} expects num_latents that divides latent_dim, with 2 or more categories each, got "
            f"num_latents={num_latents} and latent_dim={latent_dim}; give latent_dim={10 * num_latents}, say"
        )
    return latent_dim // num_latents
