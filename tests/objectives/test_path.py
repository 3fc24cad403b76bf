"""Gradients along the path of the draws: unbiased, and without noise at the exact posterior."""

import math
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from matrix import described, loss
from pyro.infer import Trace_ELBO
from torch import nn
from torch.testing import assert_close

from ppl_vae import MLP, Bernoulli, FlowPrior, VampPrior, build, fit, posteriors
from ppl_vae.objectives import IWAE, STL, DReG, Linear
from ppl_vae.vae.program import Program

X = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0)).round()
SMALL = partial(MLP, hidden_dims=[8], activation="tanh")
NETS = {"likelihood": Bernoulli, "encoder": SMALL, "decoder": SMALL, "seed": 0}


class Line(nn.Module):
    """z ~ N(0, 1), x ~ N(a z, 1), q = N(m, exp(s)), for one datum."""

    def __init__(self, a=1.5, m=0.3, s=-0.2):
        super().__init__()
        self.a, self.m, self.s = (nn.Parameter(torch.tensor(v).double()) for v in (a, m, s))

    def model(self, x):
        pyro.module("line", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)).double(), 1.0))
            pyro.sample("x", dist.Normal(self.a * z, 1.0), obs=x)

    def guide(self, x):
        pyro.module("line", self)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.m.expand(len(x)), self.s.exp()))

    def log_weights(self, z, x):
        log_p = dist.Normal(0.0, 1.0).log_prob(z) + dist.Normal(self.a * z, 1.0).log_prob(x)
        return log_p - dist.Normal(self.m, self.s.exp()).log_prob(z)


class Transformed(Line):
    """The same q by a transform of noise, which remembers from which noise a draw came."""

    def guide(self, x):
        pyro.module("line", self)
        with pyro.plate("data", len(x)):
            scaled = dist.transforms.AffineTransform(self.m, self.s.exp(), cache_size=1)
            noise = dist.Normal(torch.zeros(len(x)).double(), 1.0)
            pyro.sample("z", dist.TransformedDistribution(noise, scaled))


@pytest.mark.parametrize(("objective", "num"), [(STL, 1), (STL, 3), (DReG, 1), (DReG, 2)])
def test_the_bound_and_the_mean_of_its_gradient_are_exact(objective, num):
    """By quadrature over all draws, in one dimension each."""
    line, x = Line(), torch.tensor([1.2]).double()
    parameters = list(line.parameters())
    z = torch.linspace(-9, 9, 601).double()
    q = dist.Normal(line.m, line.s.exp()).log_prob(z).exp() * (z[1] - z[0])
    log_w = line.log_weights(z, x)
    if objective is DReG and num == 2:
        bound = (q[:, None] * q * (torch.logaddexp(log_w[:, None], log_w) - math.log(2))).sum()
    else:
        bound = (q * log_w).sum()
    exact = torch.stack([-bound, *torch.autograd.grad(-bound, parameters)])
    runs = []
    for seed in range(100):
        value = loss(line, [x.expand(400)], objective(num), seed) / 400
        runs.append(torch.stack([value, *torch.autograd.grad(value, parameters)]).detach())
    runs = torch.stack(runs)
    assert ((runs.mean(0) - exact) / (runs.std(0) / 10)).abs().max() < 4.5


@pytest.mark.parametrize("kind", [Line, Transformed])
@pytest.mark.parametrize("objective", [STL(1), STL(3), DReG(1), DReG(4)])
def test_there_is_no_noise_at_the_exact_posterior(objective, kind):
    a, x = 1.5, torch.tensor([1.2]).double()
    line = kind(a, a * 1.2 / (1 + a**2), -0.5 * math.log(1 + a**2)).double()
    value = loss(line, [x.expand(50)], objective)
    _, m, s = torch.autograd.grad(value, list(line.parameters()))
    log_p = dist.Normal(0.0, math.sqrt(1 + a**2)).log_prob(x)
    assert value.item() == pytest.approx(-50 * log_p.item(), abs=1e-4)
    assert max(abs(m), abs(s)) < 1e-4
    _, m, s = torch.autograd.grad(loss(line, [x.expand(50)], Trace_ELBO(3)), list(line.parameters()))
    assert max(abs(m), abs(s)) > 0.1


@pytest.mark.parametrize("posterior", [posteriors.DiagonalNormal, posteriors.IAF, posteriors.SplineFlow])
@pytest.mark.parametrize("prior", [FlowPrior, partial(VampPrior, num_components=3)])
def test_values_are_those_of_the_bounds(posterior, prior):
    """And so is the gradient by what q does not contain."""
    vae = build(described(), latent_dim=2, prior=prior, posterior=posterior, **NETS).double()
    for ours, other in ((STL(3), Trace_ELBO(3, vectorize_particles=True)), (DReG(3), IWAE(3))):
        found, expected = (loss(vae, [X.double()], objective) for objective in (ours, other))
        assert_close(found, expected, rtol=1e-10, atol=1e-10)
        decoder = list(vae.likelihood.parameters())
        for one, two in zip(*(torch.autograd.grad(v, decoder) for v in (found, expected)), strict=True):
            assert_close(one, two, rtol=1e-8, atol=1e-10)


def hierarchy(seed=0):
    """z2 ~ N(0, 1), z1 ~ N(z2, 1), x ~ N(z1, 1), and the exact posterior, z2 first."""
    weights = nn.ParameterList(nn.Parameter(torch.tensor(v, dtype=torch.float64)) for v in (1 / 3, 2 / 3, 0.5, 0.5))

    def model(x):
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", dist.Normal(torch.zeros(len(x)).double(), 1.0))
            z1 = pyro.sample("z1", dist.Normal(z2, 1.0))
            pyro.sample("x", dist.Normal(z1, 1.0), obs=x)

    def guide(x):
        pyro.module("weights", weights)
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", dist.Normal(weights[0] * x, weights[1].sqrt()))
            pyro.sample("z1", dist.Normal((z2 + x) * weights[2], weights[3].sqrt()))

    return Program(model, guide, weights), weights


def test_a_hierarchy_has_no_noise_at_the_exact_posterior_and_the_right_mean_elsewhere():
    program, weights = hierarchy()
    x = torch.tensor([0.7]).double().expand(200)
    found = torch.stack(torch.autograd.grad(loss(program, [x], STL(2)), list(weights)))
    assert found.abs().max() < 1e-9
    with torch.no_grad():
        weights[0].add_(0.3), weights[2].add_(-0.2)
    runs = {}
    for objective in (STL, Trace_ELBO):
        values = [
            torch.stack(torch.autograd.grad(loss(program, [x], objective(), s), list(weights))) for s in range(60)
        ]
        runs[objective] = torch.stack(values)
    one, other = runs.values()
    error = (one.var(0) / 60 + other.var(0) / 60).sqrt()
    assert ((one.mean(0) - other.mean(0)) / error).abs().max() < 4.5
    with pytest.raises(ValueError, match=r"DReG expects one latent site, got \['z2', 'z1'\].*use STL"):
        loss(program, [x], DReG(2))


def test_a_guide_with_noise_of_its_own_is_refused_and_a_ladder_trains():
    ladder = build(described(), latent_dim=[2, 2], **NETS)
    result = fit(ladder, X, epochs=2, objective=STL(2), beta=Linear(epochs=1), seed=0, progress=False)
    assert result.history.train_elbo.notna().all()
    weighted = fit(ladder, X, epochs=2, objective=STL(2), beta=0.5, seed=0, progress=False)  # below one in every step
    assert weighted.history.train_elbo.notna().all()
    ladder.posterior.levels[0].net = nn.Sequential(ladder.posterior.levels[0].net, nn.Dropout(0.5)).train()
    with pytest.raises(ValueError, match=r"STL expects a guide that gives its draws of 'z2' the same density"):
        loss(ladder, [X], STL())
