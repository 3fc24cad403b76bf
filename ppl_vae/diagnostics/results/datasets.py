"""Tensors as xarray datasets with named dimensions, units and provenance."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppl_vae.libraries import xr
from ppl_vae.modelled import Modelled
from ppl_vae.split import Split
from ppl_vae.vae.formula import formula_of
from ppl_vae.vae.vae import VAE

__all__ = ["attributes", "narrow", "of_draws", "with_columns", "with_units"]


def attributes(program: Modelled, split: Split, seed: int, **more: Any) -> dict[str, Any]:
    """Provenance of a result, for the attrs of a tree or dataset."""
    return {"model": " ".join(formula_of(program).splitlines()), "data": split.identity, "seed": seed, **more}


def with_units(
    variables: Mapping[str, tuple[tuple[str, ...], Any, str]],
    coords: Mapping[str, Any],
    *,
    cannot_see: str,
    **attrs: Any,
) -> xr.Dataset:
    """A result as a dataset: variables as (dimensions, values, units), and in `cannot_see` what it cannot detect."""
    made = {}
    for name, (dims, values, units) in variables.items():
        values = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
        made[name] = xr.DataArray(values, dims=dims, attrs={"units": units})
    dataset = xr.Dataset(made, attrs={"cannot_see": cannot_see, **attrs})
    numbered = {dim: np.arange(size) for dim, size in dataset.sizes.items() if dim not in coords}
    return dataset.assign_coords({**numbered, **coords})


def of_draws(
    variables: Mapping[str, Tensor], leading: tuple[str, ...], coords: Mapping[str, Any], *, is_data: bool = False
) -> xr.Dataset:
    """Tensors (*leading, *event) as a dataset with named event dimensions.

    A latent vector has dimension ``latent`` (``latent_<site>`` with several sites), an image ``channel``, ``height``,
    ``width``, everything else ``<site>_dim_<i>``. Whole numbers are stored in small types.

    xarray allows no variable with the name of a dimension, NetCDF no slash in a name. A site named like a dimension of
    its event keeps its name, and the dimension gets an underscore; one named ``chain``, ``draw``, ``obs`` or
    ``log_joint``, reserved in all trees, becomes ``site_<name>``; a slash becomes a dot. ``attrs["renamed"]`` lists the
    changes.
    """
    named = _variable_names(variables)
    dims = {
        site: [
            _free(dim, named.values())
            for dim in _event_dims(named[site], value.dim() - len(leading), is_data, len(variables) > 1)
        ]
        for site, value in variables.items()
    }
    arrays = {}
    for site, value in variables.items():
        value = value.detach().cpu()
        values = narrow(value) if is_data else value.numpy()
        arrays[named[site]] = xr.DataArray(values, dims=(*leading, *dims[site]))
    dataset = xr.Dataset(arrays)
    numbered = {dim: np.arange(size) for dim, size in dataset.sizes.items() if dim not in coords}
    said = [f"site {site!r} is the variable {name!r}" for site, name in named.items() if name != site]
    said += [
        f"dimension {d[:-1]!r} is {d!r}" for d in sorted({d for of in dims.values() for d in of}) if d[:-1] in arrays
    ]
    attrs = {"renamed": "; ".join(said) + ": a variable and a dimension need two names"} if said else {}
    return dataset.assign_coords({**numbered, **coords}).assign_attrs(attrs)


def with_columns(datasets: Mapping[str, xr.Dataset], program: Modelled, data: Split) -> dict[str, xr.Dataset]:
    """Groups of a tree in which the columns of x are the dimension ``column``.

    With the names that the likelihood has, or the frame that the data are from; unchanged where there are none.
    """
    if not isinstance(program, VAE):
        return dict(datasets)
    names = program.likelihood.names or [one["name"] for one in data.provenance.get("columns", [])]
    if not names:
        return dict(datasets)
    made = {}
    for group, dataset in datasets.items():
        held = [v for v in (program.likelihood.site, "mask") if v in dataset and group != "diagnostics"]
        renamed = dataset.rename({str(dataset[v].dims[-1]): "column" for v in held})
        made[group] = renamed.assign_coords(column=list(names)) if held else dataset
    return made


def _variable_names(sites: Iterable[str]) -> dict[str, str]:
    """Names by site that no dimension of a tree has and that NetCDF allows."""
    names: dict[str, str] = {}
    for site in sites:
        name = f"site_{site}" if site in _TAKEN else site.replace("/", ".")
        names[site] = name if name == site else _free(name, [*sites, *names.values()])
    return names


def _free(name: str, taken: Collection[str]) -> str:
    """The name, with underscores appended until it differs from those taken."""
    while name in taken:
        name += "_"
    return name


def _event_dims(name: str, num: int, is_data: bool, several: bool) -> tuple[str, ...]:
    if is_data and num == 3 and not several:  # of several sites the sizes may differ
        return ("channel", "height", "width")
    if num == 1 and not is_data:
        return (f"latent_{name}" if several else "latent",)
    return tuple(f"{name}_dim_{i}" for i in range(num))


def narrow(x: Tensor) -> np.ndarray:
    """Whole numbers in a small type; not uint8, which ArviZ's predictive plots reject."""
    x = x.to(torch.int8) if x.dtype == torch.bool else x
    whole = bool((x == x.round()).all()) and x.abs().max() < 2**15
    if not whole:
        return x.numpy().astype(np.float32)
    return x.numpy().astype(np.int8 if x.abs().max() < 2**7 else np.int16)


_TAKEN = ("chain", "draw", "obs", "log_joint")  # dimensions of all trees, and a quantity of all calibrations
