"""A warning of tables whose columns have scales that differ by orders of magnitude."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch

from ppl_vae.likelihoods import Heterogeneous, Likelihood, LogNormal
from ppl_vae.precision import in_float64
from ppl_vae.rows import dense
from ppl_vae.vae.data_spec import DataSpec
from ppl_vae.vae.seen import rows_for_statistics

__all__ = ["warn_of_scales"]

_MOST = 100.0  # ratio of ranges: a sparse column may have a small standard deviation on the same scale
_USUAL = 5.0  # range of a standardized column


class _Column(NamedTuple):
    name: str
    kind: str
    logged: bool  # whether its likelihood, and so the networks, have its logarithm
    span: float

    def __str__(self) -> str:
        return f"{self.span:.3g} ({'the logarithm of ' * self.logged}column {self.name})"


def warn_of_scales(data: DataSpec, likelihood: Likelihood) -> None:
    """Warn if the columns of a table are not on one scale.

    Warns
    -----
    UserWarning
        Where the ranges of its real, unit and positive columns, of `LogNormal` ones those of their logarithms, differ
        by a factor above 100.
    """
    if data.train is None or len(data.x_shape) != 1 or data.domain.discrete:
        return
    found = [one for one in _columns(data, likelihood) if one.span > 0]
    low, high = (choose(found, key=lambda one: one.span, default=None) for choose in (min, max))
    if low is not None and high is not None and high.span > _MOST * low.span:
        warnings.warn(
            f"the columns of x have ranges from {low} to {high}, so that the networks see and fit the widest alone; "
            f"{_advice(data, low, high)}",
            stacklevel=_outside(),
        )


def _columns(data: DataSpec, likelihood: Likelihood) -> Iterator[_Column]:
    """The continuous columns of a table; the range of one without an observed value is negative."""
    assert data.train is not None
    split = rows_for_statistics(data.train)
    x, seen = in_float64(dense(split.x)).clone(), split.observed
    logged = [j for leaf, which in _leaves(likelihood) if isinstance(leaf, LogNormal) for j in which]
    x[:, logged] = x[:, logged].clamp_min(torch.finfo(x.dtype).tiny).log()  # what is missing is 0
    span = (x.where(seen, -math.inf).amax(0) - x.where(seen, math.inf).amin(0)).tolist()
    names = [repr(name) for name in data.columns.names] if data.columns else [str(j) for j in range(len(span))]
    for j, one in enumerate(data.domain.columns(len(span))):
        if not one.discrete:
            yield _Column(names[j], one.kinds[0], j in logged, span[j])


def _leaves(likelihood: Likelihood) -> Iterator[tuple[Likelihood, tuple[int, ...]]]:
    """The likelihoods of the columns, each with those that share it."""
    if isinstance(likelihood, Heterogeneous):
        yield from zip(cast(Any, likelihood.leaves), (group.columns for group in likelihood.groups), strict=True)
    else:
        yield likelihood, tuple(range(likelihood.x_shape[-1]))


def _advice(data: DataSpec, low: _Column, high: _Column) -> str:
    """What brings two columns closer to each other: standardizing, where it was not done and changes one of them."""
    assert data.train is not None
    steps = [step for step in data.train.provenance.get("transforms", []) if step["transform"] == "standardize"]
    stays = {"unit"} if len(data.domain.kinds) > 1 else set()  # shares beside columns of other kinds
    if not steps and not all(one.logged or one.kind in stays for one in (low, high)):
        return "standardize them: data.standardize()"
    if steps and not any("per" in step for step in steps):
        return "standardize each by itself: data.standardize(per='column')"
    if low.span * high.span < _USUAL**2:  # the narrow one is further from what is usual
        return f"give column {low.name} the kind 'real', as which it is standardized by its standard deviation"
    if high.kind == "positive":
        return f"take the logarithm of column {high.name}, as a real one, which is then standardized"
    return f"correct values of column {high.name} that are far from the others, or take np.arcsinh of it"


def _outside() -> int:
    """The level, for a warning of the caller, of the first call from outside of the package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("ppl_vae."):
        frame, level = frame.f_back, level + 1
    return level
