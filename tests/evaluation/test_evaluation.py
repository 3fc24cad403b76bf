import json
import math
import re
import warnings
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import small_models
import torch
from pyro import poutine
from scipy import stats
from torch import nn

from ppl_vae import (
    Bernoulli,
    Domain,
    Evaluation,
    Flat,
    Gaussian,
    GaussianMixture,
    Point,
    Program,
    StandardNormal,
    build,
    compare,
    data,
    evaluate,
    fit,
    posteriors,
    priors,
)
from ppl_vae.evaluation import kl_per_unit, per_column
from ppl_vae.evaluation.units import _at_others, kernel_log_density
from ppl_vae.split import Split

D, L, NOISE = 5, 2, 0.5


def ppca(s=1.0, shift=0.0, n=200):
    """Model, data and exact log p(x) of probabilistic PCA, with q's scale and mean off by a known amount."""
    made = small_models.ppca(s, shift, n, dim=D, latent_dim=L, noise=NOISE)
    return made.vae, made.x, made.log_px.numpy()


def test_an_exact_posterior_gives_log_p_exactly_from_one_sample():
    vae, x, exact = ppca()
    one = evaluate(vae, x, num_samples=1, seed=0).per_datum
    np.testing.assert_allclose(one.log_px, exact, atol=1e-10)
    many = evaluate(vae, x, num_samples=100, seed=0).per_datum
    np.testing.assert_allclose(many.elbo, exact, atol=1e-10)
    assert (many.pareto_k == 0).all()
    np.testing.assert_allclose(many.ess, 100)


@pytest.mark.parametrize("s", [0.9, 1.2])
def test_the_error_bar_of_log_p_is_honest(s):
    vae, x, exact = ppca(s=s, n=1000)
    table = evaluate(vae, x, num_samples=500, seed=0).per_datum
    scores = (table.log_px - exact) / table.log_px_mcse
    # the sd of 1,000 z-scores has a standard error of 0.022
    assert abs(scores.std() - 1) < 0.1
    assert (table.elbo <= table.log_px).all()
    kl = 0.5 * L * (s**2 - 1 - 2 * math.log(s))
    assert abs((exact - table.elbo).mean() - kl) < 4 * (exact - table.elbo).std() / math.sqrt(1000)


def test_weights_average_to_one():
    vae, x, exact = ppca(s=1.1, shift=0.1, n=2000)
    w = np.exp(evaluate(vae, x, num_samples=50, seed=0).per_datum.log_px - exact)
    assert abs(w.mean() - 1) < 4 * w.std() / math.sqrt(len(w))


def test_each_datum_is_encoded_once_and_gets_exactly_the_samples_asked_for():
    vae, x, _ = ppca(s=1.1)
    rows = {"encoder": 0, "decoder": 0, "most": 0}

    def count(name):
        def hook(module, args, out):
            rows[name] += math.prod(args[0].shape[:-1])
            rows["most"] = max(rows["most"], math.prod(args[0].shape[:-1]))

        return hook

    vae.posterior.net.register_forward_hook(count("encoder"))
    vae.likelihood.net.register_forward_hook(count("decoder"))
    evaluate(vae, x[:50], num_samples=37, seed=0, max_rows=100)
    few = 2 + 3 + 2  # run first, to find the sites, their plates and memory
    assert rows["encoder"] == 50 + few
    assert rows["decoder"] == 50 * 37 + few
    assert rows["most"] <= 100


def test_cutting_the_samples_of_a_datum_changes_nothing():
    vae, x, _ = ppca(s=1.3)
    whole = evaluate(vae, x[:1], num_samples=90, seed=3, max_rows=90).per_datum
    cut = evaluate(vae, x[:1], num_samples=90, seed=3, max_rows=7).per_datum
    pd.testing.assert_frame_equal(whole, cut, rtol=1e-12)


def test_scales_and_subsampling_never_reach_a_result():
    def guide(x):
        with pyro.plate("data", 60_000, subsample=torch.arange(len(x))), poutine.scale(scale=0.1):
            pyro.sample("z", dist.Normal(0.4 * x, 0.7))

    def model(x):
        with pyro.plate("data", 60_000, subsample=torch.arange(len(x))), poutine.scale(scale=0.1):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)).double(), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    x = torch.randn(20).double()
    table = evaluate(Program(model, guide), x, num_samples=4000, seed=0).per_datum
    exact = dist.Normal(torch.zeros(()), math.sqrt(2.0)).log_prob(x).numpy()
    assert (abs(table.log_px - exact) < 5 * table.log_px_mcse).all()


@pytest.mark.parametrize("validate", [True, False])
def test_the_score_of_grey_pixels_under_a_bernoulli_is_no_likelihood(validate):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            fn = dist.Bernoulli(logits=z[..., None].expand(*z.shape, 3), validate_args=validate).to_event(1)
            pyro.sample("x", fn, obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match=r"Bernoulli expects x in \{0, 1\}, got values in .* binarize"):
        evaluate(Program(model, guide), torch.rand(40, 3), num_samples=5)


def test_results_are_in_the_units_of_the_raw_data():
    vae, x, _ = ppca(s=1.1)
    levels = Domain("levels", 256).rescaled(0.0, 256.0, kind="unit").rescaled(0.5, 0.1, kind="real")
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[:, 0] = False
    plain = evaluate(vae, x, mask=mask, num_samples=30, seed=0).per_datum
    raw = evaluate(vae, Split(x, torch.arange(len(x)), levels, mask=mask), num_samples=30, seed=0).per_datum
    observed = D - 1
    np.testing.assert_allclose(raw.log_px, plain.log_px - observed * math.log(25.6))
    np.testing.assert_allclose(raw.bits_per_dim, -raw.log_px / observed / math.log(2))
    assert "bits_per_dim" not in plain
    np.testing.assert_allclose(raw.elbo, raw.reconstruction - raw.kl_z)


def test_missing_elements_do_not_count():
    vae, x, _ = ppca()
    mask = torch.rand(x.shape) < 0.7
    other = torch.where(mask, x, torch.full_like(x, math.nan))
    a = evaluate(vae, x, mask=mask, num_samples=30, seed=0).per_datum
    b = evaluate(vae, other, mask=mask, num_samples=30, seed=0).per_datum
    pd.testing.assert_frame_equal(a, b)
    with pytest.raises(ValueError, match="that are NaN or infinite; fill them, or mark them missing"):
        evaluate(vae, other, num_samples=30)


@pytest.mark.parametrize("prior", [Flat, StandardNormal])
def test_a_point_mass_has_a_reconstruction_only(prior):
    digits = data.load("digits").suit(Bernoulli).take(test=20)
    vae = build(digits, latent_dim=2, prior=prior, posterior=Point)
    result = evaluate(vae, digits.test, num_samples=3)
    assert list(result.per_datum) == ["reconstruction"]
    assert "has no ELBO" in repr(result)
    with pytest.raises(ValueError, match="compare expects log p"):
        compare({"a": result})
    with pytest.raises(ValueError, match="kl_per_unit expects densities"):
        kl_per_unit(vae, digits.test)


def test_active_units_are_those_whose_mean_moves():
    def guide(x):
        with pyro.plate("data", len(x)):
            loc = torch.stack([x, torch.zeros_like(x)], -1)
            pyro.sample("z", dist.Normal(loc, 0.5).to_event(1))

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
            pyro.sample("x", dist.Normal(z[..., 0], 1.0), obs=x)

    x = torch.randn(2000).double()
    result = evaluate(Program(model, guide), x, num_samples=30, seed=0)
    assert result.active_units == {"z": 1}
    assert result.unit_variance["z"][0] == pytest.approx(x.var(correction=0).item(), rel=0.02)
    assert result.unit_variance["z"][1] < 1e-3


def test_kl_per_unit_adds_up_where_it_is_exact_and_says_so_where_not():
    digits = data.load("digits").binarize("threshold").take(test=100)
    vae = build(digits, latent_dim=3).double()
    kl, label = kl_per_unit(vae, digits.test, seed=0)["z"]
    total = evaluate(vae, digits.test, num_samples=4000, seed=0).per_datum.kl_z
    assert label == "KL"
    assert kl.sum() == pytest.approx(total.mean(), abs=0.01)
    kl, label = kl_per_unit(build(digits, latent_dim=3, prior=GaussianMixture), digits.test, seed=0)["z"]
    assert label == "dimension-wise KL"
    assert kl.shape == (3,)
    assert (kl >= 0).all()


def test_kernels_leave_out_the_value_itself():
    """As by a sum over the others, far from them, too; of equal distributions the KL is 0 in the mean, of few data."""
    rng = np.random.default_rng(0)
    sample = np.r_[30.0, rng.normal(size=50)]
    kernel = stats.norm(scale=stats.gaussian_kde(sample).covariance.item() ** 0.5)
    others = [np.delete(sample, i) for i in range(40)]
    exact = [np.logaddexp.reduce(kernel.logpdf(o - z)) - math.log(50) for o, z in zip(others, sample, strict=False)]
    np.testing.assert_allclose(_at_others(sample, 40), exact, rtol=1e-9)
    q, p = rng.normal(size=(2, 50, 300))
    kl = np.stack([_at_others(unit, 50) for unit in q.T], -1) - kernel_log_density(p, q)
    error = kl.mean(0).std() / 300**0.5
    assert abs(kl.mean()) < 4 * error < 0.02
    assert np.isnan(_at_others(np.ones(5), 3)).all()


def test_evaluating_changes_nothing():
    digits = data.load("digits").suit(Bernoulli).take(test=30)
    vae = build(
        digits,
        latent_dim=2,
        encoder=lambda i, o: nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4), nn.Unflatten(-1, o)),
    )
    before = {n: t.clone() for n, t in vae.state_dict().items()}
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    a = evaluate(vae, digits.test, num_samples=30, seed=4)
    assert vae.training
    assert torch.equal(torch_state, torch.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()
    assert not list(pyro.get_param_store().keys())
    assert all(torch.equal(before[n], t) for n, t in vae.state_dict().items())
    pd.testing.assert_frame_equal(a.per_datum, evaluate(vae, digits.test, num_samples=30, seed=4).per_datum)


def test_an_evaluation_survives_its_file(tmp_path):
    vae, x, _ = ppca(s=1.2)
    result = evaluate(vae, x, num_samples=30, seed=0)
    result.save(tmp_path / "evaluation.json")
    again = Evaluation.load(tmp_path / "evaluation.json")
    pd.testing.assert_frame_equal(result.per_datum, again.per_datum)
    assert (again.seed, again.num_samples, again.base_measure, again.data) == (0, 30, "density", result.data)
    assert json.loads((tmp_path / "evaluation.json").read_text())["summary"]["nll"]["mean"] == pytest.approx(
        -result.per_datum.log_px.mean()
    )
    with pytest.raises(FileNotFoundError, match="ppl-vae evaluate"):
        compare({"a": tmp_path / "nowhere"})
    assert list(compare({"a": tmp_path}).index) == ["a"]


def test_compare_pairs_the_data():
    x = ppca()[1]
    results = {f"s={s}": evaluate(ppca(s=s)[0], x, num_samples=200, seed=0) for s in (1.0, 0.5)}
    table = compare(results)
    assert list(table.index) == ["s=1.0", "s=0.5"]
    a, b = (r.per_datum.log_px for r in results.values())
    assert table.difference["s=0.5"] == pytest.approx((a - b).mean())
    assert table.difference_se["s=0.5"] == pytest.approx((a - b).std() / math.sqrt(200))
    assert table.difference_se["s=0.5"] < table.nll_se["s=0.5"] / 3


@pytest.mark.parametrize("num_samples", [10, 200])  # of 10 draws the table has a caution, which is long
def test_a_printed_comparison_shows_the_difference(num_samples, monkeypatch):
    x = ppca()[1]
    results = {
        "a name of thirty letters, " + end: evaluate(ppca()[0], x, num_samples=num_samples, seed=0) for end in "ab"
    }
    monkeypatch.setenv("COLUMNS", "80")
    with pd.option_context("display.width", 80, "display.max_columns", 0):
        assert "difference" in str(compare(results)).splitlines()[0]


def test_compare_refuses_what_has_no_common_scale():
    digits = data.load("digits").take(test=20)
    results = {}
    for name, suited in [
        ("mass", digits.binarize("static")),
        ("same", digits.binarize("static")),
        ("other seed", digits.binarize("static", seed=1)),
        ("density", digits.suit(Gaussian)),
        ("unit", digits.dequantize()),
    ]:
        results[name] = evaluate(build(suited, latent_dim=2), suited.test, num_samples=30, seed=0)
    compare({n: results[n] for n in ("mass", "same")})
    compare({n: results[n] for n in ("density", "unit")})  # the same dequantized data, in raw units
    with pytest.raises(ValueError, match="got a mass for 'mass' and a density for 'density'"):
        compare({n: results[n] for n in ("mass", "density")})
    with pytest.raises(ValueError, match="expects results on the same data"):
        compare({n: results[n] for n in ("mass", "other seed")})
    with pytest.raises(ValueError, match="one result or more"):
        compare({})


def test_bad_calls():
    vae, x, _ = ppca()
    with pytest.raises(ValueError, match="num_samples to be a whole number from 1 on, got 0"):
        evaluate(vae, x, num_samples=0)
    with pytest.raises(ValueError, match="at least one datum"):
        evaluate(vae, x[:0])
    with pytest.raises(ValueError, match="mask expects booleans"):
        evaluate(vae, x, mask=torch.ones_like(x))
    with pytest.raises(TypeError, match="no context or mask beside it"):
        evaluate(vae, Split.of(x), mask=torch.ones_like(x) > 0)


def normals(views=None, prior=None, posterior=lambda x: dist.Normal(x / 2, math.sqrt(0.5)), mean=lambda z: z):
    """x ~ N(z, 1) in a plate over the data, and maybe one of views around it; with an exact posterior at first."""

    def over(x):
        stack = ExitStack()
        if views:
            stack.enter_context(pyro.plate("views", views, dim=-2))
        stack.enter_context(pyro.plate("data", len(x), dim=-1))
        return stack

    def model(x):
        with over(x):
            z = pyro.sample("z", prior or dist.Normal(torch.zeros(()).double(), 1.0))
            pyro.sample("x", dist.Normal(mean(z), 1.0), obs=x)

    def guide(x):
        with over(x):
            pyro.sample("z", posterior(x))

    return Program(model, guide, nn.Linear(1, 1).double())  # whose precision counts


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("views", [None, 1, 2, 3])
def test_a_plate_around_the_data_is_not_taken_for_theirs(n, views):
    x = torch.linspace(-2, 1, n)
    exact = (views or 1) * dist.Normal(0.0, math.sqrt(2)).log_prob(x).numpy()
    kl = (views or 1) * 0.5 * (0.5 + x.square() / 4 - 1 - math.log(0.5)).mean()
    result = evaluate(normals(views), x, num_samples=30, seed=0)
    np.testing.assert_allclose(result.per_datum.log_px, exact, rtol=1e-6)
    values, label = kl_per_unit(normals(views), x, seed=0)["z"]
    assert (values.shape, label) == ((views or 1,), "KL")
    assert values.sum() == pytest.approx(kl.item(), rel=1e-6)
    assert len(result.unit_variance["z"]) == (views or 1)


def test_two_plates_over_the_data_are_refused():
    def model(x):
        with pyro.plate("rows", len(x), dim=-2), pyro.plate("columns", len(x), dim=-1):
            pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x)

    def guide(x):
        with pyro.plate("rows", len(x), dim=-2), pyro.plate("columns", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    with pytest.raises(
        ValueError, match=r"one plate over the 3 data .*, got \['rows', 'columns'\], each as long; keep"
    ):
        evaluate(Program(model, guide), torch.zeros(4))


def test_a_posterior_on_less_than_its_priors_support_is_warned_of():
    torch.manual_seed(0)
    x = 2**0.5 * torch.randn(200)  # scale 1 and noise 1
    positive = normals(posterior=lambda x: dist.LogNormal(torch.zeros_like(x), 1.0))
    with pytest.warns(
        UserWarning, match=r"all of its prior's support, got a smaller one at \['z'\]: log p\(x\) leaves"
    ):
        found = evaluate(positive, x, num_samples=2000, seed=0)
    assert found.per_datum.log_px.mean() < dist.Normal(0.0, 2**0.5).log_prob(x).mean() - 0.1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate(normals(), x, num_samples=30, seed=0)
        evaluate(positive, x[:5], num_samples=100, seed=0, method="adaptive")


def test_a_posterior_that_is_narrow_for_some_data_is_warned_of_whatever_the_block():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Uniform(0.0, 3.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Uniform(torch.where(x < 1, 0.5, 0.0), 3.0))

    x = torch.cat([torch.zeros(10), 2 * torch.ones(10)])
    for max_rows in (50, 10_000):
        with pytest.warns(UserWarning, match="got a smaller one"):
            evaluate(Program(model, guide), x, num_samples=5, seed=0, max_rows=max_rows)


def test_few_draws_of_latents_that_are_summed_over_need_no_caution():
    made = build(
        data.load("digits").binarize("threshold").take(test=5),
        latent_dim=2,
        prior=priors.Categorical,
        posterior=posteriors.Categorical,
        seed=0,
    )
    found = evaluate(made, data.load("digits").binarize("threshold").test[:5], num_samples=5, seed=0)
    assert (found.per_datum.log_px_mcse == 0).all()
    assert "upper bound" not in repr(found)
    assert compare({"exact": found}).caution["exact"] == ""


def test_too_few_draws_say_nothing_of_active_units():
    collapsed = normals(posterior=lambda x: dist.Normal(torch.zeros_like(x), 1.0))
    x = torch.randn(200)
    few, enough = (evaluate(collapsed, x, num_samples=s, seed=0) for s in (24, 25))
    assert math.isnan(few.active_units["z"])
    assert "active units: not known from fewer than 25 draws" in repr(few)
    assert math.isnan(compare({"few": few}).active_units["few"])
    assert enough.active_units == {"z": 0}
    said = "whether it is close is not known from fewer than 25 draws a datum"
    assert f"nll is an upper bound: {said} (S=24, seed 0)" in repr(few)
    assert said not in repr(enough)
    table = compare({"few": few, "enough": enough})
    assert table.caution["few"] == f"nll is an upper bound: {said}"
    assert f"few: nll is an upper bound: {said}" in table.attrs["warning"]
    single = evaluate(collapsed, x[:1], num_samples=100, seed=0)
    assert math.isnan(single.active_units["z"])
    assert "active units: not known from one datum" in repr(single)
    one = evaluate(collapsed, x, num_samples=1, seed=0)
    assert one.per_datum[["kl_gap", "log_px_mcse", "pareto_k"]].isna().all(axis=None)
    assert "KL from q" not in repr(one)


def test_a_discrete_q_has_no_k_hat_and_no_marginal_densities():
    p, loc = torch.tensor([0.2, 0.3, 0.5]).double(), torch.tensor([-1.0, 0.0, 2.0]).double()

    def posterior(x):
        joint = p.log() + dist.Normal(loc, 1.0).log_prob(x[..., None])
        return dist.OneHotCategorical(logits=joint)

    mixture = normals(prior=dist.OneHotCategorical(p), posterior=posterior, mean=lambda z: z @ loc)
    x = torch.randn(30)
    exact = (p.log() + dist.Normal(loc, 1.0).log_prob(x[:, None].double())).logsumexp(-1)
    result = evaluate(mixture, x, num_samples=100, seed=0)
    np.testing.assert_allclose(result.per_datum.log_px, exact, rtol=1e-6)
    assert result.per_datum.pareto_k.isna().all()
    assert "no k-hat: the weights of a discrete q have no tail" in repr(result)
    with pytest.raises(ValueError, match="densities at 'z', got the discrete OneHotCategorical"):
        kl_per_unit(mixture, x)


def test_the_gap_and_what_is_said_of_it():
    vae, x, _ = ppca(s=1.1)
    result = evaluate(vae, x, num_samples=1000, seed=0)
    table = result.per_datum
    np.testing.assert_array_equal(table.kl_gap, table.log_px - table.elbo)
    assert table.kl_gap.mean() == pytest.approx(0.5 * L * (1.1**2 - 1 - 2 * math.log(1.1)), abs=0.005)
    assert compare({"a": result}).kl["a"] == pytest.approx(table.kl_z.mean())
    assert re.search(r"KL from q\(z \| x\) to p\(z \| x\): 0.0\d+ ± 0.\d+ nats per datum\n", repr(result))
    assert "for 0.0% of the data: no sign that log p(x) is off; modes that q never visits are not seen" in repr(result)
    assert "unsteady" not in repr(result)
    bad = repr(evaluate(ppca(s=0.2)[0], x, num_samples=30, seed=0))
    assert "there log p(x) may be too low and its error too small" in bad
    assert "nats per datum, a lower bound\n" in bad
    assert "unsteady for S < 100" in bad
    vae, x, _ = ppca(s=0.5)
    most = evaluate(vae, x, num_samples=1000, seed=0)
    assert 0.5 < most.unreliable < 1
    assert "may be luck; method='adaptive' tries every datum" in repr(most)


def test_a_file_is_json_whatever_the_numbers(tmp_path):
    def refuse(constant):
        raise AssertionError(constant)

    vae, x, _ = ppca(s=1.2)
    result = evaluate(vae, x[:3], num_samples=5, seed=0)
    result.per_datum.loc[0, "log_px"] = -math.inf
    result.save(tmp_path / "evaluation.json")
    content = json.loads((tmp_path / "evaluation.json").read_text(), parse_constant=refuse)
    assert content["per_datum"]["pareto_k"] == [None] * 3
    again = Evaluation.load(tmp_path / "evaluation.json")
    pd.testing.assert_frame_equal(result.per_datum, again.per_datum)
    assert np.isnan(again.unit_variance["z"]).all()
    assert [f.name for f in tmp_path.iterdir()] == ["evaluation.json"]


def test_a_datum_without_observed_elements_has_no_bits():
    vae, x, _ = ppca(s=1.1, n=10)
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[0] = False
    split = Split(x, torch.arange(10), Domain("levels", 256).rescaled(0.0, 256.0, kind="unit"), mask=mask)
    result = evaluate(vae, split, num_samples=30, seed=0)
    bits = result.per_datum.bits_per_dim
    assert bits.isna().tolist() == [True] + [False] * 9
    np.testing.assert_allclose(
        result.summary.loc["bits_per_dim"], [bits[1:].mean(), bits[1:].std(ddof=1) / 3], rtol=1e-12
    )


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.float32])
def test_x_takes_the_precision_of_the_parameters(dtype):
    x = torch.tensor([0, 1, 1]).to(dtype)
    a, b = (evaluate(normals(), v, num_samples=5, seed=0).per_datum for v in (x, x.double()))
    pd.testing.assert_frame_equal(a, b)


def test_what_cannot_be_evaluated_is_named():
    vae, x, _ = ppca()
    for f in (evaluate, kl_per_unit):
        for program in (object(), nn.Linear(1, 1)):
            with pytest.raises(TypeError, match=rf"{f.__name__} expects a module with .model and .guide, got .*; make"):
                f(program, x)
        with pytest.raises(TypeError, match="got list"):
            f(vae, x.tolist())
    with pytest.raises(TypeError, match="got Data"):
        evaluate(vae, data.load("digits"))
    with pytest.raises(ValueError, match="max_rows to be a whole number from 1 on, got 0; the default"):
        evaluate(vae, x, max_rows=0)
    with pytest.raises(ValueError, match="batch_size to be a whole number from 1 on, got 0"):
        kl_per_unit(vae, x, batch_size=0)
    assert evaluate(normals(), x[:, 0], num_samples=2, seed=0).formula == "Program"


def test_no_number_of_a_device_without_float64_is_cast_to_it(monkeypatch):
    """As on Apple's MPS: `Tensor.double` raises there, and `precision.in_float64` takes values to the CPU first."""

    def refuse(self, *_):
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")

    x = (torch.rand(20, 4, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    for prior in (priors.GaussianMixture, priors.VampPrior, priors.Uniform):
        posterior = {"posterior": posteriors.Beta} if prior is priors.Uniform else {}
        made = data.from_arrays(x.numpy(), domain=Domain("binary"))
        vae = build(made, latent_dim=2, prior=prior, seed=0, **posterior)
        with monkeypatch.context() as on_mps:
            on_mps.setattr(torch.Tensor, "double", refuse)
            fit(vae, x, epochs=1, progress=False)
            evaluate(vae, x, num_samples=30, seed=0)


def test_what_is_compared_misses_the_same_elements_and_has_the_same_contexts():
    x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0)).numpy() * [1, 2] + 3
    made, context = data.from_arrays(x), data.from_arrays(x, context=x[:, :1])

    def result(of, mask=None):
        split = of.test if mask is None else replace(of.test, mask=mask)
        return evaluate(build(of, latent_dim=1, seed=0), split, num_samples=25, seed=0, progress=False)

    together, by_column = made.standardize(per="all"), made.standardize()
    gaps = torch.rand(together.test.x.shape, generator=torch.Generator().manual_seed(0)) > 0.4
    compare({"a": result(together), "b": result(by_column), "c": result(by_column, torch.ones_like(gaps))})
    with pytest.raises(ValueError, match="compare expects the same values, masks and contexts"):
        compare({"a": result(together), "b": result(by_column, gaps)})
    with pytest.raises(ValueError, match="they were given other contexts, and log p"):
        compare({"a": result(made), "b": result(context)})


def test_a_column_that_no_row_observes_has_no_score():
    made = data.from_arrays(torch.randn(60, 2, generator=torch.Generator().manual_seed(0)).numpy())
    split = replace(made.test, mask=torch.tensor([False, True]).expand(made.test.x.shape))
    found = per_column(build(made, latent_dim=1, seed=0), split, num_samples=25, seed=0, progress=False)
    assert found["nll_mcse"].isna().tolist() == [True, False]
