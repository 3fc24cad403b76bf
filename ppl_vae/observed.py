"""Which site of a model observes the data."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ppl_vae.split import Split

__all__ = ["check_observed"]


def check_observed(observed: Mapping[str, Tensor], data: Split) -> str:
    """The site at which a model observes x, unchanged at all elements that are not missing.

    Raises
    ------
    ValueError
        Where there is no such site, or another observed site.
    """
    name, *others = observed
    was, x = observed[name], data.x.to(observed[name])
    if others or was.shape != x.shape or not ((was == x) | ~data.observed.to(was.device)).all():
        raise ValueError(
            f"draws of x expect a model that observes x as it came, at a single site, got {list(observed)}; give "
            "obs=x to one site, and let the likelihood do whatever else is done to x"
        )
    return name
