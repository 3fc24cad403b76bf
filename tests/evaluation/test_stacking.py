"""Stacking weights against a grid, ArviZ, and what does not change them."""

import warnings

import arviz as az
import numpy as np
import pytest

from ppl_vae.diagnostics.results import arviz_io
from ppl_vae.evaluation.stacking import stacking_weights


@pytest.fixture
def models():
    """log p(x) by datum of a worse model, a good one, and one that is better for a third of the data."""
    rng = np.random.default_rng(1)
    good = -100 + 10 * rng.normal(size=300)
    worse = good - 0.6 + rng.normal(size=300)
    mixed = good + np.where(np.arange(300) < 100, 2.0, -3.0)
    return {"worse": worse, "good": good, "mixed": mixed}


def score(log_px, w):
    return np.logaddexp.reduce(log_px + np.log(w)[:, None]).mean()


def test_no_weights_on_a_grid_score_higher(models):
    two = np.array([models["good"], models["mixed"]])
    grid = np.linspace(1e-6, 1 - 1e-6, 2001)
    best = grid[np.argmax([score(two, np.array([w, 1 - w])) for w in grid])]
    np.testing.assert_allclose(stacking_weights(two), [best, 1 - best], atol=1e-3)


def test_the_weights_are_optimal(models):
    """sum_i p_k(x_i) / p_mix(x_i) = n where w_k > 0, and at most n elsewhere: the condition of the maximum."""
    log_px = np.array(list(models.values()))
    w = stacking_weights(log_px)
    assert w.sum() == pytest.approx(1)
    slope = np.exp(log_px - np.logaddexp.reduce(log_px + np.log(w.clip(1e-300))[:, None])).mean(1)
    assert (slope < 1 + 1e-4).all()
    np.testing.assert_allclose(slope[w > 1e-3], 1, atol=1e-4)


def test_arviz_finds_the_same_weights(models):
    given = {
        name: arviz_io.elpd_data(v + 100, np.full(300, np.nan), range(300), num_draws=0) for name, v in models.items()
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = az.compare(given)
    found = dict(zip(models, stacking_weights(np.array(list(models.values()))), strict=True))
    np.testing.assert_allclose(table["weight"], [found[name] for name in table.index], atol=0.02)


def test_weights_are_found_for_any_size_of_log_density(models):
    """exp(log p) is zero below -745 nats and infinite above 709; what all have in common does not matter."""
    log_px = np.array(list(models.values()))
    for shift in (-5000, 5000):
        np.testing.assert_allclose(stacking_weights(log_px + shift), stacking_weights(log_px), atol=1e-6)
    far = np.stack([np.full(50, -10.0), np.full(50, -9000.0)])
    np.testing.assert_allclose(stacking_weights(far), [1, 0], atol=1e-6)
    assert stacking_weights(far[1:]).tolist() == [1]


def test_data_that_no_model_can_make():
    log_px = np.array([[-1.0, -np.inf], [-2.0, -3.0]])
    assert np.isfinite(stacking_weights(log_px)).all()
    assert np.isnan(stacking_weights(np.array([[-1.0, -np.inf], [-2.0, -np.inf]]))).all()
