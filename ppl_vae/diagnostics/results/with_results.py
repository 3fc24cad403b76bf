"""Everything that is known of some data in one tree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from ppl_vae.arguments import Count, checked
from ppl_vae.diagnostics.results.arviz_io import group, groups, to_tree

__all__ = ["with_results"]


@checked
def with_results(tree: Any, results: Mapping[str, Any], *, max_bytes: Count = 2**29) -> Any:
    """A tree with what diagnostics found beside its own groups, so that `tree.sel(obs=i)` goes through all of it.

    Parameters
    ----------
    tree
        From `to_arviz`.
    results
        Datasets, which become groups of these names, and trees, whose groups keep their names where no other has
        them, as `prior_sbc` does, and become `<name>_<group>` elsewhere. They are cut to the data of the tree, and say
        NaN of a datum that they do not speak of.
    max_bytes
        Largest tree that is made.

    Returns
    -------
    arviz.InferenceData or xarray.DataTree

    Raises
    ------
    ValueError
        If a result has the name of a group that is there, or is of another model, or of as many data that are not the
        same; if the tree would be larger than `max_bytes`. Of more data than the tree's, results are told apart by
        `obs` alone.
    """
    own = {name: group(tree, name) for name in groups(tree)}
    if "diagnostics" not in own:
        raise ValueError(f"with_results expects a tree of to_arviz, got one with groups {list(own)}; make it with that")
    obs = own["diagnostics"]["obs"].values
    parts = [
        (name, part) for name, tree in results.items() if not isinstance(tree, xr.Dataset) for part in groups(tree)
    ]
    also = {name: result for name, result in results.items() if isinstance(result, xr.Dataset)}
    names = Counter([*own, *also, *(part for _, part in parts)])
    also |= {p if names[p] == 1 or p == name else f"{name}_{p}": group(results[name], p) for name, p in parts}
    for name, result in also.items():
        _check_same(name, result, own["diagnostics"])
    also = {name: _cut(result, obs) for name, result in also.items()}
    if taken := sorted(set(own) & set(also)):
        raise ValueError(f"with_results expects results under names of their own, got {taken}; rename them")
    total = sum(dataset.nbytes for dataset in (*own.values(), *also.values()))
    if total > max_bytes:
        raise ValueError(
            f"with_results expects a tree of at most {max_bytes / 2**20:.0f} MiB, got {total / 2**20:.0f} MiB; leave "
            "out results, make the tree of fewer data, or raise max_bytes"
        )
    return to_tree({**own, **also})


def _check_same(name: str, result: xr.Dataset, own: xr.Dataset) -> None:
    """Refuse what belongs to another model or to other data."""
    differs = [key for key in ("model", "data") if key in result.attrs and result.attrs[key] != own.attrs[key]]
    if "data" in differs and ("obs" not in result.dims or list(result["obs"].values) != list(own["obs"].values)):
        differs.remove("data")  # simulated data, and others of the same data set
    if differs:
        raise ValueError(
            f"with_results expects results of the tree's own model and data, got another {' and other '.join(differs)} "
            f"in {name!r}; diagnose the same program on the same data"
        )


def _cut(result: xr.Dataset, obs: np.ndarray) -> xr.Dataset:
    """A result on some data, with attributes that NetCDF can hold."""
    result = result.reindex(obs=obs) if "obs" in result.dims else result
    plain = {key: value if isinstance(value, str | int | float) else str(value) for key, value in result.attrs.items()}
    return result.assign_attrs(plain)
