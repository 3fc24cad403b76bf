"""Supports without what declares dimensions as event, or a mixture around its components."""

from __future__ import annotations

from typing import Any

from torch.distributions import constraints

__all__ = ["of_components", "of_each"]

# The support that newer torch gives a mixture, around that of its components; torch 2.6 gives theirs.
_OF_A_MIXTURE = getattr(constraints, "MixtureSameFamilyConstraint", ())


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
