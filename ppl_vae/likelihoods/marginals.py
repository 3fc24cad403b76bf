"""Statistics of each element of data with missing values, from which likelihoods start."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["frequencies", "mean_and_variance", "root"]


def mean_and_variance(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Of the observed values of each element of data (n, *x_shape); 0 and 1 where there are none, 1 for constants."""
    count = mask.sum(0)
    mean = x.where(mask, 0).sum(0) / count.clamp_min(1)
    variance = (x - mean).where(mask, 0).square().sum(0) / count.clamp_min(1)
    return mean, variance.where(variance > 0, 1)


def frequencies(x: Tensor, mask: Tensor, levels: int) -> Tensor:
    """Share of each level among the observed values, (levels, *x_shape), with half a count more for each."""
    counts = torch.stack([((x == k) & mask).sum(0) for k in range(levels)])
    return (counts + 0.5) / (counts + 0.5).sum(0)


def root(f: Callable[[Tensor], Tensor], like: Tensor, low: float, high: float) -> Tensor:
    """Where an increasing function of each element is 0, by bisection; the nearer bound where it is 0 nowhere."""
    below, above = torch.full_like(like, low), torch.full_like(like, high)
    for _ in range(60):
        middle = (below + above) / 2
        negative = f(middle) < 0
        below, above = middle.where(negative, below), above.where(negative, middle)
    return (below + above) / 2
