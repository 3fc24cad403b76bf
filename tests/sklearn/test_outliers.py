"""The outlier detector keeps scikit-learn's contract, and calls no row an outlier by a number that may be wrong."""

import inspect

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from ppl_vae import evaluate, posteriors, priors
from ppl_vae.importance import psis
from ppl_vae.sklearn import OutlierDetector, rowwise
from ppl_vae.sklearn.evidence import _shortfall

SMALL = {"epochs": 2, "hidden_dims": (8,), "num_samples": 50}
IRIS = load_iris().data


@pytest.mark.filterwarnings("ignore:.* and a k-hat above:UserWarning")
@parametrize_with_checks([OutlierDetector(**SMALL)])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def detector():
    """With linear networks: its density is a normal one."""
    return OutlierDetector(2, trim=0.0, epochs=60, learning_rate=0.02, random_state=0).fit(IRIS)


def test_log_px_is_the_exact_density_of_a_linear_model(detector):
    likelihood, columns = detector.vae_.likelihood, detector.columns_
    (layer,) = likelihood.net.layers
    W, b = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    noise = likelihood.elementwise(layer.bias.detach()).variance.detach().numpy()
    span = np.array(columns.domain.span)
    covariance = span[:, None] * (W @ W.T + np.diag(noise)) * span
    exact = stats.multivariate_normal(IRIS.mean(0) + span * b, covariance).logpdf(IRIS)
    found = evaluate(detector.vae_, columns.split(IRIS), num_samples=1000, seed=1, progress=False).per_datum
    good = detector.pareto_k(IRIS) <= detector.good_k_
    assert good.mean() > 0.5
    assert (np.abs(detector.log_px(IRIS) - exact) < 5 * found.log_px_mcse + 1e-6)[good].all()
    np.testing.assert_allclose(columns.raw(columns.split(IRIS).x), IRIS)


def test_rows_that_cannot_be_believed_are_not_judged(detector):
    log_px, k, scores = detector.log_px(IRIS), detector.pareto_k(IRIS), detector.score_samples(IRIS)
    low, believed = log_px < detector.offset_, k <= detector.good_k_
    assert low.sum() == 15
    assert np.array_equal(detector.not_judged_, low & ~believed)
    assert np.array_equal(scores, np.where(low & ~believed, detector.offset_, log_px))
    assert np.array_equal(detector.decision_function(IRIS), scores - detector.offset_)
    strict = clone(detector)
    strict.__dict__ |= detector.__dict__ | {"good_k_": -99.0}
    with pytest.warns(UserWarning, match=r"15 of 150 rows have a log p\(x\) below the threshold and a k-hat above -99"):
        assert (strict.predict(IRIS) == 1).all()
    assert (strict.decision_function(IRIS) >= 0).all()


def test_all_that_is_known_of_a_row_in_one_frame(detector):
    X = pd.DataFrame(IRIS[:20], index=[f"flower {i}" for i in range(20)])
    found = detector.assess(X.to_numpy())
    assert found.columns.tolist() == ["log_px", "pareto_k", "judged", "score", "outlier"]
    for column in ("log_px", "pareto_k"):
        np.testing.assert_allclose(found[column], getattr(detector, column)(IRIS[:20]))
    np.testing.assert_allclose(found.score, detector.score_samples(IRIS[:20]))
    assert np.array_equal(found.outlier, detector.predict(IRIS[:20]) == -1)
    assert found.judged.all()
    named = OutlierDetector(**SMALL, random_state=0).fit(X)
    assert named.assess(X).index.equals(X.index)


def test_draws_around_the_mode_let_more_rows_be_judged():
    detector = OutlierDetector(trim=0.0, hidden_dims=(16,), epochs=20, num_samples=200, random_state=0)
    detector.fit(IRIS)
    q = psis(rowwise.log_weights(detector.vae_, detector.columns_.split(IRIS), 200, detector._seed))[1].numpy()
    assert (q > detector.good_k_).sum() > 2 * (detector.pareto_k(IRIS) > detector.good_k_).sum()


@pytest.mark.filterwarnings("ignore:.* and a k-hat above:UserWarning")
def test_planted_outliers_are_found():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2)) @ rng.normal(size=(2, 5)) + 0.1 * rng.normal(size=(200, 5))
    planted = np.arange(200) < 10
    X[planted] = rng.permuted(X, axis=0)[planted] * [1, 1, -1, 1, 1]
    detector = OutlierDetector(contamination=0.05, random_state=0).fit(X * [1, 10, 100, 1e3, 1e-3] + 7)
    assert roc_auc_score(planted, detector.decision_scores_) > 0.9
    assert roc_auc_score(planted, -detector.log_px(X * [1, 10, 100, 1e3, 1e-3] + 7)) > 0.9


def test_trimmed_rows_are_those_that_were_least_likely():
    """Outliers along a line get the one component of a first fit, as nothing else correlates, and none of a second."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 6))
    planted = np.arange(200) < 28
    X[planted, 3:] += 5 * rng.choice([-1, 1], size=(28, 1))
    settings = {"epochs": 40, "learning_rate": 0.1, "num_samples": 50, "random_state": 0}
    first, again = (OutlierDetector(1, contamination=0.1, trim=t, **settings).fit(X) for t in (0.0, 0.25))
    plain, trimmed = (roc_auc_score(planted, -one.log_px(X)) for one in (first, again))
    assert plain < 0.995
    assert trimmed > 0.999
    assert int(again.labels_.sum() + again.not_judged_.sum()) == 20
    assert np.allclose(first.columns_.mean, X.mean(0))
    assert np.abs(again.columns_.mean - X[~planted].mean(0)).max() < 0.2


@pytest.mark.filterwarnings("ignore:.* and a k-hat above:UserWarning")
def test_pyods_attributes_and_scikit_learns_methods(detector):
    assert detector.labels_.tolist() == (detector.decision_scores_ > detector.threshold_).astype(int).tolist()
    assert np.array_equal(detector.decision_scores_, -detector.score_samples(IRIS))
    assert np.array_equal(detector.predict(IRIS), 1 - 2 * detector.labels_)
    assert np.array_equal(clone(detector).fit_predict(IRIS), detector.predict(IRIS))
    pipeline = make_pipeline(StandardScaler(), OutlierDetector(random_state=0, **SMALL)).fit(IRIS)
    assert set(pipeline.predict(IRIS)) <= {-1, 1}


def test_pyod_reads_it(detector, capsys):
    """PyOD's own functions on detectors that are fitted."""
    pytest.importorskip("pyod")
    from pyod.utils.data import evaluate_print
    from pyod.utils.utility import get_label_n, precision_n_scores

    truth = detector.labels_
    evaluate_print("VAE", truth, detector.decision_scores_)
    assert "ROC:1.0" in capsys.readouterr().out
    assert get_label_n(truth, detector.decision_scores_).sum() == truth.sum()
    assert precision_n_scores(truth, detector.decision_scores_) == 1


def test_refusals():
    for settings, says in [
        ({"contamination": 0}, "contamination == 0, must be > 0"),
        ({"contamination": 0.6}, "contamination == 0.6, must be <= 0.5"),
        ({"trim": -0.1}, "trim == -0.1, must be >= 0"),
        ({"trim": 0.6}, "trim == 0.6, must be <= 0.5"),
        ({"num_samples": 10}, "num_samples == 10, must be >= 25"),
        ({"posterior": posteriors.Point}, "OutlierDetector expects a posterior with a density, got Point, a point"),
        ({"posterior": posteriors.VectorQuantized, "prior": priors.CodePrior}, "of codes, whose weights have no k-hat"),
    ]:
        with pytest.raises(ValueError, match=says):
            OutlierDetector(**{**SMALL, **settings}).fit(IRIS)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        OutlierDetector(**SMALL).fit(np.where(IRIS > 5, np.nan, IRIS))


def test_rows_so_far_away_that_squares_overflow(detector):
    X = np.r_[IRIS[:2], [[1e200, 0, 0, 0]]]
    assert detector.predict(X).tolist() == [1, 1, -1]
    assert np.isfinite(detector.score_samples(X)).all()


@pytest.mark.parametrize("settings", [{}, {"hidden_dims": (16,)}, {"hidden_dims": (16,), "activation": "tanh"}])
def test_rows_far_away_are_outliers_whatever_their_k_hat(settings):
    """Where the draws around the mode differ by rounding alone, and where the mode is at a kink of the decoder."""
    detector = OutlierDetector(epochs=30, random_state=0, **settings).fit(IRIS)
    for far in (IRIS[:1] * [[1, -1, 1, 1]], np.eye(4)[:1]):
        X = far * 10.0 ** np.r_[2:20, 30:301:30][:, None]
        found = detector.assess(X)
        assert (found.pareto_k > detector.good_k_).any()
        assert found.judged.all()
        assert (detector.predict(X) == -1).all()
        assert np.array_equal(found.score, found.log_px)
        assert (np.diff(found.score) <= 0).all()


def test_a_row_is_not_judged_where_its_weights_spread_too_far():
    normal = torch.distributions.Normal(0.0, 1.0).icdf(torch.linspace(0.001, 0.999, 999, dtype=torch.float64))
    for s in (0.1, 3.0, 100.0):
        assert s**2 / 2 < _shortfall(s * normal[:, None] - 1e6).item() - 1e3 < 6 * s**2
    assert _shortfall(torch.full((50, 1), -1e18) - 128 * torch.arange(50)[:, None] % 4).item() == 1e3  # by rounding


def test_its_parameters_and_attributes_are_documented():
    attributes = ["offset_", "not_judged_", "good_k_", "decision_scores_", "threshold_", "labels_", "vae_", "columns_"]
    names = [*inspect.signature(OutlierDetector).parameters, *attributes]
    assert not [name for name in names if f"\n{name} : " not in inspect.getdoc(OutlierDetector)]
