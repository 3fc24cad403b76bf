"""Marginal densities of each latent unit under q(z) or p(z)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ppl_vae.diagnostics.latents.aggregate_draws import AggregateDraws, MeanDensity, SitesOf
from ppl_vae.diagnostics.posterior import unit_log_prob
from ppl_vae.evaluation.units import kernel_log_density

__all__ = ["Marginals", "marginals"]


class Marginals(NamedTuple):
    """Marginal log densities of the units of a site.

    Attributes
    ----------
    log_prob
        Of the unconstrained units, at every draw, (M, units), in nats and float64.
    estimator
        The estimator, in words.
    """

    log_prob: Tensor
    estimator: str


def marginals(
    sites_of: SitesOf,
    site: str,
    mean: MeanDensity,
    given: AggregateDraws,
    others: AggregateDraws,
    *,
    prior: bool = False,
    max_rows: int = 10_000,
) -> Marginals:
    """Marginals of q(z), or of p(z), at the draws `given`; `others` are independent draws of the same kind."""
    if site in mean.units:
        return Marginals(mean.units[site] + given.log_jacobian[site], "exact")
    each = _over_others(sites_of, site, given, others, prior=prior, max_rows=max_rows)
    if each is not None:
        return Marginals(each + given.log_jacobian[site], "averaged over draws of the other latents")
    by_kernels = kernel_log_density(others.u[site].cpu().numpy(), given.u[site].cpu().numpy())
    return Marginals(torch.from_numpy(by_kernels).to(given.u[site]), "by kernel density estimate")


def _over_others(
    sites_of: SitesOf, name: str, given: AggregateDraws, others: AggregateDraws, *, prior: bool, max_rows: int
) -> Tensor | None:
    """Marginals of a site's units at M draws, averaged over `others` for the latents they depend on, (M, units).

    In nats and float64; `None` where the conditional marginals are not known.
    """
    num = len(given.index)
    total = torch.full_like(given.u[name], -math.inf)
    for rows in torch.arange(len(others.index)).split(max(1, max_rows // num)):
        some = sites_of(others.index[rows])
        values = {n: some.by_point(value[rows]) for n, value in others.values.items()} | {name: given.values[name]}
        sites = some.prior(num, values) if prior else some.guide(num, values)
        each = unit_log_prob(sites[name], some.where)
        if each is None:
            return None
        total = torch.logaddexp(total, each.logsumexp(1))
    return total - math.log(len(others.index))
