import warnings

import arviz as az
import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch

from ppl_vae import (
    VAE,
    Bernoulli,
    Chain,
    DiagonalNormal,
    Flat,
    Gaussian,
    Point,
    Program,
    StandardNormal,
    build,
    data,
    diagnostics,
    to_arviz,
)
from ppl_vae.diagnostics import good_k, groups, open_tree
from ppl_vae.evaluation import kl_per_unit
from ppl_vae.nets import MLP

IS_1 = int(az.__version__.split(".")[0]) >= 1


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", likelihood=Bernoulli).take(test=12)


@pytest.fixture(scope="module")
def tree(digits):
    torch.manual_seed(0)
    return to_arviz(build(digits, latent_dim=3), digits.test, num_samples=60, num_predictive=7, seed=0)


def test_groups_dimensions_and_coordinates(tree, digits):
    assert set(groups(tree)) >= {
        "posterior",
        "sample_stats",
        "posterior_predictive",
        "prior",
        "prior_predictive",
        "observed_data",
        "constant_data",
        "diagnostics",
    }
    assert dict(tree["posterior"].sizes) == {"chain": 1, "draw": 60, "obs": 12, "latent": 3}
    assert tree["posterior_predictive"]["x"].dims == ("chain", "draw", "obs", "channel", "height", "width")
    assert tree["prior"]["z"].dims == ("chain", "draw", "latent")
    assert tree["posterior_predictive"]["x"].dtype == np.int8
    for group in ("posterior", "sample_stats", "observed_data", "constant_data", "diagnostics"):
        assert tree[group]["obs"].values.tolist() == digits.test.index.tolist()
    assert (tree["constant_data"]["label"].values == digits.test.y.numpy()).all()
    assert (tree["observed_data"]["x"].values == digits.test.x.numpy()).all()
    assert {"seed", "data", "base_measure", "inference_library_version"} <= set(tree["posterior"].attrs)


def test_the_numbers_agree_with_each_other(tree):
    stats, verdict = tree["sample_stats"], tree["diagnostics"]
    np.testing.assert_allclose(stats["log_weight"].mean(("chain", "draw")), verdict["elbo"], rtol=1e-5)
    np.testing.assert_allclose(stats["lp"] - stats["log_q"], stats["log_weight"], atol=1e-4)
    np.testing.assert_allclose(np.exp(stats["log_weight_psis"]).sum(("chain", "draw")), 1)
    np.testing.assert_allclose(verdict["kl_gap"], verdict["log_px"] - verdict["elbo"])
    assert verdict["pareto_k"].attrs["units"] == "1"


@pytest.mark.skipif(IS_1, reason="az.psislw is of ArviZ 0.x")
def test_k_hat_is_arviz_own(tree):
    log_w = tree["sample_stats"]["log_weight"].values[0].astype(float)
    smoothed, k = az.psislw(log_w.T)
    np.testing.assert_allclose(tree["diagnostics"]["pareto_k"], k, atol=1e-10)
    np.testing.assert_allclose(tree["sample_stats"]["log_weight_psis"].values[0].T, smoothed, atol=1e-10)


def test_a_tree_survives_its_file(tree, tmp_path):
    tree.to_netcdf(str(tmp_path / "posterior.nc"))
    again = open_tree(tmp_path / "posterior.nc")
    for group in ("posterior", "diagnostics", "sample_stats"):
        for name in tree[group].data_vars:
            np.testing.assert_array_equal(tree[group][name], again[group][name])


def test_one_datum_goes_into_arviz(tree, digits):
    one = tree.sel(obs=int(digits.test.index[3]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(az.summary(one, var_names=["z"])) == 3
        az.plot_pair(one, var_names=["z"])


def test_leave_one_out_of_pixels_cannot_be_asked_for(tree):
    with pytest.raises(Exception, match=r"log[ _]likelihood"):
        az.loo(tree)


def test_hierarchies_contexts_and_masks():
    masked = data.load("digits", likelihood=Gaussian).condition_on_labels().hide(0.3).take(test=9)
    shape, context = masked.x_shape, masked.context_shapes
    vae = VAE(
        Chain(StandardNormal(2, site="z2"), DiagonalNormal((2,), 3, context=context, site="z1")),
        Gaussian(3, shape, MLP, context=context),
        Chain(
            DiagonalNormal(shape, 2, context=context, site="z2"),
            DiagonalNormal((2,), 3, context=[shape, *context], site="z1"),
        ),
    )
    tree = to_arviz(vae, masked.test, num_samples=30, num_predictive=5, seed=0)
    assert tree["posterior"]["z2"].dims[-1] == "latent_z2"
    assert dict(tree["prior"].sizes) == {"chain": 1, "draw": 5, "latent_z2": 2, "latent_z1": 3}
    assert tree["constant_data"]["mask"].shape == (9, *shape)
    assert tree["posterior_predictive"]["x"].dtype == np.float32


def two_sites(x):
    with pyro.plate("views", 2, dim=-2), pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
        pyro.sample("image", dist.Normal(z.sum(-1)[..., None, None, None], 1.0).to_event(3), obs=x)
        pyro.sample("bright", dist.Bernoulli(logits=z[..., 0]), obs=(x.sum((1, 2, 3)) > 0).float())


def guide(x):
    with pyro.plate("views", 2, dim=-2), pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(0.0, 1.0).expand([3]).to_event(1))


def test_every_observed_site_has_its_own_data():
    x = torch.randn(5, 1, 1, 1).requires_grad_()
    tree = to_arviz(Program(two_sites, guide), x, num_samples=30, seed=0)
    observed = tree["observed_data"]
    np.testing.assert_array_equal(observed["image"], x.detach().float())
    np.testing.assert_array_equal(observed["bright"], x.detach().flatten() > 0)
    assert tree["posterior"]["z"].shape == (1, 30, 5, 2, 3)
    assert tree["prior"]["z"].shape == (1, 30, 2, 3)
    assert tree["prior_predictive"]["bright"].shape == (1, 30, 2)
    assert tree["posterior_predictive"]["image"].shape == (1, 30, 5, 2, 1, 1, 1)
    assert tree["posterior"].attrs["model"] == "Program"


@pytest.mark.float32
def test_the_limit_counts_every_group(digits):
    vae = build(digits, latent_dim=3)
    call = {"num_samples": 30, "num_predictive": 2, "seed": 0}
    latents, stats, images, table = 30 * 3 * 4, 30 * (3 * 4 + 8), 3 * 64 * 4, 11 * 8
    per_datum = latents + stats + images + table + digits.test.y.element_size()
    total = 12 * per_datum + 2 * (3 + 64) * 4
    to_arviz(vae, digits.test, max_bytes=total, **call)
    with pytest.raises(ValueError, match="give 11 data or fewer"):
        to_arviz(vae, digits.test, max_bytes=total - 1, **call)


def test_bad_calls(digits):
    vae = build(digits, latent_dim=3)
    with pytest.raises(ValueError, match="at least 25 samples, got 10"):
        to_arviz(vae, digits.test, num_samples=10)
    with pytest.raises(ValueError, match=r"at most 0 MiB, got 12 data of .* MiB each; give \d+ data or fewer"):
        to_arviz(vae, digits.test, max_bytes=10_000)
    for num in (0, 31):
        with pytest.raises(ValueError, match=rf"num_predictive from 1 to the 30 samples, got {num}; .* give fewer"):
            to_arviz(vae, digits.test, num_samples=30, num_predictive=num)
    with pytest.raises(TypeError, match=r"to_arviz expects a module with .model and .guide, got object; make"):
        to_arviz(object(), digits.test)
    with pytest.raises(ValueError, match="at least 25 draws, got 24"):
        good_k(24)
    point = build(digits, latent_dim=3, prior=Flat, posterior=Point)
    with pytest.raises(ValueError, match="an autoencoder has a reconstruction only"):
        to_arviz(point, digits.test, num_samples=30)


def test_columns_of_a_frame_are_named_whatever_the_likelihood():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(40, 2)), columns=["income", "age"]).mask(rng.random((40, 2)) < 0.2)
    table = data.from_frame(frame).standardize()
    made = to_arviz(build(table, latent_dim=1, seed=0), table.test, num_samples=30, seed=0)
    for name in ("observed_data", "posterior_predictive", "constant_data"):
        assert "column" in diagnostics.group(made, name).dims
        assert diagnostics.group(made, name)["column"].values.tolist() == ["income", "age"]
    array = data.from_arrays(rng.normal(size=(40, 2)))
    bare = to_arviz(build(array, latent_dim=1, seed=0), array.test, num_samples=30, seed=0)
    assert diagnostics.group(bare, "observed_data")["x"].dims == ("obs", "x_dim_0")


def test_draws_of_the_prior_know_the_mask():
    """A prior that is ten times as wide where an element is missing, of functions that need a mask."""

    def scale(mask):
        return torch.where(mask.all(-1, keepdim=True), 1.0, 10.0).expand(mask.shape)

    def model(x, mask):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), scale(mask)).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).mask(mask).to_event(1), obs=x)

    def guide(x, mask):
        given = torch.where(mask, 1 / (1 + scale(mask) ** -2), scale(mask) ** 2)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.MultivariateNormal(torch.where(mask, given * x, 0.0), torch.diag_embed(given)))

    program = Program(model, guide)
    mask = torch.ones(40, 2, dtype=torch.bool)
    mask[::2, 1] = False
    x = (1 + scale(mask) ** 2).sqrt() * torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    made = to_arviz(program, x, mask=mask, num_samples=400, num_predictive=400, seed=0, progress=False)
    prior = diagnostics.group(made, "prior")["z"].values[0]
    predicted = diagnostics.group(made, "prior_predictive")["x"].values[0]
    for draws, wide in ((prior[::2], 10), (prior[1::2], 1), (predicted[::2], 101**0.5), (predicted[1::2], 2**0.5)):
        assert draws.std(0) == pytest.approx(wide, rel=0.2)
    values, what = kl_per_unit(program, x, mask=mask, seed=0)["z"]
    assert what == "dimension-wise KL"
    assert (values < 1).all()  # tens of nats to a prior of scale 1
    short = diagnostics.diagnose(program, x, mask=mask, seed=0, progress=False).in_short()
    assert "no evidence against it was found" in short
