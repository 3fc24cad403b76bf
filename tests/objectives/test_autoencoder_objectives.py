"""Penalties of autoencoders: the contractive one and MMD, against closed forms, loops and what training does."""

import math
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from matrix import loss
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch.testing import assert_close

from ppl_vae import VAE, Chain, DiagonalNormal, Gaussian, Point, Program, StandardNormal, fit, traces
from ppl_vae.diagnostics.latents.energy import energy_test
from ppl_vae.nets import MLP
from ppl_vae.objectives import Contractive, InfoVAE, TraceMeanField_ELBO, check
from ppl_vae.objectives.mmd import SCALES, squared_mmd
from ppl_vae.priors import Flat, GaussianMixture, Laplace

D, L, N = 5, 3, 4
exactly = partial(assert_close, rtol=0, atol=1e-10)
linear = partial(MLP, hidden_dims=())
smooth = partial(MLP, hidden_dims=(8,), activation="tanh")


def vae_of(prior=Flat, posterior=Point, net=smooth, context=()):
    return VAE(
        prior(L),
        Gaussian(L, (D,), partial(MLP, hidden_dims=(8,)), scale=0.5, context=context),
        posterior((D,), L, net, context=context),
    ).double()


def data(n=N):
    return torch.randn(n, D).double()


def planted(objective):
    """With its plates counted, or Pyro runs the model once more to count them, which takes random numbers."""
    objective.max_plate_nesting = 1 + (objective.num_particles > 1)
    return objective


def penalty(vae, args, objective, seed=0, **kwargs):
    """What an objective adds to the ELBO's loss."""
    elbo = planted(Trace_ELBO(objective.num_particles, vectorize_particles=True))
    return loss(vae, args, planted(objective), seed, **kwargs) - loss(vae, args, elbo, seed, **kwargs)


@pytest.mark.parametrize("num", [1, 3])
@pytest.mark.parametrize("beta", [1.0, 0.3])
def test_the_penalty_of_a_linear_encoder_is_its_weights_norm(beta, num):
    vae, x = vae_of(net=linear), data()
    (layer,) = vae.posterior.net.layers
    exactly(penalty(vae, [x], Contractive(1.0, num_particles=num), beta=beta), N * layer.weight.square().sum())
    exactly(penalty(vae, [x], Contractive(0.7), beta=beta), 0.7 * N * layer.weight.square().sum())
    exactly(penalty(vae, [x], Contractive(0.0)), torch.zeros(()).double())
    assert not x.requires_grad
    assert x.grad is None


def jacobians(vae, *args):
    """||d code / d x||^2 by torch's own jacobian, one datum at a time."""
    each = []
    for x, *context in zip(*args, strict=True):
        code = partial(_code, vae, context)
        each.append(torch.autograd.functional.jacobian(code, x).square().sum())
    return torch.stack(each)


def _code(vae, context, x):
    return vae.encode(x[None], *(c[None] for c in context)).mean[0]


def test_the_penalty_is_each_datums_jacobian():
    vae, x = vae_of(), data()
    exactly(penalty(vae, [x], Contractive(1.0)), jacobians(vae, x).sum())
    vae, c = vae_of(context=[(2,)]), torch.randn(N, 2).double()
    exactly(penalty(vae, [x, c], Contractive(1.0)), jacobians(vae, x, c).sum())


@pytest.mark.parametrize("num", [1, 2])
def test_projections_are_unbiased(num):
    vae, x = vae_of(), data()
    each = torch.stack([penalty(vae, [x], Contractive(1.0, 20, num), seed) for seed in range(60)])
    assert abs(each.mean() - jacobians(vae, x).sum()) < 4 * each.std() / math.sqrt(len(each))
    assert each.std() > 0
    vae = vae_of(StandardNormal, DiagonalNormal)  # of the same draws, from the same seed
    exact = penalty(vae, [x], Contractive(1.0, num_particles=num))
    assert_close(penalty(vae, [x], Contractive(1.0, 2000, num)), exact, rtol=0.1, atol=0)


def test_masked_elements_do_not_count():
    vae, x = vae_of(net=linear), data()
    (layer,) = vae.posterior.net.layers
    mask = torch.rand(N, D) < 0.6
    expected = (layer.weight.square().sum(0) * mask).sum()
    exactly(penalty(vae, [x], Contractive(1.0), mask=mask), expected)


def test_noise_is_held_and_levels_add_up():
    """A draw m + s * noise moves by both; a site below moves through the one above it."""
    vae, x = vae_of(StandardNormal, DiagonalNormal), data()
    value = penalty(vae, [x], Contractive(1.0))
    torch.manual_seed(0)
    noise = (poutine.trace(vae.guide).get_trace(x).nodes["z"]["value"] - vae.encode(x).mean) / vae.encode(x).stddev

    def draw(row, e):
        q = vae.posterior.given(row)
        return q.mean + q.stddev * e

    each = [torch.autograd.functional.jacobian(partial(draw, e=e), row) for row, e in zip(x, noise, strict=True)]
    exactly(value, torch.stack(each).square().sum())
    prior = Chain(StandardNormal(1, site="z2"), DiagonalNormal((1,), L, linear, site="z1"))
    above, below = Point((D,), 1, linear, site="z2"), Point((1,), L, linear, context=[(D,)], site="z1")
    vae = VAE(prior, Gaussian(L, (D,)), Chain(above, below)).double()
    a, b = (part.net.layers[0].weight for part in (above, below))
    through = b[:, :1] @ a + b[:, 1:]
    exactly(penalty(vae, [x], Contractive(1.0)), N * (a.square().sum() + through.square().sum()))


@pytest.mark.parametrize("num_projections", [None, 2])
def test_gradients_are_finite_differences(num_projections):
    vae, x = vae_of(), data()
    objective = Contractive(0.5, num_projections)
    parameters = list(vae.parameters())
    value = partial(loss, vae, [x], objective)
    gradients = torch.autograd.grad(value(), parameters, allow_unused=True)
    step = 1e-6
    for parameter, gradient in zip(parameters, gradients, strict=True):
        direction = torch.randn_like(parameter)
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter += sign * step * direction
            ends.append(value().item())
            with torch.no_grad():
                parameter -= sign * step * direction
        found = torch.tensor((ends[0] - ends[1]) / (2 * step), dtype=torch.float64)
        assert_close(found, (gradient * direction).sum(), rtol=1e-4, atol=1e-5)


def test_a_scaled_likelihood_scales_the_penalty():
    x = data()
    net = linear((D,), (L,)).double()

    def model(x):
        with pyro.plate("data", 10 * N, subsample_size=N):
            z = pyro.sample("z", dist.Normal(torch.zeros(L), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True), 1.0).expand([N, D]).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", 10 * N, subsample_size=N):
            pyro.sample("z", dist.Delta(net(x), event_dim=1))

    program = Program(model, guide, net)
    exactly(penalty(program, [x], Contractive(1.0)), 10 * N * net.layers[0].weight.square().sum())


def test_training_flattens_the_encoder():
    torch.manual_seed(0)
    x = torch.randn(256, 2) @ torch.randn(2, D) + 0.1 * torch.randn(256, D)
    norms, errors = [], []
    for objective in Trace_ELBO(), Contractive(3.0), Contractive(3.0, num_projections=1):
        torch.manual_seed(1)
        vae = vae_of().float()
        result = fit(vae, x, epochs=30, batch_size=64, objective=objective, seed=0)
        norms.append(jacobians(vae.double(), x.double()).mean().item())
        errors.append(-result.history.train_reconstruction.iloc[-1])
    assert max(norms[1:]) < 0.95 * norms[0], norms
    assert max(errors[1:]) < errors[0] + 4, errors  # nats; 0.8 to 3.2 of 8 seeds


def test_refusals():
    vae, x = vae_of(StandardNormal, DiagonalNormal), data()
    check(Contractive(), *traces.pair(vae, x))
    for wrong in (lambda: Contractive(-1.0), lambda: InfoVAE(weight=math.nan)):
        with pytest.raises(ValueError, match=r"expects .*weight.*, got"):
            wrong()
    with pytest.raises(ValueError, match=r"Contractive expects weight to be a number from 0 on, got -1.0; the default"):
        Contractive(-1.0)
    with pytest.raises(ValueError, match=r"num_projections to be a whole number from 1 on or None, got 0"):
        Contractive(num_projections=0)
    with pytest.raises(ValueError, match=r"alpha of at most 1, got 1.5"):
        InfoVAE(alpha=1.5)

    def discrete(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Poisson(torch.ones(())))

    poisson = traces.pair(Program(discrete, discrete), x[:, 0])
    for objective in Contractive(), InfoVAE():
        with pytest.raises(ValueError, match=r"reparametrized draws, got \['z'\]"):
            check(objective, *poisson)


def test_mmd_is_the_loop_over_pairs():
    a, b = torch.randn(6, 3).double(), torch.randn(4, 3).double() + 1
    base = 5.0

    def k(u, v):
        return sum(s * base / (s * base + ((u - v) ** 2).sum()) for s in SCALES)

    def within(rows):
        pairs = [k(u, v) for i, u in enumerate(rows) for j, v in enumerate(rows) if i != j]
        return sum(pairs) / len(pairs)

    expected = within(a) + within(b) - 2 * sum(k(u, v) for u in a for v in b) / (len(a) * len(b))
    exactly(squared_mmd(a, b, base), expected)
    exactly(squared_mmd(torch.stack([a, a]), torch.stack([b, b]), base), expected.expand(2))


@pytest.mark.float32
def test_mmd_far_from_0_is_as_exact():
    a, b = torch.randn(50, 3) + 1e4, torch.randn(40, 3) + 1e4 + 0.5
    assert_close(squared_mmd(a, b, 6.0), squared_mmd(a.double() - 1e4, b.double() - 1e4, 6.0).float())


def test_mmd_of_equal_distributions_is_0_in_the_mean():
    a, b = torch.randn(2, 1000, 20, 2).double()
    values = squared_mmd(a, b, 4.0)
    assert abs(values.mean()) < 4 * values.std() / math.sqrt(len(values))
    assert (values < 0).any()
    for other in (b + 0.7, b * 1.7, b.sign() * b.square()):
        apart = squared_mmd(a, other, 4.0)
        assert apart.mean() > 10 * apart.std() / math.sqrt(len(apart))


@pytest.mark.parametrize("prior", [StandardNormal, Laplace, partial(GaussianMixture, num_components=3)])
def test_the_penalty_is_0_in_the_mean_where_q_is_the_prior(prior):
    """Its base scale is drawn too, and must not make it biased."""
    vae = vae_of(prior, DiagonalNormal)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", vae.prior.given())

    program = Program(vae.model, guide)
    x = data(6)
    each = []
    for seed in range(200):
        torch.manual_seed(seed)
        model, guided = traces.pair(program, x)
        each.append(InfoVAE()._penalty(model, guided, x) / len(x))
    each = torch.stack(each)
    assert abs(each.mean()) < 4 * each.std() / math.sqrt(len(each))


@pytest.mark.parametrize("beta", [1.0, 0.3])
def test_without_mmd_it_is_the_elbo(beta):
    vae, x = vae_of(StandardNormal, DiagonalNormal), data()

    def value(objective, x=x, seed=0):
        return loss(vae, [x], planted(objective), seed, beta=beta)

    exactly(value(InfoVAE(0.0, 0.0)), value(Trace_ELBO()))
    many = x.repeat(200, 1)
    gap = torch.stack([value(InfoVAE(0.0, 0.0), many, s) - value(TraceMeanField_ELBO(), many, s) for s in range(20)])
    assert abs(gap.mean()) < 4 * gap.std() / math.sqrt(len(gap))
    torch.manual_seed(0)
    model, guide = traces.pair(vae, x)
    kl = traces.total(guide.nodes["z"]) - traces.total(model.nodes["z"])
    reconstruction = traces.total(model.nodes["x"])
    exactly(value(InfoVAE(0.5, 0.0)), 0.5 * beta * kl - reconstruction)
    exactly(value(InfoVAE(1.0, 0.0)), -reconstruction)
    mmd = value(InfoVAE(1.0, 1.0)) + reconstruction
    exactly(value(InfoVAE(0.5, 3.0)), 0.5 * beta * kl - reconstruction + 3 * mmd)
    exactly(value(InfoVAE(0.0, 3.0), x[:1]), value(Trace_ELBO(), x[:1]))  # one datum has no pairs


def test_a_wasserstein_autoencoder_has_codes_distributed_as_its_prior():
    torch.manual_seed(0)
    x = torch.tanh(torch.randn(2000, 2) @ torch.randn(2, D)) + 0.1 * torch.randn(2000, D)
    train, held_out, noise = x[:1000], x[1000:], torch.randn(1000, 2)
    of_codes, of_samples, distances, errors = [], [], [], []
    for objective, prior in (Trace_ELBO(), Flat(2)), (InfoVAE(weight=100.0), StandardNormal(2)):
        torch.manual_seed(1)
        net = partial(MLP, hidden_dims=(32,))
        vae = VAE(prior, Gaussian(2, (D,), net, scale=0.2), Point((D,), 2, net))
        result = fit(vae, train, epochs=40, batch_size=100, objective=objective, seed=0)
        errors.append(-result.history.train_reconstruction.iloc[-1])
        z = vae.encode(held_out).mean.detach()
        of_codes.append(squared_mmd(z, noise, 4.0).item())
        distances.append(energy_test(z, noise, num_permutations=10).distance)
        drawn = vae.decode(noise).mean.detach()
        of_samples.append(squared_mmd(drawn, held_out, 2 * held_out.var(0).sum()).item())
    assert "train_elbo" in result.history
    assert of_codes[1] < 0.6 * of_codes[0], of_codes
    assert distances[1] < 0.8 * distances[0], distances
    assert of_samples[1] < 0.6 * of_samples[0], of_samples
    assert errors[1] < errors[0] + 1, errors
    assert vae.sample(3, seed=0).isfinite().all()


@pytest.mark.parametrize(
    ("prior", "objective", "why"),
    [(Flat, Trace_ELBO(), "Flat"), (StandardNormal, InfoVAE(alpha=1.0), "alpha=1")],
)
def test_a_beta_without_a_kl_to_weigh_is_refused(prior, objective, why):
    with pytest.raises(ValueError, match=rf"beta expects a KL to weigh, got .*{why}.*: it would change nothing"):
        fit(vae_of(prior), data(), epochs=1, beta=4.0, objective=objective, progress=False)
    fit(vae_of(Laplace), data(), epochs=1, beta=4.0, progress=False)  # the strength of its penalty


class Hidden(dist.Normal):
    """Drawn by a gamma of its own."""

    def rsample(self, sample_shape=()):
        return dist.Gamma(self.loc, self.scale).rsample(sample_shape).square()


@pytest.mark.parametrize(
    "q",
    [
        lambda s: dist.Beta(s, 2 * s),
        lambda s: dist.Gamma(s, s),
        lambda s: dist.Dirichlet(torch.stack([s, 2 * s, s], -1)),
        lambda s: dist.StudentT(2 + s),
        lambda s: Hidden(s, s),
    ],
    ids=["Beta", "Gamma", "Dirichlet", "StudentT", "within"],
)
def test_contractive_refuses_samplers_that_are_differentiable_once(q):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", q(torch.ones(len(x)).double()))
            pyro.sample("x", dist.Normal(z.reshape(len(x), -1).sum(-1), 1.0), obs=x)

    def guide(x):
        scale = pyro.param("scale", torch.ones(()).double(), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x)):
            pyro.sample("z", q(scale * (1 + x.square())))

    with (
        pyro.get_param_store().scope(),
        pytest.raises(ValueError, match=r"can be differentiated twice, .* got (some|'z'), whose"),
    ):
        Contractive().loss_and_grads(model, guide, torch.linspace(0.5, 1, 4).double())
