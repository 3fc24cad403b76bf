"""Discrete latents: masses, exact sums against sums by hand, gradients, and their relaxations."""

import itertools
import math
from functools import partial

import mpmath as mp
import numpy as np
import pytest
import torch
from matrix import X_SHAPE, described, loss
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO
from scipy import stats
from torch.distributions import kl_divergence
from torch.testing import assert_close

from ppl_vae import build, evaluate, fit, objectives, posteriors, priors
from ppl_vae.distributions import Bits, OneHots, RelaxedBernoulli, RelaxedCategorical
from ppl_vae.nets import MLP

SMALL = partial(MLP, hidden_dims=[8], activation="tanh")
F32, F64 = torch.float32, torch.float64
P = 1e-5
LOGITS = (0.0, 0.3, -0.999, 5.0, -17.0, 50.0, -500.0)
MASSES = {
    "bits": lambda dtype: Bits(torch.tensor([0.3, -2.0, 20.0], dtype=dtype)),
    "categories": lambda dtype: OneHots(torch.tensor([[0.5, -1.0, 30.0], [0.0, 1.0, 2.0]], dtype=dtype)),
}
masses = pytest.mark.parametrize("name", MASSES)
dtypes = pytest.mark.parametrize("dtype", [F32, F64], ids=["float32", "float64"])
PAIRS = {
    "bits": (priors.Bernoulli, posteriors.Bernoulli),
    "categories": (partial(priors.Categorical, num_latents=2), partial(posteriors.Categorical, num_latents=2)),
}
pairs = pytest.mark.parametrize("name", PAIRS)
X = torch.rand(5, *X_SHAPE, generator=torch.Generator().manual_seed(0)).round().double()


def vae_of(name, **settings):
    """A VAE of three bits, or of two latents of three categories."""
    prior, posterior = PAIRS[name]
    dim = 3 if name == "bits" else 6
    parts = {"prior": partial(prior, weighted=True), "posterior": partial(posterior, **settings)}
    vae = build(described(), latent_dim=dim, **parts, encoder=SMALL, decoder=SMALL, seed=0).double()
    with torch.no_grad():
        vae.prior.logits.copy_(torch.linspace(-1, 1, vae.prior.logits.numel()).reshape(vae.prior.logits.shape))
    return vae


def nll(vae, num_samples=10):
    """The mean of -log p(x), in nats."""
    return -evaluate(vae, X, num_samples=num_samples, seed=0, progress=False).per_datum["log_px"].mean()


def vectors(name):
    """Every joint state, listed by hand."""
    if name == "bits":
        return torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)), dtype=F64)
    rows = torch.eye(3, dtype=F64)
    return torch.stack([torch.cat(two) for two in itertools.product(rows, repeat=2)])


@dtypes
@pytest.mark.parametrize("logit", LOGITS)
def test_the_mass_of_a_bit_is_exact(dtype, logit):
    p = Bits(torch.tensor([logit], dtype=dtype))
    with mp.workdps(60):
        for value in (0.0, 1.0):
            exact = -mp.log1p(mp.exp(-mp.mpf(logit) if value else mp.mpf(logit)))
            found = p.log_prob(torch.tensor([value], dtype=dtype)).item()
            assert found == pytest.approx(float(exact), rel=1e-5 if dtype == F32 else 1e-10, abs=1e-38)
        square = 1 / (mp.exp(mp.mpf(logit) / 2) + mp.exp(-mp.mpf(logit) / 2)) ** 2
        assert p.variance.item() == pytest.approx(float(square), rel=1e-4, abs=1e-30)


@masses
def test_masses_sum_to_one_and_are_drawn_from(name):
    torch.manual_seed(0)
    p = MASSES[name](F64)
    states = p.enumerate_support()
    assert torch.equal(states.unique(dim=0).double(), vectors(name).unique(dim=0))
    mass = p.log_prob(states).exp()
    assert_close(mass.sum(), torch.ones((), dtype=F64))
    assert_close(p.mean, mass @ states)
    assert_close(p.variance, mass @ (states - mass @ states).square())
    assert_close(p.entropy(), -(mass * p.log_prob(states)).sum())
    counts = (p.sample((4000,))[:, None] == states).all(-1).sum(0)
    assert int(counts.sum()) == 4000
    kept = mass * 4000 > 1
    expected = mass[kept] / mass[kept].sum() * counts[kept].sum()
    assert stats.chisquare(counts[kept].numpy(), expected.numpy()).pvalue > P
    assert p.log_prob(states + 0.5).eq(-math.inf).all()
    assert p.expand([4, 2]).log_prob(p.expand([4, 2]).sample((3,))).shape == (3, 4, 2)


def test_kl_is_that_of_a_sum():
    q, p = MASSES["categories"](F64), OneHots(torch.zeros(2, 3, dtype=F64))
    states = q.enumerate_support()
    by_hand = (q.log_prob(states).exp() * (q.log_prob(states) - p.log_prob(states))).sum()
    assert_close(kl_divergence(q, p), by_hand)
    with pytest.raises(NotImplementedError):
        kl_divergence(q, Bits(torch.zeros(6)))


@pairs
def test_an_exact_sum_is_that_by_hand(name):
    vae = vae_of(name, gradient="enumerate")
    z = vectors(name)
    log_q = torch.stack([vae.encode(X).log_prob(one) for one in z])
    log_p = torch.stack([vae.prior.given().log_prob(one) + vae.decode(one.expand(5, -1)).log_prob(X) for one in z])
    elbo = (log_q.exp() * (log_p - log_q)).sum()
    found = loss(vae, [X], TraceEnum_ELBO(max_plate_nesting=1))
    assert_close(-found, elbo)
    assert_close(-loss(vae, [X], TraceEnum_ELBO()), elbo)  # which finds the plates itself
    parameters = [p for p in vae.parameters() if p.requires_grad]
    for one, other in zip(*(torch.autograd.grad(v, parameters) for v in (-found, elbo)), strict=True):
        assert_close(one, other)
    assert_close(evaluate(vae, X, num_samples=10, seed=0).per_datum["log_px"].sum(), log_p.logsumexp(0).sum().item())


@pairs
def test_gradients_of_draws_have_the_mean_of_the_sum(name):
    """The score function's is unbiased; that of the straight-through estimator need not be, and its KL is exact."""
    exact = vae_of(name, gradient="enumerate")
    encoder = list(exact.posterior.parameters())
    wanted = torch.autograd.grad(loss(exact, [X], TraceEnum_ELBO(max_plate_nesting=1)), encoder)
    drawn = vae_of(name)
    drawn.load_state_dict(exact.state_dict())
    objective = Trace_ELBO(400, vectorize_particles=True, max_plate_nesting=1)
    encoder = list(drawn.posterior.parameters())
    runs = [torch.autograd.grad(loss(drawn, [X], objective, seed=s), encoder) for s in range(20)]
    for one, *rest in zip(wanted, *runs, strict=True):
        found = torch.stack(rest)
        assert ((found.mean(0) - one).abs() <= 5 * found.std(0) / 20**0.5 + 1e-12).all()


def test_straight_through_draws_are_states_with_the_gradient_of_the_relaxation():
    logits = torch.tensor([[0.5, -1.0, 0.3]], dtype=F64, requires_grad=True)
    torch.manual_seed(3)
    z = OneHots(logits, 0.7).rsample((6,))
    torch.manual_seed(3)
    noise = torch.empty(6, 1, 3, dtype=F64).exponential_().log()
    soft = ((logits.log_softmax(-1) - noise) / 0.7).softmax(-1)
    assert OneHots(logits).support.check(z).all()
    assert torch.equal(z.argmax(-1), soft.flatten(-2).argmax(-1))
    slope = torch.arange(3.0).double()
    (one,), (other,) = (torch.autograd.grad((v.reshape(6, 3) @ slope).sum(), logits) for v in (z, soft))
    assert_close(one, other)
    with pytest.raises(NotImplementedError, match="expects a temperature for draws with a gradient, got none"):
        OneHots(logits).rsample()


@pairs
@pytest.mark.parametrize("objective", [None, TraceMeanField_ELBO(), objectives.IWAE(3)], ids=lambda o: type(o).__name__)
def test_straight_through_posteriors_train(name, objective):
    vae = vae_of(name, gradient="straight-through", temperature=0.5)
    before = nll(vae)
    fit(vae, X, epochs=40, batch_size=5, progress=False, seed=0, **({"objective": objective} if objective else {}))
    assert nll(vae) < before


def test_enumerated_posteriors_train_and_say_what_they_need():
    vae = vae_of("bits", gradient="enumerate")
    before = nll(vae)
    fit(vae, X, epochs=30, batch_size=5, progress=False, seed=0, objective=TraceEnum_ELBO())
    assert nll(vae) < before
    with pytest.raises(ValueError, match="an enumerated site expects TraceEnum_ELBO, got Trace_ELBO"):
        fit(vae, X, epochs=1, progress=False)
    for leaf, dim in ((posteriors.Bernoulli, 13), (partial(posteriors.Categorical, num_latents=13), 26)):
        with pytest.raises(ValueError, match=r"at most 4096 joint states to sum over.*got 8192; give fewer latents"):
            leaf((3,), dim, gradient="enumerate")
    assert vae.formula().endswith("Bernoulli(enumerate)")


def test_many_bits_are_drawn_as_their_states_are_too_many_to_sum():
    parts = {"prior": priors.Bernoulli, "posterior": partial(posteriors.Bernoulli, gradient="straight-through")}
    vae = build(described(), latent_dim=40, **parts, encoder=SMALL, decoder=SMALL, seed=0).double()
    assert evaluate(vae, X, num_samples=50, seed=0).per_datum["log_px"].notna().all()
    with pytest.raises(NotImplementedError, match=r"at most 4096 joint states, got 2\^40; draw instead"):
        vae.encode(X).enumerate_support()


def test_bits_are_not_one_hot_and_a_latent_has_two_categories():
    vae = build(described(), latent_dim=4, prior=priors.Categorical, posterior=posteriors.Bernoulli, seed=0).double()
    with pytest.raises(ValueError, match="expects draws in the support of its prior"):
        evaluate(vae, X, num_samples=2)
    other = build(described(), latent_dim=4, prior=priors.Bernoulli, posterior=posteriors.Categorical, seed=0).double()
    assert math.isfinite(nll(other))
    for dim, num in ((1, 1), (3, 2), (2, 2)):
        for leaf in (priors.Categorical, partial(posteriors.Categorical, (3,))):
            with pytest.raises(ValueError, match="Categorical expects num_latents that divides latent_dim, with 2 or"):
                leaf(dim, num_latents=num)


@pytest.mark.parametrize(("few", "many"), [(1, 2), (2, 1)])
def test_categories_of_prior_and_posterior_are_as_many(few, many):
    parts = {
        "prior": partial(priors.Categorical, num_latents=few),
        "posterior": partial(posteriors.Categorical, num_latents=many),
    }
    vae = build(described(), latent_dim=4, **parts, seed=0).double()
    said = rf"OneHotVectors\({4 // many}\) for OneHots on OneHotVectors\({4 // few}\).*OneHotVectors\({4 // few}\)$"
    for call in (lambda: evaluate(vae, X, num_samples=2), lambda: fit(vae, X, epochs=1)):
        with pytest.raises(ValueError, match=said):
            call()


def test_priors_start_from_frequencies():
    z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    prior = priors.Bernoulli(2)
    prior.start_from(z)
    assert_close(prior.given().mean, (z.sum(0) + 0.5) / 5)
    prior = priors.Categorical(2)
    prior.start_from(z[:3].where(z[:3].sum(-1, keepdim=True) == 1, torch.tensor([0.0, 1.0])))
    assert_close(prior.given().mean, torch.tensor([3 / 5, 2 / 5]))


@dtypes
@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("logit", [0.0, 1.3, -8.0])
def test_the_density_of_a_relaxed_coin_is_exact_and_drawn_from(dtype, temperature, logit):
    torch.manual_seed(0)
    p = RelaxedBernoulli(*torch.tensor([logit, temperature], dtype=dtype))
    x = torch.tensor([1e-6, 0.1, 0.5, 0.9, 0.999], dtype=dtype)
    b = x.double().numpy()
    noise = temperature * np.log(b / (1 - b)) - logit
    exact = stats.logistic.logpdf(noise) + np.log(temperature) - np.log(b) - np.log1p(-b)
    t = p.temperature.double().item()
    exact += 0.0 if dtype == F64 else np.log(t / temperature)
    np.testing.assert_allclose(p.log_prob(x).double().numpy(), exact, rtol=2e-5 if dtype == F32 else 1e-10)
    steps = torch.linspace(-144, 36, 18_001, dtype=F64)
    y = steps.sigmoid()
    if dtype == F64 and temperature >= 0.5:
        mass = (p.log_prob(y).exp() * y * (1 - y) * (steps[1] - steps[0])).sum()
        assert mass.item() == pytest.approx(1, abs=1e-6)
    draws = p.sample((4000,)).double()
    for end in (0.01, 0.5, 0.99):
        below = stats.logistic.cdf(temperature * np.log(end / (1 - end)) - logit)
        assert stats.binomtest(int((draws < end).sum()), 4000, float(below)).pvalue > P
    assert p.log_prob(torch.tensor([0.0, 1.0], dtype=dtype)).isfinite().all()
    if dtype == F64:
        error = 5 * (p.variance / 4000).sqrt() + 1e-4
        assert (draws.mean() - p.mean).abs() < error


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
def test_the_density_of_relaxed_categories_integrates_to_one_and_is_that_of_torch(temperature):
    torch.manual_seed(0)
    logits = torch.tensor([0.4, -1.0, 0.2], dtype=F64)
    p = RelaxedCategorical(logits, temperature)
    z = p.sample((1000,))
    other = torch.distributions.RelaxedOneHotCategorical(torch.tensor(temperature).double(), logits=logits)
    inside = z[(z > 1e-12).all(-1)]
    assert_close(p.log_prob(inside), other.log_prob(inside / inside.sum(-1, keepdim=True)), rtol=1e-6, atol=1e-6)
    t = torch.linspace(-60, 60, 1201, dtype=F64)
    ratios = torch.cartesian_prod(t, t)  # log z_1 / z_3 and log z_2 / z_3, whose Jacobian is the product of the parts
    parts = torch.nn.functional.pad(ratios, (0, 1)).softmax(-1)
    mass = (p.log_prob(parts).exp() * parts.prod(-1)).sum() * (t[1] - t[0]) ** 2
    assert mass.item() == pytest.approx(1, abs=1e-3)
    soft = (logits + torch.distributions.Gumbel(0.0, 1.0).sample((4000, 3)).double()).argmax(-1)
    found = p.sample((4000,)).argmax(-1)
    assert stats.chi2_contingency(np.stack([v.bincount(minlength=3).numpy() for v in (soft, found)])).pvalue > P


@pytest.mark.parametrize("leaf", ["RelaxedBernoulli", "RelaxedCategorical"])
def test_relaxed_latents_train_and_need_a_temperature(leaf):
    parts = {"prior": getattr(priors, leaf), "posterior": partial(getattr(posteriors, leaf), temperature=0.7)}
    vae = build(described(), latent_dim=3, **parts, encoder=SMALL, decoder=SMALL, seed=0).double()
    before = nll(vae, 100)
    fit(vae, X, epochs=40, batch_size=5, progress=False, seed=0)
    assert nll(vae, 100) < before
    for part in (getattr(priors, leaf), partial(getattr(posteriors, leaf), (3,))):
        with pytest.raises(ValueError, match=r"temperature to be .*above 0, got 0"):
            part(2, temperature=0.0)
