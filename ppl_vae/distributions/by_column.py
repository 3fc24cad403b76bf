"""A distribution of the elements of x whose columns come from different families."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_vae.support import EachColumn

__all__ = ["ByColumn"]

Shape = Sequence[int]


class ByColumn(TorchDistribution):
    """Independent elements (*batch, d), of which each column, along the last dimension, has its own family.

    Parameters
    ----------
    parts
        A distribution for each group of columns, batch_shape (*batch, columns of the group), without an event.
    columns
        The columns of each group; together 0, ..., d - 1, each once.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(
        self, parts: Sequence[TorchDistribution], columns: Sequence[Sequence[int]], validate_args: bool | None = None
    ) -> None:
        if any(part.event_shape for part in parts):
            raise ValueError(
                f"ByColumn expects distributions of single elements, got {[type(p).__name__ for p in parts]} with "
                f"events {[tuple(p.event_shape) for p in parts]}; give such columns another likelihood"
            )
        self.parts, self.columns = tuple(parts), tuple(map(tuple, columns))
        leading = torch.broadcast_shapes(*(part.batch_shape[:-1] for part in parts))
        super().__init__(torch.Size([*leading, sum(map(len, columns))]), validate_args=validate_args)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether all families have."""
        return all(part.has_rsample for part in self.parts)

    @property
    def support(self) -> EachColumn:
        """The support of each column."""
        supports: list[Any] = [part.support for part in self.parts]
        return EachColumn(supports, self.columns)

    @property
    def mean(self) -> Tensor:
        """Means, (*batch, d); of categories the mean code, which has no meaning."""
        return self._joined(lambda part: part.mean)

    @property
    def variance(self) -> Tensor:
        """Variances, (*batch, d)."""
        return self._joined(lambda part: part.variance)

    def log_prob(self, value: Tensor) -> Tensor:
        """Of each element, (*batch, d)."""
        if self._validate_args:
            self._validate_sample(value)
        each = zip(self.parts, self.columns, strict=True)
        return self.support.joined([part.log_prob(value[..., list(columns)]) for part, columns in each])

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        """Draws, (*sample_shape, *batch, d)."""
        return self._joined(lambda part: part.sample(torch.Size(sample_shape)))

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        """Draws with a gradient, (*sample_shape, *batch, d)."""
        return self._joined(lambda part: part.rsample(torch.Size(sample_shape)))

    def expand(self, batch_shape: Shape, _instance: TorchDistribution | None = None) -> ByColumn:
        """Expanded to `batch_shape`."""
        each = zip(self.parts, self.columns, strict=True)
        return ByColumn([p.expand(torch.Size([*batch_shape[:-1], len(c)])) for p, c in each], self.columns)

    def _joined(self, of: Callable[[Any], Tensor]) -> Tensor:
        return self.support.joined([of(part) for part in self.parts])
