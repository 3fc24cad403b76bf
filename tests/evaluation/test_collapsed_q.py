"""A q narrower than the spacing of floating-point numbers: its equal weights are no sign of an exact q."""

import math
import re

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from ppl_vae import Program, diagnose, distributions, evaluate, impute, to_arviz
from ppl_vae.diagnostics import ais, inference_gaps
from ppl_vae.site_values import coarse
from ppl_vae.traces import Plates


def program(scale: float, dtype=torch.float32) -> Program:
    """p(x) = N(0, 2), with q around the mean of the posterior, whose standard deviation is sqrt(1 / 2)."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=dtype), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, scale))

    return Program(model, guide)


def data(n: int, dtype=torch.float32) -> torch.Tensor:
    return torch.linspace(0.5, 4.0, n, dtype=dtype)


@pytest.mark.parametrize(
    ("scale", "dtype"),
    [(3e-8, torch.float32), (1e-9, torch.float32), (1e-30, torch.float32), (1e-20, torch.float64)],
)
def test_log_px_by_draws_that_coincide_is_not_believed_and_adaptive_mends_it(scale, dtype):
    x, q = data(20, dtype), program(scale, dtype)
    exact = dist.Normal(0.0, 2**0.5).log_prob(x.double()).numpy()
    found = evaluate(q, x, seed=0)
    assert np.isinf(found.per_datum.pareto_k).all()
    assert found.per_datum[["log_px_mcse", "elbo_mcse", "kl_gap_mcse"]].isna().all(axis=None)
    assert found.unreliable == 1
    assert found.collapsed == 20
    assert "draws of a narrow q coincide for 20 data: ELBO and log p(x) are not known there" in repr(found)
    mended = evaluate(q, x, seed=0, method="adaptive").per_datum
    assert mended.believed.all()
    # 5 of the largest error, and what float32 rounds of log p(x, z)
    np.testing.assert_allclose(mended.log_px, exact, rtol=0, atol=5 * mended.log_px_mcse.max() + 1e-4)


@pytest.mark.parametrize("scale", [1e-5, 1e-3])
def test_a_narrow_q_whose_draws_differ_has_a_high_k_hat_and_is_mended(scale):
    x = data(20)
    found = evaluate(program(scale), x, seed=0)
    assert found.collapsed == 0
    assert found.unreliable > 0.5
    mended = evaluate(program(scale), x, seed=0, method="adaptive").per_datum
    exact = dist.Normal(0.0, 2**0.5).log_prob(x.double()).numpy()
    assert mended.believed.all()
    np.testing.assert_allclose(mended.log_px, exact, rtol=0, atol=5 * mended.log_px_mcse.max() + 1e-4)


def test_one_such_datum_leaves_the_others_as_they_are():
    x = data(10)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, torch.where(x == x.max(), 1e-12, 0.5**0.5)))

    q = Program(program(1.0).model, guide)
    found = evaluate(q, x, seed=0)
    assert found.per_datum.pareto_k.eq(math.inf).tolist() == [False] * 9 + [True]
    assert found.per_datum.log_px_mcse.isna().tolist() == [False] * 9 + [True]
    assert "coincide for 1 datum" in repr(found)


def test_diagnostics_do_not_believe_it():
    q, x = program(1e-9), data(10)
    gaps = inference_gaps(q, x, seed=0, num_steps=10, num_samples=100)
    assert np.isinf(gaps.pareto_k).all()
    assert all(gaps[f"{name}_mcse"].isnull().all() for name in ("kl_gap", "approximation_gap"))
    assert ais(q, x, init="guide", seed=0, num_temperatures=10).log_px_mcse.isnull().all()
    assert ais(q, x, init="prior", seed=0, num_temperatures=10).log_px_mcse.notnull().all()
    said = diagnose(q, x, seed=0, num_samples=100)
    assert "q is so narrow that its draws coincide for 10" in said.report()
    assert "q is so narrow that its draws coincide for 100%" in said.in_short()
    assert not re.search("discrete latent|states were not", said.report() + said.in_short())


def test_weights_of_such_draws_are_not_believed_by_impute():
    def model(x, mask=True, beta=1.0):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[..., None].expand(*z.shape, 2), 1.0).mask(mask).to_event(1), obs=x)

    def guide(x, mask=True, beta=1.0):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, 0] / 2, 1e-9))

    x, mask = torch.stack([data(10), torch.zeros(10)], 1), torch.tensor([True, False]).expand(10, 2)
    given = {"mask": mask, "seed": 0, "num_samples": 500, "num_draws": 50}
    assert impute(Program(model, guide), x, **given).pareto_k.isinf().all()
    mended = impute(Program(model, guide), x, method="adaptive", **given)
    assert (mended.pareto_k < mended.good_k).all()
    torch.testing.assert_close(mended.mean[:, 1], x[:, 0] / 2, rtol=0, atol=0.2)  # 5 of sqrt(1 / 2 / ESS 300)


def close(fn, num_draws: int = 100) -> list[bool]:
    torch.manual_seed(0)
    site = {"name": "z", "fn": fn, "value": fn.sample((num_draws,)), "mask": None, "infer": {}}
    return coarse([site], Plates(size=fn.batch_shape[-1], data=-1, depth=1)).tolist()


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (dist.Normal(torch.tensor([1.0, 1.0, 0.0]), torch.tensor([1e-8, 1e-4, 1e-30])), [True, False, False]),
        (dist.Normal(torch.tensor([1e4, 1e4]), torch.tensor([1e-4, 10.0])), [True, False]),
        (dist.Normal(torch.ones(2, 3), torch.tensor([[1.0, 1.0, 1e-9], [1.0, 1.0, 1.0]])).to_event(1), [True, False]),
        (dist.Beta(torch.tensor([1e20, 2.0]), torch.tensor([1e20, 2.0])), [True, False]),
        (distributions.Beta(torch.tensor([1e20]), torch.tensor([1.0])), [False]),  # the mass that is rounded to 1
        (distributions.RelaxedBernoulli(torch.tensor(0.1), torch.tensor([50.0])), [False]),
        (dist.Dirichlet(torch.tensor([[1e-3, 1e-3, 1e3], [1e20, 1e20, 1e20]])), [False, True]),
        (distributions.PowerSpherical(torch.tensor([[1.0, 0.0]]), torch.tensor([1e6])), [False]),
        (dist.Bernoulli(torch.tensor([1.0])), [False]),
        (dist.Delta(torch.tensor([1.0])), [False]),
    ],
)
def test_which_draws_lie_too_close_together(fn, expected):
    assert close(fn) == expected


def test_whole_numbers_of_a_distribution_without_a_support_have_no_spacing():
    class Whole(dist.Categorical):
        @property
        def support(self):
            raise NotImplementedError

    assert close(Whole(torch.ones(2, 3))) == [False, False]


def test_of_few_draws_equal_ones_alone_are_too_close():
    fn = dist.Normal(torch.tensor([1.0, 1.0, 0.0]), torch.tensor([1e-9, 3e-7, 1e-30]))
    assert close(fn, num_draws=4) == [True, False, False]
    assert close(fn, num_draws=1) == [False, False, False]
    assert math.isnan(evaluate(program(1e-9), data(1), num_samples=4, seed=0).per_datum.elbo_mcse[0])


def test_a_right_and_narrow_q_is_believed():
    """Its standard deviation is 33 spacings of float32 at 2,000: rounding moves log q of a draw by 0.01 nats."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(2000.0, 50.0))
            pyro.sample("x", dist.Normal(z - 2000, 0.004), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x + 2000, 0.004))

    x = torch.zeros(5)
    for method in ("importance", "adaptive"):
        found = evaluate(Program(model, guide), x, seed=0, method=method)
        assert found.unreliable == 0
        exact = dist.Normal(0.0, (50**2 + 0.004**2) ** 0.5).log_prob(torch.tensor(0.0).double()).item()
        np.testing.assert_allclose(found.per_datum.log_px, exact, rtol=0, atol=1e-3)


def test_a_coordinate_narrower_than_float32_is_never_believed():
    """Proposals that are fitted to it coincide, too: log p(x) was 372 nats too low, and believed."""

    def site(x, scale):
        return dist.Normal(torch.tensor([0.0, 1.0]).expand(len(x), 2), torch.tensor([scale, 1e-12])).to_event(1)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", site(x, 1.0))
            pyro.sample("x", dist.Normal(z[..., :1], 0.3).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", site(x, 0.3))

    x = torch.tensor([[0.1], [0.2], [0.3]])
    found = evaluate(Program(model, guide), x, seed=0, method="adaptive")
    assert not found.per_datum.believed.any()
    exact = dist.Normal(0.0, 1.09**0.5).log_prob(x[:, 0].double()).numpy()
    np.testing.assert_allclose(found.per_datum.log_px, exact, rtol=0, atol=0.1)  # of q, which is right there
    assert "NaN at some draws of 3 data, which are not believed, or all their draws coincide" in repr(found)


def test_what_a_mask_leaves_out_may_be_as_narrow_as_it_likes():
    seen = torch.tensor([[True, True], [True, False]])

    def model(x):
        with pyro.plate("data", len(x), dim=-2), pyro.plate("t", 2, dim=-1), pyro.poutine.mask(mask=seen[: len(x)]):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 2), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-2), pyro.plate("t", 2, dim=-1), pyro.poutine.mask(mask=seen[: len(x)]):
            pyro.sample("z", dist.Normal(torch.ones_like(x), torch.where(seen[: len(x)], 0.7, 1e-13)))

    trace = pyro.poutine.trace(guide).get_trace(torch.zeros(2, 2))
    values = trace.nodes["z"]["fn"].sample((100,))
    assert coarse([{**trace.nodes["z"], "value": values}], Plates(size=2, data=-2, depth=2)).tolist() == [False, False]
    unmasked = {**trace.nodes["z"], "value": values, "mask": None}
    assert coarse([unmasked], Plates(size=2, data=-2, depth=2)).tolist() == [False, True]


def test_states_that_were_not_drawn_are_not_said_to_be_a_narrow_q():
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Categorical(torch.ones(5000)))
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 0.01), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Categorical(torch.ones(5000)))
            pyro.sample("z", dist.Normal(x + 3, 0.1))

    found = evaluate(Program(model, guide), torch.linspace(-1, 1, 6), num_samples=100, seed=0)
    assert found.per_datum.log_px_mcse.isna().all()
    assert found.collapsed == 0


def test_ais_from_the_prior_asks_for_no_density_of_its_first_draws():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(1.0, 1e-9))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x, 1.0))

    found = ais(Program(model, guide), -torch.ones(1), init="prior", seed=0, num_temperatures=10)
    assert found.log_px.item() == pytest.approx(dist.Normal(1.0, 0.5).log_prob(torch.tensor(-1.0)).item(), abs=1e-3)
    assert found.log_px_mcse.notnull().all()


@pytest.mark.parametrize("verb", [diagnose, inference_gaps, to_arviz])
def test_a_density_that_is_not_finite_is_no_error(verb):
    verb(program(1e-30), data(5), seed=0, num_samples=50)
