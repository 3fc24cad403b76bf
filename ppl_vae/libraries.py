"""Libraries that are imported at their first use: `import ppl_vae` waits for torch and Pyro alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["datasets", "h5py", "io", "metrics", "needing", "pd", "sparse", "stats", "xr"]


@contextmanager
def needing(caller: str, libraries: str, extra: str) -> Iterator[None]:
    """A scope that imports optional libraries, for what is named by `caller`.

    Raises
    ------
    ImportError
        Where one cannot be imported, with the extra of `ppl_vae` that installs them.
    """
    try:
        yield
    except ImportError as error:
        raise ImportError(
            f"{caller} expects {libraries}, got an environment where it cannot be imported ({error}); pip install "
            f"'ppl_vae[{extra}]'"
        ) from error


class _AtFirstUse(ModuleType):
    """A module that is imported when a name of it is first asked for."""

    def __init__(self, load: Callable[[], ModuleType]) -> None:
        super().__init__("imported at first use")
        self._load = load

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked for by inspect, doctest and pickle of every module they meet
            raise AttributeError(name)
        return getattr(self._load(), name)


if TYPE_CHECKING:
    import h5py
    import pandas as pd
    import xarray as xr
    from scipy import io, sparse, stats
    from sklearn import datasets, metrics
else:
    h5py = _AtFirstUse(lambda: import_module("h5py"))
    pd = _AtFirstUse(lambda: import_module("pandas"))
    xr = _AtFirstUse(lambda: import_module("xarray"))
    io = _AtFirstUse(lambda: import_module("scipy.io"))
    sparse = _AtFirstUse(lambda: import_module("scipy.sparse"))
    stats = _AtFirstUse(lambda: import_module("scipy.stats"))
    datasets = _AtFirstUse(lambda: import_module("sklearn.datasets"))
    metrics = _AtFirstUse(lambda: import_module("sklearn.metrics"))
