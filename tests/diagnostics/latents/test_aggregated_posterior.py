import math
from types import SimpleNamespace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from pyro import poutine
from small_models import CASES, FixedCovariance, diagonal, flow, hierarchy, linear, ppca, vamp

from ppl_vae import VAE, Flat, Gaussian, Point, Program, StandardNormal, evaluate
from ppl_vae.casting import arguments
from ppl_vae.diagnostics.latents.active_units import active_units
from ppl_vae.diagnostics.latents.aggregated_posterior import aggregated_posterior
from ppl_vae.diagnostics.latents.energy import energy_test
from ppl_vae.draws import draws
from ppl_vae.evaluation import kl_per_unit
from ppl_vae.find_plates import find_plates
from ppl_vae.isolation import evaluating
from ppl_vae.split import Split
from ppl_vae.unconstrained.log_joint import LogJoint

TERMS = ("mutual_information", "total_correlation", "marginal_kl", "mean_kl")
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)


def gaussian_terms(weight, noise, s, shift):
    """What ELBO surgery gives for endless data, where q(z) and every q(z | x) are Gaussian."""
    latent_dim = weight.shape[1]
    eye = torch.eye(latent_dim).double()
    exact = torch.linalg.inv(eye + weight.T @ weight / noise**2)
    total = eye - exact + s**2 * exact  # covariance of the posterior means, and of each posterior
    variance = total.diagonal()
    dimwise = 0.5 * (variance + shift**2 - 1 - variance.log())
    found = {
        "mutual_information": 0.5 * (total.logdet() - (s**2 * exact).logdet()),
        "total_correlation": 0.5 * (variance.log().sum() - total.logdet()),
        "marginal_kl": 0.5 * (total.trace() + latent_dim * shift**2 - latent_dim - total.logdet()),
    }
    found["mean_kl"] = found["mutual_information"] + found["marginal_kl"]
    return {name: value.item() for name, value in found.items()} | {"dimwise_kl": dimwise.numpy()}


@pytest.mark.parametrize(("dim", "s", "shift"), [(5, 1.0, 0.0), (1, 2.0, 0.3)])
def test_surgery_equals_its_closed_form(dim, s, shift):
    n, num_samples, noise = 2000, 1500, 0.5
    model = ppca(s=s, shift=shift, n=n, dim=dim, noise=noise)
    exact = gaussian_terms(model.weight, noise, s, shift)
    found = aggregated_posterior(model.vae, model.x, num_samples=num_samples, seed=0)
    # n data in the place of endless ones: their noise, and the bias of q(z), chi^2 / 2n
    bias = math.exp(2 * exact["mutual_information"]) / n
    for name, value in exact.items():
        mcse = found[f"{name}_mcse"].values * math.sqrt(1 + num_samples / n)
        assert (abs(found[name].values - value) < 4 * mcse + bias).all(), (name, found[name].values, value, mcse, bias)
    if s == 2:
        assert exact["total_correlation"] > 2 * found.total_correlation_mcse  # there is some to be found
        assert found.p_value < 0.01
    else:
        assert found.p_value > 0.01
        assert found.energy_distance < found.energy_null


def test_it_adds_up():
    found = aggregated_posterior(*ppca(s=1.4, shift=0.2, noise=1.5)[:2], num_samples=100, seed=0)
    assert found.mean_kl.item() == pytest.approx((found.mutual_information + found.marginal_kl).item(), abs=1e-10)
    split = found.total_correlation + found.dimwise_kl.sum()
    assert found.marginal_kl.item() == pytest.approx(split.item(), abs=1e-10)
    assert found.identity == (
        "mean_kl = mutual_information + marginal_kl; marginal_kl = total_correlation + the sum of dimwise_kl"
    )
    assert found.log_n == pytest.approx(math.log(200))


def test_near_the_ceiling_there_is_no_answer_but_a_reason():
    model = ppca(n=500, dim=40, latent_dim=16)
    found = aggregated_posterior(model.vae, model.x, num_samples=300, seed=0)
    assert found.log_n - found.mutual_information < 0.1
    for name in ("marginal_kl", "total_correlation"):
        assert np.isnan(found[name])
        assert np.isnan(found[f"{name}_mcse"])
        assert "below its ceiling log N = 6.21, closer than 3: 500 data are too few" in found[name].attrs["reason"]
    assert found.mutual_information.attrs["reason"].startswith("a lower bound")
    assert "too few" in found.attrs["reason"]
    assert (found.dimwise_kl < 0.2).all()  # of posteriors as narrow as 1/20 of the prior, 500 data, in one dimension
    assert found.p_value > 0.01
    assert found.mean_kl.item() == pytest.approx(mean_kl(model), abs=4 * found.mean_kl_mcse.item())


def mean_kl(model):
    latent_dim = model.mean.shape[1]
    spread = model.covariance.trace() - latent_dim - model.covariance.logdet()
    return 0.5 * (spread + model.mean.square().sum(-1).mean()).item()


def by_quadrature(case, width=101):
    """The terms on a grid of two latents made real."""
    split = Split.of(case.x, *case.context, mask=case.mask)
    with evaluating(case.program, 0):
        joint = LogJoint(case.program, *arguments(case.program, split), find_plates(case.program, split))
        u = torch.cat([joint.from_guide(200).flatten(0, 1), joint.from_prior(200).flatten(0, 1)])
        low, high = u.min(0).values - 1, u.max(0).values + 1
        axes = [torch.linspace(low[i], high[i], width).double() for i in (0, 1)]
        grid = torch.cartesian_prod(*axes)
        parts = [joint(some.unsqueeze(1), guide=True) for some in grid.split(1000)]
    log_q_each = torch.cat([p.log_guide for p in parts])
    log_q, log_p = (
        torch.cat([getattr(p, which) for p in parts]).logsumexp(1) - math.log(len(split))
        for which in ("log_guide", "log_prior")
    )
    steps = [(axis[1] - axis[0]).item() for axis in axes]
    q, p = log_q.exp().reshape(width, width), log_p.exp().reshape(width, width)
    assert q.sum().item() * math.prod(steps) == pytest.approx(1, abs=1e-3)
    q, p = q / q.sum(), p / p.sum()
    sides = [(q.sum(1), p.sum(1)), (q.sum(0), p.sum(0))]
    each = torch.softmax(log_q_each, 0)
    return {
        "mutual_information": kl(each, q.flatten()[:, None]).item() / len(split),
        "marginal_kl": kl(q, p).item(),
        "total_correlation": kl(q, sides[0][0][:, None] * sides[1][0]).item(),
        "dimwise_kl": [kl(*side).item() for side in sides],
    }


def kl(q, p):
    return (torch.xlogy(q, q) - torch.xlogy(q, p + 1e-300)).sum()


def test_an_exact_q_is_rejected_as_often_as_the_level_says():
    n, num, noise = 300, 40, 0.5
    model = ppca(n=1, noise=noise)
    p = []
    for seed in range(num):
        z, e = torch.randn(n, 2).double(), torch.randn(n, 5).double()
        x = z @ model.weight.T + noise * e
        p.append(aggregated_posterior(model.vae, x, num_permutations=99, seed=seed).p_value.item())
    assert (np.array(p) <= 0.05).sum() <= scipy.stats.binom.ppf(0.999, num, 0.05)


def test_contexts_of_the_prior_are_no_difference():
    """Draws of a prior given a context share it with those of q, which makes them more alike."""

    def model(x, c):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(c, 0.1))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x, c):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(c, 0.1))

    p = []
    for seed in range(40):
        c = torch.randn(100).double()
        p.append(aggregated_posterior(Program(model, guide), c, c, num_permutations=99, seed=seed).p_value.item())
    assert (np.array(p) <= 0.05).sum() <= scipy.stats.binom.ppf(0.999, 40, 0.05)


@each_case
def test_every_kind_agrees_with_quadrature(case):
    made = case(60)
    exact = by_quadrature(made)
    found = aggregated_posterior(*made.args, mask=made.mask, seed=0)
    dimwise = [name for name in found if name.startswith("dimwise_kl") and not name.endswith("_mcse")]
    values = np.concatenate([found[name].values for name in dimwise])
    errors = np.concatenate([found[f"{name}_mcse"].values for name in dimwise])
    by_kernels = "kernel" in found.total_correlation.attrs["estimator"]
    assert by_kernels == (case is flow)
    for name in ("mutual_information", "marginal_kl"):
        assert found[name].item() == pytest.approx(exact[name], abs=4 * found[f"{name}_mcse"].item() + 2e-3), name
    rough = 0.1 if by_kernels else 0.02 if case is hierarchy else 2e-3
    error = 4 * found.total_correlation_mcse.item() + rough
    assert found.total_correlation.item() == pytest.approx(exact["total_correlation"], abs=error)
    assert (abs(values - exact["dimwise_kl"]) < 4 * errors + rough).all(), (values, exact["dimwise_kl"], errors)
    factorized = case not in (hierarchy, vamp)
    assert ("do not add up" in found.identity) != factorized


def test_a_prior_with_a_context_is_averaged_as_q_is():
    def model(x, c):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(c, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x, c):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(c, 1.0))

    c = torch.tensor([-1.0, 1.0]).double().repeat(100)
    found = aggregated_posterior(Program(model, guide), c.clone(), c, num_samples=4000, seed=0)
    assert found.marginal_kl.item() == pytest.approx(0, abs=1e-10)
    assert found.mean_kl.item() == pytest.approx(0, abs=1e-10)
    assert found.dimwise_kl.item() == pytest.approx(0, abs=1e-10)
    z = torch.linspace(-9, 9, 20001).double()
    q = 0.5 * (dist.Normal(-1, 1).log_prob(z).exp() + dist.Normal(1, 1).log_prob(z).exp())
    entropy = -torch.trapezoid(torch.xlogy(q, q), z).item()
    information = entropy - 0.5 * math.log(2 * math.pi * math.e)
    assert found.mutual_information.item() == pytest.approx(information, abs=4 * found.mutual_information_mcse.item())
    assert "less than mutual_information + marginal_kl by what the contexts say" in found.identity


@pytest.mark.parametrize("given", ["x", "mask"])
def test_a_prior_without_a_context_may_differ_between_data(given):
    """What p(z) depends on may be a column of x, or the mask; the KL is that of a context of the same values."""

    def center(x, mask):
        return x[:, 0] if given == "x" else 6.0 * mask[:, 1].to(x)

    def model(x, c=None, mask=True):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(center(x, mask) if c is None else c, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 2])

    def guide(x, c=None, mask=True):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(((center(x, mask) if c is None else c) + x[:, 2]) / 2, 0.5**0.5))

    x = torch.randn(200, 3).double() * 3
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[::2, 1] = False
    program = Program(model, guide)
    found = aggregated_posterior(program, x, mask=mask, num_samples=4000, seed=0)
    by_context = aggregated_posterior(program, x, center(x, mask), mask=mask, num_samples=4000, seed=0)
    for name in found:
        np.testing.assert_allclose(found[name], by_context[name])
    c = center(x, mask)
    exact = torch.distributions.kl_divergence(dist.Normal((c + x[:, 2]) / 2, 0.5**0.5), dist.Normal(c, 1.0)).mean()
    assert found.mean_kl.item() == pytest.approx(exact.item(), abs=4 * found.mean_kl_mcse.item())
    assert "less than mutual_information + marginal_kl" in found.identity


def test_a_context_that_the_prior_is_not_given_takes_no_more_of_it():
    rows = []

    def model(x, *context):
        rows.append(len(x))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x, *context):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))

    x = torch.randn(200)
    taken = []
    for context in ((), (x,)):
        rows.clear()
        aggregated_posterior(Program(model, guide), x, *context, num_samples=100, seed=0)
        taken.append(sum(rows))
    assert taken[0] == taken[1]


def test_the_decoder_is_left_alone_and_chunks_change_nothing():
    model = ppca(n=300, s=1.3)
    rows = []
    model.vae.likelihood.net.register_forward_hook(lambda *args: rows.append(args[-1][..., 0].numel()))
    one, other = (aggregated_posterior(*model[:2], num_samples=50, seed=3, max_rows=m) for m in (10_000, 70))
    assert sum(rows) < 100  # of 15,000 pairs, twice
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-9)


def test_scales_are_not_seen_and_nothing_changes():
    model = ppca(n=300)
    program = Program(poutine.scale(model.vae.model, 0.1), poutine.scale(model.vae.guide, 0.1), model.vae)
    before = {name: p.clone() for name, p in model.vae.named_parameters()}
    state = torch.get_rng_state()
    plain, scaled = (aggregated_posterior(p, model.x, num_samples=50, seed=0) for p in (model.vae, program))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(p, before[name]) and p.requires_grad for name, p in model.vae.named_parameters())
    for name in plain:
        np.testing.assert_allclose(plain[name], scaled[name], rtol=1e-10)


def test_every_number_has_units_and_the_whole_a_blind_spot():
    for found in (aggregated_posterior(*hierarchy(40).args, seed=0), active_units(*hierarchy(40).args, seed=0)):
        assert all(found[name].attrs["units"] for name in found)
        assert {"cannot_see", "seed", "model", "data"} <= set(found.attrs)
        assert {"latent_z1", "latent_z2"} <= set(found.dims)


def test_one_datum():
    found = aggregated_posterior(*diagonal(1).args, seed=0)
    assert found.log_n == found.mutual_information == 0
    assert np.isnan(found.marginal_kl)
    assert np.isnan(found.p_value)
    assert np.isfinite(found.dimwise_kl).all()


def vae_with(prior, posterior):
    return VAE(prior, Gaussian(2, (3,), linear(torch.ones(3, 2).double())), posterior).double()


@pytest.mark.parametrize("diagnostic", [aggregated_posterior, active_units])
def test_what_is_refused(diagnostic):
    x = torch.randn(30, 3).double()
    caller = diagnostic.__name__
    model = ppca(n=30)
    with pytest.raises(ValueError, match=f"{caller} expects .* draws or more, got num_samples=1"):
        diagnostic(*model[:2], num_samples=1)
    with pytest.raises(ValueError, match="max_rows to be a whole number from 1 on, got 0"):
        diagnostic(*model[:2], max_rows=0)
    with pytest.raises(ValueError, match="point mass"):
        diagnostic(vae_with(StandardNormal(2), Point((3,), 2)), x)
    with pytest.raises(ValueError, match=r"point mass|improper"):
        diagnostic(vae_with(Flat(2), Point((3,), 2)), x)
    with pytest.raises(ValueError, match="at least one datum"):
        diagnostic(model.vae, model.x[:0])
    with pytest.raises(ValueError, match="finite values"):
        diagnostic(model.vae, model.x * math.nan)
    with pytest.raises(TypeError, match=f"{caller} expects a module"):
        diagnostic(SimpleNamespace(), x)

    def guide(x):
        pyro.sample("z", dist.Normal(0.0, 1.0))

    def model_of(x):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(z, 1.0).expand([3]).to_event(1), obs=x)

    with pytest.raises(ValueError, match="global latent"):
        diagnostic(Program(model_of, guide), x)
    with pytest.raises(ValueError, match="same sites"):
        diagnostic(Program(model_of, lambda x: None), x)

    def coin(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(0.5))

    def model_of_coin(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5))
            pyro.sample("x", dist.Normal(z.unsqueeze(-1), 1.0).expand([*z.shape, 3]).to_event(1), obs=x)

    with pytest.raises(ValueError, match="discrete"):
        diagnostic(Program(model_of_coin, coin), x)


def test_one_datum_has_no_active_units():
    with pytest.raises(ValueError, match="two data or more, got one"):
        active_units(*diagonal(1).args)


def test_energy_distance_is_scipys():
    x, y = torch.randn(300, 1), torch.randn(200, 1) + 0.3
    expected = scipy.stats.energy_distance(x.flatten(), y.flatten())
    assert energy_test(x, y).distance == pytest.approx(expected, rel=1e-6)
    g = torch.Generator().manual_seed(0)
    assert energy_test(x, y, max_samples=50, generator=g).distance != pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("unit", [2.0**-90, 2.0**-43, 2.0**90])
def test_the_energy_test_does_not_depend_on_units(unit):
    x, y = torch.randn(100, 2, dtype=torch.float64), torch.randn(80, 2, dtype=torch.float64) + 1

    def tested(unit):
        return energy_test(x * unit, y * unit, generator=torch.Generator().manual_seed(0))

    distance, mcse, p_value, p_value_mcse, null = tested(1.0)
    assert p_value < 0.01
    root = unit**0.5
    assert tested(unit) == pytest.approx(
        (distance * root, mcse * root, p_value, p_value_mcse, null * root), rel=1e-9, abs=0
    )
    assert energy_test(torch.ones(3, 2), torch.ones(4, 2))[:3] == (0.0, 0.0, 1.0)


def test_p_values_of_the_energy_test_are_uniform():
    """Under the null in two dimensions, 400 times: the distance from uniform that 1 in 1,000 such sets exceeds."""
    p = [energy_test(*torch.randn(2, 30, 2), num_permutations=199).p_value for _ in range(400)]
    spread = np.array(p) - np.random.rand(400) / 200  # p is one of 200 values
    assert scipy.stats.kstest(spread, "uniform").pvalue > 0.001


def test_the_error_of_the_energy_distance():
    tests = [energy_test(torch.randn(200, 3), torch.randn(200, 3) * 1.3 + 0.5, num_permutations=1) for _ in range(200)]
    distance, mcse = np.array([t.distance for t in tests]), np.array([t.mcse for t in tests])
    assert mcse.mean() == pytest.approx(distance.std(), rel=4 / math.sqrt(400))  # of a standard deviation


@pytest.mark.parametrize("shapes", [((30, 2), (30, 3)), ((1, 2), (30, 2)), ((30,), (30,))])
def test_samples_that_cannot_be_tested(shapes):
    with pytest.raises(ValueError, match="energy_test expects samples"):
        energy_test(*map(torch.randn, shapes))


def rotated(is_turned, n=1000):
    """Probabilistic PCA in which one direction of four matters, turned over all of them."""
    g = torch.Generator().manual_seed(0)
    turn = torch.eye(4).double()
    if is_turned:  # every unit gets a quarter
        turn = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]).double() / 2
    weight = torch.zeros(6, 4).double()
    weight[:, 0] = torch.randn(6, generator=g).double()
    weight = weight @ turn.T
    covariance = torch.linalg.inv(torch.eye(4) + weight.T @ weight)
    posterior = FixedCovariance(covariance @ weight.T, covariance)
    x = torch.randn(n, 4, generator=g).double() @ weight.T + torch.randn(n, 6, generator=g).double()
    vae = VAE(StandardNormal(4), Gaussian(4, (6,), linear(weight), scale=1.0), posterior).double()
    return vae, x, x @ (covariance @ weight.T).T


@pytest.mark.parametrize("turned", [False, True])
def test_a_rotation_activates_units_but_no_direction(turned):
    vae, x, mean = rotated(turned)
    found = active_units(vae, x, seed=0)
    assert found.num_active_directions == 1
    assert found.num_active_units == (4 if turned else 1)
    covariance = mean.T.cov(correction=0)
    np.testing.assert_allclose(found.variance, covariance.diagonal(), atol=5e-3)  # 1,000 draws for 1,000 data
    np.testing.assert_allclose(found.eigenvalue, torch.linalg.eigvalsh(covariance).flip(0), atol=5e-3)
    assert np.isnan(found.collapsed).all()  # of a q whose units depend on each other, no KL of a unit and datum
    assert found.kl.attrs["estimator"] == "dimension-wise KL"


def test_the_noise_of_few_draws_is_taken_off():
    vae, x, mean = rotated(False, n=400)
    repeats = [active_units(vae, x, seed=seed, num_samples=25) for seed in range(5)]
    variance, largest = (np.stack([found[name] for found in repeats]) for name in ("variance", "eigenvalue"))
    error = variance.std(0, ddof=1) / math.sqrt(5)
    assert (abs(variance.mean(0)[1:]) < 4 * error[1:] + 1e-3).all()  # 1 / 25 if it were not
    assert largest[:, 0].mean() == pytest.approx(mean[:, 0].var().item(), abs=4 * largest[:, 0].std() + 1e-3)


def collapsing(x):
    with pyro.plate("data", len(x)):
        loc = torch.stack([x, 0 * x, 0 * x], -1)
        pyro.sample("z", dist.Normal(loc, x.new_tensor([0.5, 1.0, 0.9])).to_event(1))


def test_collapse_is_named_by_unit():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(3), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z[..., 0], 1.0), obs=x)

    x = torch.randn(200).double()
    program = Program(model, collapsing)
    found = active_units(program, x, seed=0)
    assert found.collapsed.values.tolist() == [0, 1, 0]
    assert found.attrs["collapsed"] == "z[1]"
    assert found.active.values.tolist() == [True, False, False]  # the last is not active and yet costs something
    expected = 0.5 * (0.81 - 1 - math.log(0.81))
    np.testing.assert_allclose(found.kl[1:], [0, expected], atol=1e-12)
    np.testing.assert_allclose(found.kl_se, [(x.square() / 2).std().item() / math.sqrt(200), 0, 0], atol=1e-12)
    assert active_units(program, x, seed=0, epsilon=0.02).attrs["collapsed"] == "z[1], z[2]"
    wide = 0.5 * (0.25 + x.square() - 1 - math.log(0.25))
    assert found.share_below[0] == pytest.approx((wide < 0.01).double().mean().item())


@each_case
def test_active_units_of_every_kind(case):
    n, num_samples = 40, 1000
    made = case(n)
    found = active_units(*made.args, mask=made.mask, seed=0, num_samples=num_samples)
    variance = evaluate(*made.args, mask=made.mask, seed=0).unit_variance
    with evaluating(made.program, 0):
        _, drawn = next(draws(made.program, Split.of(made.x, *made.context, mask=made.mask), 250))
    costs = kl_per_unit(*made.args, mask=made.mask, seed=0)
    for site, (values, what) in costs.items():
        end = f"_{site}" if len(costs) > 1 else ""
        noise = drawn.z[site].reshape(250, n, -1).var(0).mean(0).numpy() / num_samples
        error = 4 * 2 * np.sqrt(2 / n * noise * np.array(variance[site])) + 4 * noise
        assert (abs(found[f"variance{end}"] - variance[site]) < error).all()
        assert found[f"eigenvalue{end}"].sum() == pytest.approx(found[f"variance{end}"].sum().item())
        assert found[f"kl{end}"].attrs["estimator"] == what
        assert np.isnan(found[f"collapsed{end}"]).all() == (what != "KL")
        if what == "KL" and case is not hierarchy:  # whose lower level is seen at one draw of the upper
            np.testing.assert_allclose(found[f"kl{end}"], values)
