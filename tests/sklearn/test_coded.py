"""The estimators take frames with categories, dates and gaps, and give these back."""

# ruff: noqa: N803
import math
import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from ppl_vae import evaluate, likelihoods, posteriors
from ppl_vae.sklearn import Autoencoder, Imputer, OutlierDetector, VariationalAutoencoder

SEEDED = {"epochs": 2, "hidden_dims": (8,), "random_state": 0}
QUIET = {Imputer: {"num_samples": 50}, OutlierDetector: {"num_samples": 50}}
EVERY = pytest.mark.parametrize("Estimator", [Autoencoder, VariationalAutoencoder, Imputer, OutlierDetector])
GAPPED = pytest.mark.parametrize("Estimator", [Autoencoder, VariationalAutoencoder, Imputer])
quiet = pytest.mark.filterwarnings("ignore:k-hat is above")


def _frame(n=80, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n)
    return pd.DataFrame(
        {
            "height": 170 + 8 * z + rng.normal(size=n),
            "city": np.array(["Bonn", "Köln", "Trier"])[np.digitize(z + 0.3 * rng.normal(size=n), [-0.5, 0.5])],
            "member": pd.Categorical(np.where(z > 0, "yes", "no")),
            "grade": pd.Categorical(np.digitize(z, [-1, 0, 1]), ordered=True).rename_categories(list("dcba")),
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(np.round(100 + 20 * z), "D"),
            "active": z > 1,
            "rooms": rng.integers(1, 5, n),
        }
    )


FRAME = _frame()
GAPS = FRAME.mask(np.random.default_rng(1).random(FRAME.shape) < 0.2)


def _made(Estimator, **settings):
    return Estimator(**{**SEEDED, **QUIET.get(Estimator, {}), **settings})


@quiet
@EVERY
def test_each_column_has_the_likelihood_of_its_kind(Estimator):
    estimator = _made(Estimator).fit(FRAME)
    formula = estimator.vae_.formula()
    assert "Gaussian: 4 columns; Categorical: city; Bernoulli: member; OrderedLogistic: grade" in formula
    assert list(estimator.feature_names_in_) == list(FRAME) == list(estimator.columns_.records.names)
    heavy = _made(Estimator, likelihood=likelihoods.StudentT).fit(FRAME)
    assert "StudentT: 4 columns" in heavy.vae_.formula()
    chosen = partial(likelihoods.Heterogeneous, columns={"city": likelihoods.Categorical, "real": likelihoods.Laplace})
    assert "Laplace: 4 columns" in _made(Estimator, likelihood=chosen).fit(FRAME).vae_.formula()


@quiet
@GAPPED
def test_frames_come_back_with_their_categories_and_dates(Estimator):
    estimator = _made(Estimator).fit(GAPS)
    frames = []
    if Estimator is Imputer:
        made = estimator.transform(GAPS)
        assert not made.isna().any(axis=None)
        for name in FRAME:
            there = GAPS[name].notna()
            assert (made[name][there] == FRAME[name][there]).all()
        pd.testing.assert_frame_equal(estimator.transform(FRAME), FRAME)
        one = FRAME.assign(rooms=FRAME["rooms"].mask(FRAME.index == 3))
        pd.testing.assert_frame_equal(estimator.transform(one).drop(columns="rooms"), FRAME.drop(columns="rooms"))
        frames += [made, clone(estimator).set_params(sample_posterior=True).fit_transform(GAPS)]
    else:
        frames += [estimator.inverse_transform(estimator.transform(GAPS))]
    if Estimator is VariationalAutoencoder:
        frames += [estimator.sample(20)]
    for frame in frames:
        assert list(frame) == list(FRAME)
        assert set(frame.city) <= set(FRAME.city)
        assert frame.member.dtype == FRAME.member.dtype
        assert frame.grade.cat.ordered
        assert pd.api.types.is_datetime64_any_dtype(frame.since)


@pytest.mark.parametrize("Estimator", [Autoencoder, VariationalAutoencoder])
def test_the_code_of_a_row_is_that_of_what_was_observed(Estimator):
    estimator = _made(Estimator).fit(GAPS)
    split = estimator.columns_.split(estimator._table(GAPS))
    expected = estimator.vae_.encode(split.x, mask=split.mask).mean.detach().numpy()
    np.testing.assert_allclose(estimator.transform(GAPS), expected, atol=1e-12)
    np.testing.assert_allclose(estimator.transform(GAPS[:7]), expected[:7], atol=1e-10)
    assert np.isfinite(estimator.score(GAPS))
    named = estimator.set_output(transform="pandas").transform(GAPS.set_axis(list(range(5, 85))))
    assert list(named.index) == list(range(5, 85))


def test_log_px_of_a_frame_with_gaps_is_that_of_quadrature():
    """Categories, dates, numbers and NaN: log of the integral of p(x_observed | z) p(z) over z, on a grid."""
    vae = VariationalAutoencoder(1, epochs=30, learning_rate=0.01, hidden_dims=(8,), num_samples=2000, random_state=0)
    vae.fit(GAPS)
    data = vae.columns_.split(vae._table(GAPS))
    z = torch.linspace(-9, 9, 2001, dtype=torch.float64)[:, None, None]
    with torch.no_grad():
        fn = vae.vae_.likelihood.given(z.expand(-1, len(GAPS), -1), mask=data.mask)
        log_joint = fn.log_prob(data.x) - z[..., 0].square() / 2 - math.log(2 * math.pi) / 2
    exact = (log_joint.logsumexp(0) + math.log(18 / 2000) - data.log_volume).numpy()
    error = evaluate(vae.vae_, data, num_samples=2000, seed=1, progress=False).per_datum.log_px_mcse
    assert error.max() < 0.1
    assert (np.abs(vae.score_samples(GAPS) - exact) < 5 * error + 1e-6).all()
    nothing = pd.DataFrame(np.nan, index=range(2), columns=list(FRAME)).astype({"city": object})
    assert vae.score_samples(nothing).tolist() == [0, 0]


@pytest.mark.parametrize("posterior", [posteriors.DiagonalNormal, posteriors.IAF])
def test_arrays_with_gaps_in_any_form(posterior):
    X = np.random.default_rng(0).normal([0, 5, 0, -30], size=(60, 4))
    hidden = np.random.default_rng(1).random(X.shape) < 0.3
    gaps = np.where(hidden, np.nan, X)
    vae = _made(VariationalAutoencoder, posterior=posterior, num_samples=5).fit(gaps)
    masked = clone(vae).fit(np.ma.masked_array(X, hidden))
    for name in ("transform", "score_samples"):
        first = getattr(vae, name)(gaps)
        assert np.isfinite(first).all()
        assert np.array_equal(getattr(masked, name)(np.ma.masked_array(X, hidden)), first)
        np.testing.assert_allclose(getattr(vae, name)(gaps[:9]), first[:9], atol=1e-10)
    whole = _made(VariationalAutoencoder, posterior=posterior, num_samples=5).fit(X)
    assert np.isfinite(whole.score_samples(gaps)).all()  # gaps in new data alone


@quiet
def test_in_a_pipeline():
    labels = FRAME.height > 170
    pipeline = make_pipeline(_made(VariationalAutoencoder, epochs=40), KNeighborsClassifier(5))
    assert pipeline.fit(GAPS[::2], labels[::2]).score(GAPS[1::2], labels[1::2]) > 0.7


@EVERY
def test_refusals(Estimator):
    estimator = _made(Estimator)
    for X, error, says in [
        (FRAME.assign(city="Bonn"), ValueError, r"column 'city' expects .* got 1 in 80 rows, 'Bonn' for one; leave it"),
        (FRAME.assign(city=[f"id {i}" for i in range(80)]), ValueError, "'city' expects .* got 80 in 80 rows"),
        (FRAME.assign(member=pd.Categorical(["a"] * 80)), ValueError, "'member' expects .* got 1 in 80 rows"),
        (FRAME.assign(rooms=np.inf), ValueError, "Input X contains infinity"),
        (FRAME.assign(city=[1, "a"] * 40), TypeError, "column 'city' expects numbers, or text alone, got 'a' for one"),
        (FRAME.set_axis([*FRAME.columns[:-1], "city"], axis=1), ValueError, "X expects columns of different names"),
    ]:
        with pytest.raises(error, match=says):
            estimator.fit(X)
    if Estimator is not OutlierDetector:
        with pytest.raises(ValueError, match="expects a known value in each column, got none in rooms; leave them out"):
            estimator.fit(FRAME.assign(rooms=np.nan))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(FRAME)
    method = estimator.predict if Estimator is OutlierDetector else estimator.transform
    for X, error, says in [
        (FRAME.assign(city="Paris"), ValueError, "column 'city' expects one of Bonn, Köln, Trier, got Paris"),
        (FRAME.assign(height="tall"), TypeError, "column 'height' expects numbers as in fit, got 'tall' for one"),
        (FRAME.assign(rooms=FRAME["since"]), TypeError, "column 'rooms' expects numbers as in fit, got Timestamp"),
        (FRAME.assign(rooms=[2, "two"] * 40), TypeError, "column 'rooms' expects numbers as in fit, got 'two' for one"),
        (FRAME.to_numpy(), TypeError, "X expects a frame as in fit, where city, member, grade, since were text"),
        (FRAME.drop(columns="city"), ValueError, "Feature names seen at fit time, yet now missing"),
        (FRAME[FRAME.columns[::-1]], ValueError, "Feature names must be in the same order"),
    ]:
        with pytest.raises(error, match=says):
            method(X)


def test_numbers_as_text_are_numbers_where_not_all_are_text():
    X = pd.DataFrame({"a": ["1", 2, 3.5, "4"] * 5, "b": np.arange(20.0)})
    estimator = _made(Imputer).fit(X)
    assert estimator.transform(X)[:, 0].tolist() == [1, 2, 3.5, 4] * 5
    with pytest.raises(TypeError, match="column 'a' expects numbers, got 'x' for one"):
        estimator.transform(X.assign(a=["x", 2, 3, 4] * 5))


def test_outliers_with_gaps_are_refused():
    with pytest.raises(ValueError, match="Input X contains NaN"):
        _made(OutlierDetector).fit(GAPS)
    whole = GAPS.dropna()
    some, detector = whole.copy(), _made(OutlierDetector).fit(whole)
    some.iloc[2:5, some.columns.get_indexer(some.select_dtypes("number").columns[:1])] = np.nan
    said = (
        f"OutlierDetector expects complete rows, got gaps in 3 of {len(some)}, first in row 2; fill them by ppl_vae.sk"
    )
    for call in (detector.predict, detector.score_samples, detector.assess, detector.fit):
        with pytest.raises(ValueError, match=said):
            call(some)
