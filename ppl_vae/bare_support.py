"""Supports of distributions, without what declares dimensions as event, or a mixture around its components."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints, transforms

__all__ = ["bounds", "of_components", "of_each", "support_of"]

_CIRCULAR = (dist.VonMises, dist.SineBivariateVonMises, dist.SineSkewed)
_CIRCLE = constraints.interval(-math.pi, math.pi)

# The support that newer torch gives a mixture, around that of its components; torch 2.6 gives theirs.
_OF_A_MIXTURE = getattr(constraints, "MixtureSameFamilyConstraint", ())
_MONOTONE = (
    *(transforms.AffineTransform, transforms.ExpTransform, transforms.PowerTransform, transforms.SigmoidTransform),
    *(transforms.SoftplusTransform, transforms.TanhTransform),
)
"""Of single coordinates, by a formula that keeps nothing."""

_CODOMAIN = torch.distributions.TransformedDistribution.support
"""What torch says of transformed distributions that do not say it themselves: the codomain of the last transform."""


def support_of(fn: Any) -> Any:
    """The support of a distribution, of angles the interval [-pi, pi], and the image of an interval under transforms.

    Outside of it the density of angles does not integrate to one; Pyro and torch say that it is defined on all reals.
    Of transforms torch takes the codomain of the last one, which is all reals for an affine map of an interval.
    """
    known = _known(fn)
    if known is None:
        return fn.support
    return constraints.independent(known, len(fn.event_shape)) if fn.event_shape else known


def _known(fn: Any) -> Any:
    """The support of each coordinate where it is not what torch says, else `None`."""
    if isinstance(fn, _CIRCULAR):
        return _CIRCLE
    if getattr(type(fn), "support", None) is _CODOMAIN:
        return _image(fn)
    if (component := getattr(fn, "component_distribution", None)) is not None:
        found = _known(component)
        shared = found is not None and not any(isinstance(end, Tensor) and end.dim() for end in bounds(found) or ())
        return found if shared else None
    base = getattr(fn, "base_dist", None)
    return None if base is None or isinstance(fn, dist.TransformedDistribution) else _known(base)


def _image(fn: Any) -> Any:
    """The interval onto which monotone transforms map an interval, where torch says another."""
    try:
        support = of_each(support_of(fn.base_dist))
        reached = None if support.is_discrete else bounds(support)
        for transform in _flat(fn.transforms):
            if type(transform) in _MONOTONE and reached is not None and not _all_reals(reached):
                reached = _moved(transform, reached)
                reached = None if any(bool(end.isnan().any()) for end in reached) else reached
            else:
                reached = bounds(of_each(transform.codomain))
        said = bounds(of_each(fn.support))
    except NotImplementedError:  # a flow that names no codomain
        return None
    if reached is None or (said is not None and _same(reached, said)):
        return None
    low, high = map(_number, map(torch.as_tensor, reached))
    without = [torch.as_tensor(end).isinf() for end in (low, high)]
    if any(bool(end.any()) != bool(end.all()) for end in without):  # each coordinate has bounds of another kind
        return None
    if without[0].all():
        return constraints.real if without[1].all() else constraints.less_than(high)
    return constraints.greater_than_eq(low) if without[1].all() else constraints.interval(low, high)


@torch.no_grad()
def _moved(transform: Any, ends: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """The ends of the interval onto which a transform maps one, without what it keeps of its last draw."""
    moved = [transform._call(torch.as_tensor(end, dtype=torch.float64)) for end in ends]
    return torch.minimum(*moved), torch.maximum(*moved)


def _flat(parts: Sequence[Any]) -> Iterator[Any]:
    """Transforms one after the other, without what composes them or declares dimensions as event."""
    for transform in parts:
        if isinstance(transform, transforms.ComposeTransform):
            yield from _flat(transform.parts)
        elif isinstance(transform, transforms.IndependentTransform):
            yield from _flat([transform.base_transform])
        else:
            yield transform


def _number(end: Tensor) -> Any:
    """A bound as a number where it is the same for all."""
    first = end.flatten()[0]
    return first.item() if bool((end == first).all()) else end


def _all_reals(ends: Sequence[Any]) -> bool:
    """Whether nothing is bounded, so that the codomain of a transform is all that it reaches."""
    return _plain(ends) and ends == bounds(constraints.real)


def _plain(ends: Sequence[Any]) -> bool:
    """Whether bounds are numbers, which a graph of operations need not compare."""
    return not any(isinstance(end, Tensor) for end in ends)


def _same(reached: Sequence[Any], said: Sequence[Any]) -> bool:
    """Whether bounds are the same, up to rounding: a sigmoid ends below 1."""
    if _plain([*reached, *said]):
        return reached == said
    ends = ([torch.as_tensor(end).cpu().double() for end in each] for each in (reached, said))
    pairs = list(zip(*ends, strict=True))
    return all(bool(torch.isclose(a, b, rtol=1e-6, atol=1e-6).all()) for a, b in pairs)


def bounds(support: Any) -> tuple[Any, Any] | None:
    """Lower and upper bound of an interval, of real or of whole numbers; `None` for any other set."""
    lower, upper = getattr(support, "lower_bound", None), getattr(support, "upper_bound", None)
    if support is constraints.real:
        return -torch.inf, torch.inf
    if support is constraints.boolean:
        return 0, 1
    if lower is None and upper is None:
        return None
    return -torch.inf if lower is None else lower, torch.inf if upper is None else upper


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
