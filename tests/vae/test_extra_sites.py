"""Programs with sites that are no data: `pyro.deterministic` and `pyro.factor`, and plates as long as the data."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch.testing import assert_close

from ppl_vae import Program, diagnose, evaluate, fit, objectives, to_arviz

X = torch.randn(40, generator=torch.Generator().manual_seed(0))
QUIET = {"seed": 0, "progress": False}


def program(deterministic=None, factor=0.0):
    """z ~ N(0, 1), x ~ N(2 z, 1), with 2 z kept, or the joint density times exp(factor)."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            if deterministic is not None:
                pyro.deterministic("mean", 2 * z, event_dim=deterministic or None)
            if factor:
                pyro.factor("weight", factor * torch.ones_like(z))
            pyro.sample("x", dist.Normal(2 * z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.4 * x, 0.2**0.5))

    return Program(model, guide)


EXACT = dist.Normal(0.0, 5**0.5).log_prob(X).double().numpy()


def test_a_deterministic_site_is_no_data():
    kept = program(deterministic=0)
    tree = to_arviz(kept, X, num_samples=30, **QUIET)
    assert list(tree.observed_data.data_vars) == list(tree.posterior_predictive.data_vars) == ["x"]
    assert evaluate(kept, X, **QUIET).per_datum.log_px.to_numpy() == pytest.approx(EXACT, abs=1e-4)
    assert kept.sample(3, like=X, seed=0).equal(program().sample(3, like=X, seed=0))
    assert "simulation_based_calibration" not in diagnose(kept, X, **QUIET).left_out


def test_a_factor_weighs_the_joint_density_and_has_no_draws():
    weighed = program(factor=1.5)
    assert evaluate(weighed, X, **QUIET).per_datum.log_px.to_numpy() == pytest.approx(EXACT + 1.5, abs=1e-4)
    with pytest.warns(UserWarning, match=r"leaves out the prior .* weighs its draws by weight \(pyro.factor\)"):
        tree = to_arviz(weighed, X, num_samples=30, **QUIET)
    assert list(tree.observed_data.data_vars) == list(tree.posterior_predictive.data_vars) == ["x"]
    assert not hasattr(tree, "prior")
    with pytest.warns(UserWarning, match="leaves out the prior"):
        left_out = diagnose(weighed, X, **QUIET).left_out
    assert "single site, got ['weight', 'x']" in left_out["simulation_based_calibration"]


T = 4


class Rows(torch.nn.Module):
    """x of T numbers, each with a latent of its own: a plate over the data, and one over the numbers."""

    def __init__(self, weighed=False):
        super().__init__()
        self.a, self.weighed = torch.nn.Parameter(torch.tensor(0.1)), weighed

    def plates(self, x):
        weights = torch.linspace(0.5, 2, len(x))[:, None] if self.weighed else 1.0
        return pyro.plate("data", len(x), dim=-2), pyro.plate("t", T, dim=-1), poutine.scale(scale=weights)

    def model(self, x):
        data, numbers, weights = self.plates(x)
        with data, numbers, weights:
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(2 * z, 1.0), obs=x)

    def guide(self, x):
        data, numbers, weights = self.plates(x)
        with data, numbers, weights:
            pyro.sample("z", dist.Normal(self.a * x, 0.6))


OBJECTIVES = [
    objectives.Trace_ELBO(),
    objectives.IWAE(3),
    objectives.FreeBits(0.1),
    objectives.InfoVAE(0.5),
    objectives.Contractive(0.1),
]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: type(o).__name__)
@pytest.mark.parametrize("n", [T, 8 + T], ids=["whole", "last"])
def test_a_batch_may_be_as_long_as_another_plate(objective, n):
    x = torch.randn(n, T, generator=torch.Generator().manual_seed(0))
    found = fit(Rows(), x, epochs=1, batch_size=8, objective=objective, **QUIET).history.train_elbo
    assert math.isfinite(found[1])


def test_free_bits_weigh_the_cost_by_the_mean_of_the_datas_weights():
    x = torch.randn(6, T, generator=torch.Generator().manual_seed(0))
    weighed = Rows(weighed=True)
    objective = objectives.FreeBits(100.0)
    objective.max_plate_nesting = 3  # else one more run finds it, which draws
    torch.manual_seed(0)
    loss = objective.differentiable_loss(weighed.model, weighed.guide, x)
    torch.manual_seed(0)
    guide = poutine.trace(weighed.guide).get_trace(x)
    model = poutine.trace(poutine.replay(weighed.model, trace=guide)).get_trace(x)
    model.compute_log_prob()
    assert_close(loss, 100.0 * 6 * 1.25 - model.nodes["x"]["log_prob_sum"], rtol=1e-5, atol=1e-3)


def test_sites_in_two_plates_of_the_same_length_are_told():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with pyro.plate("other", len(x)):
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 0.7))

    with pytest.raises(ValueError, match=r"got plates 'data' of 3, 'other' of 3; use one of the data's length"):
        evaluate(Program(model, guide), X, **QUIET)


def test_a_plate_that_is_a_loop_alone_is_told():
    def model(x):
        for i in pyro.plate("data", len(x)):
            pyro.sample(f"x{i}", dist.Normal(pyro.sample(f"z{i}", dist.Normal(0.0, 1.0)), 1.0), obs=x[i])

    def guide(x):
        for i in pyro.plate("data", len(x)):
            pyro.sample(f"z{i}", dist.Normal(x[i] / 2, 0.7))

    with pytest.raises(ValueError, match=r"got plates 'data' of 40 in a for loop; use one .* in a with statement"):
        fit(Program(model, guide), X, epochs=1, **QUIET)


def test_draws_have_the_shape_of_x():
    def rows(observed):
        def model(x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(z.repeat(1, 2), 1.0).to_event(1), obs=observed(x))

        return Program(model, model)

    like = torch.zeros(6, 2, 2)
    assert rows(lambda x: x.flatten(1)).sample(3, like=like, seed=0).shape == (3, 2, 2)

    def turned(x):
        with pyro.plate("numbers", 4, dim=-2), pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x.flatten(1).T)

    with pytest.raises(ValueError, match=r"x of shape \(3, 2, 2\) as it came, got \(4, 3\) at 'x'"):
        Program(turned, turned).sample(3, like=like, seed=0)


def test_free_bits_of_none_is_the_weighed_elbo():
    x = torch.randn(6, T, generator=torch.Generator().manual_seed(0))
    found = []
    for objective in (objectives.FreeBits(0.0), objectives.TraceMeanField_ELBO()):
        rows = Rows(weighed=True)
        objective.max_plate_nesting = 2 + isinstance(objective, objectives.FreeBits)
        torch.manual_seed(0)
        loss = objective.differentiable_loss(rows.model, rows.guide, x)
        found.append([loss.detach(), *torch.autograd.grad(loss, [rows.a])])
    assert_close(found[0], found[1])
