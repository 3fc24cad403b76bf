"""Learned normal priors, others of unit variance, the unit box, and p(z | c): starts, gradients and use."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from matrix import X_SHAPE, loss
from torch.testing import assert_close

from ppl_vae import Bernoulli, ConditionalNormal, build, distributions, fit, fit_prior, load, posteriors, priors
from ppl_vae.data import from_arrays
from ppl_vae.domain import Domain
from ppl_vae.nets import MLP
from ppl_vae.training import OneCycle

SMALL = partial(MLP, hidden_dims=[8], activation="tanh")
OPTIONS = {"latent_dim": 2, "likelihood": Bernoulli, "encoder": SMALL, "decoder": SMALL, "seed": 0}
LEARNED = [priors.DiagonalNormal, priors.FullRankNormal]
LEAVES = [*LEARNED, priors.StudentT, priors.Logistic]
each = pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.__name__)


def pictures(n=60):
    labels = np.arange(n) % 3
    x = np.random.default_rng(0).random((n, *X_SHAPE)) < 0.2 + 0.3 * labels[:, None, None, None]
    return from_arrays(x.astype("float32"), labels, domain=Domain("binary"))


@each
def test_it_begins_with_mean_0_and_variance_1(leaf):
    p = leaf(3).double().given()
    assert_close(p.mean, torch.zeros(3).double(), rtol=0, atol=1e-12)
    assert_close(p.variance, torch.ones(3).double(), rtol=0, atol=3e-4)  # positive(0) is 1.0001


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_learned_normals_start_from_the_moments_of_latents(dtype, scale):
    torch.manual_seed(0)
    z = (scale * (torch.randn(500, 3) @ torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, -2.0], [0.0, 0.0, 0.3]]))).to(dtype)
    z = z + 10 * scale
    covariance = torch.cov(z.double().T, correction=0)
    for leaf in LEARNED:
        prior = leaf(3).to(dtype)
        prior.start_from(z)
        p = prior.given()
        assert_close(p.mean.double(), z.double().mean(0), rtol=1e-5, atol=0)
        assert_close(p.variance.double(), covariance.diagonal(), rtol=1e-3, atol=0)
    assert_close(p.covariance_matrix.double(), covariance, rtol=1e-3, atol=1e-3 * scale**2)


def test_a_full_rank_prior_starts_from_latents_on_a_line():
    prior = priors.FullRankNormal(2)
    prior.start_from(torch.linspace(-1, 1, 50)[:, None].expand(-1, 2))
    assert prior.given().log_prob(torch.zeros(2)).isfinite()


def test_draws_of_a_beta_have_the_gradients_of_the_mean():
    """Of E sin(4 z), by both concentrations, at ones below and above 1."""
    params = [torch.tensor(v).double().requires_grad_() for v in ([0.4, 1.0, 7.0], [0.7, 1.0, 30.0])]
    t = torch.linspace(-60, 30, 200_001).double()[:, None]  # logits
    z = t.sigmoid()
    slope = z * (-t).sigmoid() * 90 / 200_000
    mean = (distributions.Beta(*params).log_prob(z).exp() * (4 * z).sin() * slope).sum()
    exact = torch.cat(torch.autograd.grad(mean, params))
    torch.manual_seed(0)
    runs = torch.stack(
        [
            torch.cat(
                torch.autograd.grad((4 * distributions.Beta(*params).rsample((500,))).sin().mean(0).sum(), params)
            )
            for _ in range(200)
        ]
    )
    assert ((runs.mean(0) - exact) / (runs.std(0) / math.sqrt(len(runs)))).abs().max() < 4.5


def test_the_unit_box_is_uniform_and_refuses_q_on_the_line():
    p = priors.Uniform(2).given()
    ends = torch.tensor([[0.0, 0.0], [0.3, 1.0], [1.0, 1e-30]], requires_grad=True)
    log_p = p.log_prob(ends)
    assert_close(log_p, torch.zeros(3), rtol=0, atol=1e-6)
    log_p.sum().backward()
    assert not ends.grad.abs().gt(1e-4).any()
    x = pictures()
    fit(build(x, prior=priors.Uniform, posterior=posteriors.Beta, **OPTIONS), x, epochs=1, seed=0, progress=False)
    with pytest.raises(ValueError, match=r"draws in the support of its prior, got 'z' from Normal on Real"):
        fit(build(x, prior=priors.Uniform, **OPTIONS), x, epochs=1, seed=0, progress=False)


@each
def test_it_trains_is_stored_and_is_fitted_afterwards(leaf, tmp_path):
    x = pictures()
    vae = build(x, prior=leaf, **OPTIONS)
    fit(vae, x, epochs=2, seed=0, run=tmp_path / "run", progress=False)
    assert loss(load(tmp_path / "run").vae, [x.test.x]) == loss(vae.eval(), [x.test.x])
    other = fit_prior(build(x, **OPTIONS), x.train, prior=leaf, epochs=2, seed=0, progress=False)
    assert other.formula().startswith(f"p(x, z) = {leaf.__name__}(z")
    assert loss(other.eval(), [x.test.x]).isfinite()


def test_a_prior_given_the_labels_learns_where_each_lies():
    """p(z | y) by a network, and x independent of y given z: the decoder is not told the label."""
    x = pictures(300).condition_on_labels()
    vae = build(x, prior=partial(ConditionalNormal, net=SMALL), context_to=("prior", "encoder"), **OPTIONS)
    assert "ConditionalNormal(z | c)" in vae.formula()
    assert "Bernoulli(x | z)" in vae.formula()
    fit(vae, x, epochs=20, batch_size=20, schedule=OneCycle(2e-2), seed=0, progress=False)
    means = vae.prior.given(torch.eye(3)).mean
    assert torch.pdist(means).min() > 0.3
    dark, _, bright = (vae.sample(200, torch.eye(3)[[k] * 200], seed=0).mean() for k in range(3))
    assert bright - dark > 0.2
