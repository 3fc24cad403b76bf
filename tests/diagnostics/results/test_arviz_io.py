"""The adapter under whichever ArviZ is installed; it needs no torch, so that 1.x can be tested without one."""

import importlib.util
import os
import subprocess
import sys
import warnings
from pathlib import Path

import arviz as az
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

mpl.use("Agg")
ROOT = Path(__file__).parents[3]
WITH_PACKAGE = {"PYTHONPATH": str(ROOT)}
MAJOR = az.__version__.split(".")[0]


def by_path():
    """The module alone: importing the package needs torch."""
    spec = importlib.util.spec_from_file_location(
        "arviz_io", ROOT / "ppl_vae" / "diagnostics" / "results" / "arviz_io.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


arviz_io = by_path()


@pytest.fixture
def datasets():
    rng = np.random.default_rng(0)
    obs, latent = [70, 3, 11], [0, 1]
    z = xr.DataArray(
        rng.normal(size=(4, 100, 3, 2)),
        dims=("chain", "draw", "obs", "latent"),
        coords={"chain": range(4), "draw": range(100), "obs": obs, "latent": latent},
    )
    images = rng.integers(0, 2, (4, 100, 3, 5)).astype(np.int8)
    return {
        "posterior": xr.Dataset({"z": z}, attrs={"seed": 7, "model": "p(z) q(z | x)"}),
        "sample_stats": xr.Dataset({"lp": z.sum("latent")}),
        "posterior_predictive": xr.Dataset({"x": (("chain", "draw", "obs", "pixel"), images)}, coords={"obs": obs}),
        "prior": xr.Dataset({"z": z.isel(obs=0, drop=True)}),
        "observed_data": xr.Dataset({"x": (("obs", "pixel"), images[0, 0])}, coords={"obs": obs}),
        "diagnostics": xr.Dataset({"pareto_k": ("obs", [0.1, 0.8, np.nan], {"units": "1"})}, coords={"obs": obs}),
    }


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def test_it_needs_no_torch():
    code = f"import runpy, sys; sys.modules['torch'] = None; runpy.run_path({arviz_io.__file__!r})"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | WITH_PACKAGE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def same(tree, datasets):
    assert set(datasets) <= set(arviz_io.groups(tree))
    for name, dataset in datasets.items():
        found = arviz_io.group(tree, name)
        xr.testing.assert_equal(found[list(dataset.data_vars)], dataset)
        for variable in dataset.data_vars:
            assert found[variable].attrs == dataset[variable].attrs


def test_a_tree_has_its_groups(datasets):
    tree = arviz_io.to_tree(datasets)
    same(tree, datasets)
    assert tree["posterior"].attrs["seed"] == 7
    assert type(tree).__name__ == ("InferenceData" if MAJOR == "0" else "DataTree")


def test_files_are_read_by_either_arviz(datasets, tmp_path):
    folder = Path(os.environ.get("PPL_VAE_EXCHANGE", tmp_path))
    arviz_io.to_tree(datasets).to_netcdf(str(folder / f"by_{MAJOR}.nc"))
    for file in folder.glob("by_*.nc"):
        same(arviz_io.open_tree(file), datasets)


def test_one_datum_goes_into_arvizs_own_functions(datasets):
    tree = arviz_io.to_tree(datasets)
    one = tree.sel(obs=3)
    np.testing.assert_array_equal(one["posterior"]["z"], datasets["posterior"]["z"][:, :, 1])
    np.testing.assert_array_equal(one["prior"]["z"], datasets["prior"]["z"])  # it has no obs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ArviZ's own plots
        assert len(az.summary(one, var_names=["z"])) == 2
        for plot in (az.plot_trace, az.plot_pair, az.plot_forest, az.plot_rank, az.plot_autocorr):
            plot(one, var_names=["z"])


@pytest.mark.parametrize("no_k", [False, True])
def test_elpd_data_goes_into_arvizs_own_functions(no_k):
    rng = np.random.default_rng(1)
    good = -100 + 10 * rng.normal(size=300)
    models = {"worse": good - 0.6 + rng.normal(size=300), "good": good}
    k = np.full(300, np.nan) if no_k else np.linspace(-0.2, 0.9, 300)
    data = {
        name: arviz_io.elpd_data(v, k, list(range(10, 310)), num_draws=1000, good_k=2 / 3) for name, v in models.items()
    }
    assert float(data["good"]["se"]) == pytest.approx(np.sqrt(300) * good.std(ddof=1))
    assert bool(data["good"]["warning"]) is not no_k
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert "Computed from 1000" in str(data["good"])
        table = az.compare(data)
        assert table.index[0] == "good"
        az.plot_compare(table)
        if not no_k:
            az.plot_khat(data["good"])


@pytest.mark.skipif(
    "PPL_VAE_ARVIZ1_PYTHON" not in os.environ,
    reason="PPL_VAE_ARVIZ1_PYTHON names no Python with the other ArviZ; `make test-arviz1` makes one",
)
def test_other_arviz(datasets, tmp_path):
    """These tests pass there as well, and each reads the files of the other."""
    arviz_io.to_tree(datasets).to_netcdf(str(tmp_path / f"by_{MAJOR}.nc"))
    environment = {k: v for k, v in os.environ.items() if k != "PPL_VAE_ARVIZ1_PYTHON"}
    command = [os.environ["PPL_VAE_ARVIZ1_PYTHON"], "-m", "pytest", "-q", *ALONE, __file__]
    environment |= WITH_PACKAGE | {"PPL_VAE_EXCHANGE": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    files = sorted(tmp_path.glob("by_*.nc"))
    assert len(files) == 2, "the other Python has the same ArviZ"
    for file in files:
        same(arviz_io.open_tree(file), datasets)


ALONE = [
    "--noconftest",
    "-c",
    os.devnull,
    "-p",
    "no:cacheprovider",
    f"--rootdir={ROOT}",
]  # both configurations need torch
