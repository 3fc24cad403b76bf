"""Held-out log p(x) against closed forms, and what may be compared."""

import math
import warnings
from dataclasses import replace

import arviz as az
import numpy as np
import pandas as pd
import pytest
import torch
from small_models import CASES, SMALL, diagonal, hierarchy, ppca, some, two_modes

from ppl_vae import Flat, Gaussian, Point, build, compare, data, diagnostics, evaluate
from ppl_vae.diagnostics.evidence.elpd import Elpd, elpd


@pytest.fixture(scope="module")
def digits():
    return data.load("digits").binarize("threshold").take(train=30, test=25)


@pytest.fixture(scope="module")
def vae(digits):
    return build(digits, latent_dim=2, encoder=SMALL, decoder=SMALL, seed=0)


OPTIONS = {
    "iwae": {"num_samples": 500},
    "prior": {"num_samples": 20_000},
    "ais": {"num_temperatures": 50},
    "quadrature": {},
}


@pytest.mark.parametrize("method", OPTIONS)
def test_elpd_is_the_exact_one(method):
    m = ppca(s=1.1, n=40)
    found = elpd(m.vae, m.x, method=method, seed=0, progress=False, **OPTIONS[method])
    error = found.per_datum["log_px"] - m.log_px.numpy()
    assert abs(error.sum()) < 5 * found.mcse + abs(np.nan_to_num(found.bias)) + 1e-6
    assert found.estimate == pytest.approx(found.per_datum["log_px"].sum())
    exact = 40**0.5 * m.log_px.std().item()
    assert found.se == pytest.approx(exact, rel=1e-9 if method == "quadrature" else 0.05)
    assert found.base_measure == "density"
    assert found.dataset["log_px"].attrs["units"] == "nats"
    if method in ("iwae", "prior"):
        assert found.bias < 0
        assert 0 <= found.unreliable <= 1
    else:
        assert np.isnan(found.unreliable)


def agree(a, b):
    """Whether log p(x) is the same, as far as the draws tell."""
    a, b = a.per_datum, b.per_datum
    return (abs(a["log_px"] - b["log_px"]) < 6 * np.hypot(a["log_px_mcse"], b["log_px_mcse"])).all()


def test_an_evaluation_is_taken_as_it_is(vae, digits):
    evaluation = evaluate(vae, digits.test, num_samples=100, seed=3)
    of, again = Elpd.of(evaluation), elpd(vae, digits.test, num_samples=100, seed=3)
    assert agree(of, again)
    assert list(of.per_datum.index) == list(again.per_datum.index) == digits.test.index.tolist()
    assert of.base_measure == again.base_measure == "mass"
    assert of.data == again.data
    assert of.good_k == evaluation.good_k
    assert of.unreliable == pytest.approx(evaluation.unreliable)
    of_mixed, of_one = compare({"a": evaluation, "b": again}), compare({"a": of, "b": again})
    same = ["nll", "nll_se", "difference", "difference_se", "weight", "nll_mcse", "nll_bias", "unreliable", "method"]
    pd.testing.assert_frame_equal(of_mixed[same], of_one[same])
    assert of_mixed.loc["a", ["elbo", "kl", "active_units"]].notna().all()
    assert of_one.loc["a", ["elbo", "kl", "active_units"]].isna().all()  # `Elpd` does not have them


def test_grey_levels_are_in_raw_units():
    grey = data.load("digits").dequantize().take(test=8)
    vae = build(grey, latent_dim=2, likelihood=Gaussian, encoder=SMALL, decoder=SMALL, seed=0)
    found, evaluation = elpd(vae, grey.test, num_samples=50, seed=0), evaluate(vae, grey.test, num_samples=50, seed=0)
    assert agree(found, Elpd.of(evaluation))
    assert found.data == evaluation.data  # dequantized from one seed


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_any_program(make):
    case = make()
    found = elpd(*case.args, mask=case.mask, num_samples=4000, seed=0)
    assert np.isfinite(found.per_datum).all(axis=None)
    assert len(compare({"only": found})) == 1
    exact = elpd(*case.args, mask=case.mask, method="quadrature", seed=0).per_datum
    assert (exact["log_px_mcse"] < 1e-3).all()
    z = (found.per_datum["log_px"] - exact["log_px"]) / found.per_datum["log_px_mcse"]
    good = found.per_datum["pareto_k"] < 0.5  # the weights' variance
    assert some(good) or make is hierarchy  # whose q is a bad one, and k says so
    assert (abs(z)[good] < 4.5).all()
    assert (z < 4.5).all()


# what ArviZ makes of it


@pytest.fixture(scope="module")
def three():
    """One model seen through three guides: exact, off, and far off."""
    models = {name: ppca(s=s, n=120) for name, s in (("exact", 1.0), ("narrow", 0.8), ("far", 0.4))}
    return {name: elpd(m.vae, m.x, num_samples=200, seed=0) for name, m in models.items()}


def test_compare_is_the_manual_one(three):
    table = compare(three)
    log_px = {name: e.per_datum["log_px"].to_numpy() for name, e in three.items()}
    best = max(log_px, key=lambda name: log_px[name].sum())
    assert table.index[0] == best
    assert table.loc[best, ["difference", "difference_se"]].tolist() == [0, 0]
    for name, row in table.iterrows():
        difference = log_px[best] - log_px[name]
        assert row["nll"] == pytest.approx(-log_px[name].mean(), rel=1e-12)
        assert row["nll_se"] == pytest.approx(three[name].se / 120)
        assert row["difference"] == pytest.approx(difference.mean(), rel=1e-9)
        assert row["difference"] >= 0
        assert row["difference_se"] == pytest.approx(difference.std(ddof=1) / 120**0.5, rel=1e-9)
        assert row["nll_mcse"] == pytest.approx(three[name].mcse / 120)
        assert row["nll_bias"] == pytest.approx(-three[name].bias / 120)
        assert row["method"] == "iwae"
    assert table["weight"].sum() == pytest.approx(1)


def test_the_old_table_is_that_in_nats_over_all_data(three):
    with pytest.warns(DeprecationWarning, match=r"ppl_vae.diagnostics.compare is ppl_vae.compare now"):
        old = diagnostics.compare
    table, new = old(three), compare(three)
    assert list(table.columns) == [
        *("rank", "elpd", "se", "elpd_diff", "dse", "weight", "mcse", "bias", "unreliable", "method", "num_samples")
    ]
    assert list(table.index) == list(new.index)
    assert table["rank"].tolist() == [0, 1, 2]
    for name, row in table.iterrows():
        found = [three[name].estimate, three[name].se, three[name].mcse, three[name].bias]
        assert row[["elpd", "se", "mcse", "bias"]].tolist() == pytest.approx(found)
        assert row["elpd_diff"] == pytest.approx(-120 * new.loc[name, "difference"])
    with pytest.raises(ValueError, match=r"held-out data, got for 'a': .*these are the training data"):
        old({"a": replace(three["exact"], held_out=False)})


def test_a_warning_says_which_difference_is_no_evidence(three):
    assert three["far"].unreliable > 0.1 >= three["exact"].unreliable
    warning = compare(three).attrs["warning"]
    assert "far: nll is an upper bound" in warning
    assert "exact" not in warning
    assert f"as small as {-three['far'].bias / 120:.2g} nats per datum, the largest bias" in warning
    assert compare({"exact": three["exact"]}).attrs["warning"] == ""


def test_it_goes_into_arviz(three):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ArviZ's own plots
        table = az.compare({name: e.arviz for name, e in three.items()})
        assert list(table.index) == list(compare(three).index)
        az.plot_compare(table)
        az.plot_khat(three["far"].arviz)
    no_k = elpd(*diagonal().args, num_samples=10, seed=0)
    assert np.isnan(no_k.unreliable)
    assert np.isnan(no_k.arviz["pareto_k"]).all()


def test_a_mode_that_q_misses_is_not_seen():
    program, x = two_modes(), torch.linspace(1.0, 2.0, 10).double()
    found = elpd(program, x, num_samples=1000, seed=0)
    exact = elpd(program, x, method="quadrature")
    np.testing.assert_allclose(found.per_datum["log_px"] - exact.per_datum["log_px"], -np.log(2), atol=0.05)
    assert compare({"only": found}).attrs["warning"] == ""


# refusals


def test_training_data_are_not_held_out(vae, digits):
    with pytest.raises(ValueError, match=r"elpd expects held-out data, got the training split of digits: .* data.test"):
        elpd(vae, digits.train)
    evaluation = evaluate(vae, digits.train, num_samples=25, seed=0)
    with pytest.raises(ValueError, match="got the training split of digits"):
        Elpd.of(evaluation)
    said = elpd(vae, digits.train, held_out=False, num_samples=25, seed=0)
    assert not said.held_out
    assert said.dataset.attrs["held_out"] == 0
    bare = elpd(vae, digits.train.x, held_out=False, num_samples=25, seed=0)
    for result in (said, evaluation, bare, Elpd.of(evaluation, held_out=False)):
        assert "these are the training data" in compare({"a": result}).caution["a"]


def test_what_cannot_be_compared(vae, digits):
    test = elpd(vae, digits.test, num_samples=25, seed=0)
    with pytest.raises(ValueError, match="one result or more, got none"):
        compare({})
    other = elpd(vae, digits.test[:10], num_samples=25, seed=0)
    with pytest.raises(ValueError, match="results on the same data, got digits test"):
        compare({"a": test, "b": other})
    density = replace(test, base_measure="density")
    with pytest.raises(ValueError, match="one base measure, got a mass for 'a' and a density for 'b'"):
        compare({"a": test, "b": density})
    broken = replace(test, per_datum=test.per_datum.assign(log_px=-np.inf))
    table = compare({"b": broken, "a": test})
    assert table.nll["b"] == np.inf
    assert table.index[0] == "a"
    assert table.weight.tolist() == pytest.approx([1, 0], abs=1e-12)
    assert "log p(x) is not finite for 25 data, obs " in table.caution["b"]
    with pytest.raises(ValueError, match="a method among"):
        elpd(vae, digits.test, method="loo")


def test_a_point_mass_has_no_log_p_of_x(digits):
    vae = build(digits, latent_dim=2, prior=Flat, posterior=Point, encoder=SMALL, decoder=SMALL)
    with pytest.raises(ValueError, match=r"\(Flat\) or a point mass \(Point\)"):
        elpd(vae, digits.test)
    reconstruction = evaluate(vae, digits.test, num_samples=1, seed=0)
    with pytest.raises(ValueError, match="which has a reconstruction only"):
        Elpd.of(reconstruction)
    with pytest.raises(ValueError, match="a reconstruction only; leave it out"):
        compare({"a": reconstruction})


def test_one_datum(vae, digits):
    found = elpd(vae, digits.test[:1], num_samples=25, seed=0)
    assert math.isnan(found.se)
    assert compare({"only": found}).nll["only"] == pytest.approx(-found.estimate)
