"""Rényi, combined and grouped bounds, reweighted wake-sleep, capacity and total correlation: values and gradients."""

import math
from functools import partial
from typing import ClassVar

import pyro
import pyro.distributions as dist
import pytest
import torch
from matrix import described
from matrix import loss as loss_of
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import ClippedAdam
from torch.testing import assert_close

from ppl_vae import (
    MLP,
    VAE,
    DiagonalNormal,
    FullRankNormal,
    Gaussian,
    StandardNormal,
    build,
    fit,
    posteriors,
    traces,
)
from ppl_vae.objectives import CIWAE, IWAE, PIWAE, RWS, BetaTCVAE, Capacity, Contractive, GroupedIWAE, InfoVAE, Renyi

D, L, N, K = 4, 2, 6, 8


def model(posterior=DiagonalNormal, seed=0):
    torch.manual_seed(seed)
    linear = lambda i, o: MLP(i, o, hidden_dims=())  # noqa: E731
    vae = VAE(StandardNormal(L), Gaussian(L, (D,), linear, scale=0.6), posterior((D,), L, linear)).double()
    (decoder,) = vae.likelihood.net.layers
    W, b = decoder.weight.detach(), decoder.bias.detach()
    x = torch.randn(N, D).double()
    marginal = torch.distributions.MultivariateNormal(b, W @ W.T + 0.36 * torch.eye(D).double())
    return vae, x, marginal.log_prob(x)


def loss(vae, args, objective=None, **kwargs):
    """With its plates counted, or Pyro runs the model once more to count them, which takes random numbers."""
    objective = objective or Trace_ELBO()
    objective.max_plate_nesting = 1 + (objective.num_particles > 1)
    return loss_of(vae, args, objective, **kwargs)


def log_weights(vae, x, num=K, seed=0):
    """Those of the draws that an objective makes from a seed, (num, n)."""
    torch.manual_seed(seed)
    with pyro.get_param_store().scope():
        plate = traces.particles(num, 1)
        with plate:
            found, guide = traces.pair(vae, x)
        return traces.log_weights(found, guide, traces.plates(found, len(x)), num)


def gradients(vae, value, part):
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, list(part.parameters()), retain_graph=True)])


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0, 2.0])
def test_renyi_is_its_formula_and_a_bound(alpha):
    vae, x, log_p = model()
    w = log_weights(vae, x)
    power = 1 - alpha
    exact = w.mean(0) if power == 0 else (w * power).exp().mean(0).log() / power
    assert_close(loss(vae, [x], Renyi(alpha, K)), -exact.sum(), rtol=1e-12, atol=0)
    if alpha == 0:
        assert_close(loss(vae, [x], IWAE(K)), -exact.sum(), rtol=1e-12, atol=0)
    many = torch.stack([-loss(vae, [x], Renyi(alpha, K), seed=s) for s in range(100)])
    assert many.mean() - log_p.sum() < 4 * many.std() / 10
    near = [-loss(vae, [x], Renyi(a, K)) for a in (alpha - 1e-7, alpha + 1e-7) if a >= 0]
    for value in near:  # no jump at 1
        assert_close(value, exact.sum(), rtol=1e-5, atol=0)


@pytest.mark.float32
@pytest.mark.parametrize("apart", [0.0, 1e-12, 1e-9, 1e-7, 1e-6, 1e-5, 1e-3, -1e-7, -1e-5])
def test_renyi_near_1_is_accurate_in_float32(apart):
    w = -400 + 3 * torch.randn(20, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    w = w.float().double().requires_grad_()
    mean, power = w.mean(0), apart
    exact = mean if power == 0 else mean + torch.log1p(torch.expm1((w - mean) * power).mean(0)) / power
    single = w.detach().float().requires_grad_()
    found = Renyi(1 - apart, 20)._bound(single)
    assert_close(found.double(), exact, rtol=1e-6, atol=1e-6)
    (expected,), (gradient,) = (torch.autograd.grad(each.sum(), by) for each, by in ((exact, w), (found, single)))
    assert_close(gradient.double(), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.float32
@pytest.mark.parametrize(
    ("alpha", "log_w", "exact"),
    [
        (0.0, [-math.inf, 0.0], -math.log(2)),
        (0.5, [-math.inf, 0.0], -2 * math.log(2)),
        (2.0, [-math.inf, 0.0], -math.inf),
        (0.0, [-1e8, -80.0], -80 - math.log(2)),
        (0.5, [-1e8, -80.0], -80 - 2 * math.log(2)),
        (2.0, [1e8, 80.0], 80 + math.log(2)),
    ],
)
def test_renyi_of_far_weights(alpha, log_w, exact):
    assert float(Renyi(alpha, 2)._bound(torch.tensor(log_w).unsqueeze(1))) == pytest.approx(exact, rel=1e-6)


def test_renyi_of_the_exact_posterior_is_log_p():
    vae, x, log_p = model(FullRankNormal)
    (decoder,), (encoder,) = vae.likelihood.net.layers, vae.posterior.net.layers
    W = decoder.weight.detach()
    covariance = torch.linalg.inv(torch.eye(L) + W.T @ W / 0.36)
    A, tril = covariance @ W.T / 0.36, torch.linalg.cholesky(covariance)
    raw = torch.expm1(tril.diagonal() - 1e-4).log() - math.log(math.e - 1)
    with torch.no_grad():
        encoder.weight.zero_()[:L] = A
        encoder.bias[:L] = -A @ decoder.bias
        encoder.bias[L:] = (tril.tril(-1) / tril.diagonal().unsqueeze(-1) + raw.diag()).flatten()
    for objective in (Renyi(0.5, 3), Renyi(3.0, 3), CIWAE(0.3, 3), GroupedIWAE(2, 4), RWS(3)):
        assert_close(-loss(vae, [x], objective), log_p.sum(), rtol=1e-8, atol=0)


def test_combined_and_grouped_bounds_are_their_formulas():
    vae, x, log_p = model()
    w = log_weights(vae, x)
    iwae = (w.logsumexp(0) - math.log(K)).sum()
    assert_close(-loss(vae, [x], CIWAE(0.3, K)), 0.3 * w.mean(0).sum() + 0.7 * iwae, rtol=1e-12, atol=0)
    groups = w.unflatten(0, (4, 2)).exp().mean(1).log().mean(0).sum()
    assert_close(-loss(vae, [x], GroupedIWAE(4, K)), groups, rtol=1e-12, atol=0)
    assert w.mean(0).sum() < groups < iwae < log_p.sum() + 10


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_piwae_has_the_gradient_of_one_bound_for_the_model_and_of_groups_for_q(groups):
    vae, x, _ = model()
    found, whole, parts = (loss(vae, [x], o) for o in (PIWAE(groups, K), IWAE(K), GroupedIWAE(groups, K)))
    assert_close(found, whole, rtol=1e-12, atol=0)
    assert_close(gradients(vae, found, vae.likelihood), gradients(vae, whole, vae.likelihood))
    assert_close(gradients(vae, found, vae.posterior), gradients(vae, parts, vae.posterior))


def test_piwae_of_two_levels_and_of_groups_of_no_weight():
    net = partial(MLP, hidden_dims=[4], activation="tanh")
    vae = build(described(), latent_dim=[1, 2], encoder=net, decoder=net, seed=0).double()
    x = torch.rand(5, 1, 4, 4).double().round()
    found, whole, parts = (loss(vae, [x], o) for o in (PIWAE(2, K), IWAE(K), GroupedIWAE(2, K)))
    for part, other in ((vae.likelihood, whole), (vae.prior, whole), (vae.posterior, parts)):
        assert_close(gradients(vae, found, part), gradients(vae, other, part))
    vae, x, _ = model()
    far = loss(vae, [1e3 * x], PIWAE(4, K))
    both = gradients(vae, far, vae.posterior), gradients(vae, loss(vae, [1e3 * x], GroupedIWAE(4, K)), vae.posterior)
    assert_close(*both)


def test_reweighted_wake_sleep_has_the_bounds_value_and_gradients_of_weighted_scores():
    vae, x, _ = model()
    value = loss(vae, [x], RWS(K))
    assert_close(value, loss(vae, [x], IWAE(K)), rtol=1e-12, atol=0)
    assert_close(
        gradients(vae, value, vae.likelihood),
        gradients(vae, loss(vae, [x], IWAE(K)), vae.likelihood),
        rtol=0,
        atol=1e-9,
    )
    torch.manual_seed(0)
    q = vae.posterior.given(x)
    torch.manual_seed(0)
    w = log_weights(vae, x)
    with pyro.get_param_store().scope():
        torch.manual_seed(0)
        with traces.particles(K, 1):
            z = poutine.trace(vae.guide).get_trace(x).nodes["z"]["value"].detach()
    score = (w.detach().softmax(0) * q.log_prob(z)).sum()
    assert_close(gradients(vae, value, vae.posterior), -gradients(vae, score, vae.posterior), rtol=0, atol=1e-9)


def test_reweighted_wake_sleep_needs_no_reparametrized_draws():
    """Of a discrete z: the model's gradient is that of the bound, its value that of a sum over both values of z."""

    def of_z(x):
        logit = pyro.param("prior", torch.tensor(0.3).double())
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", pyro.distributions.Bernoulli(logits=logit))
            pyro.sample("x", pyro.distributions.Normal(2 * z, 1.0), obs=x)

    def guide(x):
        slope, bias = (pyro.param(name, torch.tensor(0.5).double()) for name in ("slope", "bias"))
        with pyro.plate("data", len(x)):
            pyro.sample("z", pyro.distributions.Bernoulli(logits=slope * x + bias))

    x = torch.linspace(-1, 3, 5).double()
    step = SVI(of_z, guide, ClippedAdam({"lr": 0.1}), RWS(200))
    torch.manual_seed(0)
    with pyro.get_param_store().scope():
        for _ in range(120):
            last = step.step(x)
        slope, bias, logit = (pyro.param(name).item() for name in ("slope", "bias", "prior"))
    both = torch.stack([-((x - 2 * z) ** 2) / 2 for z in (0, 1)]) - math.log(2 * math.pi) / 2
    prior = torch.tensor([-logit, logit]).double().sigmoid().log()[:, None]
    assert abs(last + (both + prior).logsumexp(0).sum().item()) < 0.2
    target = (both + prior).softmax(0)[1].logit()
    assert ((slope * x + bias - target).abs() < 1.5).all()


@pytest.mark.parametrize("beta", [0.25, 1.0])
def test_capacity_is_its_formula_and_follows_the_warm_up(beta):
    vae, x, _ = model()
    q = vae.posterior.given(x)
    kl = torch.distributions.kl_divergence(q, vae.prior.given()).mean()
    reconstruction = loss(vae, [x]) - N * (log_q_minus_p(vae, x))
    for nats in (0.1, 20.0):
        found = loss(vae, [x], Capacity(nats, 3.0), beta=beta)
        assert_close(found, reconstruction + N * 3.0 * (kl - beta * nats).abs(), rtol=1e-10, atol=0)


def log_q_minus_p(vae, x):
    torch.manual_seed(0)
    with pyro.get_param_store().scope():
        model_trace, guide = traces.pair(vae, x)
    return (traces.total(guide.nodes["z"]) - traces.total(model_trace.nodes["z"])) / len(x)


def test_capacity_draws_the_kl_to_a_target():
    vae, x, _ = model()
    optimizer = torch.optim.Adam(vae.parameters(), 0.1)
    for step in range(250):
        optimizer.zero_grad()
        loss(vae, [x], Capacity(3.0, 50.0, num_particles=4), seed=step).backward()
        optimizer.step()
    kl = torch.distributions.kl_divergence(vae.posterior.given(x), vae.prior.given()).mean()
    assert kl.item() == pytest.approx(3.0, abs=0.3)


def test_total_correlation_on_all_data_is_that_of_the_mixture():
    """With every datum in the batch, N = n, both estimators are log of the mixture of q, but for the own pair."""
    vae, x, _ = model()
    plain = loss(vae, [x])
    torch.manual_seed(0)
    with pyro.get_param_store().scope():
        z = poutine.trace(vae.guide).get_trace(x).nodes["z"]["value"]
    q = vae.posterior.given(x).base_dist
    each = q.log_prob(z[:, None])  # (n of z, n of q, units)
    mixture = each.sum(-1).logsumexp(1) - (each.logsumexp(1) - math.log(N * N)).sum(-1) - math.log(N * N)
    assert_close(loss(vae, [x], BetaTCVAE(5.0)), plain + 4 * mixture.sum(), rtol=1e-10, atol=0)
    exact = each.sum(-1).logsumexp(1) - math.log(N) - (each.logsumexp(1) - math.log(N)).sum(-1)
    assert_close(loss(vae, [x], BetaTCVAE(5.0, "stratified")), plain + 4 * exact.sum(), rtol=1e-10, atol=0)
    several = loss(vae, [x], BetaTCVAE(5.0, "stratified", num_data=100, num_particles=3))
    assert several.isfinite()
    assert_close(loss(vae, [x], BetaTCVAE(1.0)), plain, rtol=1e-12, atol=0)


def test_stratified_weights_are_unbiased_over_batches():
    """Their mean over all batches that hold a datum weighs every q(z_i | x_j) by 1 / N."""
    data, batch = 7, 4
    weights = BetaTCVAE(2.0, "stratified", num_data=data)._log_weights(data, batch, torch.zeros(())).exp()
    assert_close(weights.sum(1), torch.ones(batch))
    own, others = weights[0, 0], weights[0, 1:]
    assert_close(own, torch.tensor(1 / data))
    assert_close(others.mean() * (batch - 1) / (data - 1), torch.tensor(1 / data))


class Counted(BetaTCVAE):
    """Notes the number of data and the size of each batch."""

    seen: ClassVar[set[tuple[int, int]]] = set()

    def _log_weights(self, num, size, like):
        self.seen.add((num, size))
        return super()._log_weights(num, size, like)


def test_total_correlation_is_of_all_training_data():
    """`fit` says how many there are; a batch alone would count its next datum for nothing."""
    vae, x, _ = model()
    fit(vae, x, epochs=1, batch_size=4, objective=Counted(5.0, "stratified"), progress=False)
    assert Counted.seen == {(6, 4), (6, 2)}


def test_what_they_cannot_do_is_refused():
    vae, x, _ = model(FullRankNormal)
    with pytest.raises(ValueError, match=r"BetaTCVAE expects one latent site whose units are independent"):
        loss(vae, [x], BetaTCVAE())
    with pytest.raises(ValueError, match="num_data of the whole data, got 3 and a batch of 6"):
        loss(model()[0], [x], BetaTCVAE(num_data=3))
    for objective in (Renyi(), CIWAE(), GroupedIWAE(), RWS()):
        with pytest.raises(ValueError, match=r"expects unscaled sites"):
            loss(vae, [x], objective, beta=0.5)
        point = build(described(), latent_dim=2, posterior=posteriors.Point, seed=0)
        with pytest.raises(ValueError, match=r"expects a posterior with a density, got a point mass"):
            loss(point, [torch.ones(3, 1, 4, 4)], objective)
    assert loss(vae, [x], Trace_ELBO()).isfinite()


class Classified(torch.nn.Module):
    """A VAE, and a classifier whose site has a weight of its own: before x, after it, or not at all."""

    def __init__(self, place, of_both=1.0, size=None, of_x=1.0):
        super().__init__()
        self.vae, self.x, _ = model()
        self.place, self.of_both, self.size, self.of_x = place, of_both, size, of_x
        self.logit = torch.nn.Parameter(torch.tensor(0.3).double())

    def data(self):
        return pyro.plate("data", self.size or N, subsample=torch.arange(N))

    def model(self, x, beta=1.0):
        with self.data(), poutine.scale(scale=self.of_both):
            if self.place == "first":
                self.classified()
            with poutine.scale(scale=beta):
                z = pyro.sample("z", dist.Normal(torch.zeros(L).double(), 1.0).to_event(1))
            with poutine.scale(scale=self.of_x):
                pyro.sample("x", self.vae.scored(x, True, z), obs=x)
            if self.place == "last":
                self.classified()

    def classified(self):
        with poutine.scale(scale=20.0):
            pyro.sample("y", dist.Bernoulli(logits=self.logit), obs=torch.ones(N).double())

    def guide(self, x, beta=1.0):
        with self.data(), poutine.scale(scale=self.of_both * beta):
            pyro.sample("z", self.vae.posterior.given(x))


SCALES = [{}, {"size": 10 * N}, {"of_both": 0.1}, {"of_both": torch.linspace(1, 3, N).double()}]
WITH_A_SCALE = [Capacity(2.0, 3.0), InfoVAE(0.5, 10.0), BetaTCVAE(4.0), Contractive(0.5)]


@pytest.mark.parametrize("beta", [0.25, 1.0])
@pytest.mark.parametrize("scales", SCALES, ids=["none", "subsampled", "of all", "weights"])
@pytest.mark.parametrize("objective", WITH_A_SCALE, ids=type)
def test_the_weight_of_a_site_is_its_own_wherever_the_site_stands(objective, scales, beta):
    def found(place):
        program = Classified(place, **scales)
        value = loss(program, [program.x], objective, beta=beta)
        return value, torch.autograd.grad(value, list(program.vae.parameters()), allow_unused=True)

    (first, of_first), (last, of_last), (without, of_without) = map(found, ("first", "last", None))
    of_all = 10.0 if "size" in scales else float(torch.as_tensor(scales.get("of_both", 1.0)).mean())
    classified = N * of_all * 20 * math.log1p(math.exp(-0.3))
    assert_close(first, last, rtol=1e-10, atol=0)
    assert_close(first - without, torch.tensor(classified).double(), rtol=1e-6, atol=0)
    for a, b, c in zip(of_first, of_last, of_without, strict=True):
        assert_close(a, b, rtol=1e-10, atol=1e-10)
        assert_close(a, c, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("beta", [0.25, 1.0])
@pytest.mark.parametrize("objective", WITH_A_SCALE, ids=type)
def test_the_scale_of_one_likelihood_is_not_that_of_the_data(objective, beta):
    scaled, plain = Classified(None, of_x=1 / 64), Classified(None)
    found, expected = (loss(program, [program.x], objective, beta=beta) for program in (scaled, plain))
    of_x = loss(plain, [plain.x]) - N * log_q_minus_p(plain, plain.x)  # -E log p(x | z)
    assert_close(found, expected - 63 / 64 * of_x, rtol=1e-10, atol=0)
