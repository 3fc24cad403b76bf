"""Draws around the mode give log p(x) where those from q do not."""

from functools import partial

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from scipy import stats
from sklearn.datasets import load_iris
from torch.distributions import constraints

from ppl_vae.importance import log_marginal, psis
from ppl_vae.likelihoods import StudentT
from ppl_vae.posteriors import IAF
from ppl_vae.sklearn import OutlierDetector, at_the_mode, rowwise
from ppl_vae.sklearn.evidence import evidence

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
    log_w = at_the_mode.log_weights_at_the_mode(linear.vae_, data, 400, 3)
    found = log_marginal(log_w)
    assert (psis(log_w)[1] < 0.5).all()
    error = (found.estimate - data.log_volume).numpy() - exact(linear, X)
    assert (np.abs(error) < 5 * found.mcse.numpy() + 1e-9 * np.abs(exact(linear, X))).all()


def test_it_counts_where_the_draws_from_q_fail(linear):
    X = IRIS.mean(0) + 5 * (IRIS[::10] - IRIS.mean(0))
    data = linear.columns_.split(X)
    by_q = log_marginal(rowwise.log_weights(linear.vae_, data, 400, 0)).estimate - data.log_volume
    log_px, k = evidence(linear.vae_, data, 400, 0)
    assert (np.abs(by_q.numpy() - exact(linear, X)) > 1).any()
    assert (k < 0.7).all()
    assert np.abs(log_px - exact(linear, X)).max() < 0.5


@pytest.mark.parametrize("posterior", [None, IAF])
def test_a_row_does_not_depend_on_others(posterior):
    parts = {} if posterior is None else {"posterior": posterior}
    detector = OutlierDetector(
        2, likelihood=partial(StudentT, df=4.0), hidden_dims=(8,), epochs=2, num_samples=50, random_state=0, **parts
    ).fit(IRIS)
    data = detector.columns_.split(IRIS[::15])
    together = at_the_mode.log_weights_at_the_mode(detector.vae_, data, 50, 0)
    alone = at_the_mode.log_weights_at_the_mode(detector.vae_, data[4:5], 50, 0)
    torch.testing.assert_close(together[:, 4:5], alone, rtol=1e-8, atol=1e-8)


def test_latents_that_are_not_any_real_numbers_have_none(linear, monkeypatch):
    site = {"name": "z", "fn": dist.LogNormal(torch.zeros(1, 2), torch.ones(1, 2)).to_event(1)}
    assert site["fn"].support.base_constraint is constraints.positive
    monkeypatch.setattr(at_the_mode, "posterior_sites", lambda *_: [site])
    assert at_the_mode.log_weights_at_the_mode(linear.vae_, linear.columns_.split(IRIS[:3]), 50, 0) is None


def test_rows_so_far_away_that_squares_overflow_have_a_finite_estimate(linear):
    log_px, _ = evidence(linear.vae_, linear.columns_.split(np.full((1, 4), 1e200)), 50, 0)
    assert np.isfinite(log_px).all()
