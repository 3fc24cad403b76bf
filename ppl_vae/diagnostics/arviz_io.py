"""The one place that knows which ArviZ is installed: 0.23 has InferenceData, 1.x an xarray DataTree.

ArviZ is imported on first use: it takes two seconds, and cannot be imported where no cache folder can be made.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

__all__ = ["groups", "open_tree", "to_tree"]


def _arviz() -> tuple[Any, bool]:
    """ArviZ, and whether it is 1.x."""
    with warnings.catch_warnings():  # 0.23 announces 1.x once a day; its message begins with a line break
        warnings.filterwarnings("ignore", message=r"\s*ArviZ is undergoing", category=FutureWarning)
        import arviz
    return arviz, int(arviz.__version__.split(".")[0]) >= 1


def to_tree(datasets: Mapping[str, xr.Dataset]) -> Any:
    """Datasets by group name as the tree of the installed ArviZ."""
    arviz, is_1 = _arviz()
    if is_1:
        return xr.DataTree.from_dict({f"/{group}": dataset for group, dataset in datasets.items()})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not defined in the InferenceData scheme", category=UserWarning)
        return arviz.InferenceData(**datasets)


def groups(tree: Any) -> list[str]:
    """Names of a tree's groups."""
    return list(tree.children) if isinstance(tree, xr.DataTree) else list(tree.groups())


def open_tree(path: str | Path) -> Any:
    """Read a tree that `tree.to_netcdf(path)` wrote, with either ArviZ."""
    arviz, _ = _arviz()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not defined in the InferenceData scheme", category=UserWarning)
        return arviz.from_netcdf(str(path))
