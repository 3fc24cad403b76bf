"""Wake-sleep: the ELBO's value and gradient by the model, and that of E log q over simulated data by q."""

from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from matrix import X_SHAPE, described, loss
from pyro.infer import Trace_ELBO
from torch import nn
from torch.testing import assert_close

from ppl_vae import MLP, Bernoulli, Program, build, fit, posteriors
from ppl_vae.objectives import WakeSleep

SMALL = partial(MLP, hidden_dims=[8], activation="tanh")


class Line(nn.Module):
    """z ~ N(0, 1), x ~ N(a z, 1), q = N(c x, exp(s))."""

    def __init__(self, a=1.5, c=0.2, s=-0.2):
        super().__init__()
        self.a, self.c, self.s = (nn.Parameter(torch.tensor(v, dtype=torch.float64)) for v in (a, c, s))

    def model(self, x):
        pyro.module("line", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(x), 1.0))
            pyro.sample("x", dist.Normal(self.a * z, 1.0), obs=x)

    def guide(self, x):
        pyro.module("line", self)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.c * x, self.s.exp()))

    def elbo(self, x):
        """In closed form, for one x."""
        variance = (2 * self.s).exp()
        error = (x - self.a * self.c * x).square() + self.a.square() * variance
        kl = 0.5 * (variance + (self.c * x).square() - 1) - self.s
        return -0.5 * error - 0.918938533204673 - kl

    def sleep(self):
        """E log q(z | x) over p(z) p(x | z), in closed form, the model's part held still."""
        a = self.a.detach()
        square = (1 - self.c * a).square() + self.c.square()
        return -self.s - 0.918938533204673 - 0.5 * square * (-2 * self.s).exp()


@pytest.mark.parametrize(("weight", "num"), [(0.0, 1), (3.0, 2)])
def test_the_mean_of_the_gradient_is_exact(weight, num):
    line, x = Line(), torch.tensor(1.2, dtype=torch.float64)
    parameters = list(line.parameters())
    value = -line.elbo(x)
    exact = torch.stack([value, *torch.autograd.grad(value - weight * line.sleep(), parameters)]).detach()
    runs = []
    for seed in range(49):
        value = loss(line, [x.expand(800)], WakeSleep(weight, num), seed) / 800
        runs.append(torch.stack([value, *torch.autograd.grad(value, parameters)]).detach())
    runs = torch.stack(runs)
    assert ((runs.mean(0) - exact) / (runs.std(0) / 7)).abs().max() < 4.5


def test_the_model_gets_the_gradient_of_the_elbo():
    x = torch.rand(5, 1, 4, 4, dtype=torch.float64).round()
    vae = build(described(), latent_dim=[2, 2], likelihood=Bernoulli, encoder=SMALL, decoder=SMALL, seed=0).double()
    mask = torch.rand(x.shape) < 0.6
    of_model = [*vae.prior.parameters(), *vae.likelihood.parameters()]
    ours, other = WakeSleep(5.0), Trace_ELBO()
    ours.max_plate_nesting = 1  # or Pyro would draw to find it
    found = [loss(vae, [x], objective, mask=mask) for objective in (ours, other)]
    assert_close(*found)
    for one, two in zip(*(torch.autograd.grad(v, of_model) for v in found), strict=True):
        assert_close(one, two)


def test_refusals():
    x = torch.rand(5, 1, 4, 4).round()
    options = {"likelihood": Bernoulli, "encoder": SMALL, "decoder": SMALL, "seed": 0}
    vae = build(described(), latent_dim=2, posterior=posteriors.SplineFlow, **options)
    assert fit(vae, x, epochs=1, objective=WakeSleep(2.0), seed=0, progress=False).history.train_elbo.notna().all()

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=2 * x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x, 1.0))

    with pytest.raises(ValueError, match=r"WakeSleep expects a model that observes x as it came.*got \['x'\]"):
        loss(Program(model, guide), [torch.ones(3)], WakeSleep())


def test_a_prior_that_draws_where_q_has_no_density_is_refused():
    vae = build(described(), latent_dim=2, posterior=posteriors.Beta, seed=0)
    with pytest.raises(ValueError, match="expects a posterior with a density at the draws of its prior, got"):
        loss(vae, [torch.ones(3, *X_SHAPE)], WakeSleep())
