"""Maps of x, each a frozen dataclass that can be pickled and is described by its fields."""

from __future__ import annotations

import math
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

    For float32 on a CPU the probability is rounded to a multiple of 2^-16; 0 and 1 stay what they are. Four values are
    then drawn from 64 random bits, in about half the time of a comparison with `torch.rand`.

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
        if (drawn := _sixteen_bits(p)) is None:
            return torch.bernoulli(p)
        return torch.lt(drawn, p.mul_(2**16).sub_(2**15 + 0.5), out=p)


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

    For float32 on a CPU u is an odd multiple of 2^-16: for x up to 255 the sum is exact, and never a level.

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
        if (drawn := _sixteen_bits(x)) is None:
            noisy = x + torch.rand_like(x)
        else:
            noisy = torch.add(x, drawn.bitwise_or_(1), alpha=2**-16).add_(0.5)
        # 255 + u rounds to 256 for u near 1, which would leave [0, 1)
        return noisy.div_(self.levels).clamp_(max=1 - torch.finfo(x.dtype).eps / 2)


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


def _sixteen_bits(x: Tensor) -> Tensor | None:
    """Random integers from -2^15 to 2^15 - 1, of the shape of x; `None` where they are not what is fastest for x."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or not x.dim():
        return None
    size = x[:1].numel()  # rows have words of their own: several processes each keep those of some rows
    words = torch.empty(len(x), math.ceil(size / 4), dtype=torch.int64, device=x.device).random_(-(2**63), None)
    return words.view(torch.int16)[:, :size].reshape(x.shape)
