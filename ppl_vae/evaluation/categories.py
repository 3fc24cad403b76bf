"""Categories without an order among the elements of x, and their probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ppl_vae import traces
from ppl_vae.distributions import ByColumn
from ppl_vae.distributions.row import Row
from ppl_vae.domain import Domain
from ppl_vae.modelled import Modelled
from ppl_vae.split import Split
from ppl_vae.support import unwrapped

__all__ = ["domain_of", "elements", "levels_of", "probabilities"]

Columns = list[int] | slice


def domain_of(program: Modelled, data: Split) -> Domain | None:
    """That of the data, else that of the data that a VAE was built for."""
    built_for = (getattr(program, "recipe", None) or {}).get("domain")
    return data.domain or (built_for and Domain(**built_for))


def levels_of(program: Modelled, data: Split) -> Tensor | None:
    """Number of levels of each category in the last dimension of x, 0 of other elements; `None` where there is none."""
    domain = domain_of(program, data)
    if domain is None or "categories" not in domain.kinds:
        return None
    columns = domain.columns(data.x.shape[-1] if data.x.dim() > 1 else 1)
    return torch.tensor([c.levels if c.kind == "categories" else 0 for c in columns])


def probabilities(site: traces.Site, levels: Tensor) -> Iterator[tuple[int, Columns, Tensor]]:
    """P(x_i = k | z) for the levels k = 0, 1, ... of groups of columns: k, the group, and P, 0 above a column's levels.

    P is in the batch and event shape of the site, but for the last dimension, which has the columns of the group.
    """
    shape = site["fn"].batch_shape + site["fn"].event_shape
    for part, columns in _groups(elements(site)):
        own, inside = levels[columns], site["value"][..., columns]
        for k in range(int(own.max())):
            p = part.log_prob(torch.where(own > k, float(k), inside)).exp()
            yield k, columns, torch.where(own > k, p, 0.0).expand(*shape[:-1], inside.shape[-1])


def _groups(fn: Any) -> list[tuple[Any, Columns]]:
    """The distribution of each group of columns, or of all: in a table only a few have many levels."""
    if isinstance(fn, ByColumn):
        return [(part, list(columns)) for part, columns in zip(fn.parts, fn.columns, strict=True)]
    return [(fn, slice(None))]


def elements(site: traces.Site) -> Any:
    """The distribution of single elements of x, or of a whole row that knows which are missing.

    Raises
    ------
    ValueError
        For another joint distribution of elements.
    """
    fn = unwrapped(site["fn"])
    if fn.event_shape and not isinstance(fn, Row):
        raise ValueError(
            f"impute expects a p(x | z) whose elements are independent given z, or a Rowwise likelihood, got "
            f"{type(fn).__name__}, of which it does not know p(x_missing | x_observed, z); use one of these"
        )
    return fn
