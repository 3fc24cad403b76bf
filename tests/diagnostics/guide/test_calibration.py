import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from scipy import stats
from small_models import CASES, SMALL, ppca, two_sites

from ppl_vae import VAE, Bernoulli, DiagonalNormal, Flat, Point, Program, StandardNormal, to_arviz
from ppl_vae.diagnostics.guide.compare_posteriors import compare_posteriors
from ppl_vae.diagnostics.guide.coverage import coverage
from ppl_vae.diagnostics.guide.ecdf import simultaneous_band
from ppl_vae.diagnostics.guide.posterior_pit import posterior_pit
from ppl_vae.diagnostics.guide.ranks import pit
from ppl_vae.diagnostics.guide.sbc import simulation_based_calibration
from ppl_vae.diagnostics.posterior.quadrature_posterior import quadrature_posterior
from ppl_vae.diagnostics.results.arviz_io import group, groups, open_tree, to_tree
from ppl_vae.diagnostics.results.datasets import attributes, of_draws
from ppl_vae.diagnostics.session import diagnosing
from ppl_vae.unconstrained.log_joint import log_joints

QUICK = {"num_simulations": 60, "num_draws": 19, "seed": 0, "progress": False}


def overall(known, **kwargs):
    return float(simulation_based_calibration(known.vae, known.x, **kwargs)["diagnostics"]["p_value_overall"])


def test_an_exact_q_is_rejected_as_seldom_as_the_level_says():
    known = ppca()
    assert sum(overall(known, seed=seed) < 0.05 for seed in range(20)) <= 4


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "wrong", [{"s": 0.9}, {"s": 1.1}, {"shift": 0.2 * ppca().covariance.diagonal().sqrt()}], ids=str
)
def test_a_bad_q_is_rejected(wrong, seed):
    assert overall(ppca(**wrong), seed=seed) < 1e-3


def test_each_quantity_sees_what_it_should():
    narrow = simulation_based_calibration(ppca(s=0.9).vae, ppca().x, seed=0)["diagnostics"]
    assert narrow["p_value"].sel(quantity="log_joint") < narrow["p_value"].drop_sel(quantity="log_joint").min()
    shift = 0.2 * ppca().covariance.diagonal().sqrt()
    high = simulation_based_calibration(ppca(shift=shift).vae, ppca().x, seed=0)["diagnostics"].sel(
        quantity=["z[0]", "z[1]"]
    )
    assert (high["p_value"] < 1e-3).all()
    expected = stats.norm.cdf(-0.2 / 2**0.5)  # of a true z among draws from a q that lies too high
    assert (abs(high["mean"] - expected) < 4 * high["mean_mcse"]).all()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_it_runs_on_every_kind_and_changes_nothing(case):
    case = case()
    simulation_based_calibration(
        *case.args, mask=case.mask, **QUICK
    )  # a Program makes its parameters when first called
    before = {name: p.clone() for name, p in case.program.state_dict().items()}
    state = torch.get_rng_state()
    tree = simulation_based_calibration(*case.args, mask=case.mask, **QUICK, max_rows=200)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(p, before[name]) for name, p in case.program.state_dict().items())
    for values in tree["prior_sbc"].data_vars.values():
        assert values.dims[:2] == ("chain", "draw")
        assert values.shape[:2] == (1, 60)
        assert ((values > 0) & (values < 1)).all()
    assert list(tree["prior_sbc"].data_vars)[-1] == "log_joint"
    assert tree["diagnostics"]["p_value"].notnull().all()
    assert {"cannot_see", "seed", "num_draws"} <= set(tree["prior_sbc"].attrs)
    assert coverage(tree)["coverage"].shape == (2, tree["diagnostics"].sizes["quantity"])


def test_sites_are_named_and_an_exact_q_of_several_passes():
    """q of two levels, known exactly: z2 ~ N(0, 1), z1 ~ N(z2, 1), x ~ N(z1, 1); a third is independent of x."""

    def model(x):
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", dist.Normal(torch.zeros((), dtype=x.dtype), 1.0))
            z1 = pyro.sample("z1", dist.Normal(z2, 1.0))
            pyro.sample("scale", dist.Gamma(torch.tensor(2.0, dtype=x.dtype), 1.0))
            pyro.sample("x", dist.Normal(z1, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", dist.Normal(x / 3, (2 / 3) ** 0.5))
            pyro.sample("z1", dist.Normal((x + z2) / 2, 0.5**0.5))
            pyro.sample("scale", dist.Gamma(torch.tensor(2.0, dtype=x.dtype), 1.0))

    x = torch.zeros(3).double()
    tree = simulation_based_calibration(Program(model, guide), x, seed=0, num_simulations=1000)
    assert list(tree["diagnostics"]["quantity"].values) == ["z2", "z1", "scale", "log_joint"]
    assert tree["diagnostics"]["p_value_overall"] > 0.01


def test_a_tree_survives_its_file_and_its_seed_repeats_it(tmp_path):
    case = two_sites()
    tree = simulation_based_calibration(*case.args, **QUICK)
    tree.to_netcdf(str(tmp_path / "sbc.nc"))
    read, again = open_tree(tmp_path / "sbc.nc"), simulation_based_calibration(*case.args, **QUICK)
    for name in tree["prior_sbc"].data_vars:
        np.testing.assert_array_equal(tree["prior_sbc"][name], read["prior_sbc"][name])
        np.testing.assert_array_equal(tree["prior_sbc"][name], again["prior_sbc"][name])


@pytest.mark.parametrize("changed", [{"num_simulations": 49}, {"num_draws": 0}])
def test_too_few_are_refused(changed):
    case = two_sites()
    with pytest.raises(
        ValueError,
        match=r"calibration expects (50 simulations or more|num_draws .* from 1 on)",
    ):
        simulation_based_calibration(*case.args, **QUICK | changed)


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="max_rows to be a whole number from 1 on, got 0"):
        simulation_based_calibration(*two_sites().args, **QUICK, max_rows=0)


def test_what_has_no_prior_or_no_density_is_refused():
    x, shape = torch.rand(4, 1, 4, 4).round(), (1, 4, 4)
    likelihood = Bernoulli(2, shape, SMALL)
    with pytest.raises(ValueError, match="proper prior"):
        simulation_based_calibration(VAE(Flat(2), likelihood, Point(shape, 2, SMALL)), x, **QUICK)
    with pytest.raises(ValueError, match="point mass"):
        simulation_based_calibration(VAE(StandardNormal(2), likelihood, Point(shape, 2, SMALL)), x, **QUICK)
    with pytest.raises(ValueError, match="at least one datum"):
        simulation_based_calibration(
            VAE(StandardNormal(2), likelihood, DiagonalNormal(shape, 2, SMALL)), x[:0], **QUICK
        )
    with pytest.raises(TypeError, match="simulation_based_calibration expects a module"):
        simulation_based_calibration(object(), x, **QUICK)


def test_ranks_among_equals_are_drawn():
    values = pit(torch.zeros(20_000), torch.zeros(9, 20_000))
    assert stats.kstest(values, "uniform").pvalue > 1e-3
    of_rank = pit(torch.full((20_000,), 4.5), torch.arange(9.0)[:, None])
    assert (of_rank > 0.5).all()
    assert (of_rank < 0.6).all()


@pytest.mark.parametrize(("s", "scale"), [(1.0, 1.0), (0.8, 0.8), (1.3, 1.3)])
def test_coverage_is_that_of_the_interval(s, scale):
    found = coverage(simulation_based_calibration(ppca(s=s).vae, ppca().x, seed=0, num_draws=399), prob=(0.5, 0.9))
    found = found.drop_sel(quantity="log_joint")
    expected = [2 * stats.norm.cdf(scale * stats.norm.ppf(0.5 + p / 2)) - 1 for p in (0.5, 0.9)]
    assert (abs(found["coverage"] - xr.DataArray(expected, dims="prob")) < 4 * found["coverage_mcse"]).all()
    share = found["coverage"]
    np.testing.assert_allclose(found["coverage_mcse"], (share * (1 - share) / 1999) ** 0.5)


def test_coverage_needs_values_and_probabilities():
    tree = to_tree({"prior_sbc": xr.Dataset({"z": (("chain", "draw", "latent"), np.full((1, 5, 1), 0.5))})})
    assert coverage(tree, prob=0.9)["coverage"].item() == 1
    with pytest.raises(ValueError, match="prior_sbc or posterior_pit"):
        coverage(to_tree({"posterior": xr.Dataset({"z": (("chain", "draw"), np.zeros((1, 5)))})}))
    with pytest.raises(ValueError, match=r"probabilities in \(0, 1\), got \[90.0\]"):
        coverage(tree, prob=90)


def reference(known, q_tree, reliable=None, chains=4, draws=50):
    """Draws from the exact posterior of probabilistic PCA, in the form of a sampler's."""
    z = dist.MultivariateNormal(known.mean, known.covariance).sample((chains, draws)).numpy()
    obs = q_tree["posterior"]["obs"].values
    posterior = xr.Dataset({"z": (("chain", "draw", "obs", "latent"), z)}, {"obs": obs}, q_tree["posterior"].attrs)
    reliable = np.ones(len(obs), bool) if reliable is None else reliable
    return to_tree({"posterior": posterior, "diagnostics": xr.Dataset({"reliable": ("obs", reliable)}, {"obs": obs})})


def drawn(known, num_samples=400):
    return to_arviz(known.vae, known.x, num_samples=num_samples, num_predictive=1, seed=0)


def test_an_exact_q_passes_on_real_data():
    known = ppca(n=300)
    q = drawn(known)
    tree = posterior_pit(q, reference(known, q), num_draws=1)
    assert tree["posterior_pit"]["z"].dims == ("chain", "draw", "obs", "latent")
    for values in tree["posterior_pit"]["z"].transpose("latent", ...).values:
        assert stats.kstest(values.ravel(), "uniform").pvalue > 1e-3
    found = coverage(posterior_pit(q, reference(known, q)))
    assert (abs(found["coverage"] - found["prob"]) < 4 * found["coverage_mcse"]).all()


def test_an_exact_q_is_rejected_on_real_data_as_seldom_as_the_level_says():
    known = ppca(n=100)
    q = drawn(known, 30)
    p = [posterior_pit(reference(known, q, draws=25), reference(known, q), num_draws=1) for _ in range(200)]
    p = np.array([float(tree["diagnostics"]["p_value_overall"]) for tree in p])
    assert (p < 0.05).mean() < 0.05 + 4 * (0.05 * 0.95 / 200) ** 0.5


@pytest.mark.parametrize("wrong", [{"s": 0.6}, {"shift": 0.5 * ppca().covariance.diagonal().sqrt()}], ids=str)
def test_a_bad_q_is_rejected_on_real_data(wrong):
    known = ppca(n=300, **wrong)
    q = drawn(known)
    verdict = posterior_pit(q, reference(known, q))["diagnostics"]
    assert list(verdict["quantity"].values) == ["z[0]", "z[1]"]
    assert verdict["p_value_overall"] == 2 * verdict["p_value"].min()
    assert verdict["p_value_overall"] < 1e-3


def test_ranks_repeat_from_a_seed_that_is_recorded():
    known = ppca(n=20)
    q = drawn(known, 30)
    first, second = (posterior_pit(q, q) for _ in range(2))
    assert first["posterior_pit"].attrs["seed"] != second["posterior_pit"].attrs["seed"]
    again = posterior_pit(q, q, seed=first["posterior_pit"].attrs["seed"])
    assert again["posterior_pit"].equals(first["posterior_pit"])


def test_a_narrow_q_is_seen_on_real_data_and_unreliable_data_are_left_out():
    known = ppca(s=0.7, n=300)
    q = drawn(known)
    reliable = np.arange(300) % 3 > 0
    tree = posterior_pit(q, reference(known, q, reliable))
    assert tree["posterior_pit"]["obs"].values.tolist() == np.flatnonzero(reliable).tolist()
    assert tree["posterior_pit"].attrs["left_out"] == 100
    found = coverage(tree)
    expected = [2 * stats.norm.cdf(0.7 * stats.norm.ppf(0.5 + p / 2)) - 1 for p in (0.5, 0.9)]
    assert (abs(found["coverage"] - xr.DataArray(expected, dims="prob")) < 4 * found["coverage_mcse"]).all()


def from_the_posterior(case, num=2000):
    """Draws from the prior, drawn again by their likelihood, which is bounded; and their ESS."""
    with diagnosing(case.program, case.x, *case.context, mask=case.mask, seed=1) as (split, used):
        ((_, joint),) = log_joints(case.program, split, 1)
        u = joint.from_prior(10_000)
        weight = joint(u).log_likelihood.softmax(0)
        index = torch.multinomial(weight.T, num, replacement=True).T
        values = joint.values(u[index, torch.arange(len(split))])
        posterior = of_draws({n: v[None] for n, v in values.items()}, ("chain", "draw", "obs"), {"obs": split.index})
        return to_tree({"posterior": posterior.assign_attrs(attributes(case.program, split, used))}), weight


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_draws_from_the_posterior_agree_with_a_grid(make):
    case = make(20)
    q, weight = from_the_posterior(case)
    grid = quadrature_posterior(*case.args, mask=case.mask, num_draws=500, seed=0)
    assert grid["diagnostics"]["reliable"].all()
    ess = weight.square().sum(0).reciprocal().numpy()
    good = ess > 200
    assert good.sum() >= 10
    error = (1 / ess[good, None] + 2 / 2000) ** 0.5
    found = compare_posteriors(q, grid).isel(obs=good)
    assert (abs(found["mean_error"]) < 4.5 * error).all()
    assert (abs(found["sd_ratio"] - 1) < 4.5 * error).all()
    assert (found["ks"] < 2.5 * error).all()  # 1.95 is passed once in a thousand
    tree = posterior_pit(q.isel(obs=good), grid.isel(obs=good), seed=0)
    assert tree["diagnostics"]["p_value_overall"] > 1e-3
    covered = coverage(tree)
    assert (abs(covered["coverage"] - covered["prob"]) < 4.5 * covered["coverage_mcse"]).all()


def test_trees_that_do_not_belong_together_are_refused():
    known, other = ppca(n=20), ppca(n=20, seed=2)
    q = drawn(known, 30)
    with pytest.raises(ValueError, match="for the same data"):
        posterior_pit(q, reference(other, drawn(other, 30)))
    with pytest.raises(ValueError, match="for the same data"):
        posterior_pit(q, to_tree({"posterior": q["posterior"].isel(obs=slice(5))}))
    with pytest.raises(ValueError, match="of the same sites"):
        posterior_pit(q, to_tree({"posterior": group(q, "posterior").rename(z="w")}))
    with pytest.raises(ValueError, match="got none of 20"):
        posterior_pit(q, reference(known, q, np.zeros(20, bool)))
    with pytest.raises(ValueError, match="from 1 to the 200 draws"):
        posterior_pit(q, reference(known, q), num_draws=201)
    assert groups(posterior_pit(q, to_tree({"posterior": q["posterior"]}))) == ["posterior_pit", "diagnostics"]


@pytest.mark.parametrize(("num_values", "prob"), [(50, 0.95), (1000, 0.95), (200, 0.8)])
def test_the_band_holds_the_whole_ecdf_as_often_as_it_says(num_values, prob):
    points, lower, upper = simultaneous_band(num_values, prob=prob)
    assert points.shape == lower.shape == upper.shape == (100,)
    assert (lower <= points).all()
    assert (points <= upper).all()
    u = np.sort(np.random.default_rng(1).random((4000, num_values)))
    ecdf = np.stack([np.searchsorted(row, points, side="right") for row in u]) / num_values
    inside = ((ecdf >= lower) & (ecdf <= upper)).all(1).mean()
    assert abs(inside - prob) < 4 * (prob * (1 - prob) * (1 / 4000 + 1 / 10_000)) ** 0.5


@pytest.mark.parametrize("changed", [{"num_values": 0}, {"num_points": 0}, {"prob": 95}])
def test_a_band_of_nothing_is_refused(changed):
    with pytest.raises(ValueError, match="simultaneous_band expects"):
        simultaneous_band(**{"num_values": 10} | changed)
