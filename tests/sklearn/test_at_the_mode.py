"""Draws around the mode give log p(x) where those from q do not."""

from copy import deepcopy
from functools import partial

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from scipy import stats
from sklearn.datasets import load_iris
from torch.distributions import constraints

from ppl_vae.distributions import unconstrained
from ppl_vae.importance import good_k, log_marginal, psis
from ppl_vae.likelihoods import StudentT
from ppl_vae.posteriors import IAF
from ppl_vae.sklearn import OutlierDetector, at_the_mode, rowwise
from ppl_vae.sklearn.evidence import evidence
from ppl_vae.split import Split

IRIS = load_iris().data


@pytest.fixture(scope="module")
def linear():
    """Its density is a normal one."""
    return OutlierDetector(2, hidden_dims=(), epochs=5, learning_rate=0.02, num_samples=400, random_state=0).fit(IRIS)


def exact(detector, table):
    likelihood, columns = detector.vae_.likelihood, detector.columns_
    (layer,) = likelihood.net.layers
    W, b = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    noise = likelihood.elementwise(layer.bias.detach()).variance.detach().numpy()
    span = np.array(columns.domain.span)
    covariance = span[:, None] * (W @ W.T + np.diag(noise)) * span
    return stats.multivariate_normal(columns.mean + span * b, covariance).logpdf(table)


@pytest.mark.parametrize("scale", [1, 5, 100])
def test_it_is_the_exact_density_of_a_linear_model_however_far_the_row(linear, scale):
    X = IRIS.mean(0) + scale * (IRIS[::10] - IRIS.mean(0))
    data = linear.columns_.split(X)
    log_w = at_the_mode.log_weights(linear.vae_, data, 400, 3)
    found = log_marginal(log_w)
    assert (psis(log_w)[1] < good_k(400)).all()
    error = (found.estimate - data.log_volume).numpy() - exact(linear, X)
    assert (np.abs(error) < 5 * found.mcse.numpy() + 1e-9 * np.abs(exact(linear, X))).all()


def test_it_counts_where_the_draws_from_q_fail(linear):
    """Also where their k-hat is good by chance."""
    X = IRIS.mean(0) + 5 * (IRIS[::3] - IRIS.mean(0))
    data = linear.columns_.split(X)
    by_q = log_marginal(rowwise.log_weights(linear.vae_, data, 400, 0)).estimate - data.log_volume
    log_px, k, _ = evidence(linear.vae_, data, 400, 0)
    mcse = log_marginal(at_the_mode.log_weights(linear.vae_, data, 400, 0)).mcse.numpy()
    assert (np.abs(by_q.numpy() - exact(linear, X)) > 1).any()
    assert (k < good_k(400)).all()
    assert (np.abs(log_px - exact(linear, X)) < 5 * mcse).all()


def test_of_two_modes_that_q_covers_the_density_is_that_of_both(linear):
    class Even(torch.nn.Module):
        """A decoder that does not know the sign of z_1: p(z | x) has two modes, of the same mass."""

        def forward(self, z):
            mean = torch.cat([z[..., :1].abs(), z[..., 1:]], -1) @ torch.eye(2, 4).to(z) * 3
            return mean.unsqueeze(-2)

    twofold = deepcopy(linear)
    (layer,) = twofold.vae_.posterior.net.layers
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias[:2], layer.bias[2:] = 0, unconstrained(torch.tensor(1.5))
    twofold.vae_.likelihood.net = Even()
    x = torch.tensor([[4.5, -1.0, 0.3, -0.2], [6.0, 2.0, 0.0, 0.1]]).to(torch.float64)
    data = Split.of(x)
    found = log_marginal(at_the_mode.log_weights(twofold.vae_, data, 4000, 0))
    z = torch.cartesian_prod(*[torch.linspace(-6, 6, 601).to(torch.float64)] * 2)
    noise = twofold.vae_.likelihood.elementwise(torch.zeros(4).to(torch.float64)).stddev.detach()
    mean = Even()(z).squeeze(-2)
    log_joint = dist.Normal(mean, noise).log_prob(x[:, None]).sum(-1) + dist.Normal(0.0, 1.0).log_prob(z).sum(-1)
    truth = log_joint.logsumexp(1) + 2 * np.log(12 / 600)
    assert ((found.estimate - truth).abs() < 5 * found.mcse).all()
    assert (found.mcse < 0.1).all()


@pytest.mark.parametrize("posterior", [None, IAF])
def test_a_row_does_not_depend_on_others(posterior):
    parts = {} if posterior is None else {"posterior": posterior}
    detector = OutlierDetector(
        2, likelihood=partial(StudentT, df=4.0), hidden_dims=(8,), epochs=2, num_samples=50, random_state=0, **parts
    ).fit(IRIS)
    data = detector.columns_.split(IRIS[::15])
    together = at_the_mode.log_weights(detector.vae_, data, 50, 0)
    alone = at_the_mode.log_weights(detector.vae_, data[4:5], 50, 0)
    torch.testing.assert_close(together[:, 4:5], alone, rtol=1e-8, atol=1e-8)


def test_latents_that_are_not_any_real_numbers_are_drawn_from_q_alone(linear, monkeypatch):
    site = {"name": "z", "fn": dist.LogNormal(torch.zeros(1, 2), torch.ones(1, 2)).to_event(1)}
    assert site["fn"].support.base_constraint is constraints.positive
    monkeypatch.setattr(at_the_mode, "posterior_sites", lambda *_: [site])
    data = linear.columns_.split(IRIS[:3])
    by_q = rowwise.log_weights(linear.vae_, data, 50, 0)
    assert torch.equal(at_the_mode.log_weights(linear.vae_, data, 50, 0), by_q)


def test_rows_so_far_away_that_squares_overflow_have_a_finite_estimate(linear):
    log_px, *_ = evidence(linear.vae_, linear.columns_.split(np.full((1, 4), 1e200)), 50, 0)
    assert np.isfinite(log_px).all()
