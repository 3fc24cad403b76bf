"""The parametric family of a site's distribution, with unconstrained parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import ExpandedDistribution, MaskedDistribution
from torch import Tensor
from torch.distributions import transform_to

from ppl_vae.traces import Site, quantized, singular

__all__ = ["Family", "family_of"]


@dataclass(frozen=True)
class Family:
    """A parametric family of distributions.

    Attributes
    ----------
    params
        Parameters of the site's distribution, unconstrained, each (*batch, *param_shape).
    num_batch
        Number of batch dimensions before `param_shape`.
    member
        Maps unconstrained parameters to a distribution of the family.
    """

    params: tuple[Tensor, ...]
    num_batch: int
    member: Callable[..., Any]


def family_of(site: Site) -> Family:
    """The family of a sample site's distribution.

    Given by the site's `infer["parametrization"] = (params, distribution)`, or else by the class of its distribution
    and the parameters in `arg_constraints`, transformed to unconstrained space.

    Raises
    ------
    ValueError
        Where neither exists, for distributions without `rsample`, and for a point mass.
    """
    name, fn = site["name"], site["fn"]
    if singular(site) or quantized(site):
        raise ValueError(
            f"refining q expects a density, got a point mass or a code (VectorQuantized) at {name!r}, which cannot be "
            "spread; use another posterior"
        )
    if not fn.has_rsample:
        raise ValueError(
            f"refining q expects draws that a gradient flows through, got {_named(fn)} at {name!r}, which has none; "
            "use a reparametrized distribution"
        )
    if "parametrization" in site["infer"]:
        params, distribution = site["infer"]["parametrization"]
        return Family((params,), len(distribution(params).batch_shape), distribution)
    try:
        return _by_constraints(fn)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise ValueError(
            f"refining q expects a distribution that is made of its `arg_constraints`, got {_named(fn)} at {name!r}, "
            'which is not; sample the site with infer={"parametrization": (params, distribution)}, where '
            "distribution(params) makes it of unconstrained params (*batch, ...)"
        ) from error


def _by_constraints(fn: Any) -> Family:
    base = _unwrapped(fn)
    constraints = type(base).arg_constraints  # an instance's may depend on its other parameters, as Uniform's do
    names = [name for name in constraints if name in vars(base)] or list(constraints)  # scale_tril or covariance_matrix
    values = {name: getattr(base, name) for name in names}
    type(base)(**values)
    if not names:
        raise TypeError("a distribution without parameters")
    to = {name: transform_to(constraints[name]) for name in names}
    batch = (*fn.batch_shape, *fn.event_shape[: len(fn.event_shape) - len(base.event_shape)])
    params = []
    for name, value in values.items():
        u = to[name].inv(value)
        params.append(u.expand(*batch, *u.shape[value.dim() - constraints[name].event_dim :]))

    def member(*params: Tensor) -> Any:
        made = type(base)(**{name: to[name](u) for name, u in zip(names, params, strict=True)})
        return _wrapped(fn, made)

    return Family(tuple(params), len(fn.batch_shape), member)


def _unwrapped(fn: Any) -> Any:
    while isinstance(fn, torch.distributions.Independent | MaskedDistribution | ExpandedDistribution):
        fn = fn.base_dist
    return fn


def _wrapped(like: Any, base: Any) -> Any:
    """`base`, already of the shape of `like`, with the event dimensions and the mask of `like`."""
    if isinstance(like, torch.distributions.Independent):
        return dist.Independent(_wrapped(like.base_dist, base), like.reinterpreted_batch_ndims)
    if isinstance(like, MaskedDistribution):
        return _wrapped(like.base_dist, base).mask(like._mask)
    return _wrapped(like.base_dist, base) if isinstance(like, ExpandedDistribution) else base


def _named(fn: Any) -> str:
    return type(_unwrapped(fn)).__name__
