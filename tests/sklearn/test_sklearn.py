"""The estimators keep scikit-learn's contract, and their numbers are in the units of X."""

# ruff: noqa: N802, N803
import inspect
import math
import pickle
import random
from functools import partial

import forked
import numpy as np
import pandas as pd
import pyro
import pytest
import torch
from scipy import sparse, stats
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from ppl_vae import evaluate, posteriors, priors
from ppl_vae.corruptions import GaussianNoise, Masking
from ppl_vae.likelihoods import Bernoulli, Categorical, ContinuousBernoulli, DiscretizedLogistic, Gaussian, Poisson
from ppl_vae.nets import MLP, GatedMLP
from ppl_vae.objectives import Commitment, Contractive, Linear
from ppl_vae.sklearn import Autoencoder, VariationalAutoencoder

SMALL = {"epochs": 2, "hidden_dims": (8,)}
SEEDED = {**SMALL, "random_state": 0}
BOTH = pytest.mark.parametrize("Estimator", [Autoencoder, VariationalAutoencoder])
IRIS, SPECIES = load_iris(return_X_y=True)


@parametrize_with_checks([Autoencoder(**SMALL), VariationalAutoencoder(**SMALL)])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@BOTH
@pytest.mark.parametrize(
    ("X", "error", "says"),
    [
        (np.where(IRIS > 5, np.inf, IRIS), ValueError, "Input X contains infinity"),
        (IRIS[:1], ValueError, r"Found array with 1 sample\(s\) \(shape=\(1, 4\)\) while a minimum of 3 is required"),
        (IRIS[:2], ValueError, r"Found array with 2 sample\(s\) .* a minimum of 3 is required by"),
        (np.full((9, 4), "setosa"), ValueError, "could not convert string to float"),
        (sparse.csr_matrix(IRIS), TypeError, "Sparse data was passed"),
    ],
    ids=["infinity", "one sample", "fewer samples than codes", "strings", "sparse"],
)
def test_bad_input_is_refused_in_scikit_learns_words(Estimator, X, error, says):
    with pytest.raises(error, match=says):
        Estimator(3, **SMALL).fit(X)


@BOTH
def test_another_width_and_no_fit_are_refused_in_scikit_learns_words(Estimator):
    estimator = Estimator(**SEEDED)
    methods = {"transform", "inverse_transform", "score", "score_samples", "sample"} & set(dir(Estimator))
    for name in methods - {"sample"}:
        with pytest.raises(NotFittedError, match="is not fitted yet"):
            getattr(estimator, name)(IRIS)
    with pytest.raises(NotFittedError):
        estimator.get_feature_names_out()
    estimator.fit(IRIS)
    for name in methods - {"sample", "inverse_transform"}:
        with pytest.raises(ValueError, match=r"X has 3 features, but .* is expecting 4 features"):
            getattr(estimator, name)(IRIS[:, :3])
    with pytest.raises(ValueError, match=r"X has 4 features, but .* is expecting 2 codes"):
        estimator.inverse_transform(IRIS)


def test_only_the_variational_one_has_a_density():
    assert not {"score_samples", "sample"} & set(dir(Autoencoder))
    with pytest.raises(NotFittedError):
        VariationalAutoencoder().sample()


@BOTH
def test_settings_are_refused_when_fitted(Estimator):
    for settings, says in [
        ({"n_components": 0}, "n_components == 0, must be >= 1"),
        ({"learning_rate": 0.0}, "learning_rate == 0.0, must be > 0"),
        ({"validation_fraction": 1.0}, "validation_fraction == 1.0, must be < 1"),
        ({"patience": 3}, "give validation_fraction=0.1"),
        ({"device": "tpu"}, "device expects"),
        ({"prior": priors.StandardNormal(2)}, "prior to be a class"),
        ({"hidden_dims": (0,)}, r"hidden_dims\[0\] == 0, must be >= 1"),
        ({"hidden_dims": (8, 2.5)}, r"hidden_dims\[1\] must be an instance of int, not float"),
        ({"hidden_dims": 5}, "hidden_dims expects a sequence of widths, got 5; give"),
        ({"net": partial(MLP, hidden_dims=(3,))}, r"got {'hidden_dims': \(8,\)} beside net=.* fixed; leave it out"),
        ({"net": GatedMLP, "activation": "tanh"}, "net expects to take activation where it is given, got"),
    ]:
        with pytest.raises((ValueError, TypeError), match=says):
            Estimator(**{**SMALL, **settings}).fit(IRIS)


def test_a_point_has_no_density_and_a_density_no_one_code():
    with pytest.raises(ValueError, match="use VariationalAutoencoder"):
        Autoencoder(prior=priors.StandardNormal, posterior=posteriors.DiagonalNormal, **SMALL).fit(IRIS)
    with pytest.raises(ValueError, match="use Autoencoder"):
        VariationalAutoencoder(posterior=posteriors.Point, **SMALL).fit(IRIS)
    with pytest.raises(ValueError, match="num_samples == 0"):
        VariationalAutoencoder(num_samples=0, **SMALL).fit(IRIS)


def test_parts_that_do_not_fit_are_refused_without_pyros_table():
    with pytest.raises(ValueError, match="expects components with a density") as raised:
        Autoencoder(prior=priors.VampPrior, **SMALL).fit(IRIS)
    assert "Trace Shapes" not in str(raised.value)


def test_beta_is_any_real_number_or_warm_up():
    search = GridSearchCV(VariationalAutoencoder(**SEEDED), {"beta": np.arange(1, 3)}, cv=2, error_score="raise")
    assert search.fit(IRIS).best_params_["beta"] in (1, 2)
    codes = [VariationalAutoencoder(beta=b, **SEEDED).fit_transform(IRIS) for b in (2.0, np.int64(2), np.float32(2))]
    assert np.array_equal(codes[0], codes[1])
    assert np.array_equal(codes[0], codes[2])
    for beta in ("a", None):
        with pytest.raises(TypeError, match=r"beta must be an instance of .*BetaSchedule"):
            VariationalAutoencoder(beta=beta, **SMALL).fit(IRIS)
    with pytest.raises(ValueError, match="beta"):
        VariationalAutoencoder(beta=-1, **SMALL).fit(IRIS)


@BOTH
def test_pipelines_grids_and_clones(Estimator):
    steps = [("scale", StandardScaler()), ("encode", Estimator(**SEEDED)), ("class", KNeighborsClassifier())]
    grid = {"encode__n_components": [1, 2], "encode__hidden_dims": [(), (4,)]}
    search = GridSearchCV(Pipeline(steps), grid, cv=2, error_score="raise").fit(IRIS, SPECIES)
    assert search.best_score_ > 0.5
    assert search.best_estimator_.predict(IRIS).shape == SPECIES.shape
    unsupervised = GridSearchCV(Estimator(**SEEDED), {"learning_rate": [1e-9, 1e-2]}, cv=2).fit(IRIS)
    assert unsupervised.best_params_ == {"learning_rate": 1e-2}


@pytest.mark.own_seeds
def test_another_process_finds_the_same_codes(tmp_path):
    estimators = [Autoencoder(**SEEDED), VariationalAutoencoder(**SEEDED)]
    jobs, done = tmp_path / "jobs", tmp_path / "done"
    jobs.write_bytes(pickle.dumps([(clone(e).fit_transform, IRIS) for e in estimators]))
    forked.run("-c", IN_ANOTHER_PROCESS, jobs, done)
    for estimator, codes in zip(estimators, pickle.loads(done.read_bytes()), strict=True):
        np.testing.assert_allclose(codes, estimator.fit_transform(IRIS), atol=1e-12)


IN_ANOTHER_PROCESS = """
import pickle, sys
from pathlib import Path

jobs, done = map(Path, sys.argv[1:])
done.write_bytes(pickle.dumps([transform(x) for transform, x in pickle.loads(jobs.read_bytes())]))
"""


@BOTH
def test_names_and_data_frames(Estimator):
    frame = pd.DataFrame(IRIS, columns=list("abcd"), index=[f"row {i}" for i in range(150)])
    estimator = Estimator(3, **SEEDED).set_output(transform="pandas")
    codes = estimator.fit_transform(frame)
    names = [f"{Estimator.__name__.lower()}{i}" for i in range(3)]
    assert list(codes) == names == list(estimator.get_feature_names_out())
    assert list(codes.index) == list(frame.index)
    assert list(estimator.feature_names_in_) == list("abcd")
    assert estimator.inverse_transform(codes).shape == IRIS.shape
    assert estimator.n_iter_ == len(estimator.history_) == 2


@BOTH
def test_it_shows_itself_and_its_parameters_are_documented(Estimator):
    estimator = Estimator(likelihood=partial(Gaussian, scale=0.1), **SMALL).fit(IRIS)
    assert Estimator.__name__ in estimator._repr_html_()
    assert "scale=0.1" in repr(estimator)
    for name in [*inspect.signature(Estimator).parameters, "vae_", "columns_", "history_", "n_iter_", "n_features_in_"]:
        assert f"\n{name} : " in inspect.getdoc(Estimator)


def _state():
    numpy = np.random.get_state()
    return (
        torch.get_rng_state().tolist(),
        (numpy[1].tolist(), *numpy[2:]),
        random.getstate(),
        dict(pyro.get_param_store().items()),
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.distributions.Distribution._validate_args,
        pyro.distributions.is_validation_enabled(),
    )


@BOTH
def test_the_same_random_state_gives_the_same_bits_and_nothing_global_changes(Estimator):
    estimator = Estimator(validation_fraction=0.2, corruption=GaussianNoise, **SEEDED)
    before = _state()
    first, second = (clone(estimator).fit(IRIS) for _ in range(2))
    assert np.array_equal(first.transform(IRIS), second.transform(IRIS))
    assert first.score(IRIS) == second.score(IRIS)
    if hasattr(first, "sample"):
        assert np.array_equal(first.sample(5), first.sample(5))
    assert _state() == before
    another = clone(estimator).set_params(random_state=1).fit(IRIS)
    assert not np.allclose(first.transform(IRIS), another.transform(IRIS))


def test_a_generator_is_moved_on():
    generator = np.random.RandomState(0)
    vae = VariationalAutoencoder(**SMALL, random_state=generator).fit(IRIS)
    assert not np.array_equal(vae.sample(5), vae.sample(5))
    assert np.array_equal(vae.score_samples(IRIS), vae.score_samples(IRIS))


@BOTH
def test_scores_are_in_the_units_of_X(Estimator):
    score, moved = (Estimator(**SEEDED).fit(X).score(X) for X in (IRIS, 10 * IRIS + 3))
    assert score - moved == pytest.approx(4 * math.log(10), abs=1e-8)
    X = Estimator(**SEEDED).fit(IRIS)
    Y = Estimator(**SEEDED).fit(8 * IRIS)  # a power of two: not a bit is rounded
    assert np.array_equal(X.transform(IRIS), Y.transform(8 * IRIS))
    assert np.array_equal(8 * X.inverse_transform(np.eye(2)), Y.inverse_transform(np.eye(2)))


def test_an_autoencoders_score_is_its_reconstructions_log_density():
    autoencoder = Autoencoder(likelihood=partial(Gaussian, scale=0.5), **SEEDED).fit(IRIS)
    spread = 0.5 * np.sqrt(IRIS.var(0).mean())
    exact = stats.norm(autoencoder.inverse_transform(autoencoder.transform(IRIS)), spread).logpdf(IRIS).sum(1).mean()
    assert autoencoder.score(IRIS) == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize("posterior", [posteriors.DiagonalNormal, posteriors.FullRankNormal, posteriors.IAF])
def test_score_samples_is_the_exact_density_of_a_linear_model(posterior):
    vae = VariationalAutoencoder(
        2, posterior=posterior, hidden_dims=(), epochs=40, learning_rate=0.02, num_samples=1000, random_state=0
    ).fit(IRIS)
    likelihood, span = vae.vae_.likelihood, vae.columns_.domain.span
    (layer,) = likelihood.net.layers
    W, b = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    noise = likelihood.distribution(torch.zeros(1, 4)).variance.detach().numpy()
    X = IRIS[::5]
    exact = stats.multivariate_normal(
        IRIS.mean(0) + span * b, span**2 * (W @ W.T + np.diag(np.broadcast_to(noise, 4)))
    ).logpdf(X)
    error = evaluate(vae.vae_, vae.columns_.split(X), num_samples=1000, seed=1, progress=False).per_datum.log_px_mcse
    assert error.median() < 0.05  # the bound of most rows says something; an IAF has some with heavy tails
    assert (np.abs(vae.score_samples(X) - exact) < 5 * error + 1e-6).all()
    assert vae.score(X) == vae.score_samples(X).mean()


DENSITIES = [
    (prior, posterior)
    for prior in (priors.StandardNormal, partial(priors.VampPrior, num_components=3), priors.FlowPrior)
    for posterior in (posteriors.DiagonalNormal, posteriors.FullRankNormal, posteriors.IAF)
]


@pytest.mark.parametrize(("prior", "posterior"), [*DENSITIES, (priors.CodePrior, posteriors.VectorQuantized)])
def test_a_row_does_not_depend_on_its_neighbours_nor_their_order(prior, posterior):
    vae = VariationalAutoencoder(prior=prior, posterior=posterior, **SEEDED).fit(IRIS)
    order = np.random.default_rng(0).permutation(len(IRIS))
    for method in (vae.score_samples, vae.transform):
        values = method(IRIS)
        assert np.isfinite(values).all()
        np.testing.assert_allclose(method(IRIS[order]), values[order], atol=1e-10)
        np.testing.assert_allclose(method(IRIS[7:8]), values[7:8], atol=1e-10)
    assert len(np.unique(vae.score_samples(IRIS[[0, 0, 0]]))) == 1


def test_of_codes_score_samples_is_the_elbo():
    """Against log p(x) from the sum over all of five codes."""
    quantized = partial(posteriors.VectorQuantized, num_codes=5)
    vae = VariationalAutoencoder(prior=priors.CodePrior, posterior=quantized, **SEEDED).fit(IRIS)
    data, codes = vae.columns_.split(IRIS), vae.vae_.posterior.codebook.codes
    with torch.no_grad():
        log_joint = vae.vae_.decode(codes.unsqueeze(1)).log_prob(data.x) - math.log(5)
        used = torch.cdist(torch.from_numpy(vae.transform(IRIS)), codes).argmin(1)
    elbo = log_joint[used, torch.arange(len(used))] - data.log_volume
    scores = vae.score_samples(IRIS)
    np.testing.assert_allclose(scores, elbo, atol=1e-9)
    assert (scores < (log_joint.logsumexp(0) - data.log_volume).numpy()).all()


@pytest.mark.parametrize("Likelihood", [Bernoulli, ContinuousBernoulli, DiscretizedLogistic, Categorical])
@BOTH
def test_the_likelihood_says_what_X_may_be(Estimator, Likelihood):
    whole = np.random.default_rng(0).integers(0, 5, (40, 6))
    X, bad, fix = {
        Bernoulli: (whole > 2, whole / 4, r"Bernoulli expects X in \{0, 1\}, got values in \[0, 1\] .*Binarizer"),
        ContinuousBernoulli: (whole / 4, whole, r"expects X in \[0, 1\], got values in \[0, 4\] .*MinMaxScaler"),
        DiscretizedLogistic: (whole, whole / 4, "whole numbers from 0 to 4, got .* levels=...*Gaussian"),
        Categorical: (whole, whole + 1, r"from 0 to 4, got values in \[1, 5\] .*=partial\(Categorical, levels=...\)"),
    }[Likelihood]
    estimator = Estimator(likelihood=Likelihood, **SEEDED).fit(X)
    back = estimator.inverse_transform(estimator.transform(X))
    assert back.min() >= 0
    assert back.max() <= X.max()
    assert np.isfinite(estimator.score(X))
    if hasattr(estimator, "sample"):
        assert estimator.columns_.domain.contains(torch.from_numpy(estimator.sample(20)))
    with pytest.raises(ValueError, match=fix):
        estimator.transform(bad)
    if Likelihood in (DiscretizedLogistic, Categorical):
        Estimator(likelihood=partial(Likelihood, levels=9), **SEEDED).fit(whole).transform(whole + 1)
    else:
        with pytest.raises(ValueError, match=fix):
            Estimator(likelihood=Likelihood, **SEEDED).fit(bad)


@BOTH
@pytest.mark.parametrize("X", [np.full((20, 3), 0.1), np.c_[IRIS, np.full(150, 7.0)], 1e-200 * IRIS, 1e200 * IRIS])
def test_constant_tiny_and_huge_columns(Estimator, X):
    estimator = Estimator(**SEEDED).fit(X)
    assert np.isfinite(estimator.transform(X)).all()
    assert np.isfinite(estimator.score(X))


@BOTH
def test_an_offset_of_one_column_changes_nothing(Estimator):
    moved = IRIS + np.array([0, 0, 1024, 0])
    plain, other = Estimator(**SEEDED).fit(IRIS), Estimator(**SEEDED).fit(moved)
    np.testing.assert_allclose(plain.transform(IRIS), other.transform(moved), atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        {"prior": priors.Laplace},
        {"posterior": partial(posteriors.TopK, k=2)},
        {
            "prior": priors.CodePrior,
            "posterior": partial(posteriors.VectorQuantized, num_codes=5),
            "objective": Commitment(),
        },
        {"objective": Contractive},
    ],
    ids=["sparse", "k-sparse", "vector-quantized", "contractive"],
)
def test_the_family(settings):
    autoencoder = Autoencoder(4, **settings, **SEEDED)
    codes = autoencoder.fit(IRIS).transform(IRIS)
    assert np.array_equal(codes, clone(autoencoder).fit(IRIS).transform(IRIS))
    assert np.isfinite(autoencoder.score(IRIS))
    if settings.get("prior") is priors.CodePrior:
        assert len(np.unique(codes, axis=0)) <= 5
        assert (autoencoder.history_.perplexity_z <= 5).all()


def test_more_codes_than_columns():
    assert Autoencoder(7, **SEEDED).fit_transform(IRIS).shape == (150, 7)


@BOTH
def test_patience_watches_the_rows_held_out(Estimator):
    estimator = Estimator(
        hidden_dims=(8,), epochs=60, learning_rate=1.0, patience=2, validation_fraction=0.2, random_state=0
    ).fit(IRIS)
    watched = estimator.history_.validation_elbo
    assert estimator.n_iter_ == watched.idxmax() + 2 < 60
    without = Estimator(**SEEDED).fit(IRIS).history_
    assert not any(name.startswith("validation") for name in without)


def test_denoising():
    X = np.random.default_rng(0).normal(size=(200, 2)) @ np.ones((2, 10))
    masked = partial(Masking, rate=0.5)
    plain, denoising = (
        Autoencoder(1, corruption=c, epochs=40, learning_rate=0.01, random_state=0).fit(X) for c in (None, masked)
    )
    holes = X * (np.random.default_rng(1).random(X.shape) > 0.5)

    def error(autoencoder):
        return ((autoencoder.inverse_transform(autoencoder.transform(holes)) - X) ** 2).mean()

    assert error(denoising) < error(plain)
    assert np.array_equal(denoising.transform(X), denoising.transform(X))


def test_nets_and_warm_ups():
    gated = VariationalAutoencoder(net=GatedMLP, beta=Linear(epochs=2), **SEEDED).fit(IRIS)
    assert gated.history_.beta.is_monotonic_increasing
    fixed = Autoencoder(net=partial(GatedMLP, hidden_dims=(3,)), epochs=1).fit(IRIS)
    assert fixed.vae_.posterior.net.layers[0].out_features == 2 * 3  # what the user fixed counts


def test_k_nearest_neighbours_after_it():
    pipeline = make_pipeline(StandardScaler(), Autoencoder(2, epochs=30, random_state=0), KNeighborsClassifier(10))
    assert pipeline.fit(IRIS[::2], SPECIES[::2]).score(IRIS[1::2], SPECIES[1::2]) > 0.85


def test_counts_are_scored_given_their_own_total():
    rng = np.random.default_rng(0)
    X = rng.poisson(rng.uniform(1, 60, size=(80, 1)) * rng.random((1, 6)))
    given = Autoencoder(2, likelihood=partial(Poisson, exposure="total"), epochs=3, random_state=0).fit(X)
    decoded = given.inverse_transform(given.transform(X)).sum(1)
    assert np.allclose(decoded, float(given.vae_.likelihood.typical_total))  # codes have no total
    share = given.vae_.decode(torch.tensor(given.transform(X))).mean.detach().numpy() / decoded[:, None]
    exact = stats.poisson.logpmf(X, share * X.sum(1, keepdims=True)).sum(1).mean()
    assert given.score(X) == pytest.approx(exact, rel=1e-4)
