"""Programs of rarer parts of Pyro: dependent states, angles, flows without an inverse, `PyroModule`s."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.distributions import constraints, transforms
from pyro.nn import PyroModule, PyroParam
from torch import nn
from torch.testing import assert_close

from ppl_vae import Program, evaluate, fit, load, objectives
from ppl_vae.diagnostics import aggregated_posterior, hmc, inference_gaps, log_marginal_likelihood
from ppl_vae.objectives import Capacity, FreeBits
from ppl_vae.unconstrained import bijection

QUIET = {"seed": 0, "progress": False}
X = torch.tensor([1.3, 0.2, 3.0, 4.0, 2.0])


def trials(x):
    """n ~ Uniform{0, ..., 4}, k ~ Binomial(n, 1/2), x ~ N(k, 1)."""
    with pyro.plate("data", len(x)):
        n = pyro.sample("n", dist.Categorical(torch.ones(5) / 5))
        k = pyro.sample("k", dist.Binomial(n.float(), 0.5))
        pyro.sample("x", dist.Normal(k, 1.0), obs=x)


def of_trials(x):
    with pyro.plate("data", len(x)):
        n = pyro.sample("n", dist.Categorical(torch.ones(len(x), 5) / 5))
        pyro.sample("k", dist.Binomial(n.float(), 0.5))


@pytest.mark.parametrize("num", [1, 5])
@pytest.mark.parametrize("seed", [0, 1])
def test_states_that_depend_on_another_latent_are_drawn_not_summed(num, seed):
    """A datum at a time, the binomial would have the states of the number of trials that was drawn."""
    x, k = X[:num], torch.arange(5.0)
    mass = torch.tensor([sum(math.comb(n, j) * 0.5**n / 5 for n in range(j, 5)) for j in range(5)])
    exact = (dist.Normal(k, 1.0).log_prob(x[:, None]) + mass.log()).logsumexp(-1)
    found = evaluate(Program(trials, of_trials), x, num_samples=10_000, seed=seed, progress=False).per_datum
    weights = torch.exp(dist.Normal(k, 1.0).log_prob(x[:, None]) - exact[:, None])
    sd = ((weights.square() * mass).sum(-1) - 1).sqrt() / 100
    assert ((torch.tensor(found["log_px"].to_numpy()) - exact).abs() < 5 * sd).all()
    assert found["log_px_mcse"].isna().all()


def angle(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.VonMises(torch.tensor(0.0), torch.tensor(1.0)))
        pyro.sample("x", dist.Normal(torch.cos(z) + 0.5 * torch.sin(z), 0.3), obs=x)


def narrow(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.VonMises(torch.zeros_like(x), torch.full_like(x, 20.0)))


def test_angles_lie_on_one_circle():
    x, t = torch.tensor([0.9, -0.4, 0.3]), torch.linspace(-math.pi, math.pi, 20_001)[:-1, None].double()
    density = dist.VonMises(torch.tensor(0.0).double(), 1.0).log_prob(t)
    density = density + dist.Normal(torch.cos(t) + 0.5 * torch.sin(t), 0.3).log_prob(x.double())
    exact = (density.logsumexp(0) + math.log(2 * math.pi / 20_000)).numpy()
    program = Program(angle, narrow)
    found = evaluate(program, x, method="adaptive", **QUIET).per_datum
    assert (abs(found.log_px - exact) < 5 * found.log_px_mcse).all()
    by_sums = log_marginal_likelihood(program, x, method="quadrature", seed=0)
    np.testing.assert_allclose(by_sums["log_px"], exact, atol=1e-4)
    chains = hmc(program, x, num_warmup=50, num_samples=50, **QUIET).posterior["z"]
    assert float(abs(chains).max()) <= math.pi


def test_angles_within_mixtures_lie_on_one_circle():
    each = dist.VonMises(torch.zeros(3, 2), torch.ones(3, 2)).to_event(1)
    for fn in (each, dist.MixtureSameFamily(dist.Categorical(torch.ones(3)), each)):
        assert float(abs(bijection("z", {"fn": fn})(torch.full((2,), 50.0))).max()) <= math.pi + 1e-6


def test_a_normal_posterior_is_none_of_an_angle():
    def wide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x, 1.0))

    with pytest.raises(
        ValueError, match=r"draws in the support of its prior, got 'z' from Normal on Real\(\) for VonMises"
    ):
        evaluate(Program(angle, wide), X, **QUIET)


ONE_WAY = [transforms.planar, transforms.radial, transforms.sylvester, transforms.neural_autoregressive]


def flow(make):
    torch.manual_seed(0)
    made = make(2)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.TransformedDistribution(dist.Normal(x / 2, 0.7).to_event(1), [made]))

    return Program(model, guide, nn.ModuleList([made]))


@pytest.mark.parametrize("make", ONE_WAY, ids=lambda make: make.__name__)
def test_flows_without_an_inverse_are_trained_and_scored(make):
    program, x = flow(make), torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    fit(program, x, epochs=2, **QUIET)
    found = evaluate(program, x, num_samples=2000, **QUIET).per_datum
    exact = dist.Normal(0.0, math.sqrt(2)).log_prob(x).sum(-1).numpy()
    good = found["pareto_k"] < 0.5
    assert good.any()
    assert (abs(found.log_px - exact) < 5 * found.log_px_mcse)[good].all()


@pytest.mark.parametrize("name", ["STL", "DReG", "RWS", "PIWAE", "WakeSleep"])
def test_what_scores_other_values_refuses_flows_without_an_inverse(name):
    objective = getattr(objectives, name)()
    with pytest.raises(ValueError, match="expect flows with an inverse, got Planar; train with Trace_ELBO"):
        fit(flow(transforms.planar), X[:4].view(2, 2), epochs=1, objective=objective, **QUIET)


@pytest.mark.parametrize(
    "verb",
    [lambda p, x: evaluate(p, x, method="adaptive", **QUIET), lambda p, x: aggregated_posterior(p, x, **QUIET)],
)
def test_so_do_diagnostics(verb):
    with pytest.raises(ValueError, match="expect flows with an inverse, got Planar"):
        verb(flow(transforms.planar), torch.randn(30, 2))


class Line(PyroModule):
    def __init__(self, scale):
        super().__init__()
        self.a = PyroParam(torch.tensor(scale), constraint=constraints.positive)

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, self.a), obs=x)


class Guess(PyroModule):
    def __init__(self):
        super().__init__()
        self.a = PyroParam(torch.tensor(0.4))
        self.scale = PyroParam(torch.tensor(0.8), constraint=constraints.positive)

    def forward(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.a * x, self.scale))


def test_pyro_modules_are_called():
    """Model and guide have each a parameter of one name, and so have two programs: none is another's."""
    x, programs = X.repeat(4), [Program(Line(scale), Guess()) for scale in (1.3, 2.0)]
    for scale, program in zip((1.3, 2.0), programs, strict=True):
        exact = dist.Normal(0.0, math.sqrt(1 + scale**2)).log_prob(x).numpy()
        found = evaluate(program, x, num_samples=2000, **QUIET).per_datum
        assert (abs(found.log_px - exact) < 5 * found.log_px_mcse).all()
        assert len([*program.parameters()]) == 3
    assert not pyro.get_param_store().keys()
    before = [p.clone() for p in programs[1].parameters()]
    fit(programs[0], x, epochs=3, **QUIET)
    assert [p.detach() for p in programs[1].parameters()] == before
    model, guide = programs[0].functions
    assert not math.isclose(float(model.a.detach()), 1.3, abs_tol=1e-4)
    assert not math.isclose(float(guide.a.detach()), 0.4, abs_tol=1e-4)


def test_pyro_modules_that_are_closed_over_are_trained(tmp_path):
    line, guess = Line(1.3), Guess()
    program = Program(lambda x: line(x), lambda x: guess(x))
    found = fit(program, X, epochs=2, run=tmp_path / "run", **QUIET)
    assert len([*program.parameters()]) == 3
    before = [p.detach().clone() for p in program.parameters()]
    other = Program(program.functions[0], program.functions[1])
    evaluate(other, X, **QUIET)
    assert other.state_dict().keys() == program.state_dict().keys()
    assert all(map(torch.equal, load(tmp_path / "run", vae=program).vae.parameters(), before))
    assert len(fit(program, X, epochs=3, run=tmp_path / "run", resume=True, **QUIET).history) == len(found.history) + 1
    assert not math.isclose(float(line.a.detach()), 1.3, abs_tol=1e-5)
    assert not math.isclose(float(guess.a.detach()), 0.4, abs_tol=1e-5)


def test_a_second_module_with_a_parameter_of_one_name_is_trained_or_refused():
    class Plain(PyroModule):
        def __init__(self, value):
            super().__init__()
            self.a = nn.Parameter(torch.tensor(value))

    class Model(Plain):
        def forward(self, x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
                pyro.sample("x", dist.Normal(z + self.a, 1.0), obs=x)

    class Guide(Plain):
        def forward(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(self.a * x, 0.8))

    model, guide = Model(0.1), Guide(0.4)
    fit(Program(model, guide), X, epochs=2, **QUIET)
    assert not math.isclose(float(model.a.detach()), 0.1, abs_tol=1e-5)
    assert not math.isclose(float(guide.a.detach()), 0.4, abs_tol=1e-5)
    with pytest.raises(ValueError, match="got a second 'a'; write Program"):
        fit(Program(lambda x: model(x), lambda x: guide(x)), X, epochs=2, **QUIET)


def weighed(weights):
    """x ~ N(0, 1) whatever z is, so that the loss of a closed-form KL has no noise."""

    def model(x):
        with pyro.plate("data", len(x)), poutine.scale(scale=weights):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(0 * z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)), poutine.scale(scale=weights):
            pyro.sample("z", dist.Normal(x, 0.1))

    return model, guide


@pytest.mark.parametrize(
    "objective",
    [FreeBits(8.0), FreeBits(1.0), Capacity(5.0, 10.0), Capacity(0.0, 1.0)],
    ids=["above", "below", "held", "zero"],
)
def test_a_weight_of_three_is_a_datum_three_times(objective):
    x = torch.tensor([4.0, 0.1])
    once = objective.loss(*weighed(torch.tensor([3.0, 1.0])), x)
    repeated = objective.loss(*weighed(torch.ones(4)), x[[0, 0, 0, 1]])
    assert_close(once, repeated, rtol=1e-5, atol=0)


def test_errors_of_diagnostics_are_without_pyros_table_of_shapes():
    with pytest.raises(ValueError, match="refining q expects draws that a gradient flows through") as raised:
        inference_gaps(Program(trials, of_trials), X, **QUIET)
    assert "Trace Shapes" not in str(raised.value)
