"""Ranks of values among draws, scaled to (0, 1)."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from ppl_vae.libraries import xr
from ppl_vae.precision import in_float64

__all__ = ["by_quantity", "pit"]

_LEADING = ("chain", "draw", "obs")


def pit(values: Tensor, draws: Tensor) -> Tensor:
    """(rank + u) / (S + 1), u uniform in (0, 1): exactly uniform if values and draws have one law; in float64.

    Ties are broken at random. Values are (...), draws (S, ...).
    """
    below, equal = (in_float64(count.sum(0)) for count in (draws < values, draws == values))
    u = torch.rand(values.shape, dtype=torch.float64, device=below.device)
    return (below + u * (equal + 1)) / (len(draws) + 1)


def by_quantity(dataset: xr.Dataset) -> xr.DataArray:
    """All variables of a dataset of draws in one array, along `quantity`: `z[0]`, `z[1]`, `log_joint`."""
    parts, names = [], []
    for name, variable in dataset.data_vars.items():
        event = [dim for dim in variable.dims if dim not in _LEADING]
        for place in product(*(range(variable.sizes[dim]) for dim in event)):
            parts.append(variable.isel(dict(zip(event, place, strict=True)), drop=True))
            names.append(f"{name}[{', '.join(map(str, place))}]" if event else str(name))
    return xr.concat(parts, "quantity", coords="minimal", compat="override").assign_coords(quantity=names)
