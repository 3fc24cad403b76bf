"""Log densities of observed sites, the elements of x summed in one pass where a distribution can."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import MaskedDistribution
from torch import Tensor

from ppl_vae import traces
from ppl_vae.distributions import Bernoulli, Normal

__all__ = ["likelihood", "nothing_observed"]


def likelihood(sites: list[traces.Site], where: traces.Plates, num: int) -> Tensor:
    """Log density of all observed sites together, (num, n), in nats: `traces.log_prob` up to rounding."""
    each = [traces.log_prob({**site, "unscaled_log_prob": _log_prob(site)}, where, num) for site in sites]
    return torch.stack(each).sum(0) if len(each) > 1 else each[0]


def nothing_observed(mask: Tensor | bool, log_likelihood: Tensor) -> Tensor | None:
    """Of which data nothing was observed, (n,), so that log p(x) is 0; `None` where that is of none."""
    if not isinstance(mask, Tensor):
        return None
    found = ~mask.reshape(len(mask), -1).any(1).cpu() & (log_likelihood == 0).all(0).cpu()
    return found if found.any() else None


def _log_prob(site: traces.Site) -> Tensor:
    found: Tensor | None = site.get("unscaled_log_prob")
    if found is not None:
        return found
    fn, value = site["fn"], site["value"]
    if isinstance(fn, dist.Independent):
        base, num_dims = _unmasked(fn.base_dist), fn.reinterpreted_batch_ndims
        if isinstance(base, Bernoulli | Normal) and num_dims:
            return base.log_prob_sum(value, num_dims)
    return fn.log_prob(value, *site["args"], **site["kwargs"])  # type: ignore[no-any-return]


def _unmasked(fn: Any) -> Any:
    """What a distribution that masks nothing is made of."""
    return fn.base_dist if isinstance(fn, MaskedDistribution) and fn._mask is True else fn
