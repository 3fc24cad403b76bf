"""All code that depends on the version of ArviZ: 0.23 has InferenceData, 1.x an xarray DataTree.

ArviZ is imported on first use: it takes two seconds, and fails where no cache folder can be created. Nothing here needs
torch, so that the tests run under ArviZ 1.x without it; `group` and `groups` are checked where the room exports them.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ppl_vae.libraries import xr

__all__ = ["elpd_data", "group", "groups", "is_tree", "open_tree", "to_tree"]


def _arviz() -> tuple[Any, bool]:
    """ArviZ, and whether it is 1.x."""
    with warnings.catch_warnings():  # 0.23 announces 1.x once a day; its message begins with a line break
        warnings.filterwarnings("ignore", message=r"\s*ArviZ is undergoing", category=FutureWarning)
        import arviz
    return arviz, int(arviz.__version__.split(".")[0]) >= 1


def _tree_class() -> Any:
    arviz, is_1 = _arviz()
    return xr.DataTree if is_1 else arviz.InferenceData


def to_tree(datasets: Mapping[str, xr.Dataset]) -> Any:
    """Datasets by group name as the tree of the installed ArviZ."""
    arviz, is_1 = _arviz()
    if is_1:
        return xr.DataTree.from_dict({f"/{group}": dataset for group, dataset in datasets.items()})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not defined in the InferenceData scheme", category=UserWarning)
        return arviz.InferenceData(**datasets)


def is_tree(value: Any) -> bool:
    """Whether a value is a tree of ArviZ, of either version."""
    return isinstance(value, xr.DataTree | _tree_class())


def groups(tree: Any) -> list[str]:
    """Names of a tree's groups.

    Raises
    ------
    TypeError
        For an object that is no tree.
    """
    if not is_tree(tree):
        raise TypeError(
            f"groups expects a tree of ArviZ, got {type(tree).__name__}; give what to_arviz, hmc or open_tree returned"
        )
    return list(tree.children) if isinstance(tree, xr.DataTree) else list(tree.groups())


def group(tree: Any, name: str) -> xr.Dataset:
    """One group of a tree.

    Raises
    ------
    TypeError
        For an object that is no tree.
    ValueError
        For a group that the tree does not have.
    """
    if name not in (known := groups(tree)):
        raise ValueError(
            f"group expects the name of a group of the tree, got {name!r}; choose one of {', '.join(known) or 'none'}"
        )
    node = tree[name]
    return node.to_dataset() if isinstance(node, xr.DataTree) else node


def open_tree(path: str | Path) -> Any:
    """Read a tree that `tree.to_netcdf(path)` wrote, with either ArviZ.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file is not NetCDF.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"open_tree expects a NetCDF file, got {str(path)!r}, which is none; correct the path")
    arviz, _ = _arviz()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not defined in the InferenceData scheme", category=UserWarning)
        try:
            return arviz.from_netcdf(str(path))
        except (OSError, ValueError) as error:
            raise ValueError(
                f"open_tree expects a NetCDF file, got {str(path)!r}, which cannot be read as one ({error}); write it "
                "with tree.to_netcdf(path)"
            ) from error


def elpd_data(
    elpd_i: np.ndarray, pareto_k: np.ndarray, obs: Sequence[Any], *, num_draws: int, good_k: float = 0.7
) -> Any:
    """Expected log predictive density by datum, (n,), in nats, for ArviZ's `compare`, `plot_compare` and `plot_khat`.

    `ELPDData` in ArviZ 0.23 and 1.2, `ELPDDataLOO` from 1.3 on. Where there is no k-hat, `pareto_k` is NaN.
    """
    arviz, is_1 = _arviz()
    n = len(elpd_i)
    elpd = xr.DataArray(np.asarray(elpd_i, float), dims="obs", coords={"obs": list(obs)}, name="elpd_i")
    k = xr.DataArray(np.asarray(pareto_k, float), dims="obs", coords={"obs": list(obs)}, name="pareto_k")
    total, se, high = float(elpd.sum()), _standard_error_of_sum(elpd.values), bool((k > good_k).any())
    if is_1:
        kind, more = (arviz.ELPDDataLOO, {}) if hasattr(arviz, "ELPDDataLOO") else (arviz.ELPDData, {"kind": "loo"})
        return kind(
            elpd=total, se=se, p=math.nan, n_samples=num_draws, n_data_points=n, scale="log", warning=high,
            good_k=good_k, elpd_i=elpd, pareto_k=k, **more,
        )  # fmt: skip
    said = {
        "elpd_loo": total, "se": se, "p_loo": math.nan, "n_samples": num_draws, "n_data_points": n, "warning": high,
        "loo_i": elpd.rename("loo_i"), "pareto_k": k.rename("pareto_shape"), "scale": "log", "good_k": good_k,
    }  # fmt: skip
    return arviz.ELPDData(data=list(said.values()), index=list(said))


def _standard_error_of_sum(values: np.ndarray) -> float:
    """Standard error of the sum of values (n,), over samples of n data; NaN for one datum."""
    return float(np.sqrt(len(values)) * values.std(ddof=1)) if len(values) > 1 else math.nan
