"""A q narrower than the spacing of floating-point numbers: its equal weights are no sign of an exact q."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from ppl_vae import Program, diagnose, distributions, evaluate, impute
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
    [(1e-7, torch.float32), (1e-9, torch.float32), (1e-30, torch.float32), (1e-20, torch.float64)],
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
    said = diagnose(q, x, seed=0, num_samples=100).report()
    assert "q is so narrow that its draws coincide for 10" in said
    assert "discrete latent" not in said


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
    site = {"name": "z", "fn": fn, "value": fn.sample((num_draws,)), "type": "sample", "cond_indep_stack": ()}
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
    assert close(fn, num_draws=4) == [False] * len(expected)  # so few may do so by chance
