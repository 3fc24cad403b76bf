"""Densities on the simplex, of positive parts that sum to one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.distributions import kl_divergence, register_kl

from ppl_vae.distributions.beta import log_gamma
from ppl_vae.precision import precise

__all__ = ["Dirichlet", "LogisticNormal", "RelaxedCategorical", "check_parts"]

Shape = Sequence[int]


class Dirichlet(dist.Dirichlet):
    """p(z) = prod_k z_k^(a_k - 1) / B(a), by the volume of the first K - 1 parts.

    Draws are made of logs of gamma variates, as torch's of small a_k are 0 in many parts, where the density is
    infinite. Parts below the smallest float are that float, and scored there by the mean density of all of them.

    Parameters
    ----------
    concentration
        a, above 0, (*batch, K).

    Examples
    --------
    >>> p = Dirichlet(torch.full((3,), 1e-3))
    >>> p.log_prob(p.sample((1000,))).isfinite().all()
    tensor(True)
    """

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        """Draws (*sample_shape, *batch, K), whose gradient is implicit."""
        a = self.concentration.expand(self._extended_shape(torch.Size(sample_shape)))
        return _parts(log_gamma(a))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        a, log_z = precise(self.concentration), _log_parts(value)
        constant = torch.lgamma(a.sum(-1)) - torch.lgamma(a).sum(-1)
        below = torch.where(_least(value), a, 1.0)  # z^a / a is the integral of z^(a - 1)
        return (((a - 1) * log_z - below.log()).sum(-1) + constant).to(value.dtype)

    def entropy(self) -> Tensor:
        """In nats, (*batch,); in float64, as it is a difference of large terms."""
        return dist.Dirichlet(precise(self.concentration)).entropy().to(self.concentration.dtype)


@register_kl(Dirichlet, Dirichlet)  # type: ignore[untyped-decorator]
def _kl(q: Dirichlet, p: Dirichlet) -> Tensor:
    """As torch has it, in float64: a difference of terms of the size of a log a."""
    wide = [dist.Dirichlet(precise(d.concentration)) for d in (q, p)]
    return kl_divergence(*wide).to(q.concentration.dtype)


class LogisticNormal(TorchDistribution):
    """The density of softmax(y_1, ..., y_(K-1), 0), y ~ N(m, diag(s^2)), by the volume of the first K - 1 parts.

    Parts below the smallest float are that float, and scored there by the mean density of all of them; not where the
    last part is one of these, as its log ratios to the others are lost.

    Parameters
    ----------
    loc, scale
        Means and standard deviations of the log ratios log(z_k / z_K), (*batch, K - 1).

    References
    ----------
    Aitchison & Shen 1980, doi:10.1093/biomet/67.2.261.

    Examples
    --------
    >>> LogisticNormal(torch.zeros(2), torch.ones(2)).sample().sum().round(decimals=5)
    tensor(1.)
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "loc": constraints.real_vector,
        "scale": constraints.independent(constraints.positive, 1),
    }
    support = constraints.simplex
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor, validate_args: bool | None = None) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        event = torch.Size([self.loc.shape[-1] + 1])
        super().__init__(self.loc.shape[:-1], event, validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: TorchDistribution | None = None) -> LogisticNormal:
        """Expanded to `batch_shape`."""
        new = self._get_checked_instance(LogisticNormal, _instance)
        loc, scale = (v.expand(*batch_shape, v.shape[-1]) for v in (self.loc, self.scale))
        LogisticNormal.__init__(new, loc, scale, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        """Draws (*sample_shape, *batch, K)."""
        shape = (*sample_shape, *self.loc.shape)
        y = self.loc + self.scale * torch.randn(shape).to(self.loc)
        return _parts(F.pad(y, (0, 1)))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        log_z, loc, scale = _log_parts(value), precise(self.loc), precise(self.scale)
        t = (log_z[..., :-1] - log_z[..., -1:] - loc) / scale
        normal = -0.5 * t.square() - scale.log() - 0.5 * math.log(2 * math.pi)
        least = _least(value)
        below = least[..., :-1] & ~least[..., -1:]
        normal = torch.where(below, torch.special.log_ndtr(t), normal)
        return (normal.sum(-1) - log_z.sum(-1)).to(value.dtype)


class RelaxedCategorical(TorchDistribution):
    """The density of softmax((logits + G) / t), G Gumbel noise: as t goes to 0, a one-hot vector of softmax(logits).

    By the volume of the first K - 1 parts. Parts below the smallest float are that float, and scored there by the mean
    density of all of them: at a low temperature these have much of the mass. The gradient of a draw leaves out the mass
    that moves over that border.

    Parameters
    ----------
    logits
        Unnormalized log weights of the categories in the limit, (*batch, K).
    temperature
        t, above 0.

    References
    ----------
    Maddison et al. 2017, arXiv:1611.00712, equation 10; Jang et al. 2017, arXiv:1611.01144 ("Gumbel-softmax").

    Examples
    --------
    >>> p = RelaxedCategorical(torch.zeros(3), 1.0)
    >>> p.log_prob(torch.full((3,), 1 / 3)).exp().round(decimals=4)
    tensor(2.)
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {"logits": constraints.real_vector}
    support = constraints.simplex
    has_rsample = True

    def __init__(self, logits: Tensor, temperature: float, validate_args: bool | None = None) -> None:
        self.logits, self.temperature = logits, temperature
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: TorchDistribution | None = None) -> RelaxedCategorical:
        """Expanded to `batch_shape`."""
        new = self._get_checked_instance(RelaxedCategorical, _instance)
        logits = self.logits.expand(*batch_shape, self.logits.shape[-1])
        RelaxedCategorical.__init__(new, logits, self.temperature, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> Tensor:
        """Refused: there is no formula.

        Raises
        ------
        NotImplementedError
            Always.
        """
        raise NotImplementedError(
            "a relaxed categorical expects a mean of draws, got a request for the exact one, which has no formula; "
            "average them: q.sample((1000,)).mean(0)"
        )

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        """Draws (*sample_shape, *batch, K)."""
        shape = (*sample_shape, *self.logits.shape)
        noise = torch.empty(shape, dtype=self.logits.dtype, device=self.logits.device).exponential_()
        return _parts((self.logits - noise.clamp_min(torch.finfo(noise.dtype).tiny).log()) / self.temperature)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        log_z, logits, least = _log_parts(value), precise(self.logits), _least(value)
        each = logits - self.temperature * log_z
        # z_k = E_k^(-1/t) / sum: E_k is exponential of rate exp(logit_k); of the least parts E_k is above a bound
        num = (~least).sum(-1)
        log_p = (torch.where(least, 0.0, each) - log_z).sum(-1) - num * each.logsumexp(-1)
        return (log_p + torch.lgamma(precise(num)) + (num - 1) * math.log(self.temperature)).to(value.dtype)


def _parts(logits: Tensor) -> Tensor:
    return logits.softmax(-1).clamp_min(torch.finfo(logits.dtype).tiny)


def _least(z: Tensor) -> Tensor:
    """Which parts stand for all that are smaller than the smallest float."""
    return z <= torch.finfo(z.dtype).tiny


def _log_parts(z: Tensor) -> Tensor:
    return precise(z.clamp_min(torch.finfo(z.dtype).tiny)).log()


def check_parts(latent_dim: int, name: str) -> None:
    """Refuse one part, for a prior or posterior of this name.

    Raises
    ------
    ValueError
        For latent_dim below 2.
    """
    if latent_dim < 2:
        raise ValueError(
            f"{name} expects latent_dim of 2 or more parts, which sum to 1, got {latent_dim}; give 2 for a free number"
        )
