"""Draws from the aggregated posterior q(z) or prior p(z), and their log densities averaged over the data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import IndependentTransform

from ppl_vae import traces
from ppl_vae.diagnostics.posterior import LatentSites, bijection, free_of_others, unit_log_prob
from ppl_vae.memory import chunks
from ppl_vae.precision import in_float64

__all__ = ["AggregateDraws", "MeanDensity", "SitesOf", "aggregate_draws", "mean_density", "prior_varies"]

SitesOf = Callable[[Tensor | slice], LatentSites]  # the latent sites of some of the data
AT_ONCE = 1000  # data encoded at once
FEW = 2  # draws that tell densities apart


@dataclass(frozen=True)
class AggregateDraws:
    """M draws from q(z) = (1/N) sum_n q(z | x_n), or from p(z) = (1/N) sum_n p(z | n), the prior of each datum.

    Attributes
    ----------
    index
        The datum of each draw, (M,).
    values
        By site, in the shape that `LatentSites` takes, shared by all data.
    u
        Unconstrained values by site (`biject_to`), (M, units), in float64.
    log_jacobian
        log |dz / du| by site: of each unit where the transform is elementwise, (M, units), else of all units, (M, 1).
    """

    index: Tensor
    values: dict[str, Tensor]
    u: dict[str, Tensor]
    log_jacobian: dict[str, Tensor]

    @property
    def flat(self) -> Tensor:
        """All latents, (M, dim)."""
        return torch.cat(list(self.u.values()), -1)


def aggregate_draws(sites_of: SitesOf, index: Tensor, *, prior: bool = False) -> AggregateDraws:
    """One draw from q(z | x_n), or from p(z | n), for each n in `index`, (M,)."""
    values: dict[str, list[Tensor]] = {}
    u: dict[str, list[Tensor]] = {}
    jacobian: dict[str, list[Tensor]] = {}
    for rows in index.split(AT_ONCE):
        some = sites_of(rows)
        drawn = None if prior else {name: site["value"] for name, site in some.guide(1).items()}
        for name, site in some.prior(1, drawn).items():  # the prior's support determines the transform
            value, transform = site["value"], bijection(name, site)
            real = transform.inv(value)
            values.setdefault(name, []).append(some.by_point(value))
            u.setdefault(name, []).append(_units(real, transform.domain.event_dim, some))
            jacobian.setdefault(name, []).append(_log_jacobian(transform, real, value, some))
    joined = ({name: torch.cat(parts) for name, parts in by_site.items()} for by_site in (values, u, jacobian))
    return AggregateDraws(index, *joined)


def _units(value: Tensor, event_dim: int, some: LatentSites) -> Tensor:
    """One draw per datum, with `event_dim` event dimensions, as (n, units)."""
    by_datum = value.movedim(value.dim() - event_dim + some.where.data, 1)[0]
    return in_float64(by_datum.reshape(some.where.size, -1))


def _log_jacobian(transform: Any, u: Tensor, z: Tensor, some: LatentSites) -> Tensor:
    each = transform
    while isinstance(each, IndependentTransform):
        each = each.base_transform
    if each.domain.event_dim == 0:
        return _units(each.log_abs_det_jacobian(u, z), transform.domain.event_dim, some)
    return in_float64(traces.by_particle(transform.log_abs_det_jacobian(u, z), some.where)[0]).unsqueeze(-1)


@dataclass(frozen=True)
class MeanDensity:
    """log of (1/N) sum_n f(z | n) at M draws.

    Attributes
    ----------
    joint
        Of all latents, (M,), in nats and float64.
    own
        log f(z | n) at the datum n of each draw, (M,).
    units
        Marginals of each unit, (M, units), for the sites where they are known.
    """

    joint: Tensor
    own: Tensor
    units: dict[str, Tensor]


def mean_density(
    sites_of: SitesOf,
    size: int,
    given: AggregateDraws,
    *,
    prior: bool = False,
    max_rows: int = 10_000,
    update: Callable[[int], object] = lambda done: None,
) -> MeanDensity:
    """The density of q(z | x_n), or of p(z | n), averaged over the first `size` data.

    At most `max_rows` pairs are scored at once; `update` is called with the number of data done.
    """
    num = len(given.index)
    joint, own = given.flat.new_full((2, num), -math.inf)
    index = given.index.to(own.device)
    units: dict[str, Tensor] = {}
    for rows in chunks(size, num, max_rows):
        some = sites_of(rows)
        sites = some.prior(num, given.values) if prior else some.guide(num, given.values)
        log_prob = some.log_prob(sites, num)
        joint = torch.logaddexp(joint, log_prob.logsumexp(1))
        inside = (index >= rows.start) & (index < rows.stop)
        own[inside] = log_prob[inside, index[inside] - rows.start]
        for name, site in sites.items():
            if (rows.start == 0 or "prior" in site) and not free_of_others(site, some.where):
                # a mask of later data may leave units out, whose prior depends on other latents
                units.pop(name, None)
            elif rows.start == 0:
                units[name] = joint.new_full(given.u[name].shape, -math.inf)
            if name in units:
                units[name] = torch.logaddexp(units[name], _known(unit_log_prob(site, some.where)).logsumexp(1))
        update(some.where.size)
    log_size = math.log(size)
    return MeanDensity(joint - log_size, own, {name: total - log_size for name, total in units.items()})


def prior_varies(sites_of: SitesOf, size: int, given: AggregateDraws, *, max_rows: int = 10_000) -> bool:
    """Whether p(z | n) differs between `size` data, by a context, by a mask or by x, at a few of the given draws."""
    values = {name: value[:FEW] for name, value in given.values.items()}
    num = min(FEW, len(given.index))
    first: Tensor | None = None
    for rows in chunks(size, num, max_rows):
        some = sites_of(rows)
        log_prob = some.log_prob(some.prior(num, values), num)
        first = log_prob[:, :1] if first is None else first
        if not torch.allclose(log_prob, first.expand_as(log_prob), rtol=1e-5, atol=1e-4):
            return True
    return False


def _known(each: Tensor | None) -> Tensor:
    assert each is not None  # the site was found to have it
    return each
