import math
from functools import partial

import arviz as az
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from scipy import stats
from small_models import CASES, ppca, two_modes

from ppl_vae import VAE, DiagonalNormal, Flat, Gaussian, Point, Program, StandardNormal, to_arviz
from ppl_vae.diagnostics.guide.compare_posteriors import compare_posteriors
from ppl_vae.diagnostics.latents.active_units import active_units
from ppl_vae.diagnostics.latents.aggregated_posterior import aggregated_posterior
from ppl_vae.diagnostics.posterior.adaptation import Adaptation, windows
from ppl_vae.diagnostics.posterior.hmc import hmc
from ppl_vae.diagnostics.results.arviz_io import group, groups, open_tree
from ppl_vae.diagnostics.session import diagnosing
from ppl_vae.unconstrained.hmc_kernel import State, init, transition
from ppl_vae.unconstrained.log_joint import gradient, log_joints

SHORT = {"num_warmup": 100, "num_samples": 50, "seed": 0}


@pytest.fixture(scope="module")
def exact():
    """Probabilistic PCA with a guide that is no help, and its draws."""
    known = ppca(n=500, s=3.0, shift=1.0)
    return known, hmc(known.vae, known.x, seed=0, num_warmup=200, num_samples=200)


def whitened(known, tree):
    """Draws in coordinates in which every posterior is a standard normal."""
    tril = torch.linalg.cholesky(known.covariance)
    z = torch.as_tensor(tree["posterior"]["z"].values) - known.mean
    return torch.linalg.solve_triangular(tril, z.unsqueeze(-1), upper=False).squeeze(-1).numpy()


def test_one_draw_a_datum_is_from_the_exact_posterior(exact):
    for chain in (0, 3):  # from the prior, and from q
        one = whitened(*exact)[chain, -1]
        assert stats.kstest(stats.norm.cdf(one).ravel(), "uniform").pvalue > 0.001


def test_means_and_spreads_are_those_of_the_exact_posterior(exact):
    known, tree = exact
    z = tree["posterior"]["z"].values
    apart = (z - known.mean.numpy()) / known.covariance.diagonal().sqrt().numpy()
    np.testing.assert_allclose(apart.std((0, 1, 2)), 1, atol=0.02)
    ess = az.ess(group(tree, "posterior").isel(obs=slice(100)))["z"].values
    scores = apart.mean((0, 1))[:100] * np.sqrt(ess)
    assert scores.std() == pytest.approx(1, abs=4 / math.sqrt(2 * 100))  # the two units of a datum are correlated


def test_the_tree_says_what_it_holds(exact):
    known, tree = exact
    assert set(groups(tree)) == {"posterior", "sample_stats", "diagnostics"}
    assert dict(tree["posterior"].sizes) == {"chain": 8, "draw": 200, "obs": 500, "latent": 2}
    assert set(tree["sample_stats"].data_vars) == {"acceptance_rate", "diverging", "energy", "lp"}
    verdict = group(tree, "diagnostics")
    assert set(verdict.data_vars) == {"rhat", "ess", "reliable", "step_size", "divergences"}
    for name in ("posterior", "diagnostics"):
        assert {"model", "data", "seed", "cannot_see", "sampling_time", "tuning_steps"} <= set(tree[name].attrs)
    assert all("units" in v.attrs for g in ("diagnostics", "sample_stats") for v in group(tree, g).data_vars.values())
    assert verdict["reliable"].all()
    few = group(tree, "posterior").isel(obs=[0, 7])
    np.testing.assert_allclose(verdict["rhat"][[0, 7]], az.rhat(few)["z"].max("latent"))
    np.testing.assert_allclose(verdict["ess"][[0, 7]], az.ess(few)["z"].min("latent"))
    z = torch.as_tensor(tree["posterior"]["z"].values[0])
    log_posterior = dist.MultivariateNormal(known.mean, known.covariance).log_prob(z)
    np.testing.assert_allclose(tree["sample_stats"]["lp"].values[0], log_posterior + known.log_px, atol=1e-9)


def test_a_mode_that_q_misses_is_seen():
    """Chains from the prior fall into either mode; both of two miss the other for a quarter of the data."""
    x = torch.linspace(0.5, 2, 40).double()
    found = group(hmc(two_modes(), x, seed=0, num_chains=4, num_warmup=200, num_samples=200), "diagnostics")
    seen = found["rhat"].values > 1.2
    assert 20 <= seen.sum() < 40  # of 30 expected, within four standard errors
    assert not found["reliable"].values[seen].any()
    assert found["ess"].values[seen].max() < 30
    assert found["rhat"].values[~seen].max() < 1.05
    more = group(hmc(two_modes(), x, seed=0, num_chains=16, num_warmup=100, num_samples=100), "diagnostics")
    assert (~more["reliable"]).all()  # a datum is missed with probability 2**-8


def moments(case, points=161, half=9.0):
    """Mean and variance of every latent from a grid over the unconstrained ones, each (n, units)."""
    axis = torch.linspace(-half, half, points).double()
    u = torch.cartesian_prod(axis, axis).unsqueeze(1)
    with diagnosing(*case.args, mask=case.mask, seed=0) as (split, _):
        ((_, joint),) = log_joints(case.program, split, 1)
        weights = joint(u).log_joint.softmax(0).unsqueeze(-1)
        z = torch.cat([v.flatten(2) if v.dim() > 2 else v.unsqueeze(-1) for v in joint.values(u).values()], -1)
    mean = (weights * z).sum(0)
    return mean.numpy(), (weights * (z - mean).square()).sum(0).numpy()


@pytest.mark.parametrize("make", CASES)
def test_every_kind_of_model_agrees_with_quadrature(make):
    case = make()
    tree = hmc(*case.args, mask=case.mask, seed=0, num_warmup=100, num_samples=200)
    assert tree["diagnostics"]["reliable"].all()
    with diagnosing(*case.args, mask=case.mask) as (split, _):
        ((_, joint),) = log_joints(case.program, split, 1)
    sites = [tree["posterior"][name].values for name in joint.layout]
    z = np.concatenate([v if v.ndim > 3 else v[..., None] for v in sites], -1)
    mean, variance = moments(case)
    for of_draws, known in ((z, mean), ((z - mean) ** 2, variance)):
        ess = az.ess(az.convert_to_dataset({"f": of_draws}))["f"].values
        score = (of_draws.mean((0, 1)) - known) / (of_draws.std((0, 1)) / np.sqrt(ess))
        assert abs(score).max() < 4.5  # of 12, in 14 tests


@pytest.mark.parametrize("s", [0.02, 50.0])
def test_a_guide_of_a_wrong_width_costs_no_more_than_warm_up(s):
    known = ppca(s=s, n=20)
    found = group(hmc(known.vae, known.x, seed=0, num_samples=200), "diagnostics")
    assert found["reliable"].all()
    assert found["ess"].min() > 200


def test_chunks_one_datum_and_seeds():
    known = ppca(n=7)
    before = torch.get_rng_state()
    chunked = hmc(known.vae, known.x, max_rows=8, progress=False, **SHORT)  # two data at a time
    assert torch.equal(torch.get_rng_state(), before)
    assert chunked["posterior"]["z"].shape == (8, 50, 7, 2)
    apart = whitened(known, chunked)
    assert abs(apart.mean((0, 1))).max() < 5 / math.sqrt(60)
    one = hmc(known.vae, known.x[:1], **SHORT)
    again = hmc(known.vae, known.x[:1], **SHORT)
    assert one["posterior"]["z"].shape == (8, 50, 1, 2)
    np.testing.assert_array_equal(one["posterior"]["z"], again["posterior"]["z"])


def test_plates_besides_that_over_the_data():
    def model(x):
        with pyro.plate("views", 2, dim=-2), pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)

    def guide(x):
        with pyro.plate("views", 2, dim=-2), pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.0, 1.0).expand([3]).to_event(1))

    x = torch.tensor([-1.0, 0.0, 2.0])
    z = hmc(Program(model, guide), x, seed=0, num_warmup=100, num_samples=200)["posterior"]["z"]
    assert z.shape == (8, 200, 3, 2, 3)
    np.testing.assert_allclose(z.mean(("chain", "draw")).values, x[:, None, None].expand(3, 2, 3) / 4, atol=0.15)


def test_densities_that_break_off_leave_no_nan():
    """Where a trajectory leaves a model's domain the chain stays; it still samples what is inside."""

    def half_normal(u):
        return -0.5 * u.square().sum(-1) + 0.0 * u.squeeze(-1).log()

    inverse_mass, step = torch.ones(50, 1).double(), torch.full((50,), 0.7).double()
    log_p = partial(gradient, half_normal)
    state = init(log_p, torch.rand(4, 50, 1).double() + 0.1)
    kept = []
    for _ in range(300):
        state, found = transition(log_p, state, step, inverse_mass, 2)
        assert found.diverging[~found.accepted & (found.accept_prob == 0)].all()
        kept.append(state.u)
    u = torch.stack(kept)
    assert u.isfinite().all()
    assert state.grad.isfinite().all()
    assert (u > 0).all()
    assert float(u.mean()) == pytest.approx(math.sqrt(2 / math.pi), abs=0.02)


def test_a_trajectory_to_infinity_is_rejected_and_a_start_without_density_left():
    def normal(u):
        assert u.isfinite().all()
        return dist.Normal(0.0, 1.0).log_prob(u).sum(-1)

    log_p = partial(gradient, normal)
    state = init(log_p, torch.zeros(4, 3, 2))
    after, found = transition(log_p, state, torch.full((3,), 1e38), torch.ones(3, 2), 3)
    assert torch.equal(after.u, state.u)
    assert found.diverging.all()
    assert not found.accepted.any()
    nowhere = init(log_p, torch.full((4, 3, 2), math.inf))
    assert (nowhere.log_p == -math.inf).all()
    assert (nowhere.grad == 0).all()

    def outside(u):
        return torch.where(u.abs().amax(-1) < 2, -0.5 * u.square().sum(-1), math.nan)

    log_p = partial(gradient, outside)
    state = init(log_p, torch.full((4, 3, 2), 2.5))
    for _ in range(100):
        state, _ = transition(log_p, state, torch.full((3,), 0.7), torch.ones(3, 2), 3)
    assert state.log_p.isfinite().all()


@pytest.mark.float32
def test_warm_up():
    assert windows(500) == [75, 100, 150, 250, 450]  # as Stan's, scaled to half
    for num in range(50, 1200, 7):
        edges = windows(num)
        assert edges == sorted(set(edges))
        assert edges[-1] == round(0.9 * num)
    learning = Adaptation(torch.ones(2, 1), 4, 400, 0.8, 1.0)
    sd = torch.tensor([[1.0], [7.0]])
    for _ in range(400):  # acceptance falls with the step size; the second datum allows none above 0.1
        accept = torch.stack([torch.ones(4), (-2.231 * learning.step_size[:, 1] / 0.1).exp()], -1)
        u = torch.randn(4, 2, 1) * sd
        learning.update(accept.clamp(0, 1), State(u, u, -u / sd**2))
    np.testing.assert_allclose(learning.learned, [[1.0, 0.01]] * 4, rtol=0.1)
    np.testing.assert_allclose(learning.inverse_mass.sqrt().flatten(), [1.0, 7.0], rtol=0.02)
    steep = Adaptation(torch.ones(2, 1), 4, 50, 0.8, 1.0)
    for i in range(50):
        u = torch.full((4, 2, 1), float(i))
        steep.update(torch.ones(4, 2), State(u, u, 1e30 * u))
    assert torch.equal(steep.inverse_mass, torch.ones(2, 1))


def program(model_z, guide_z):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", model_z())
            pyro.sample("x", dist.Normal(z.double(), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", guide_z(x))

    return Program(model, guide)


def test_bad_calls():
    known = ppca(n=4)
    for bad, match in (
        ({"num_chains": 5}, "even number of chains from 4 on, got 5; half"),
        ({"num_chains": 2}, "from 4 on, got 2"),
        ({"num_warmup": 49}, "num_warmup of at least 50, got 49"),
        ({"num_samples": 24}, "num_samples of at least 25, got 24"),
        ({"num_steps": 0}, "num_steps to be a whole number from 1 on, got 0"),
        ({"target_accept": 1.0}, "target_accept to be a number above 0 and below 1, got 1.0"),
        ({"max_bytes": 100}, r"at most 0 MiB, got 4 data of .* MiB each; give 1 data or fewer"),
    ):
        with pytest.raises(ValueError, match=match):
            hmc(known.vae, known.x, **bad)
    with pytest.raises(ValueError, match="finite values, got 1 of"):
        hmc(known.vae, torch.tensor([[0.0, 0, 0, 0, math.nan]]))
    with pytest.raises(ValueError, match="at least one datum"):
        hmc(known.vae, known.x[:0])
    with pytest.raises(TypeError, match="hmc expects a module"):
        hmc(object(), known.x)
    point = VAE(Flat(2), Gaussian(2, (5,)), Point((5,), 2))
    with pytest.raises(ValueError, match=r"improper prior \(Flat\) or a point mass"):
        hmc(point, known.x)
    with pytest.raises(ValueError, match="point mass"):
        hmc(VAE(StandardNormal(2), Gaussian(2, (5,)), Point((5,), 2)), known.x)
    with pytest.raises(ValueError, match="improper prior"):
        hmc(VAE(Flat(2), Gaussian(2, (5,)), DiagonalNormal((5,), 2)), known.x)
    coin = program(lambda: dist.Bernoulli(0.5), lambda x: dist.Bernoulli(torch.full((len(x),), 0.5)))
    with pytest.raises(ValueError, match="got the discrete 'z'"):
        hmc(coin, known.x[:, 0])


@pytest.fixture(scope="module")
def pair():
    """q half as wide as the posterior of `ppca`, and half a unit off; its draws and the posterior's."""
    known = ppca(n=12, s=0.5, shift=0.1)
    return known, to_arviz(known.vae, known.x, num_samples=4000, seed=0), hmc(known.vae, known.x, seed=1)


def test_a_q_that_is_off_by_a_known_amount(pair):
    known, q, reference = pair
    found = compare_posteriors(q, reference)
    assert found["unit"].values.tolist() == ["z[0]", "z[1]"]
    sd = known.covariance.diagonal().sqrt().numpy()
    np.testing.assert_allclose(found["mean_error"], np.tile(0.1 / sd, (12, 1)), atol=5 / math.sqrt(1200))
    np.testing.assert_allclose(found["sd_ratio"], 0.5, atol=5 * 0.5 / math.sqrt(2 * 800))
    assert (abs(found["mean_error"] - 0.1 / sd) < 4.5 * found["mean_error_mcse"]).all()  # of 24, in 2 tests
    assert (abs(found["sd_ratio"] - 0.5) < 4.5 * found["sd_ratio_mcse"]).all()
    assert (found["wasserstein"] > 3 * found["wasserstein_null"]).all()
    for i in (0, 1):
        a, b = stats.norm(0.1 / sd[i], 0.5), stats.norm(0, 1)
        grid = np.linspace(-6, 6, 20001)
        np.testing.assert_allclose(found["ks"][:, i], abs(a.cdf(grid) - b.cdf(grid)).max(), atol=0.06)
        exact = stats.wasserstein_distance(a.ppf(np.linspace(0, 1, 9999)[1:-1]), b.ppf(np.linspace(0, 1, 9999)[1:-1]))
        np.testing.assert_allclose(found["wasserstein"][:, i], exact, atol=0.12)
    assert (found["rhat"] > 1.01).all()
    assert (found["energy_distance"] > 0.05).all()
    assert {found[name].attrs["units"] for name in ("mean_error", "wasserstein")} == {"reference sd"}
    assert found.attrs["num_unreliable"] == 0
    assert found.attrs["cannot_see"]


def test_a_q_that_is_exact(pair):
    known, _, reference = pair
    found = compare_posteriors(to_arviz(ppca(n=12).vae, known.x, num_samples=1000, seed=3), reference)
    assert abs(found["mean_error"]).max() < 0.15
    assert found["rhat"].max() < 1.02
    assert abs(found["energy_distance"]).mean() < 0.01


@pytest.mark.parametrize("num_samples", [200, 1000])
def test_an_exact_q_differs_by_what_noise_alone_does(exact, num_samples):
    known, reference = exact
    n = 150
    q = to_arviz(ppca(n=500).vae, known.x, num_samples=num_samples, seed=4).sel(obs=range(n))
    found = compare_posteriors(q, reference)
    for value, mcse in (
        (found["mean_error"], found["mean_error_mcse"]),
        (found["sd_ratio"] - 1, found["sd_ratio_mcse"]),
    ):
        assert np.sqrt(np.square(value / mcse).mean()) == pytest.approx(1, abs=4 / math.sqrt(2 * n))
    assert (found["ks"] > found["ks_null"]).mean() == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(n))
    ratio = (found["wasserstein"] / found["wasserstein_null"]).mean("unit")
    assert ratio.mean() == pytest.approx(1, abs=4 * float(ratio.std()) / math.sqrt(n))
    energy = (found["energy_distance"] / found["energy_distance_null_sd"]).values
    assert energy.mean() == pytest.approx(0, abs=4 / math.sqrt(n))
    assert energy.std() == pytest.approx(1, abs=0.45)  # of a weighted chi-square, whose kurtosis is about 8


def correlated(x):
    with pyro.plate("data", len(x)):
        tril = pyro.sample("L", dist.LKJCholesky(2, x.new_tensor(2.0)))
        pyro.sample("x", dist.MultivariateNormal(x.new_zeros(2), scale_tril=tril), obs=x)


def guess(x):
    with pyro.plate("data", len(x)):
        pyro.sample("L", dist.LKJCholesky(2, x.new_tensor(3.0)).expand([len(x)]))


def test_entries_of_a_latent_that_never_vary():
    model, x = Program(correlated, guess), torch.randn(8, 2).double()
    tree = hmc(model, x, seed=0, num_warmup=200, num_samples=200)
    assert tree["diagnostics"]["reliable"].all()
    assert (tree["diagnostics"]["ess"] > 100).all()
    found = compare_posteriors(to_arviz(model, x, num_samples=200, seed=1), tree)
    varies = np.array([False, False, True, True])  # L[0, 0] = 1 and L[0, 1] = 0
    for values in found.drop_vars("reference_rhat").data_vars.values():
        assert (values.notnull().values == (varies if "unit" in values.dims else True)).all()
    units = active_units(model, x, seed=0)
    assert (units["kl"].notnull().values == varies).all()
    assert units["variance"].values[~varies].tolist() == [0, 0]
    surgery = aggregated_posterior(model, x, seed=0)
    q, p = dist.Beta(3.0, 3.0), dist.Beta(2.0, 2.0)  # of half of 1 + L[1, 0]
    cost = torch.distributions.kl_divergence(q, p).item()
    assert surgery["mean_kl"].item() == pytest.approx(cost, abs=4 * surgery["mean_kl_mcse"].item())
    assert surgery["dimwise_kl"].item() == pytest.approx(cost, abs=4 * surgery["dimwise_kl_mcse"].item() + 0.03)


def test_latents_with_more_entries_than_dimensions():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Dirichlet(x.new_full((3,), 2.0)))
            pyro.sample("x", dist.Multinomial(20, probs=z), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Dirichlet(2 + x))

    n = 40
    x = dist.Multinomial(20, probs=dist.Dirichlet(torch.full((3,), 2.0).double()).sample((n,))).sample()
    exact = Program(model, guide)
    tree = hmc(exact, x, seed=0, num_warmup=200, num_samples=200)
    assert tree["diagnostics"]["reliable"].all()
    found = compare_posteriors(to_arviz(exact, x, num_samples=1000, seed=1), tree)
    assert found["unit"].values.tolist() == ["z[0]", "z[1]", "z[2]"]
    assert abs(found["mean_error"] / found["mean_error_mcse"]).max() < 4.5  # of 120
    assert abs((found["sd_ratio"] - 1) / found["sd_ratio_mcse"]).max() < 4.5
    q, p = dist.Dirichlet(2 + x), dist.Dirichlet(torch.full((3,), 2.0).double())
    surgery = aggregated_posterior(exact, x, seed=0)
    cost = torch.distributions.kl_divergence(q, p.expand([n])).mean().item()
    assert surgery["mean_kl"].item() == pytest.approx(cost, abs=4 * surgery["mean_kl_mcse"].item())
    assert surgery.sizes["latent"] == 2
    units = active_units(exact, x, seed=0)
    np.testing.assert_allclose(units["variance"], q.mean.var(0, correction=0), atol=2e-3)
    assert units["kl"].notnull().all()


def test_unreliable_references_are_left_out(pair):
    _, q, reference = pair
    datasets = {name: group(reference, name).copy(deep=True) for name in groups(reference)}
    datasets["diagnostics"]["reliable"][3] = False
    found = compare_posteriors(q, xr.DataTree.from_dict({f"/{n}": d for n, d in datasets.items()}))
    for name in ("mean_error", "sd_ratio", "ks", "wasserstein", "rhat", "energy_distance"):
        assert found[name].isnull()[3].all()
        assert found[name].notnull().drop_sel(obs=3).all()
    assert found.attrs["num_unreliable"] == 1
    del datasets["diagnostics"]
    found = compare_posteriors(q, xr.DataTree.from_dict({f"/{n}": d for n, d in datasets.items()}))
    assert found["reliable"].all()
    assert found["reference_rhat"].isnull().all()


def test_data_are_matched_by_obs(pair, tmp_path):
    _, q, reference = pair
    found = compare_posteriors(q, reference.sel(obs=[7, 2]))
    assert found["obs"].values.tolist() == [2, 7]
    reference.to_netcdf(str(tmp_path / "reference.nc"))
    again = compare_posteriors(q, open_tree(tmp_path / "reference.nc"))
    xr.testing.assert_identical(again.sel(obs=[2, 7]), found)
    one = compare_posteriors(q.sel(obs=7), reference.sel(obs=7))
    np.testing.assert_array_equal(one["ks"], found["ks"].sel(obs=[7]))


def test_what_cannot_be_compared(pair):
    known, q, reference = pair
    with pytest.raises(ValueError, match="same data, got two identities"):
        compare_posteriors(to_arviz(known.vae, known.x[:5], num_samples=30), reference)
    with pytest.raises(ValueError, match="data that both trees have, got none"):
        compare_posteriors(q.sel(obs=[0]), reference.sel(obs=[1]))
    other = ppca(n=12, latent_dim=1)
    with pytest.raises(ValueError, match=r"one shape, got \(1,\) and \(2,\) at 'z'"):
        compare_posteriors(to_arviz(other.vae, known.x, num_samples=30), reference)
    posterior = group(reference, "posterior")
    renamed = xr.DataTree.from_dict({"/posterior": posterior.rename(z="y")})
    with pytest.raises(ValueError, match=r"same sites, got \['z'\] of q and \['y'\]"):
        compare_posteriors(q, renamed)
    with pytest.raises(ValueError, match="posterior draws of the reference, got the groups"):
        compare_posteriors(q, xr.DataTree.from_dict({"/prior": posterior}))
    with pytest.raises(TypeError, match="ArviZ tree for q, got Dataset"):
        compare_posteriors(posterior, reference)
    with pytest.raises(ValueError, match="at least 10, got 9"):
        compare_posteriors(q, reference, max_draws=9)
