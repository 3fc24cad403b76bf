"""Error bars against what can be worked out: over all data called good, for discrete latents, and for one datum."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats

from ppl_vae import Program, evaluate
from ppl_vae.diagnostics import check_guide, elpd, inference_gaps, log_marginal_likelihood
from ppl_vae.diagnostics import log_weights as log_weights_of
from ppl_vae.distributions import MOST_STATES
from ppl_vae.evaluation import Evaluation, compare
from ppl_vae.evaluation.compare import printed
from ppl_vae.importance import good_k, log_marginal, psis, standard_error, tail_error


def log_weights(scales, shift, num_draws, num_data, seed):
    """Of p = N(0, I) under q = N(shift, diag(scales^2)), whose mean is 1, and KL(q || p)."""
    generator = torch.Generator().manual_seed(seed)
    log_w = torch.zeros(num_draws, num_data, dtype=torch.float64)
    kl = 0.0
    for scale in scales:
        e = torch.randn(num_draws, num_data, dtype=torch.float64, generator=generator)
        log_w += 0.5 * e.square() - 0.5 * (shift + scale * e).square() + math.log(scale)
        kl += 0.5 * (scale**2 + shift**2 - 1) - math.log(scale)
    return log_w, kl


@pytest.mark.parametrize("dim", [2, 10])
@pytest.mark.parametrize(("shift", "scale"), [(0.0, 0.9), (0.2, 0.8), (0.0, 0.7)])
def test_error_bars_hold_over_all_data_with_a_good_k_hat(dim, shift, scale):
    num_draws, num_data = 1000, 600
    log_w, kl = log_weights([scale] * dim, shift, num_draws, num_data, seed=dim)
    good = psis(log_w)[1] <= good_k(num_draws)
    found, tail = log_marginal(log_w), tail_error(log_w)
    weight = (log_w - found.estimate).exp()
    gap = found.estimate - log_w.mean(0)
    noise = 3 * math.sqrt(0.05 * 0.95 / int(good.sum()))
    for error, mcse in ((found.estimate, standard_error(weight)), (gap - kl, standard_error(weight - log_w))):
        held = (error.abs() <= 1.96 * torch.hypot(mcse, tail))[good].double().mean()
        assert 0.93 - noise < held < 0.97 + noise


def test_light_tails_add_nothing():
    """An exact q, one that is too wide, and few draws."""
    assert tail_error(torch.full((1000, 2), -7.0)).equal(torch.zeros(2).double())
    wide, _ = log_weights([1.5, 1.5], 0.0, 1000, 100, seed=0)
    assert (tail_error(wide) < 0.01 * log_marginal(wide).mcse).all()
    assert tail_error(wide[:24]).equal(torch.zeros(100).double())
    half = torch.where(torch.arange(1000)[:, None] < 300, 0.0, -math.inf).expand(1000, 2)
    assert tail_error(half).equal(torch.zeros(2).double())  # most weights are 0


def test_one_error_in_every_result():
    program, x = gaussian(0.7), torch.zeros(5, 2).double()
    call = {"num_samples": 200, "seed": 0, "progress": False}
    log_w = torch.as_tensor(log_weights_of(program, x, **call)["log_weight"].values)
    weight = (log_w - log_marginal(log_w).estimate).exp()
    error = torch.hypot(standard_error(weight), tail_error(log_w))
    assert (error > 1.05 * standard_error(weight)).all()
    np.testing.assert_allclose(log_marginal_likelihood(program, x, **call).log_px_mcse, error, rtol=1e-10)
    np.testing.assert_allclose(elpd(program, x, **call).per_datum.log_px_mcse, error, rtol=1e-10)
    gaps = inference_gaps(program, x, num_steps=1, **call)
    assert (gaps.log_px_mcse > 0).all()


def gaussian(scale):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2).double(), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, scale / 2**0.5).to_event(1))

    return Program(model, guide)


def discrete(num_states, num_latents=1, *, power=2.0, independent=False):
    """Latents whose states q gives too little weight, log p(x) summed by hand."""
    generator = torch.Generator().manual_seed(0)
    logits = 1.5 * torch.randn(num_latents, num_states, 10, generator=generator).double()
    prior = torch.arange(1.0, num_states + 1).double().softmax(0)

    def joint(x):
        states = torch.cartesian_prod(*[torch.arange(num_states)] * num_latents).reshape(-1, num_latents)
        mean = logits[torch.arange(num_latents), states].sum(1)
        return dist.Bernoulli(logits=mean).log_prob(x[:, None]).sum(-1) + prior[states].log().sum(-1)

    def model(x):
        with pyro.plate("data", len(x)):
            if independent:
                z = pyro.sample("z", dist.Categorical(prior).expand([num_latents]).to_event(1))
            else:
                parts = [pyro.sample(f"z{i}", dist.Categorical(prior)) for i in range(num_latents)]
                z = torch.stack(torch.broadcast_tensors(*parts), -1)
            mean = logits[torch.arange(num_latents), z].sum(-2)
            pyro.sample("x", dist.Bernoulli(logits=mean).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            each = power * dist.Bernoulli(logits=logits[:, :, None]).log_prob(x).sum(-1)  # latents, states, data
            if independent:
                pyro.sample("z", dist.Categorical(logits=each.permute(2, 0, 1)).to_event(1))
            else:
                for i in range(num_latents):
                    pyro.sample(f"z{i}", dist.Categorical(logits=each[i].T))

    x = dist.Bernoulli(torch.full((40, 10), 0.5).double()).sample()
    return Program(model, guide), x, joint(x).logsumexp(1).numpy()


@pytest.mark.parametrize(("num_states", "num_latents"), [(4, 1), (3, 2), (2, 5)])
@pytest.mark.parametrize("independent", [False, True])
def test_discrete_latents_are_summed_over(num_states, num_latents, independent):
    program, x, exact = discrete(num_states, num_latents, independent=independent)
    result = evaluate(program, x, num_samples=50, seed=0, progress=False)
    table = result.per_datum
    np.testing.assert_allclose(table.log_px, exact, rtol=1e-10)
    assert table[["log_px_mcse", "kl_gap_mcse", "elbo_mcse"]].eq(0).all(axis=None)
    assert (table.kl_gap >= -1e-12).all()
    np.testing.assert_allclose(table.kl_gap, table.log_px - table.elbo, atol=1e-12)
    drawn = evaluate(program, x, num_samples=20_000, seed=1, progress=False, max_rows=10**6).per_datum
    np.testing.assert_allclose(drawn.elbo, table.elbo, rtol=1e-10)  # no draw is in it
    assert result.exact
    assert result.unreliable == 0
    assert "no k-hat: the weights of a discrete q have no tail, and need none" in repr(result)
    assert "Yes: it is the sum over all states" in check_guide(program, x, num_samples=50, seed=0).report()
    for method in ("iwae", "prior"):
        found = log_marginal_likelihood(program, x, method=method, num_samples=50, seed=0, progress=False)
        np.testing.assert_allclose(found.log_px, exact, rtol=1e-10)
        assert (found.log_px_mcse == 0).all()


def test_states_that_are_too_many_leave_the_error_unknown(tmp_path):
    program, x, _ = discrete(2, 13)
    assert MOST_STATES < 2**13
    result = evaluate(program, x[:3], num_samples=50, seed=0, progress=False)
    assert result.per_datum[["log_px_mcse", "kl_gap_mcse", "log_px_bias"]].isna().all(axis=None)
    assert result.per_datum.kl_gap.notna().all()
    assert not result.exact
    assert not result.one_code
    assert result.unreliable == 1
    assert "the error of log p(x) is not known for 3 of 3 data" in repr(result)
    assert "It cannot be told: of 3 data some states" in check_guide(program, x[:3], num_samples=50, seed=0).report()
    result.save(tmp_path / "evaluation.json")
    assert Evaluation.load(tmp_path / "evaluation.json").unreliable == 1


def test_a_discrete_latent_beside_a_density_is_known_where_all_its_states_were_drawn():
    def model(x):
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Bernoulli(torch.tensor(0.5).double()))
            z = pyro.sample("z", dist.Normal(torch.tensor(0.0).double(), 1.0))
            pyro.sample("x", dist.Normal(z + 6 * y, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Bernoulli(logits=6 * (x - 3)))
            pyro.sample("z", dist.Normal((x - 6 * y) / 2, 0.75))

    x = torch.tensor([-3.0, 3.0]).double()
    result = evaluate(Program(model, guide), x, num_samples=1000, seed=0, progress=False)
    assert np.isnan(result.per_datum.log_px_mcse[0])  # 1 was never drawn
    exact = np.log(0.5 * stats.norm.pdf(3, 0, 2**0.5) + 0.5 * stats.norm.pdf(3, 6, 2**0.5))
    assert abs(result.per_datum.log_px[1] - exact) < 4 * result.per_datum.log_px_mcse[1]
    assert result.unreliable == 0.5
    assert "not known for 1 of 2 data" in repr(result)


def test_one_datum_has_no_standard_error():
    result = evaluate(gaussian(0.8), torch.zeros(1, 2).double(), num_samples=100, seed=0, progress=False)
    assert result.summary.se.isna().all()
    assert np.isnan(elpd(gaussian(0.8), torch.zeros(1, 2).double(), num_samples=100, seed=0).se)
    assert standard_error(torch.zeros(1, 3)).isnan().all()
    assert compare({"a": result}).nll_se.isna().all()
    assert "of one datum" in check_guide(gaussian(0.8), torch.zeros(1, 2).double(), num_samples=100, seed=0).report()


def test_a_table_says_what_cannot_be_believed():
    x = torch.randn(30, 2, generator=torch.Generator().manual_seed(0)).double()
    results = {
        name: evaluate(gaussian(scale), x, num_samples=200, seed=0, progress=False)
        for name, scale in (("close", 1.0), ("narrow", 0.2))
    }
    table = compare(results)
    assert results["narrow"].unreliable > 0.5
    assert table.caution["close"] == ""
    assert "log p(x) cannot be believed for" in table.caution["narrow"]
    assert "The order is not certain. narrow: nll is an upper bound" in printed(table)
    assert "nll (nats per datum)" in printed(table)
    assert compare({"close": results["close"]}).attrs["warning"] == ""


@pytest.mark.parametrize("site", ["gap", "gap_mcse", "gap_", "z_mcse", "px"])
def test_a_site_may_have_any_name(site):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample(site, dist.Normal(torch.zeros(2).double(), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample(site, dist.Normal(x / 2, 0.7).to_event(1))

    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).double()
    found = evaluate(Program(model, guide), x, num_samples=50, seed=0, progress=False)
    other = evaluate(gaussian(0.7 * 2**0.5), x, num_samples=50, seed=0, progress=False)
    np.testing.assert_allclose(found.per_datum.to_numpy(), other.per_datum.to_numpy(), rtol=1e-6, atol=1e-9)
    assert compare({"a": found}).kl["a"] == pytest.approx(compare({"a": other}).kl["a"])
    assert len(found.summary) == len(other.summary)
