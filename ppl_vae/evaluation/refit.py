"""Weighted draws of the latents, from fitted proposals where those from q have a high k-hat."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ppl_vae import traces
from ppl_vae.adaptive import Density, Settings, fitted, pareto_k
from ppl_vae.importance import FEWEST, doubtful, log_marginal, psis
from ppl_vae.isolation import frozen
from ppl_vae.modelled import Modelled
from ppl_vae.split import Split

__all__ = ["refitted", "smoothed"]


def refitted(
    program: Modelled,
    data: Split,
    where: traces.Plates,
    max_rows: int,
    values: Mapping[str, Tensor],
    log_w: Tensor,
    coarse: Tensor,
) -> tuple[dict[str, Tensor], Tensor]:
    """Draws by site, in their batch shapes, and log weights (S, n); new ones where k-hat is `doubtful`.

    So there are of data whose draws lie too close together: see `Draws.coarse`.
    """
    num_samples = len(log_w)
    bad = doubtful(pareto_k(log_w, coarse), num_samples).nonzero().flatten()
    if not len(bad):
        return dict(values), log_w
    with frozen(program):
        density = Density(program, data, where, max_rows)
        settings = Settings(num_samples)
        found, _ = fitted(density, bad.cpu(), settings)
        sites = density.of(bad.cpu()).sites(found.u)
    along = 1 + where.depth + where.data
    moved = {}
    for name, value in values.items():
        new = sites[name]["value"]
        shape = list(value.shape)
        shape[along] = len(bad)
        moved[name] = value.index_copy(along, bad.to(value.device), new.expand(shape).to(value))
    return moved, log_w.index_copy(1, bad, found.log_w.to(log_w))


def smoothed(log_w: Tensor, has_tail: bool, coarse: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Normalized log weights (S, n), Pareto-smoothed where they have a tail, k-hat and ESS (n,).

    Weights of draws that coincide, where `coarse`, (n,), is true, are equal, and their k-hat is infinite.
    """
    coarse = coarse.to(log_w.device)
    log_w = torch.where(coarse, 0.0, log_w)
    ess = log_marginal(log_w).ess
    if has_tail and len(log_w) >= FEWEST:
        return *psis(log_w, coarse=coarse), ess
    return log_w.log_softmax(0), torch.where(coarse, math.inf, math.nan).to(ess), ess
