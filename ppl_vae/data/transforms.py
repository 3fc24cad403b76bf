"""Maps of x, each a frozen dataclass that can be pickled and is described by its fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ppl_vae.arguments import Count, Positive, checked
from ppl_vae.transform import Transform

__all__ = ["Dequantize", "SampleBinary", "Standardize", "Threshold"]


@checked
@dataclass(frozen=True)
class SampleBinary(Transform):
    """x ~ Bernoulli(x / top): a grey value as the probability of a one.

    Parameters
    ----------
    top
        The largest value of x: levels - 1, or 1 for x in [0, 1].
    """

    top: Positive = 1.0

    def __call__(self, x: Tensor) -> Tensor:
        """A fresh draw, of the shape of x.

        Raises
        ------
        ValueError
            For values outside [0, top], and NaN.
        """
        p = x / self.top
        if x.numel():
            low, high = p.aminmax()
            if not (low >= 0 and high <= 1):
                raise ValueError(
                    f"SampleBinary expects x in [0, {self.top:g}], got values in [{x.min():g}, {x.max():g}]; give it "
                    "its largest value as top"
                )
        if not p.is_contiguous() or p.dtype not in (torch.float32, torch.float64):
            return torch.bernoulli(p)
        uniform = torch.rand_like(p)  # gives the numbers of torch.bernoulli in less time
        return torch.lt(uniform, p, out=uniform)


@checked
@dataclass(frozen=True)
class Threshold(Transform):
    """1 where x / top > at, else 0; data that are sparse or on disk stay so.

    Parameters
    ----------
    at
        The threshold, in (0, 1).
    top
        The largest value of x.
    """

    deterministic: ClassVar[bool] = True

    at: float = 0.5
    top: Positive = 1.0

    def __call__(self, x: Tensor) -> Tensor:
        """Zeros and ones, of the shape of x."""
        return (x / self.top > self.at).to(x.dtype)


@checked
@dataclass(frozen=True)
class Dequantize(Transform):
    """(x + u) / levels in [0, 1), u ~ U[0, 1): a density of it bounds the mass of the grey levels.

    Parameters
    ----------
    levels
        Number of grey levels.

    References
    ----------
    Uria, Murray and Larochelle (2013), arXiv:1306.0186; Theis, van den Oord and Bethge (2016),
    arXiv:1511.01844.
    """

    levels: Count

    def __call__(self, x: Tensor) -> Tensor:
        """A new draw, of the shape of x."""
        # 255 + u rounds to 256 for u near 1, which would leave [0, 1)
        return ((x + torch.rand_like(x)) / self.levels).clamp(max=1 - torch.finfo(x.dtype).eps / 2)


@checked
@dataclass(frozen=True)
class Standardize(Transform):
    """(x - loc) / scale, with one loc and scale for all elements, or one for each column, the last dimension of x.

    Data that are sparse or on disk stay so.

    Parameters
    ----------
    loc, scale
        Mean and standard deviation, in units of x; tuples for columns.
    """

    deterministic: ClassVar[bool] = True

    loc: float | tuple[float, ...]
    scale: Positive | tuple[Positive, ...]

    def __call__(self, x: Tensor) -> Tensor:
        """Standardized values, of the shape of x."""
        loc, scale = (x.new_tensor(v) if isinstance(v, tuple) else v for v in (self.loc, self.scale))
        return (x - loc) / scale
