"""The ELBO increases on held-out digits, for every prior and likelihood, and past what biases do."""

import inspect
from functools import cache, partial

import pytest
import torch
from matrix import refusal
from pyro.infer import Trace_ELBO, TraceEnum_ELBO
from scipy import stats
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR

from ppl_vae import (
    Bernoulli,
    CodePrior,
    DiagonalNormal,
    Domain,
    Flat,
    Point,
    VectorQuantized,
    build,
    likelihoods,
    posteriors,
    priors,
)
from ppl_vae.data import from_arrays, load
from ppl_vae.draws import draws
from ppl_vae.isolation import evaluating
from ppl_vae.nets import MLP
from ppl_vae.objectives import Linear
from ppl_vae.training import OneCycle, fit

NET = partial(MLP, hidden_dims=[64])
SETTINGS = {"num_components": 20, "num_transforms": 2, "hidden_dim": 32}


def leaves(module):
    """The classes a module offers that are no base: a new one is tested by being there."""
    found = [getattr(module, name) for name in module.__all__]
    return [c for c in found if inspect.isclass(c) and not inspect.isabstract(c) and c is not Flat]


AFTER = priors.AutoregressiveCodePrior  # which is fitted to codes that were found before, in test_quantized.py
CASES = [(p, Bernoulli) for p in leaves(priors) if p is not AFTER] + [
    # the covariance of 64 pixels is too much for a decoder and 1,197 digits: that one has its own test, test_real.py
    (priors.StandardNormal, x)
    for x in leaves(likelihoods)
    if x is not likelihoods.CorrelatedGaussian
]


SUMMED = (priors.Bernoulli, priors.Categorical)  # over few states, exactly
BOUNDED = (priors.SphericalUniform, priors.Dirichlet, priors.LogisticNormal, priors.RelaxedCategorical, *SUMMED)
SLOWLY = {"epochs": 25, "beta": Linear(10)}
"""Small codes say little to a fresh decoder: without a warm-up q stays at such a prior."""


def elbo(vae, split):
    """The ELBO of each datum, the mean of 16 draws, in nats; of a point mass log p(x | z)."""
    with evaluating(vae, seed=0):
        parts = [d for _, d in draws(vae, split, 16)]
    values = [d.log_likelihood if d.singular else d.log_weights for d in parts]
    return torch.cat([v.double().mean(0) for v in values])


def marginal(vae, data, steps=100):
    """Log p(x) of each held-out datum, the same density fitted with parameters for each pixel and no z."""
    train, test = data.train.fixed(seed=1).x, data.test.fixed(seed=1).x
    params = torch.zeros_like(vae.likelihood.net(torch.zeros(1, 3))).requires_grad_()
    others = [p for name, p in vae.likelihood.named_parameters() if not name.startswith("net.")]
    optimizer = Adam([params, *others], lr=0.3)
    schedule = LambdaLR(optimizer, lambda step: min(1, 2 - 2 * step / steps))
    for _ in range(steps):
        optimizer.zero_grad()
        (-vae.likelihood.distribution(params).log_prob(train).sum() / len(train)).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return vae.likelihood.distribution(params).log_prob(test).reshape(len(test), -1).sum(1).double()


@cache
def marginal_of_pixels():
    """That of a Bernoulli, whatever the prior."""
    data = load("digits").suit(Bernoulli)
    return marginal(made(data, priors.StandardNormal, Bernoulli), data)


def lower(increase):
    """The lower end of a 99.9 % interval for the mean, by Student's t."""
    return increase.mean() - stats.t.ppf(0.999, len(increase) - 1) * increase.std() / len(increase) ** 0.5


def made(data, prior, likelihood, **parts):
    torch.manual_seed(0)
    settings = {k: v for k, v in SETTINGS.items() if k in inspect.signature(prior).parameters}
    prior = partial(prior, **settings)
    return build(data, latent_dim=3, prior=prior, likelihood=likelihood, encoder=NET, decoder=NET, **parts)


@pytest.mark.parametrize(("prior", "likelihood"), dict.fromkeys(CASES), ids=lambda c: c.__name__)
def test_elbo_increases_past_the_marginals(prior, likelihood):
    codes = {"posterior": VectorQuantized, "epochs": 30, "peak": 5e-3}  # which are found one by one
    others = {"posterior": posterior_of(prior)} | (SLOWLY if prior in BOUNDED else {})
    if prior in SUMMED:
        others |= {"posterior": partial(others["posterior"], gradient="enumerate"), "objective": TraceEnum_ELBO}
    increases(prior, likelihood, **(codes if prior is CodePrior else others))


def posterior_of(prior):
    """The first posterior on the support of a prior, a normal where that has it."""
    fit = (q for q in (DiagonalNormal, *leaves(posteriors)) if not refusal(partial(prior), partial(q)))
    return next(fit)


def test_the_reconstruction_of_an_autoencoder_increases():
    increases(Flat, Bernoulli, posterior=Point)


def positive_digits():
    """Grey levels 0 to 16 as numbers above 0, by a draw from within each level."""
    torch.manual_seed(0)
    parts = [split.x + torch.rand_like(split.x).clamp_min(1e-3) for split in load("digits").splits.values()]
    return from_arrays(parts[0], x_validation=parts[1], x_test=parts[2], domain=Domain("positive"))


def increases(prior, likelihood, epochs=15, peak=1e-2, beta=1.0, objective=Trace_ELBO, **parts):
    data = positive_digits() if likelihood.kinds[0] == "positive" else load("digits").suit(likelihood)
    data = data if likelihood is Bernoulli else data.take(train=700)
    alone = marginal_of_pixels() if likelihood is Bernoulli else marginal(made(data, prior, likelihood, **parts), data)
    vae = made(data, prior, likelihood, **parts)
    before = elbo(vae, data.test)
    fit(vae, data.train, epochs=epochs, batch_size=50, schedule=OneCycle(peak), beta=beta, objective=objective)
    after = elbo(vae, data.test)
    assert lower((after - before).clamp(max=1e3)) > 0  # some data begin at -1e9 nats: a mean of that has no interval
    assert lower(after - alone) > 0, f"{after.mean():.2f} nats per datum, {alone.mean():.2f} without z"
