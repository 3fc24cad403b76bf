"""What verbs give on a stand-in for a GPU, less what they give on the CPU."""

from functools import partial
from importlib import import_module

import numpy as np
import torch
from stand_in_gpu import NAME, known_to_torch, stand_in_gpu

import ppl_vae
from ppl_vae import IAF, GaussianMixture, RealNVP, VampPrior, build, data, evaluate, fit
from ppl_vae import diagnostics as dg

MODELS = {
    "VampPrior": {"prior": partial(VampPrior, num_components=3)},
    "flows": {"prior": RealNVP, "posterior": IAF},
    "two levels": {"latent_dim": [2, 2]},
    "mixture": {"prior": partial(GaussianMixture, num_components=3)},
}
GIVEN = {"seed": 0, "progress": False}
VERBS = {
    "importance": lambda v, x: evaluate(v, x, num_samples=300, **GIVEN).per_datum.log_px,
    "adaptive": lambda v, x: evaluate(v, x, method="adaptive", num_samples=300, **GIVEN).per_datum.log_px,
    "ais": lambda v, x: dg.ais(v, x[:2], num_temperatures=4, **GIVEN).log_px,
    "hmc": lambda v, x: _drawn(dg.hmc(v, x[:1], num_warmup=50, num_samples=50, **GIVEN)),
    "inference_gaps": lambda v, x: dg.inference_gaps(v, x[:2], num_steps=5, num_samples=50, **GIVEN).amortization_gap,
    "to_arviz": lambda v, x: _drawn(ppl_vae.to_arviz(v, x[:2], num_samples=25, **GIVEN)),
    "sample": lambda v, x: v.sample(3, seed=0).detach().cpu(),
}


LONG = {"adaptive", "hmc", "inference_gaps"}
"""Verbs that the first model alone takes."""


def verbs(name: str) -> dict:
    """The verbs of a model."""
    first = name == next(iter(MODELS))
    return {verb: run for verb, run in VERBS.items() if first or verb not in LONG}


def differences(name: str) -> dict[str, float]:
    """The largest absolute difference of every verb, and of the history of `fit`."""
    known_to_torch()
    import_module("ppl_vae.training.fit").chosen_device = torch.device  # takes any name
    digits = data.load("digits").binarize("threshold").take(train=100, validation=30, test=4)
    vae, there = (build(digits, **{"latent_dim": 2, "seed": 0, **MODELS[name]}) for _ in range(2))
    call = {"epochs": 2, "progress": False, "compile": False}
    expected = fit(vae, digits, device="cpu", **call).history.drop(columns="seconds").to_numpy()
    right = {verb: np.asarray(run(vae, digits.test)) for verb, run in verbs(name).items()}
    with stand_in_gpu():
        found = fit(there.to(NAME), digits, device=NAME, **call).history.drop(columns="seconds").to_numpy()
        came = {verb: np.asarray(run(there, digits.test)) for verb, run in verbs(name).items()}
    pairs = {"fit": (found, expected), **{verb: (came[verb], values) for verb, values in right.items()}}
    return {verb: float(np.nanmax(np.abs(a - b))) for verb, (a, b) in pairs.items()}


def _drawn(tree):
    """The draws of the first latent."""
    return next(iter(tree.posterior.data_vars.values()))
