"""Supports of distributions, without what declares dimensions as event, or a mixture around its components."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
from torch.distributions import constraints

__all__ = ["of_components", "of_each", "support_of"]

_CIRCULAR = (dist.VonMises, dist.SineBivariateVonMises, dist.SineSkewed)
_CIRCLE = constraints.interval(-math.pi, math.pi)

# The support that newer torch gives a mixture, around that of its components; torch 2.6 gives theirs.
_OF_A_MIXTURE = getattr(constraints, "MixtureSameFamilyConstraint", ())


def support_of(fn: Any) -> Any:
    """The support of a distribution, of angles the interval [-pi, pi].

    There alone the density of angles integrates to one; Pyro and torch say that it is defined on all reals.
    """
    base = fn
    while base is not None and not isinstance(base, dist.TransformedDistribution):
        if isinstance(base, _CIRCULAR):
            num = len(fn.event_shape)
            return constraints.independent(_CIRCLE, num) if num else _CIRCLE
        base = getattr(base, "component_distribution", getattr(base, "base_dist", None))
    return fn.support


def of_components(support: Any) -> Any:
    """A support with that of the components in the place of a mixture's, which `biject_to` does not know."""
    if isinstance(support, _OF_A_MIXTURE):
        return of_components(support.base_constraint)
    if isinstance(support, constraints.independent):
        return constraints.independent(of_components(support.base_constraint), support.reinterpreted_batch_ndims)
    return support


def of_each(support: Any) -> Any:
    """The support of each coordinate, where it is the same for all."""
    support = of_components(support)
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support
