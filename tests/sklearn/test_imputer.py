"""The imputer keeps scikit-learn's contract; imputations against what is known of the data."""

import inspect

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from ppl_vae import impute, likelihoods, posteriors, priors
from ppl_vae.sklearn import Imputer

SMALL = {"epochs": 2, "hidden_dims": (8,), "num_samples": 50}
SEEDED = {**SMALL, "random_state": 0}
IRIS, SPECIES = load_iris(return_X_y=True)
HIDDEN = np.random.default_rng(0).random(IRIS.shape) < 0.2
GAPS = np.where(HIDDEN, np.nan, IRIS)
quiet = pytest.mark.filterwarnings("ignore:k-hat is above:UserWarning")


@quiet
@parametrize_with_checks([Imputer(**SMALL)])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def linear():
    """X = W z + noise, half of it hidden, and an imputer with linear networks: both are probabilistic PCA."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 1)) @ np.array([[2.0, -30.0, 0.1, 1.0]]) + rng.normal(size=(600, 4)) * [1, 10, 0.05, 0.5]
    X += np.array([10, -200, 0, 3])
    hidden = rng.random(X.shape) < 0.3
    imputer = Imputer(1, hidden_dims=(), learning_rate=0.02, epochs=40, num_samples=100, random_state=0)
    return X, hidden, imputer


@quiet
def test_it_is_as_good_as_the_conditional_mean_in_every_column(linear):
    """The root mean squared error of E[x_missing | x_observed], with the true parameters, and 10 % for learned ones.

    The learned model is that of the largest ELBO with a linear encoder, which has too much noise; 1,000 draws, since q
    is far from p(z | x_observed).
    """
    X, hidden, imputer = linear
    made = clone(imputer).set_params(num_samples=1000).fit_transform(np.where(hidden, np.nan, X))
    W, sd, mean = np.array([2.0, -30.0, 0.1, 1.0]), np.array([1, 10, 0.05, 0.5]), np.array([10, -200, 0, 3])
    precision = ~hidden * (W / sd) ** 2
    z = (~hidden * W * (X - mean) / sd**2).sum(1) / (1 + precision.sum(1))
    best = mean + z[:, None] * W
    for j in range(4):
        squared, least = ((v - X)[hidden[:, j], j] ** 2 for v in (made, best))
        excess = squared - 1.1**2 * least  # of the same values: most of their spread cancels
        assert excess.mean() < 3 * excess.std() / len(excess) ** 0.5
    assert np.array_equal(made[~hidden], X[~hidden])


@quiet
def test_draws_have_the_spread_of_what_is_not_known(linear):
    X, hidden, imputer = linear
    gaps = np.where(hidden, np.nan, X)
    drawing = clone(imputer).set_params(sample_posterior=True).fit(gaps)
    X, hidden = X[:250], hidden[:250]
    draws = np.stack([drawing.transform(gaps[:250]) for _ in range(40)])
    low, high = np.quantile(draws, [0.025, 0.975], axis=0, method="weibull")
    inside = np.clip(X, low, high) == X
    assert abs(inside[hidden].mean() - 0.95) < 0.05  # some 300 values: standard error 1.3 %
    assert np.array_equal(draws[:, ~hidden], np.broadcast_to(X[~hidden], (40, (~hidden).sum())))
    again = clone(imputer).set_params(sample_posterior=True).fit(gaps)
    assert np.array_equal(again.transform(gaps[:250]), draws[0])
    found = impute(again.vae_, again.columns_.split(gaps[:5]), num_draws=40, progress=False)
    assert found.intervals()[0].shape == (5, 4)


@quiet
def test_gaps_in_any_form_and_rows_without_a_value():
    imputer = Imputer(**SEEDED).fit(GAPS)
    made = imputer.transform(GAPS)
    masked = np.ma.masked_array(IRIS, HIDDEN)
    frame = pd.DataFrame(GAPS, columns=list("abcd"))
    assert np.array_equal(clone(imputer).fit(masked).transform(masked), made)
    named = clone(imputer).set_output(transform="pandas").fit(frame)
    assert list(named.get_feature_names_out()) == list("abcd") == list(named.transform(frame))
    np.testing.assert_allclose(named.transform(frame), made)  # sums in another order
    assert np.array_equal(imputer.transform(GAPS), made)
    assert not np.isnan(imputer.transform(np.full((2, 4), np.nan))).any()
    assert np.array_equal(imputer.transform(IRIS), IRIS)
    assert imputer.transform(IRIS) is not IRIS


@quiet
@pytest.mark.parametrize("name", ["Bernoulli", "Categorical"])
def test_binary_and_coded_columns(name):
    whole = np.random.default_rng(0).integers(0, 2, (60, 4)).astype(float)
    imputer = Imputer(likelihood=getattr(likelihoods, name), sample_posterior=True, **SEEDED)
    made = imputer.fit_transform(np.where(HIDDEN[:60], np.nan, whole))
    assert set(np.unique(made)) == {0, 1}


@quiet
def test_pipelines_and_other_priors():
    pipeline = make_pipeline(Imputer(prior=priors.FlowPrior, **SEEDED), KNeighborsClassifier(5))
    assert pipeline.fit(GAPS[::2], SPECIES[::2]).score(GAPS[1::2], SPECIES[1::2]) > 0.8


def test_rows_that_cannot_be_trusted_are_told():
    far = np.array([[np.nan, 60.0, -50.0, 40.0], [np.nan, 3.0, 4.0, 1.0]])
    imputer = Imputer(hidden_dims=(8,), learning_rate=0.02, epochs=60, random_state=0, num_samples=200).fit(GAPS)
    with pytest.warns(UserWarning, match=r"k-hat is above 0.57 for [12] of 2 rows with missing values"):
        imputer.transform(far)


def test_observed_times_are_returned_as_they_are():
    times = pd.to_datetime("2021-01-01") + pd.to_timedelta(np.arange(40) * 1234, "ms")
    frame = pd.DataFrame({"a": np.linspace(-1, 1, 40), "t": times})
    frame.loc[3, "t"] = pd.NaT
    made = Imputer(hidden_dims=(8,), epochs=30, learning_rate=0.02, random_state=0, num_samples=400).fit_transform(
        frame
    )
    assert made["t"].drop(3).equals(frame["t"].drop(3))
    assert made["t"].notna().all()


def test_refusals():
    with pytest.raises(NotFittedError):
        Imputer().transform(GAPS)
    with pytest.raises(ValueError, match="num_samples == 10, must be >= 25"):
        Imputer(**{**SMALL, "num_samples": 10}).fit(GAPS)
    with pytest.raises(TypeError, match="sample_posterior must be an instance"):
        Imputer(sample_posterior="yes", **SMALL).fit(GAPS)
    with pytest.raises(ValueError, match="Imputer expects a posterior with a density, got Point, a point"):
        Imputer(posterior=posteriors.Point, **SMALL).fit(GAPS)
    with pytest.raises(ValueError, match="got VectorQuantized, of codes, whose weights have no k-hat"):
        Imputer(posterior=posteriors.VectorQuantized, prior=priors.CodePrior, **SMALL).fit(GAPS)
    with pytest.raises(ValueError, match="expects a known value in each column, got none in 1, 2; leave them out"):
        Imputer(**SMALL).fit(np.where([0, 1, 1, 0], np.nan, IRIS))
    with pytest.raises(ValueError, match="expects a known value in each column, got none in b; leave them out"):
        Imputer(**SMALL).fit(pd.DataFrame(IRIS, columns=list("abcd")).assign(b=np.nan))
    with pytest.raises(ValueError, match="Input X contains infinity"):
        Imputer(**SMALL).fit(np.where(HIDDEN, np.inf, IRIS))


def test_its_parameters_and_attributes_are_documented():
    names = [*inspect.signature(Imputer).parameters, "vae_", "columns_", "history_", "n_iter_", "random_state_"]
    assert not [name for name in names if f"\n{name} : " not in inspect.getdoc(Imputer)]
