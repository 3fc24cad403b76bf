"""Values of latent sites by datum, and whether draws of a density lie too close together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from ppl_vae import paired, traces
from ppl_vae.bare_support import of_each, support_of

__all__ = ["by_datum", "coarse", "coincide", "observed_values"]

_FEWEST_NUMBERS = 16
"""That draws span. With as many the standard deviation is two or three, and the mean weight is right to a hundredth."""

_FEWEST_DRAWS = 5


def by_datum(value: Tensor, site: dict[str, Any], where: traces.Plates) -> Tensor:
    """A site's values (draws, ..., *event_shape) as (draws, n, ...), whatever other plates it lies in."""
    batch = value.dim() - len(site["fn"].event_shape)
    value = value.movedim(batch + where.data, 1)
    others = [d for d in range(2, batch) if value.shape[d] == 1]
    return value.squeeze(others) if others else value


def observed_values(site: dict[str, Any], where: traces.Plates) -> Tensor:
    """What an observed site holds, (n, ...)."""
    value = site["value"]
    missing = where.depth + 1 + len(site["fn"].event_shape) - value.dim()  # data are not repeated for every draw
    value = by_datum(value[(None,) * missing], site, where)[0]
    return value.expand(where.size, *value.shape[1:])


def coarse(sites: Iterable[dict[str, Any]], where: traces.Plates) -> Tensor:
    """Of which data the draws of a density lie too close together, (n,): their log q is that of other points.

    Draws of a normal at 1 with a scale of 1e-9 are all 1 in float32. Their weights are then equal, as those of an exact
    q are, whatever q is. What a mask leaves out does not count. Coordinates on a sphere and on a simplex depend on each
    other, and all must be close together; draws that are all at an end of their support, 0 or 1, have the mass that is
    rounded to it.
    """
    found = torch.zeros(where.size, dtype=torch.bool)
    for site in sites:
        values = by_datum(site["value"].detach(), site, where)
        if not values.is_floating_point() or traces.discrete(site) or traces.singular(site):
            continue
        support, close = _of_each(site["fn"]), coincide(values)
        scored = by_datum(paired.scored(site).expand(site["value"].shape), site, where)[0]
        close &= scored.reshape(close.shape)
        if support is not constraints.real:
            first = values[0].reshape(close.shape)
            close &= ~((values == values[:1]).all(0).reshape(close.shape) & ((first == 0) | (first == 1)))
        found = found | (close.all(1) if support.event_dim else close.any(1)).cpu()
    return found


def _of_each(fn: Any) -> Any:
    """The support of each coordinate, or of all where they depend on each other; all reals where it is not known."""
    try:
        return of_each(support_of(fn))
    except NotImplementedError:
        return constraints.real


def coincide(values: Tensor) -> Tensor:
    """Which coordinates of draws (draws, n, ...) span fewer numbers of their dtype than a density needs, (n, units).

    Fewer than five draws may lie close together by chance: these must be equal.
    """
    values = values.reshape(*values.shape[:2], -1)
    low, high = values.amin(0), values.amax(0)
    if len(values) < _FEWEST_DRAWS:
        return (low == high) & (low != 0) & (len(values) > 1)
    spacing = torch.finfo(values.dtype).eps * torch.maximum(low.abs(), high.abs())
    return high - low < _FEWEST_NUMBERS * spacing
