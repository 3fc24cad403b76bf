"""`experiments/cells.py` beside `benchmarks/scvi_tools.py`, on modules built as scvi-tools'; and its intervals."""

import argparse
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from ppl_vae import DataSpec, Domain, distributions
from ppl_vae.distributions import unconstrained

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
sys.path.append(str(EXPERIMENTS))  # where Python looks for `results_file` when it runs one
CELLS = runpy.run_path(str(EXPERIMENTS / "cells.py"))
SCVI = runpy.run_path(str(EXPERIMENTS / "benchmarks" / "scvi_tools.py"))
GENES, HIDDEN, LATENT = 12, 8, 3


class Layers(nn.Module):
    """A hidden layer as scvi-tools nests it, trained enough for its running means to be of something."""

    def __init__(self, num_in, norm):
        super().__init__()
        norms = [nn.BatchNorm1d(HIDDEN, momentum=0.5, eps=0.001)] if norm else []
        self.fc_layers = nn.ModuleList([nn.Sequential(nn.Linear(num_in, HIDDEN), *norms, nn.ReLU(), nn.Dropout(0.1))])
        for _ in range(3):
            self(2 + 3 * torch.randn(20, num_in))

    def forward(self, x):
        return self.fc_layers[0](x)


class Scvi(nn.Module):
    """What `scvi_tools.py` reads of a module of scvi-tools, as its `_vae.py` and `_base_components.py` compute it."""

    def __init__(self, norm):
        super().__init__()
        self.z_encoder = nn.Module()
        self.z_encoder.encoder = Layers(GENES, norm)
        self.z_encoder.mean_encoder, self.z_encoder.var_encoder = nn.Linear(HIDDEN, LATENT), nn.Linear(HIDDEN, LATENT)
        self.z_encoder.var_eps = 1e-4
        self.decoder = nn.Module()
        self.decoder.px_decoder = Layers(LATENT, norm)
        self.decoder.px_scale_decoder = nn.Sequential(nn.Linear(HIDDEN, GENES), nn.Softmax(-1))
        self.px_r = nn.Parameter(torch.randn(GENES))

    def inference(self, x, batch):
        h = self.z_encoder.encoder(x.log1p())
        variance = self.z_encoder.var_encoder(h).exp() + self.z_encoder.var_eps
        return {"qz": torch.distributions.Normal(self.z_encoder.mean_encoder(h), variance.sqrt())}

    def generative(self, z, library, batch, y):
        return {"px": SimpleNamespace(mu=library.exp() * self.decoder.px_scale_decoder(self.decoder.px_decoder(z)))}


@pytest.fixture
def folder(tmp_path):
    """A data root with a few cells of two kinds, in the file of the worm's."""
    rng = np.random.default_rng(0)
    y = np.repeat([1, 2], 60)
    x = rng.poisson(np.where(y == 1, 1.0, 4.0)[:, None] * rng.uniform(0.2, 2, GENES)) + (np.arange(GENES) == 0)
    (tmp_path / "counts").mkdir()
    np.savez(tmp_path / "counts" / "worm_neurons_1000_genes.npz", x=x.astype(np.int32), y=y)
    return tmp_path


@pytest.mark.parametrize("norm", [False, True])
def test_networks_of_scvi_tools_give_its_numbers(folder, norm):
    torch.manual_seed(0)
    words = ["--data", "worm", "--data-dir", str(folder), "--hidden-dim", str(HIDDEN), "--latent-dim", str(LATENT)]
    rows = CELLS["main"]([*words, "--split", str(folder / "split.npz")])
    x = np.load(folder / "split.npz")["x"]
    module = Scvi(norm).eval()
    some = torch.as_tensor(x[rows["test"]]).float()
    np.savez(folder / "a.npz", said="{}", **SCVI["networks"](module), **SCVI["outputs"](module, some))
    words += ["--scvi", str(folder / "a.npz"), "--epochs", "4", "--num-samples", "30", "--device", "cpu"]
    found = CELLS["main"]([*words, "--figure", str(folder / "a.png")])
    assert max(found["scvi-tools"]["scvi-tools, a"]["largest_difference"].values()) < 1e-4
    assert found["chosen"] == max(found["trainings"], key=lambda n: found["trainings"][n]["validation_elbo"])
    ours, theirs = found["runs"].values()
    assert theirs["nll"] - ours["nll"] == pytest.approx(theirs["above_ppl_vae"], abs=1e-6)
    assert (folder / "a.png").exists()


def settings(**others):
    return argparse.Namespace(**{"genes": 10, "cells": 900, "hidden_dim": 8, "seed": 0, **others})


def test_scores_of_dispersions_are_the_slopes_of_log_px():
    """Against differences of log p(x), by quadrature in float64 of one gene at a time."""
    args = settings(genes=4, cells=30)
    truth, z, context = CELLS["true_model"](DataSpec((4,), Domain("counts"), ((1,), (2,))), args)
    cells = CELLS["drawn"](truth, z, context, 0)[0].train[:5]
    log_r = CELLS["r_of"](truth).log()
    torch.manual_seed(0)
    found = CELLS["scores_of"](truth, log_r, cells, 40_000, torch.device("cpu"))
    axis = torch.linspace(-6, 6, 201, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)[:, None].expand(-1, len(cells), -1)
    truth.double()
    given = [c.double() for c in cells.context]

    def log_px(at):
        with torch.no_grad():
            truth.likelihood.raw_concentration.copy_(unconstrained(at.exp()))
            log_joint = truth.likelihood.given(grid, *given).log_prob(cells.x.double())
            return (log_joint + distributions.DiagonalNormal(grid * 0, grid * 0 + 1).log_prob(grid)).logsumexp(0)

    for j in range(4):
        by = 1e-3 * (torch.arange(4) == j)
        assert_close(found[:, j], (log_px(log_r + by) - log_px(log_r - by)) / 2e-3, rtol=0.05, atol=0.02)


def test_intervals_hold_the_true_dispersions_where_the_decoder_is_true():
    """No training: from the true model's decoder and r moved by a tenth, with the prior as q."""
    args = settings()
    truth, z, context = CELLS["true_model"](DataSpec((10,), Domain("counts"), ((1,), (2,))), args)
    data, _ = CELLS["drawn"](truth, z, context, 0)
    true_log_r = CELLS["r_of"](truth).log().numpy()
    with torch.no_grad():
        truth.likelihood.raw_concentration.add_(0.1)
        truth.posterior.net.layers[-1].weight.zero_()  # q = p(z)
        truth.posterior.net.layers[-1].bias.zero_()
    log_r, se, moved = CELLS["dispersions"](truth, data.train, 0, num_draws=300)
    assert moved < 0.5
    assert (np.abs(log_r - true_log_r) < 3.5 * se).all()
