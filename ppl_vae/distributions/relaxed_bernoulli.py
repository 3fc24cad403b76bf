"""The density on (0, 1) of a relaxed coin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from pyro.distributions import constraints
from torch import Tensor

from ppl_vae.distributions.beta import END, rounded
from ppl_vae.distributions.scalar import Scalar

__all__ = ["RelaxedBernoulli"]


class RelaxedBernoulli(Scalar):
    """The density of sigmoid((logit + L) / t), L logistic noise: as t goes to 0, a coin's of sigmoid(logit).

    Numbers within 2^-25 of 0 or 1 are drawn as 0 or 1, and scored there by the mean density of all of them: at a low
    temperature these have much of the mass. The gradient of a draw leaves out the mass that moves over that border.

    Parameters
    ----------
    logits
        Of 1 in the limit, (*batch,).
    temperature
        t, above 0, (*batch,).

    References
    ----------
    Maddison et al. 2017, arXiv:1611.00712, appendix B.

    Examples
    --------
    >>> RelaxedBernoulli(torch.tensor(0.0), torch.tensor(1.0)).log_prob(torch.tensor(0.3)).exp()  # uniform
    tensor(1.)
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "logits": constraints.real,
        "temperature": constraints.positive,
    }
    support = constraints.unit_interval
    has_rsample = True
    logits: Tensor
    temperature: Tensor

    def _log_density(self, x: Tensor, logits: Tensor, temperature: Tensor) -> Tensor:  # type: ignore[override]
        end, ends = (x == 0) | (x == 1), x.clamp(END, 1 - END)
        x = torch.where(end, ends, x)
        log_x, log_rest = x.log(), torch.log1p(-x)
        noise = temperature * (log_x - log_rest) - logits
        t = noise.abs()
        beyond = F.logsigmoid(torch.where(x < 0.5, noise, -noise)) - math.log(END)
        return torch.where(end, beyond, temperature.log() - t - 2 * F.softplus(-t) - log_x - log_rest)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Numbers in [0, 1], from the difference of the logs of two exponential variates."""
        shape = self._extended_shape(torch.Size(sample_shape))
        a, b = (torch.empty(shape, dtype=self.logits.dtype, device=self.logits.device).exponential_() for _ in range(2))
        return rounded((self.logits + a.log() - b.log()) / self.temperature)

    @property
    def mean(self) -> Tensor:
        """By quadrature over the noise, (*batch,); from t = 0.05 on to 1e-4."""
        x, weights = self._nodes()
        return (weights * x).sum(0)

    @property
    def variance(self) -> Tensor:
        """By the same rule, (*batch,)."""
        x, weights = self._nodes()
        return (weights * (x - self.mean).square()).sum(0)

    def _nodes(self) -> tuple[Tensor, Tensor]:
        """Values at logistic noise from -20 to 20, (401, *batch), and their probabilities."""
        noise = torch.linspace(-20, 20, 401, dtype=self.logits.dtype, device=self.logits.device)
        weights = (F.logsigmoid(noise) + F.logsigmoid(-noise)).softmax(0)
        shape = (-1, *(1 for _ in self.batch_shape))
        return torch.sigmoid((self.logits + noise.reshape(shape)) / self.temperature), weights.reshape(shape)
