"""The base of distributions of one number, whose log density is computed in float64."""

from __future__ import annotations

import abc
from collections.abc import Sequence

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_vae.precision import has_float64

__all__ = ["Scalar"]

Shape = Sequence[int]


class Scalar(TorchDistribution, abc.ABC):
    """A distribution of one number, of parameters that broadcast, named in the order of `arg_constraints`.

    Log densities are computed in float64 where the device supports it: they are sums of large terms of both signs.

    Parameters
    ----------
    *params
        (*batch,).
    """

    def __init__(self, *params: Tensor, validate_args: bool | None = None) -> None:
        params = tuple(torch.broadcast_tensors(*params))
        for name, value in zip(self.arg_constraints, params, strict=True):
            setattr(self, name, value)
        super().__init__(params[0].shape, validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: TorchDistribution | None = None) -> Scalar:
        """Expanded to `batch_shape`."""
        new = self._get_checked_instance(type(self), _instance)
        for name in self.arg_constraints:
            setattr(new, name, getattr(self, name).expand(batch_shape))
        super(Scalar, new).__init__(torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density or log mass, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        params = [getattr(self, name) for name in self.arg_constraints]
        own = params[0].dtype
        precise = torch.float64 if has_float64(params[0].device) else own
        return self._log_density(value.to(precise), *(p.to(precise) for p in params)).to(own)

    @abc.abstractmethod
    def _log_density(self, x: Tensor, *params: Tensor) -> Tensor:
        """`log_prob` of numbers x, in their precision."""
