"""Moments of the observed training data, of all elements or of each column, whether these are a tensor or rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ppl_vae.rows import Rows, dense
from ppl_vae.split import Split

__all__ = ["Moments", "of_all", "of_columns"]

_AT_ONCE = 2**22


class Moments(NamedTuple):
    """Of some observed values: how many, the least and largest, mean, standard deviation, geometric mean.

    NaN where they are not defined: of no value, and the geometric mean of values below 0; it is 0 where one of them is.
    """

    number: int
    low: float
    high: float
    mean: float
    sd: float
    geometric: float

    @classmethod
    def of(cls, x: Tensor) -> Moments:
        """Of values x in a tensor."""
        if not x.numel():
            return cls(0, *[math.nan] * 5)
        mean, sd = float(x.mean()), float(x.std(correction=0))
        return cls(x.numel(), float(x.min()), float(x.max()), mean, sd, float(x.double().log().mean().exp()))


def of_all(train: Split, seed: int) -> Moments:
    """Of all observed elements, drawn once from a seed where they are drawn per batch."""
    if isinstance(train.x, Rows):
        columns = [one for one in _streamed(train, seed) if one.number]
        return _pooled(columns) if columns else Moments.of(torch.empty(0))
    train = train.fixed(seed)
    return Moments.of(train.x if train.mask is None else train.x[train.mask])


def of_columns(train: Split, seed: int) -> list[Moments]:
    """Of the observed elements of each column of a table, in float64."""
    if isinstance(train.x, Rows):
        return _streamed(train, seed)
    train = train.fixed(seed).to("cpu")
    return [Moments.of(x[seen]) for x, seen in zip(train.x.double().T, train.observed.T, strict=True)]


def _streamed(train: Split, seed: int) -> list[Moments]:
    """Of each element of x over rows that are made dense some at a time, in two passes."""
    count, total, log_total, square = (torch.zeros(train.x[:1].numel(), dtype=torch.float64) for _ in range(4))
    low, high = torch.full_like(total, math.inf), torch.full_like(total, -math.inf)
    for x, seen in _pieces(train, seed):
        count += seen.sum(0)
        total += x.where(seen, 0.0).sum(0)
        log_total += x.where(seen, 1.0).log().sum(0)
        low = torch.minimum(low, x.where(seen, math.inf).amin(0))
        high = torch.maximum(high, x.where(seen, -math.inf).amax(0))
    mean = total / count
    for x, seen in _pieces(train, seed):
        square += (x - mean).where(seen, 0.0).square().sum(0)
    each = zip(count, low, high, mean, (square / count).sqrt(), (log_total / count).exp(), strict=True)
    return [Moments(int(n), *map(float, values)) for n, *values in each]


def _pieces(train: Split, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """x (rows, elements) in float64, and where it is observed, some rows at a time."""
    step = max(1, _AT_ONCE // train.x[:1].numel())
    for number, start in enumerate(range(0, len(train), step)):
        some = train[start : start + step].fixed(seed + number)
        yield dense(some.x).double().flatten(1), some.observed.flatten(1)


def _pooled(columns: list[Moments]) -> Moments:
    """Of all values of some columns together."""
    count, low, high, mean, sd, geometric = (torch.tensor(v, dtype=torch.float64) for v in zip(*columns, strict=True))
    share = count / count.sum()
    middle = (share * mean).sum()
    variance = (share * (sd.square() + (mean - middle).square())).sum()
    values = (low.min(), high.max(), middle, variance.sqrt(), (share * geometric.log()).sum().exp())
    return Moments(int(count.sum()), *map(float, values))
