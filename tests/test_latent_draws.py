"""Own draws are not refused for rounding, and are where rounding takes their density."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppl_vae import VAE, Bernoulli, Posterior, Prior, Program, evaluate, fit
from ppl_vae.latent_draws import unvalidated

N, X, L = 32, 5, 6


class Relaxed(Posterior):
    """A Gumbel-softmax posterior."""

    temperature = 0.5

    def distribution(self, params):
        return dist.RelaxedOneHotCategorical(params.new_tensor(self.temperature), logits=params[..., 0, :])


class EqualWeights(Prior):
    """The same with equal weights."""

    def __init__(self, temperature):
        super().__init__()
        self.temperature = temperature
        self.register_buffer("logits", torch.zeros(L))

    def given(self, *context):
        return dist.RelaxedOneHotCategorical(self.logits.new_tensor(self.temperature), logits=self.logits)


def relaxed(temperature):
    q = Relaxed((X,), L)
    q.temperature = temperature
    return VAE(EqualWeights(temperature), Bernoulli(L, (X,)), q)


def data():
    return torch.rand(N, X).round()


def test_a_draw_off_the_simplex_by_rounding_is_scored():
    q = dist.RelaxedOneHotCategorical(torch.tensor(0.5), logits=torch.zeros(L), validate_args=True)
    z = q.sample((10,))
    off = z * (1 + 3e-6)
    with pytest.raises(ValueError, match="Simplex"):
        q.log_prob(off)
    assert (unvalidated(q).log_prob(off) - q.log_prob(z)).abs().max() < 1e-3
    assert q._validate_args  # a copy was made
    assert unvalidated(q.to_event(0).expand([4])).log_prob(off[:4]).isfinite().all()


@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_a_relaxed_posterior_trains(temperature):
    vae = relaxed(temperature)
    assert fit(vae, data(), epochs=2, device="cpu").history.train_elbo.notna().all()
    assert evaluate(vae, data(), num_samples=30, seed=0).per_datum.notna().all(axis=None)


@pytest.mark.float32
def test_draws_that_rounding_takes_to_the_edge_are_refused_and_float64_holds_them():
    with pytest.raises(ValueError, match=r"site 'z' expects draws inside the support of RelaxedOneHotCategorical, got"):
        fit(relaxed(0.03), data(), epochs=1, device="cpu")
    assert fit(relaxed(0.03).double(), data().double(), epochs=1, device="cpu").history.train_elbo.notna().all()


def test_programs_score_their_own_draws():
    net = nn.Linear(X, L)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.RelaxedOneHotCategorical(torch.tensor(0.3), logits=torch.zeros(L)))
            pyro.sample("x", dist.Bernoulli(z[..., :1].expand(*z.shape[:-1], X) * 0.9 + 0.05).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            fn = dist.RelaxedOneHotCategorical(torch.tensor(0.3), logits=net(x))
            assert fn._validate_args
            pyro.sample("z", fn)

    trace = pyro.poutine.trace(Program(model, guide, net).guide).get_trace(data())
    assert not trace.nodes["z"]["fn"]._validate_args
