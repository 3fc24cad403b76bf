"""The base of distributions of a whole row, of which some elements may be missing."""

from __future__ import annotations

import abc
import copy
from collections.abc import Sequence
from typing import TypeVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_vae.precision import has_float64

__all__ = ["Row"]

Shape = Sequence[int]
R = TypeVar("R", bound="Row")


class Row(TorchDistribution, abc.ABC):
    """A distribution of a row x, event_shape x_shape, whose elements are not independent.

    A subclass computes on flat rows (..., d) and in float64 where the device supports it.

    Parameters
    ----------
    batch_shape, event_shape
        Of the rows.
    """

    seen: Tensor | None = None
    """True at the elements that are scored, (..., d); `None` for all."""

    def __init__(self, batch_shape: Shape, event_shape: Shape, validate_args: bool | None = None) -> None:
        super().__init__(torch.Size(batch_shape), torch.Size(event_shape), validate_args=validate_args)

    def observed(self: R, mask: Tensor | bool) -> R:
        """The distribution of the elements where `mask` (*batch, *x_shape) is True; what is drawn stays whole."""
        if mask is True:
            return self
        new = copy.copy(self)
        new.seen = self._flat(torch.as_tensor(mask).expand(*self._leading(torch.as_tensor(mask)), *self.event_shape))
        return new

    def given_seen(self, drawn: Tensor, x: Tensor) -> Tensor:
        """What a draw or the mean, (*batch, *x_shape), becomes where the elements that are seen are those of x.

        By default what it was: missing elements do not depend on the others.
        """
        return drawn

    def expand(self: R, batch_shape: Shape, _instance: TorchDistribution | None = None) -> R:
        """Expanded to `batch_shape`; the parameters are not copied."""
        new = copy.copy(self)
        new._batch_shape = torch.Size(batch_shape)
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density or log mass of the elements that are scored, in nats, (*batch,)."""
        if self._validate_args:
            self._validate_sample(value)
        precise = torch.float64 if has_float64(value.device) else value.dtype
        log_p = self._log_density(self._flat(value).to(precise))
        return log_p.to(self._dtype).expand(torch.broadcast_shapes(log_p.shape, self.batch_shape))

    @property
    @abc.abstractmethod
    def _dtype(self) -> torch.dtype:
        """Type of the parameters."""

    @abc.abstractmethod
    def _log_density(self, x: Tensor) -> Tensor:
        """`log_prob` of flat rows x (..., d), in their precision; of those elements that are `seen`."""

    def _flat(self, value: Tensor) -> Tensor:
        return value.flatten(value.dim() - len(self.event_shape)) if self.event_shape else value.unsqueeze(-1)

    def _whole(self, flat: Tensor) -> Tensor:
        """Flat rows as (..., *x_shape), in the batch shape."""
        rows = flat.expand(torch.broadcast_shapes(flat.shape[:-1], self.batch_shape) + flat.shape[-1:])
        return rows.reshape(*rows.shape[:-1], *self.event_shape)

    def _leading(self, value: Tensor) -> torch.Size:
        return value.shape[: max(value.dim() - len(self.event_shape), 0)]
