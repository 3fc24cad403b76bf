"""The power spherical distribution, and the uniform one, on the unit sphere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.distributions import register_kl

from ppl_vae.distributions.beta import log_gamma
from ppl_vae.distributions.stirling import stirling
from ppl_vae.precision import precise

__all__ = ["PowerSpherical", "SphericalUniform", "check_sphere"]

Shape = Sequence[int]


class PowerSpherical(TorchDistribution):
    """p(z) proportional to (1 + mu^T z)^kappa on the unit sphere in R^d, d >= 2; uniform at kappa = 0.

    A draw is (t, sqrt(1 - t^2) v) turned so that the first axis is mu, with (1 + t) / 2 ~ Beta(a + kappa, a),
    a = (d - 1) / 2, and v uniform on the sphere of one dimension less: no rejection, and gradients by mu and kappa.
    The angle to mu is computed from the logit of (1 + t) / 2, so that it is exact however small it is.

    Parameters
    ----------
    loc
        Mean directions mu of length 1, (*batch, d).
    concentration
        kappa, 0 or more, (*batch,). Above 1e13 the vectors of float32 are too coarse for draws: neighbours are 6e-8
        apart, and draws sqrt(2 / kappa) from mu.

    References
    ----------
    De Cao & Aziz 2020, arXiv:2006.04437.

    Examples
    --------
    >>> p = PowerSpherical(torch.tensor([1.0, 0.0, 0.0]), torch.tensor(1.0))
    >>> round(p.log_prob(torch.tensor([1.0, 0.0, 0.0])).exp().item() * 2 * math.pi, 4)  # (1 + t) / (4 pi)
    1.0
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "loc": constraints.sphere,
        "concentration": constraints.nonnegative,
    }
    support = constraints.sphere
    has_rsample = True

    def __init__(self, loc: Tensor, concentration: Tensor, validate_args: bool | None = None) -> None:
        batch = torch.broadcast_shapes(loc.shape[:-1], concentration.shape)
        self.loc, self.concentration = loc.expand(*batch, loc.shape[-1]), concentration.expand(batch)
        super().__init__(torch.Size(batch), self.loc.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: TorchDistribution | None = None) -> PowerSpherical:
        """Expanded to `batch_shape`."""
        new = self._get_checked_instance(PowerSpherical, _instance)
        new.loc = self.loc.expand(*batch_shape, *self.event_shape)
        new.concentration = self.concentration.expand(torch.Size(batch_shape))
        super(PowerSpherical, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        """Draws (*sample_shape, *batch, d)."""
        shape = self._extended_shape(torch.Size(sample_shape))
        kappa, mu, a = precise(self.concentration).expand(shape[:-1]), _unit(self.loc), self._half()
        logit = log_gamma(kappa + a) - log_gamma(torch.full_like(kappa, a))  # of (1 + t) / 2
        sine = 2 * (0.5 * (F.logsigmoid(logit) + F.logsigmoid(-logit))).exp()
        v = torch.randn((*shape[:-1], shape[-1] - 1)).to(mu)
        v = v / v.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(v.dtype).tiny)
        t = torch.tanh(logit / 2)
        return (t.unsqueeze(-1) * mu + _across(sine.unsqueeze(-1) * v, mu)).to(self.loc.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density by the area of the sphere, in nats, at values scaled to length 1."""
        if self._validate_args:
            self._validate_sample(value)
        kappa, z, mu = precise(self.concentration), _unit(value), _unit(self.loc)
        away, near = ((z - mu).square().sum(-1) / 4, (z + mu).square().sum(-1) / 4)  # (1 - t) / 2 and (1 + t) / 2
        log_half = torch.where(away < 0.5, torch.log1p(-away.clamp_max(0.5)), near.clamp_min(1e-30).log())
        return (kappa * log_half - self._log_constant()).to(self.loc.dtype)

    def entropy(self) -> Tensor:
        """In nats, (*batch,)."""
        kappa, a = precise(self.concentration), self._half()
        x, y = a + kappa, 2 * a + kappa
        far = -torch.log1p(a / x) - a / (2 * x * y)  # where digamma(x) is log(x) - 1 / (2 x), to 1e-13 nats
        mean_log = torch.where(kappa > 1e6, far, torch.digamma(x) - torch.digamma(y))  # of log((1 + t) / 2)
        return (self._log_constant() - kappa * mean_log).to(self.loc.dtype)

    @property
    def mean(self) -> Tensor:
        """kappa / (d - 1 + kappa) mu, (*batch, d)."""
        return (self.concentration / (2 * self._half() + self.concentration)).unsqueeze(-1) * self.loc

    @property
    def variance(self) -> Tensor:
        """Of each coordinate, (*batch, d)."""
        kappa, a, along = precise(self.concentration), self._half(), _unit(self.loc).square()
        total = 2 * a + kappa
        rest = 4 * (a + kappa) / total * (a / total)  # 1 - (E t)^2, which is the sum of all variances
        of_t, across = rest / (total + 1), rest / (total + 1) * (total / (2 * a))
        return (of_t.unsqueeze(-1) * along + across.unsqueeze(-1) * (1 - along)).to(self.loc.dtype)

    def _half(self) -> float:
        return (self.event_shape[0] - 1) / 2

    def _log_constant(self) -> Tensor:
        """Log of the integral of ((1 + t) / 2)^kappa over the sphere."""
        kappa, a = precise(self.concentration), self._half()
        x, y = a + kappa, 2 * a + kappa  # the logarithm of Gamma(x) / Gamma(y):
        ratio = a - (x - 0.5) * torch.log1p(a / x) - a * y.log() + stirling(x) - stirling(y)
        return 2 * a * math.log(2) + a * math.log(math.pi) + ratio


class SphericalUniform(TorchDistribution):
    """p(z) = 1 / area of the unit sphere in R^d, d >= 2.

    Parameters
    ----------
    dim
        d.
    like
        A tensor of the device and the precision of the draws.

    Examples
    --------
    >>> p = SphericalUniform(3, torch.zeros(()))
    >>> round(p.log_prob(torch.tensor([0.0, 1.0, 0.0])).exp().item() * 4 * math.pi, 4)
    1.0
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.sphere
    has_rsample = True

    def __init__(self, dim: int, like: Tensor, batch_shape: Shape = (), validate_args: bool | None = None) -> None:
        self.like = like
        super().__init__(torch.Size(batch_shape), torch.Size([dim]), validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: TorchDistribution | None = None) -> SphericalUniform:
        """Expanded to `batch_shape`."""
        new = self._get_checked_instance(SphericalUniform, _instance)
        SphericalUniform.__init__(new, self.event_shape[0], self.like, batch_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        """Normal variates over their length, (*sample_shape, *batch, d)."""
        z = torch.randn(self._extended_shape(torch.Size(sample_shape))).to(self.like)
        return z / z.norm(dim=-1, keepdim=True)

    def log_prob(self, value: Tensor) -> Tensor:
        """Minus the log of the area, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        batch = torch.broadcast_shapes(self.batch_shape, value.shape[:-1])
        return torch.full(batch, -_log_area(self.event_shape[0]), dtype=value.dtype, device=value.device)

    @property
    def mean(self) -> Tensor:
        """0, (*batch, d)."""
        return torch.zeros(self.batch_shape + self.event_shape).to(self.like)

    @property
    def variance(self) -> Tensor:
        """1 / d, (*batch, d)."""
        return torch.ones(self.batch_shape + self.event_shape).to(self.like) / self.event_shape[0]


def check_sphere(latent_dim: int, name: str) -> None:
    """Refuse the sphere in one dimension, for a prior or posterior of this name.

    Raises
    ------
    ValueError
        For latent_dim below 2.
    """
    if latent_dim < 2:
        raise ValueError(
            f"{name} expects latent_dim of 2 or more, got {latent_dim}, of which the sphere is two points; give 2 for "
            "a circle"
        )


def _log_area(dim: int) -> float:
    return math.log(2) + dim / 2 * math.log(math.pi) - math.lgamma(dim / 2)


def _unit(z: Tensor) -> Tensor:
    """Vectors in float64, scaled to length 1: a float32 vector is that only to 1e-7, more than angles to the mean."""
    z = precise(z)
    return z / z.norm(dim=-1, keepdim=True)


def _across(w: Tensor, axis: Tensor) -> Tensor:
    """w, of one dimension less, in the space across an axis: reflected as what takes the first axis to it, up to sign.

    The sign is that of the axis's farther end: so nothing is divided by a small number.
    """
    first, others = axis[..., :1], axis[..., 1:]
    inner = (others * w).sum(-1, keepdim=True)
    return torch.cat([torch.where(first < 0, inner, -inner), w - others * (inner / (1 + first.abs()))], -1)


@register_kl(PowerSpherical, SphericalUniform)  # type: ignore[untyped-decorator]
def _kl(q: PowerSpherical, p: SphericalUniform) -> Tensor:
    return _log_area(p.event_shape[0]) - q.entropy()
