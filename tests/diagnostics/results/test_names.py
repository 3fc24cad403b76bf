"""Names of users beside names of ours: sites named like dimensions, and Pyro's own example."""

import math

import arviz
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppl_vae import Program, evaluate, fit
from ppl_vae.diagnostics import check_guide, diagnose, hmc, simulation_based_calibration, to_arviz
from ppl_vae.diagnostics.results.arviz_io import group, groups, open_tree


class Encoder(nn.Module):
    """Of Pyro's examples/vae/vae.py, with what follows, but for the device."""

    def __init__(self, z_dim, hidden_dim):
        super().__init__()
        self.fc1 = nn.Linear(784, hidden_dim)
        self.fc21 = nn.Linear(hidden_dim, z_dim)
        self.fc22 = nn.Linear(hidden_dim, z_dim)
        self.softplus = nn.Softplus()

    def forward(self, x):
        x = x.reshape(-1, 784)
        hidden = self.softplus(self.fc1(x))
        z_loc = self.fc21(hidden)
        z_scale = torch.exp(self.fc22(hidden))
        return z_loc, z_scale


class Decoder(nn.Module):
    def __init__(self, z_dim, hidden_dim):
        super().__init__()
        self.fc1 = nn.Linear(z_dim, hidden_dim)
        self.fc21 = nn.Linear(hidden_dim, 784)
        self.softplus = nn.Softplus()

    def forward(self, z):
        hidden = self.softplus(self.fc1(z))
        return torch.sigmoid(self.fc21(hidden))


class VAE(nn.Module):
    def __init__(self, z_dim=50, hidden_dim=400):
        super().__init__()
        self.encoder = Encoder(z_dim, hidden_dim)
        self.decoder = Decoder(z_dim, hidden_dim)
        self.z_dim = z_dim

    def model(self, x):
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", x.shape[0]):
            z_loc = torch.zeros(x.shape[0], self.z_dim, dtype=x.dtype, device=x.device)
            z_scale = torch.ones(x.shape[0], self.z_dim, dtype=x.dtype, device=x.device)
            z = pyro.sample("latent", dist.Normal(z_loc, z_scale).to_event(1))
            loc_img = self.decoder.forward(z)
            pyro.sample("obs", dist.Bernoulli(loc_img, validate_args=False).to_event(1), obs=x.reshape(-1, 784))
            return loc_img

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", x.shape[0]):
            z_loc, z_scale = self.encoder.forward(x)
            pyro.sample("latent", dist.Normal(z_loc, z_scale).to_event(1))


def test_pyros_example_through_everything(tmp_path):
    torch.manual_seed(0)
    x = (torch.rand(60, 1, 28, 28) < 0.3).float()
    vae = VAE(z_dim=3, hidden_dim=8)
    history = fit(vae, x, epochs=2, batch_size=20, seed=0, progress=False).history
    assert np.isfinite(history["train_kl_latent"]).all()
    result = evaluate(vae, x, num_samples=50, seed=0, progress=False)
    assert {"kl_latent", "kl_gap"} <= set(result.per_datum)
    tree = to_arviz(vae, x[:10], num_samples=50, num_predictive=5, seed=0, progress=False)
    posterior, observed = group(tree, "posterior"), group(tree, "observed_data")
    assert posterior["latent"].dims == ("chain", "draw", "obs", "latent_")
    assert "dimension 'latent' is 'latent_'" in posterior.attrs["renamed"]
    assert observed["site_obs"].shape == (10, 784)
    assert "site 'obs' is the variable 'site_obs'" in observed.attrs["renamed"]
    assert "R-hat and ESS of chains mean nothing" in posterior.attrs["draws"]
    tree.to_netcdf(str(tmp_path / "posterior.nc"))
    assert set(groups(open_tree(tmp_path / "posterior.nc"))) == set(groups(tree))
    assert len(arviz.summary(tree.sel(obs=3), var_names=["latent"], kind="stats")) == 3
    assert "How far is q?" in check_guide(vae, x, num_samples=50, seed=0, progress=False).report()
    found = diagnose(vae, x, num_samples=50, seed=0, progress=False)
    assert "simulation_based_calibration" in found.left_out  # x is a picture, what is observed a row of it
    assert "Left out:" in found.in_short()
    found.to_arviz().to_netcdf(str(tmp_path / "all.nc"))
    assert set(groups(open_tree(tmp_path / "all.nc"))) == set(groups(found.to_arviz()))


def program(latent, observed):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample(latent, dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample(observed, dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample(latent, dist.Normal(x / 2, 0.7).to_event(1))

    return Program(model, guide)


NAMES = ("latent", "obs", "draw", "chain", "log_joint", "x_dim_0", "vae/x", "a.b", "label", "elbo", "channel", "é x")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("where", ["latent", "observed"])
def test_no_group_is_lost_to_a_name(name, where, tmp_path):
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    usual, named = program("z", "y"), program(name, "y") if where == "latent" else program("z", name)
    trees = [to_arviz(p, x, num_samples=30, num_predictive=5, seed=0, progress=False) for p in (usual, named)]
    assert set(groups(trees[0])) == set(groups(trees[1]))
    for of in groups(trees[0]):
        a, b = (group(tree, of) for tree in trees)
        assert len(a.data_vars) == len(b.data_vars)
        for u, v in zip(a.data_vars.values(), b.data_vars.values(), strict=True):
            np.testing.assert_array_equal(u.values, v.values)
    trees[1].to_netcdf(str(tmp_path / "tree.nc"))
    again = open_tree(tmp_path / "tree.nc")
    assert set(groups(again)) == set(groups(trees[1]))
    renamed = [group(again, g).attrs["renamed"] for g in groups(again) if "renamed" in group(again, g).attrs]
    clashes = {"latent", "obs", "draw", "chain", "log_joint", "vae/x"} - ({"latent"} if where == "observed" else set())
    assert bool(renamed) == (name in clashes)


def test_two_sites_that_would_get_one_name():
    def model(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a/b", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            b = pyro.sample("a.b", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(a + b, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("a/b", dist.Normal(x / 3, 0.7).to_event(1))
            pyro.sample("a.b", dist.Normal(x / 3, 0.7).to_event(1))

    tree = to_arviz(Program(model, guide), torch.randn(4, 2), num_samples=30, seed=0, progress=False)
    assert set(group(tree, "posterior").data_vars) == {"a.b", "a.b_"}


def test_a_site_named_log_joint_is_calibrated():
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    call = {"num_simulations": 50, "num_draws": 9, "seed": 0, "progress": False}
    found, other = (simulation_based_calibration(program(z, "x"), x, **call) for z in ("log_joint", "z"))
    np.testing.assert_array_equal(
        group(found, "prior_sbc")["site_log_joint"].values, group(other, "prior_sbc")["z"].values
    )
    assert float(group(found, "diagnostics")["p_value_overall"]) == float(
        group(other, "diagnostics")["p_value_overall"]
    )


def test_chains_know_a_site_named_as_a_dimension():
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    tree = hmc(program("draw", "x"), x, num_warmup=50, num_samples=50, seed=0, progress=False)
    assert group(tree, "posterior")["site_draw"].sizes["draw"] == 50
    assert math.isfinite(float(group(tree, "posterior")["site_draw"].mean()))
