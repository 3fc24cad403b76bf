"""A normal distribution with independent coordinates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ppl_vae.assumed import assume
from ppl_vae.precision import has_float64

__all__ = ["DiagonalNormal"]

Shape = Sequence[int]

MOST = 2**21
"""Largest number of differences in memory at once, where no matrix product is used."""


class DiagonalNormal(dist.Independent):
    """Normal with independent coordinates, event_shape (dim,).

    As components of a `Mixture`, the K densities at a value come from one matrix product instead of a (values, K, dim)
    array where that is accurate: not for scales far smaller than the distances between the components.

    Parameters
    ----------
    loc, scale
        Mean and standard deviation, (*batch, dim).
    """

    def __init__(self, loc: Tensor, scale: Tensor, validate_args: bool | None = None) -> None:
        super().__init__(dist.Normal(loc, scale, validate_args=validate_args), 1, validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: TorchDistribution | None = None) -> DiagonalNormal:
        """Expanded to `batch_shape`."""
        new = self._get_checked_instance(DiagonalNormal, _instance)
        base = self.base_dist.expand(torch.Size(batch_shape) + self.event_shape)
        super(DiagonalNormal, new).__init__(base, 1, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def chosen(self, index: Tensor) -> DiagonalNormal:
        """Of a batch (*batch, K) the components with numbers `index`, (*leading, 1, dim), the same along dim."""
        base, dim = self.base_dist, index.dim() - 2
        shape = (*index.shape[:dim], *base.loc.shape[-2:])
        loc, scale = (value.expand(shape).gather(dim, index) for value in (base.loc, base.scale))
        return DiagonalNormal(loc, scale, validate_args=False)

    def log_prob_each(self, value: Tensor) -> Tensor:
        """Log density of values (*leading, dim) under each component of a batch (*batch, K), in nats."""
        loc, scale = self.base_dist.loc, self.base_dist.scale
        distance = _by_product if _is_exact(loc, scale) else _by_difference
        constant = scale.log().sum(-1) + 0.5 * loc.shape[-1] * math.log(2 * math.pi)
        return -0.5 * distance(value, loc, scale) - constant


def _is_exact(loc: Tensor, scale: Tensor) -> bool:
    """Whether `_by_product` is accurate to 1e-11, in float32 to 1e-6.

    It subtracts numbers as large as the squared distances of the components from their centre, in units of the scale.
    Values much farther away add no relative error: what is subtracted from their distance is small.
    """
    if not has_float64(loc.device):
        return False
    tolerance = max(10 * torch.finfo(loc.dtype).eps, 1e-11)
    farthest = ((loc - _centre(loc)) / scale).detach().square().sum(-1).max()
    return assume(torch.finfo(torch.float64).eps * farthest < tolerance)


def _centre(loc: Tensor) -> Tensor:
    return loc.detach().mean(-2, keepdim=True)


def _by_product(value: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """Sum of (v - m)^2 / s^2 over coordinates, expanded, so that one matrix product gives all (*leading, K)."""
    centre = _centre(loc).to(torch.float64)
    v = value.to(torch.float64).unsqueeze(-2) - centre  # (*leading, 1, dim)
    m, precision = loc.to(torch.float64) - centre, scale.to(torch.float64).square().reciprocal()
    quadratic = torch.cat([precision, -2 * m * precision], -1).mT  # (*batch, 2 dim, K)
    distance = (torch.cat([v.square(), v], -1) @ quadratic).squeeze(-2) + (m.square() * precision).sum(-1)
    return distance.to(value.dtype)


def _by_difference(value: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """The same from differences: accurate everywhere, slower, in bounded memory, gradients included."""
    loc, scale = torch.broadcast_tensors(loc, scale)
    step = max(1, MOST // max(1, value.numel()))
    parts = zip(loc.split(step, -2), scale.split(step, -2), strict=True)
    return torch.cat([_recomputed(_distance, value.unsqueeze(-2), m, s) for m, s in parts], -1)


def _distance(value: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return ((value - loc) / scale).square().sum(-1)


def _recomputed(f: Callable[..., Tensor], *args: Tensor) -> Tensor:
    """f(*args), with intermediate values recomputed in the backward pass (checkpointing)."""
    if not torch.is_grad_enabled():
        return f(*args)
    return checkpoint(f, *args, use_reentrant=False, preserve_rng_state=False)
