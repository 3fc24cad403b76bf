"""All results for some data in one tree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from ppl_vae.arguments import Count, checked
from ppl_vae.diagnostics.results.arviz_io import group, groups, to_tree
from ppl_vae.libraries import xr

__all__ = ["with_results"]


@checked
def with_results(tree: Any, results: Mapping[str, Any], *, max_bytes: Count = 2**29) -> Any:
    """A tree with results of diagnostics as further groups, so that `tree.sel(obs=i)` selects in all of them.

    Parameters
    ----------
    tree
        From `to_arviz`.
    results
        Datasets, which become groups of these names, and trees, whose groups keep names that are unique, such as
        `prior_sbc`, and otherwise become `<name>_<group>`. They are restricted to the data of the tree; data without a
        result are NaN.
    max_bytes
        Largest size of the tree.

    Returns
    -------
    arviz.InferenceData or xarray.DataTree

    Raises
    ------
    ValueError
        If a result has the name of an existing group, is of another model, or is of the same number of other data; if
        the tree would exceed `max_bytes`. Results of more data than the tree's are matched by `obs` alone.
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
    """Refuse results of another model or of other data."""
    differs = [key for key in ("model", "data") if key in result.attrs and result.attrs[key] != own.attrs[key]]
    if "data" in differs and ("obs" not in result.dims or list(result["obs"].values) != list(own["obs"].values)):
        differs.remove("data")  # simulated data, and other rows of the same data set
    if differs:
        raise ValueError(
            f"with_results expects results of the tree's own model and data, got another {' and other '.join(differs)} "
            f"in {name!r}; diagnose the same program on the same data"
        )


def _cut(result: xr.Dataset, obs: np.ndarray) -> xr.Dataset:
    """A result restricted to some data, with attributes that NetCDF allows."""
    result = result.reindex(obs=obs) if "obs" in result.dims else result
    plain = {key: value if isinstance(value, str | int | float) else str(value) for key, value in result.attrs.items()}
    return result.assign_attrs(plain)
