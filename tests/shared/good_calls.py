"""For each public name a call that works, or works but for one argument: what bad inputs are made from."""

import functools
import inspect
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import xarray as xr
from matrix import OBJECTIVES
from small_models import SMALL

import ppl_vae
from ppl_vae import (
    callbacks,
    corruptions,
    data,
    diagnostics,
    distributions,
    evaluation,
    likelihoods,
    manifold,
    objectives,
    plots,
    posteriors,
    priors,
    sklearn,
    training,
)
from ppl_vae.diagnostics.results.arviz_io import to_tree

MODULES = (
    ppl_vae,
    data,
    diagnostics,
    evaluation,
    manifold,
    objectives,
    plots,
    sklearn,
    corruptions,
    training,
    likelihoods,
    posteriors,
    callbacks,
)


class Made(NamedTuple):
    """A value that is made when a call needs it."""

    make: Callable[[], Any]


def named(module: Any) -> list[str]:
    """What `dir` lists: the package keeps its `__all__` in the stub."""
    return [name for name in dir(module) if not name.startswith("_")]


def public() -> dict[str, Any]:
    """Every public class and function by its full name."""
    offered = {module: getattr(module, "__all__", None) or named(module) for module in MODULES}
    found = {f"{module.__name__}.{name}": getattr(module, name) for module, names in offered.items() for name in names}
    return {name: value for name, value in found.items() if callable(value)} | leaves()


# What the good calls are made of


@functools.cache
def arrays() -> Any:
    """Small binary pictures with labels."""
    torch.manual_seed(0)
    pictures = torch.rand(60, 1, 4, 4).round().numpy()
    return data.from_arrays(pictures, np.arange(60) % 3, domain=data.Domain("binary"))


@functools.cache
def grey() -> Any:
    """Small grey pictures."""
    torch.manual_seed(0)
    return data.from_arrays(torch.rand(60, 1, 4, 4).mul(255).byte().numpy(), np.arange(60) % 3)


@functools.cache
def vae() -> Any:
    """A small VAE of them."""
    return ppl_vae.build(arrays(), latent_dim=2, encoder=SMALL, decoder=SMALL, seed=0)


@functools.cache
def conditional() -> tuple[Any, Any]:
    """One that is conditioned on the labels, and its data."""
    labelled = arrays().condition_on_labels()
    return ppl_vae.build(labelled, latent_dim=2, encoder=SMALL, decoder=SMALL, seed=0), labelled


def x() -> torch.Tensor:
    """Four data."""
    return arrays().test.x[:4]


def split() -> Any:
    """Six data, as a split."""
    return arrays().test


def run() -> Any:
    """A run of it that was not trained, and whose folder is not there."""
    return ppl_vae.Run(vae(), pd.DataFrame({"train_elbo": []}), {"data": [None]}, Path("no", "such", "run"))


@functools.cache
def evaluated() -> Any:
    """What `evaluate` found."""
    return evaluation.evaluate(vae(), split(), num_samples=30, seed=0, progress=False)


@functools.cache
def imputed() -> Any:
    """What `impute` found."""
    return evaluation.impute(vae(), arrays().hide(0.3).test, num_samples=30, num_draws=40, seed=0, progress=False)


@functools.cache
def refined() -> Any:
    """What `refine` found."""
    return ppl_vae.refine(vae(), split(), num_samples=30, num_rounds=1, seed=0, progress=False)


@functools.cache
def check() -> Any:
    """What `check_guide` found."""
    return diagnostics.check_guide(vae(), split(), num_samples=30, seed=0, progress=False)


@functools.cache
def elpd() -> Any:
    """What `elpd` found."""
    return diagnostics.elpd(vae(), split(), num_samples=30, seed=0, progress=False)


@functools.cache
def tree() -> Any:
    """What `to_arviz` gives."""
    return diagnostics.to_arviz(vae(), split(), num_samples=30, seed=0, progress=False)


@functools.cache
def calibrated() -> Any:
    """A tree with ranks."""
    z = np.linspace(0.05, 0.95, 10).reshape(1, 10, 1)
    return to_tree({"prior_sbc": xr.Dataset({"z": (("chain", "draw", "latent"), z)})})


@functools.cache
def cells() -> Any:
    """What is used of an AnnData object."""
    obs = pd.DataFrame({"batch": ["a", "b"] * 20})
    return SimpleNamespace(X=np.arange(120.0).reshape(40, 3) % 7, layers={}, obs=obs, var_names=["g", "h", "i"])


@functools.cache
def folder() -> Path:
    """A folder of things that are no runs."""
    path = Path(tempfile.mkdtemp())
    (path / "empty").mkdir()
    (path / "text.txt").write_text("no run")
    (path / "broken.json").write_text("{")
    (path / "broken.nc").write_text("no tree")
    (path / "list.json").write_text("[1, 2]")
    np.save(path / "objects.npy", np.array(["a", None], dtype=object), allow_pickle=True)
    np.save(path / "text.npy", np.array(["a", "b"]))
    np.save(path / "scalar.npy", np.array(1.0))
    np.save(path / "rows.npy", np.eye(9))
    return path


def at(name: str) -> str:
    """A path in it."""
    return str(folder() / name)


def codes() -> torch.Tensor:
    """Codes for the small VAE."""
    return torch.linspace(-1, 1, 12).reshape(6, 2)


def history() -> pd.DataFrame:
    """A history of two epochs."""
    return pd.DataFrame({"train_elbo": [-3.0, -2.0], "validation_elbo": [-3.0, -2.5]}, index=[1, 2])


SHARED = (arrays, grey, vae, conditional, evaluated, imputed, check, elpd, tree, calibrated)
"""What is made once."""
PICTURES = np.linspace(0, 1, 6 * 64).reshape(6, 1, 8, 8)
TILES = np.linspace(0, 1, 6 * 64).reshape(2, 3, 1, 8, 8)
Z = np.linspace(-1, 1, 40).reshape(20, 2) ** 3
ROWS = np.sin(np.arange(120)).reshape(40, 3)
FRAME = pd.DataFrame({"a": np.arange(40) % 7, "b": ["x", "y", "x", "z"] * 10})
THREE_COLUMNS = data.Domain("real", span=(1.0, 2.0, 3.0))
DRAWN: dict[str, Any] = {"program": Made(vae), "x": Made(x), "seed": 0, "progress": False}


class OwnPrior(ppl_vae.Prior):
    """A prior of one's own."""

    def given(self, *context):
        return torch.distributions.Normal(torch.zeros(2), 1.0)


class OwnAmortized(ppl_vae.Amortized):
    """A conditional of one's own."""

    def distribution(self, params):
        return torch.distributions.Normal(params, 1.0)


class OwnPosterior(ppl_vae.Posterior):
    """A posterior of one's own."""

    def distribution(self, params):
        return torch.distributions.Normal(params, 1.0)


class OwnLikelihood(ppl_vae.Likelihood):
    """A likelihood of one's own."""

    def elementwise(self, *params):
        return torch.distributions.Normal(params[0], 1.0)


class OwnRows(likelihoods.Rowwise):
    """A likelihood of rows of one's own."""

    def elementwise(self, *params):
        return distributions.Multinomial(params[0], torch.tensor(5.0), len(self.x_shape))


SHAPES: dict[str, Any] = {"x_shape": (1, 4, 4), "latent_dim": 2, "net": SMALL}
OF_Z: dict[str, Any] = {"latent_dim": 2, "x_shape": (1, 4, 4), "net": SMALL}

VERBS: dict[str, dict[str, Any]] = {
    "ppl_vae.evaluate": {"num_samples": 30},
    "ppl_vae.check_guide": {"num_samples": 30},
    "ppl_vae.impute": {"num_samples": 30, "num_draws": 3},
    "ppl_vae.diagnose": {"num_samples": 30},
    "ppl_vae.refine": {"num_samples": 30, "num_rounds": 1},
    "ppl_vae.to_arviz": {"num_samples": 30},
    "ppl_vae.diagnostics.active_units": {"num_samples": 30},
    "ppl_vae.diagnostics.aggregated_posterior": {"num_samples": 30, "num_permutations": 5},
    "ppl_vae.diagnostics.ais": {"num_temperatures": 3, "num_chains": 2, "num_steps": 1},
    "ppl_vae.diagnostics.bdmc": {"num_simulations": 2, "num_temperatures": 3, "num_chains": 2, "num_steps": 1},
    "ppl_vae.diagnostics.elpd": {"num_samples": 30},
    "ppl_vae.diagnostics.hmc": {"num_chains": 4, "num_warmup": 5, "num_samples": 5},
    "ppl_vae.diagnostics.inference_gaps": {"num_steps": 2, "num_samples": 30},
    "ppl_vae.diagnostics.log_marginal_likelihood": {"num_samples": 30},
    "ppl_vae.diagnostics.log_weights": {"num_samples": 30},
    "ppl_vae.diagnostics.posterior_predictive_check": {"num_replicates": 25},
    "ppl_vae.diagnostics.quadrature_posterior": {"num_points": 41, "num_draws": 10},
    "ppl_vae.diagnostics.simulation_based_calibration": {"num_simulations": 25, "num_draws": 9},
}
"""What takes a program and data, with settings that let it end at once."""


def leaves() -> dict[str, Any]:
    """Every prior, likelihood and posterior that the package offers, by its public name."""
    named = [(module, name) for module in (priors, likelihoods, posteriors) for name in module.__all__]
    found = {}
    for module, name in named:
        leaf = getattr(module, name)
        if not inspect.isabstract(leaf) and inspect.isclass(leaf):
            found[f"{(ppl_vae if getattr(ppl_vae, name, None) is leaf else module).__name__}.{name}"] = leaf
    return found


def of_leaf(leaf: Any) -> dict[str, Any]:
    """What `build` gives it."""
    known = SHAPES | {"posterior": Made(lambda: ppl_vae.DiagonalNormal(**SHAPES))}
    return {name: value for name, value in known.items() if name in inspect.signature(leaf).parameters}


GOOD: dict[str, dict[str, Any]] = {
    **{name: DRAWN | options for name, options in VERBS.items()},
    "ppl_vae.evaluation.kl_per_unit": {"program": Made(vae), "x": Made(x), "seed": 0},
    "ppl_vae.evaluation.per_column": DRAWN | {"num_samples": 30},
    "ppl_vae.evaluation.disentanglement": {"program": Made(vae), "x": Made(split), "seed": 0},
    **{f"ppl_vae.callbacks.{name}": {"folder": "logs"} for name in ("CSV", "TensorBoard")},
    **{f"ppl_vae.callbacks.{name}": {} for name in ("MLflow", "WandB")},
    "ppl_vae.fit": {"program": Made(vae), "data": Made(arrays), "epochs": 1, "progress": False},
    "ppl_vae.fit_prior": {
        "vae": Made(vae),
        "x": Made(split),
        "prior": ppl_vae.StandardNormal,
        "epochs": 1,
        "progress": False,
    },
    "ppl_vae.semi_amortized": {"vae": Made(vae), "num_steps": 2},
    "ppl_vae.load": {"run": Made(partial(at, "empty"))},
    "ppl_vae.report": {"runs": Made(run), "data": Made(split), "num_samples": 30, "seed": 0, "progress": False},
    "ppl_vae.compare": {"results": Made(lambda: {"a": evaluated(), "b": elpd()})},
    "ppl_vae.build": {"data": Made(arrays), "latent_dim": 2, "encoder": SMALL, "decoder": SMALL, "seed": 0},
    "ppl_vae.MLP": {"in_shape": (3,), "out_shape": (2, 2)},
    "ppl_vae.GatedMLP": {"in_shape": (3,), "out_shape": (2, 2)},
    "ppl_vae.ConvEncoder": {"in_shape": (1, 8, 8), "out_shape": (2, 2)},
    "ppl_vae.ConvDecoder": {"in_shape": (2,), "out_shape": (1, 8, 8)},
    "ppl_vae.GatedConvEncoder": {"in_shape": (1, 8, 8), "out_shape": (2, 2)},
    "ppl_vae.GatedConvDecoder": {"in_shape": (2,), "out_shape": (1, 8, 8)},
    "ppl_vae.ResNetEncoder": {"in_shape": (1, 8, 8), "out_shape": (2, 2)},
    "ppl_vae.ResNetDecoder": {"in_shape": (2,), "out_shape": (1, 8, 8)},
    "ppl_vae.DeepSet": {"in_shape": (8, 2), "out_shape": (2, 2)},
    "ppl_vae.Conv1dEncoder": {"in_shape": (8,), "out_shape": (2, 2)},
    "ppl_vae.Conv1dDecoder": {"in_shape": (2,), "out_shape": (1, 8)},
    "ppl_vae.GRUEncoder": {"in_shape": (8, 2), "out_shape": (2, 2)},
    "ppl_vae.GRUDecoder": {"in_shape": (2,), "out_shape": (1, 8, 2)},
    **{name: of_leaf(leaf) for name, leaf in leaves().items()},
    "ppl_vae.ConditionalNormal": {"latent_dim": 2, "net": SMALL, "context": ((3,),)},
    "ppl_vae.CodePrior": {"posterior": Made(lambda: ppl_vae.VectorQuantized(**SHAPES))},
    "ppl_vae.AutoregressiveCodePrior": {"posterior": Made(lambda: ppl_vae.FiniteScalar(**SHAPES))},
    "ppl_vae.VAE": {
        "prior": Made(lambda: vae().prior),
        "likelihood": Made(lambda: vae().likelihood),
        "posterior": Made(lambda: vae().posterior),
    },
    "ppl_vae.Program": {"model": Made(lambda: vae().model), "guide": Made(lambda: vae().guide)},
    "ppl_vae.GaussianNoise": {},
    "ppl_vae.Masking": {},
    "ppl_vae.SaltAndPepper": {},
    "ppl_vae.OneCycle": {},
    "ppl_vae.DataSpec": {"x_shape": (1, 4, 4), "domain": Made(lambda: arrays().domain)},
    "ppl_vae.Domain": {"kind": "levels", "levels": 256},
    "ppl_vae.data.Split": {"x": Made(x), "index": Made(lambda: torch.arange(4))},
    "ppl_vae.data.Data": {
        "name": "pictures",
        "train": Made(lambda: arrays().train),
        "validation": Made(lambda: arrays().validation),
        "test": Made(lambda: arrays().test),
        "domain": Made(lambda: arrays().domain),
    },
    "ppl_vae.data.Dequantize": {"levels": 256},
    "ppl_vae.data.SampleBinary": {},
    "ppl_vae.data.Standardize": {"loc": 0.5, "scale": 2.0},
    "ppl_vae.data.Threshold": {},
    "ppl_vae.data.again": {"provenance": Made(lambda: arrays().provenance)},
    "ppl_vae.data.from_arrays": {"x": ROWS},
    "ppl_vae.data.from_anndata": {"adata": Made(cells)},
    "ppl_vae.data.from_frame": {"frame": FRAME},
    "ppl_vae.data.to_frame": {"x": torch.zeros(2, 2), "data": Made(lambda: data.from_frame(FRAME))},
    "ppl_vae.data.Column": {"name": "a", "kind": "real", "dtype": "float64"},
    "ppl_vae.data.from_file": {"path": Made(partial(at, "empty"))},
    "ppl_vae.data.load": {"name": "digits"},
    "ppl_vae.data.read_images": {"folder": Made(partial(at, "empty"))},
    "ppl_vae.diagnostics.compare_posteriors": {"guide_tree": Made(tree), "reference_tree": Made(tree)},
    "ppl_vae.diagnostics.posterior_pit": {"guide_tree": Made(tree), "reference_tree": Made(tree)},
    "ppl_vae.diagnostics.coverage": {"tree": Made(calibrated)},
    "ppl_vae.diagnostics.with_results": {"tree": Made(tree), "results": {}},
    "ppl_vae.diagnostics.good_k": {"num_draws": 100},
    "ppl_vae.diagnostics.psis": {"log_w": Made(lambda: torch.linspace(-1, 0, 50).reshape(50, 1))},
    "ppl_vae.diagnostics.group": {"tree": Made(tree), "name": "posterior"},
    "ppl_vae.diagnostics.groups": {"tree": Made(tree)},
    "ppl_vae.diagnostics.open_tree": {"path": Made(partial(at, "broken.nc"))},
    "ppl_vae.diagnostics.simultaneous_band": {"num_values": 20, "num_points": 3},
    "ppl_vae.evaluation.factor_scores": {"codes": Z, "factors": Z},
    "ppl_vae.evaluation.factor_vae_score": {"codes": Z, "factors": Z.round(1)},
    "ppl_vae.evaluation.imputation_scores": {"imputed": Made(imputed), "truth": Made(split)},
    "ppl_vae.evaluation.image_quality": {"x": PICTURES, "x_hat": PICTURES, "data_range": 1.0},
    "ppl_vae.manifold.benchmark": {
        "data": Made(arrays),
        "chosen": Made(lambda: {"PCA": manifold.methods()["PCA"]}),
        "seeds": 1,
        "num_neighbors": 2,
    },
    "ppl_vae.manifold.code_grid": {"vae": Made(vae), "side": 3},
    "ppl_vae.manifold.decoded": {"vae": Made(vae), "z": Made(codes)},
    "ppl_vae.manifold.magnification": {"vae": Made(vae), "z": Made(codes)},
    "ppl_vae.manifold.metric": {"vae": Made(vae), "z": Made(codes)},
    "ppl_vae.manifold.step_lengths": {"vae": Made(vae), "z": Made(codes)},
    "ppl_vae.manifold.smoothness": {"vae": Made(vae), "z": Made(lambda: codes()[None])},
    "ppl_vae.manifold.geodesic": {
        "vae": Made(vae),
        "a": Made(lambda: codes()[0]),
        "b": Made(lambda: codes()[1]),
        "steps": 5,
        "max_iter": 3,
    },
    "ppl_vae.manifold.interpolate": {"a": Made(lambda: codes()[0]), "b": Made(lambda: codes()[1]), "steps": 3},
    "ppl_vae.manifold.traverse": {"z": Made(lambda: codes()[0]), "values": Made(lambda: torch.linspace(-1, 1, 3))},
    "ppl_vae.manifold.methods": {},
    "ppl_vae.manifold.trustworthiness": {"x": ROWS, "z": ROWS[:, :2]},
    "ppl_vae.manifold.continuity": {"x": ROWS, "z": ROWS[:, :2]},
    "ppl_vae.manifold.distance_correlation": {"x": ROWS, "y": ROWS},
    "ppl_vae.manifold.rmse": {"x": ROWS, "x_hat": ROWS},
    "ppl_vae.manifold.neighbours_right": {
        "z_train": Z,
        "y_train": np.arange(20) % 2,
        "z": Z,
        "y": np.arange(20) % 2,
    },
    **{f"ppl_vae.objectives.{objective.__name__}": {} for objective in OBJECTIVES},
    "ppl_vae.objectives.Constant": {},
    "ppl_vae.objectives.Linear": {},
    "ppl_vae.objectives.Cyclical": {},
    "ppl_vae.plots.aggregate_marginals": {"z_q": Z, "z_p": Z},
    "ppl_vae.plots.aggregate_posterior": {"z": Z},
    "ppl_vae.plots.bounds": {"lower": [-3.0, -2.0], "upper": [-1.0, -1.0]},
    "ppl_vae.plots.coverage": {"nominal": [0.5, 0.9], "observed": [0.4, 0.8]},
    "ppl_vae.plots.denoising": {"x_hat": TILES, "rows": ["a", "b"], "columns": ["c", "d", "e"]},
    "ppl_vae.plots.draw": {"figure": diagnostics.Figure("a", [[diagnostics.Panel("pareto_k", ([0.1, 0.5],))]])},
    "ppl_vae.plots.elbo_curves": {"history": Made(history)},
    "ppl_vae.plots.embeddings": {"z": {"PCA": Z}},
    "ppl_vae.plots.factor_importance": {"importance": [[0.1, 0.9], [0.5, 0.5]]},
    "ppl_vae.plots.gap_decomposition": {"amortization": [1.0, 2.0], "approximation": [1.0, 0.5]},
    "ppl_vae.plots.gaps_by_guide": {"gaps": {"a": ([1.0, 2.0], [1.0, 0.5])}},
    "ppl_vae.plots.images": {"x": PICTURES},
    "ppl_vae.plots.kl_per_unit": {"kl": [0.1, 2.0]},
    "ppl_vae.plots.latent_space": {"z": Z},
    "ppl_vae.plots.manifold": {"x_hat": TILES},
    "ppl_vae.plots.nll_with_errors": {"table": Made(lambda: evaluation.compare({"a": evaluated()}))},
    "ppl_vae.plots.pareto_k": {"k": [0.1, 0.5]},
    "ppl_vae.plots.paths": {"z": {"line": Z[None]}},
    "ppl_vae.plots.posterior_against_reference": {"q": Z, "reference": Z},
    "ppl_vae.plots.predictive_check": {"observed": 1.0, "replicated": np.arange(30.0), "label": "mean"},
    "ppl_vae.plots.reconstructions": {"x": PICTURES, "x_hat": PICTURES},
    "ppl_vae.plots.samples": {"x": PICTURES},
    "ppl_vae.plots.sbc_ecdf_difference": {
        "pit": {"z": np.linspace(0.05, 0.95, 20)},
        "band": Made(lambda: diagnostics.simultaneous_band(20, 3)),
    },
    "ppl_vae.plots.traversals": {"x_hat": TILES},
    "ppl_vae.plots.unit_activity": {"variance": [0.5, 0.1], "eigenvalues": [0.6, 0.1]},
    "ppl_vae.plots.walk": {"x_hat": TILES, "kinds": ["linear", "geodesic"]},
    "ppl_vae.plots.worst_fitted": {"x": PICTURES, "values": {"gap": np.arange(6.0)}},
}
"""A call of each public name that works, or works but for one argument."""


def called(name: str, /, **changed: Any) -> Any:
    """The good call of a name, changed."""
    given = GOOD[name] | changed
    return public()[name](**{k: v.make() if isinstance(v, Made) else v for k, v in given.items()})
