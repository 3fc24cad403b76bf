"""Objectives and what they read from traces, on probabilistic PCA, where everything has a closed form."""

import math
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from matrix import loss
from pyro import poutine
from pyro.infer import RenyiELBO, Trace_ELBO, TraceEnum_ELBO, TraceTailAdaptive_ELBO
from torch.testing import assert_close

from ppl_vae import VAE, Chain, DiagonalNormal, FullRankNormal, Gaussian, Program, StandardNormal, objectives, traces
from ppl_vae.nets import MLP
from ppl_vae.objectives import IWAE, Constant, Cyclical, FreeBits, Linear, TraceMeanField_ELBO, check

D, L, N, SCALE = 5, 2, 4, 0.6
exactly = partial(assert_close, rtol=0, atol=1e-10)


def pca(posterior=FullRankNormal):
    """Probabilistic PCA of the package's parts; linear networks, x and log p(x)."""
    linear = lambda i, o: MLP(i, o, hidden_dims=())  # noqa: E731
    vae = VAE(StandardNormal(L), Gaussian(L, (D,), linear, scale=SCALE), posterior((D,), L, linear)).double()
    (decoder,) = vae.likelihood.net.layers
    W, b = decoder.weight.detach(), decoder.bias.detach()
    x = torch.randn(N, D).double()
    log_p = dist.MultivariateNormal(b, W @ W.T + SCALE**2 * torch.eye(D).double()).log_prob(x)
    return vae, x, log_p


def exact(vae):
    """Give a full-rank posterior's linear encoder the weights of the exact posterior."""
    (decoder,), (encoder,) = vae.likelihood.net.layers, vae.posterior.net.layers
    W = decoder.weight.detach()
    cov = torch.linalg.inv(torch.eye(L) + W.T @ W / SCALE**2)
    A = cov @ W.T / SCALE**2
    tril = torch.linalg.cholesky(cov)
    raw = torch.expm1(tril.diagonal() - 1e-4).log() - math.log(math.e - 1)  # `positive`, inverted
    with torch.no_grad():
        encoder.weight.zero_()[:L] = A
        encoder.bias[:L] = -A @ decoder.bias
        encoder.bias[L:] = (tril.tril(-1) / tril.diagonal().unsqueeze(-1) + raw.diag()).flatten()


def closed_elbo(vae, x):
    (decoder,) = vae.likelihood.net.layers
    q = vae.encode(x)
    cov = getattr(q, "covariance_matrix", None)
    cov = torch.diag_embed(q.variance) if cov is None else cov
    error = (x - decoder(q.mean)).square().sum(-1) + (decoder.weight @ cov @ decoder.weight.T).diagonal(0, -1, -2).sum(
        -1
    )
    kl = 0.5 * (cov.diagonal(0, -1, -2).sum(-1) + q.mean.square().sum(-1) - L - cov.logdet())
    return -0.5 * error / SCALE**2 - 0.5 * D * math.log(2 * math.pi * SCALE**2) - kl


def weights(vae, x, num, seed=0):
    """Log weights (num, n) of reparametrized draws, by hand, the draws those of an ELBO of the seed."""
    torch.manual_seed(seed)
    with pyro.get_param_store().scope(), traces.particles(num, 1):
        z = poutine.trace(vae.guide).get_trace(x).nodes["z"]["value"]
    (decoder,) = vae.likelihood.net.layers
    log_p = dist.Normal(0.0, 1.0).log_prob(z).sum(-1) + dist.Normal(decoder(z), SCALE).log_prob(x).sum(-1)
    return log_p - vae.encode(x).log_prob(z)


def planted(objective):
    """With its plates counted, or Pyro runs the model once more to count them, which takes random numbers."""
    objective.max_plate_nesting = 1 + (objective.num_particles > 1)
    return objective


def same(vae, a, b):
    exactly(a, b)
    parameters = list(vae.parameters())
    for ga, gb in zip(*(torch.autograd.grad(v, parameters) for v in (a, b)), strict=True):
        exactly(ga, gb)


def test_one_draw_from_the_exact_posterior_gives_log_p():
    vae, x, log_p = pca()
    exact(vae)
    exactly(weights(vae, x, 3), log_p.expand(3, N))
    model, guide = traces.pair(vae, x)
    where = traces.check_pair(model, guide, N)
    joint = sum(traces.log_prob(model.nodes[s], where) for s in "zx")
    exactly(joint - traces.log_prob(guide.nodes["z"], where), log_p[None])
    for objective in Trace_ELBO(), IWAE(1), IWAE(7):
        assert objective.loss(vae.model, vae.guide, x) == pytest.approx(-log_p.sum().item(), abs=1e-10)


@pytest.mark.parametrize(
    "objective",
    [Trace_ELBO(), TraceMeanField_ELBO(), IWAE(1), FreeBits(1e-9)],
    ids=lambda o: type(o).__name__,
)
@pytest.mark.parametrize("posterior", [DiagonalNormal, FullRankNormal])
def test_elbos_are_the_closed_form_and_so_are_their_gradients(posterior, objective):
    vae, x, log_p = pca(posterior)
    parameters = list(vae.parameters())
    value = -closed_elbo(vae, x).mean()
    assert value > -log_p.mean()
    expected = torch.cat([value[None], *(g.flatten() for g in torch.autograd.grad(value, parameters))])
    runs = []
    for seed in range(40):
        value = loss(vae, [x.repeat(250, 1)], objective, seed) / (250 * N)
        runs.append(torch.cat([value[None], *(g.flatten() for g in torch.autograd.grad(value, parameters))]))
    runs = torch.stack(runs)
    z = (runs.mean(0) - expected) / (runs.std(0) / math.sqrt(len(runs)) + 1e-12)
    assert z.abs().max() < 5
    assert runs.std(0).max() > 0


@pytest.mark.parametrize("posterior", [DiagonalNormal, FullRankNormal])
@pytest.mark.parametrize("num", [1, 6])
def test_iwae_is_the_bound_of_each_datum(posterior, num):
    vae, x, _ = pca(posterior)
    by_hand = (math.log(num) - weights(vae, x, num).logsumexp(0)).sum()
    iwae = loss(vae, [x], planted(IWAE(num)))
    same(vae, iwae, by_hand)
    assert planted(IWAE(num)).loss(vae.model, vae.guide, x) > -1e4
    if num == 1:
        same(vae, loss(vae, [x], planted(IWAE(1))), loss(vae, [x], Trace_ELBO()))
    else:
        joint = math.log(num) - weights(vae, x, num).sum(1).logsumexp(0)  # over the batch as a whole: another number
        assert abs(iwae - joint) > 1e-3
        torch.manual_seed(0)
        renyi = planted(RenyiELBO(0, num_particles=num, vectorize_particles=True))
        assert_close(renyi.loss(vae.model, vae.guide, x), iwae.item(), rtol=1e-6, atol=0)  # Pyro adds up in float32
        with pytest.raises(ValueError, match="IWAE expects unscaled sites"):  # never of scaled weights
            loss(vae, [x], planted(IWAE(num)), beta=2.0)


def test_iwae_rises_to_log_p_and_stays_below():
    vae, x, log_p = pca(DiagonalNormal)
    bounds = [-loss(vae, [x.repeat(500, 1)], IWAE(num)).item() / (500 * N) for num in (1, 5, 25, 125)]
    assert bounds == sorted(bounds)
    assert bounds[0] < closed_elbo(vae, x).mean() + 0.6  # 2,000 draws
    assert bounds[-1] < log_p.mean() + 0.01


@pytest.mark.parametrize("num", [1, 3])
@pytest.mark.parametrize("beta", [1.0, 0.3])
@pytest.mark.parametrize("nats", [1e-3, 1.0, 50.0])
@pytest.mark.parametrize("posterior", [DiagonalNormal, FullRankNormal])
def test_free_bits_is_its_formula(posterior, nats, beta, num):
    vae, x, _ = pca(posterior)
    value = loss(vae, [x], planted(FreeBits(nats, num)), beta=beta)
    torch.manual_seed(0)
    with traces.particles(num, 1):
        model, guide = traces.pair(vae, x)
    q, p = guide.nodes["z"], model.nodes["z"]
    kl = q["fn"].log_prob(q["value"]) - p["fn"].log_prob(p["value"])
    assert (traces.analytic_kl(q, p) is not None) == (posterior is DiagonalNormal)
    if posterior is DiagonalNormal:
        kl = 0.5 * (q["fn"].variance + q["fn"].mean.square() - 1 - q["fn"].variance.log()).sum(-1)
    same(vae, value, beta * N * kl.mean().clamp_min(nats) - traces.total(model.nodes["x"]) / num)


def two_levels(bottom_up=False):
    level = partial(DiagonalNormal, net=partial(MLP, hidden_dims=[4]))
    prior = Chain(StandardNormal(1, site="z2"), level((1,), 2, site="z1"))
    posterior = Chain(level((D,), 1, site="z2"), level((1,), 2, context=[(D,)], site="z1"))
    if bottom_up:
        posterior = BottomUp(level((D,), 2, site="z1"), level((2,), 1, site="z2"))
    return VAE(prior, Gaussian(2, (D,)), posterior).double(), torch.randn(N, D).double()


class BottomUp(torch.nn.Sequential):
    """q(z1 | x) q(z2 | z1)"""


def test_hierarchies():
    vae, x = two_levels()
    model, guide = pair = traces.pair(vae, x)
    assert traces.check_pair(*pair, N) == traces.Plates(N, -1, 1)
    assert list(traces.latents(model)) == list(traces.latents(guide)) == ["z2", "z1"]
    mean_field, by_draws = (
        [loss(vae, [x.repeat(200, 1)], o, s) / 200 for s in range(20)] for o in (TraceMeanField_ELBO(), Trace_ELBO())
    )
    gap = torch.stack(mean_field) - torch.stack(by_draws)
    assert abs(gap.mean()) < 5 * gap.std() / math.sqrt(20)
    torch.manual_seed(0)
    recon = traces.total(traces.pair(vae, x)[0].nodes["x"])
    exactly(loss(vae, [x], planted(FreeBits(50.0)), beta=0.5), 0.5 * N * 2 * 50 - recon)  # free bits of each site
    assert vae.sample(3, seed=0).shape == (3, D)
    with pytest.raises(TypeError, match="has one distribution a level"):
        vae.prior.given()
    for levels in [(), (StandardNormal(1), StandardNormal(2))]:
        with pytest.raises(ValueError, match="sites of different names"):
            Chain(*levels)


def program(guide_fn, model_fn=None, size=N, **plate):
    def model(x):
        with pyro.plate("data", size, **plate):
            pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", size, **plate):
            pyro.sample("z", guide_fn(x), infer={"enumerate": "parallel"} if guide_fn is classes else {})

    return Program(model_fn or model, guide)


def classes(x):
    return dist.Categorical(logits=torch.zeros(3))


def normal(x):
    return dist.Normal(x / 2, 1.0)


X1 = torch.linspace(-1, 1, N)


def test_check_refuses_what_would_lie():
    bottom_up, x = two_levels(bottom_up=True)
    pair = traces.pair(bottom_up, x)
    pyro.clear_param_store()
    check(Trace_ELBO(), *pair)
    with pytest.raises(ValueError, match=r"same order, got \['z2', 'z1'\] and \['z1', 'z2'\].*use Trace_ELBO"):
        check(TraceMeanField_ELBO(), *pair)
    vae, x, _ = pca()
    scaled = traces.pair(vae, x, beta=0.5)
    subsampled = traces.pair(program(normal, size=80, subsample=torch.arange(N)), X1)
    for objective in IWAE(), RenyiELBO(0, num_particles=2), TraceTailAdaptive_ELBO(vectorize_particles=True):
        check(objective, *traces.pair(vae, x))
        for pair in scaled, subsampled:
            with pytest.raises(ValueError, match=r"expects unscaled sites.*train with beta=1"):
                check(objective, *pair)
    check(Trace_ELBO(), *scaled)
    discrete = traces.pair(program(classes), X1)
    check(TraceEnum_ELBO(), *discrete)
    for objective in Trace_ELBO(), TraceMeanField_ELBO(), IWAE(), FreeBits():
        with pytest.raises(ValueError, match=f"expects TraceEnum_ELBO, got {type(objective).__name__}"):
            check(objective, *discrete)
    drawn = traces.pair(program(lambda x: dist.Poisson(torch.ones(()))), X1)
    check(Trace_ELBO(), *drawn)
    for objective in IWAE(), FreeBits(), TraceTailAdaptive_ELBO(vectorize_particles=True):
        with pytest.raises(ValueError, match=r"expects reparametrized draws, got \['z'\].*use Trace_ELBO"):
            check(objective, *drawn)
    point = traces.pair(program(lambda x: dist.Delta(x)), X1)
    tail = TraceTailAdaptive_ELBO(vectorize_particles=True)
    check(Trace_ELBO(), *point)
    for objective in IWAE(), FreeBits(), RenyiELBO(0, num_particles=2), tail:
        with pytest.raises(ValueError, match=r"got a point mass \(Point\)"):
            check(objective, *point)


def observing(fn):
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", fn, obs=x)

    return model


NAN = torch.tensor([0.0, math.nan, 1.0, 1.0])
UNFIT = [
    (
        dist.Bernoulli(0.5),
        X1.abs(),
        r"Bernoulli expects x in \{0, 1\}, got values in \[0.3.*2 distinct levels; binarize",
    ),
    (dist.Bernoulli(0.5), NAN, r"got NaN; fill them, or mark them missing with mask="),
    (dist.Normal(0.0, 1.0), NAN, r"Normal expects real x, got NaN"),
    (
        dist.ContinuousBernoulli(0.5),
        X1,
        r"x in \[0, 1\], got values in \[-1, 1\] with 4 distinct levels; rescale",
    ),
    (
        dist.LogNormal(0.0, 1.0),
        X1,
        r"LogNormal expects x above 0, got values in \[-1, 1\]",
    ),
    (
        dist.Poisson(1.0),
        X1.abs(),
        r"Poisson expects counts x in \{0, 1, 2, ...\}, got values.*give the raw counts, or use Gaussian",
    ),
]


def test_check_pair_refuses():
    both = program(normal)
    other = Program(both._model, lambda x: pyro.sample("y", dist.Normal(0.0, 1.0)))
    with pytest.raises(ValueError, match=r"guide samples \{'y'\} but the model has \{'z'\}; give posterior and prior"):
        traces.check_pair(*(poutine.trace(f).get_trace(X1) for f in (other.model, other.guide)), N)

    def with_global(x):
        pyro.sample("theta", dist.Normal(0.0, 1.0))
        both._model(x)

    def guide(x):
        pyro.sample("theta", dist.Normal(0.0, 1.0))
        both._guide(x)

    with pytest.raises(ValueError, match=r"one plate over the 4 data, got \['theta'\] outside; a global latent"):
        traces.check_pair(*traces.pair(Program(with_global, guide), X1), N)


@pytest.mark.parametrize(("fn", "x", "message"), UNFIT, ids=lambda v: type(v).__name__ if hasattr(v, "sample") else "")
def test_check_pair_names_what_lies_outside_the_support(fn, x, message):
    with pyro.validation_enabled(False):
        with pytest.raises(ValueError, match=message):
            traces.check_pair(*traces.pair(program(normal, observing(fn)), x), N)
        traces.check_pair(*traces.pair(program(normal, observing(fn)), fn.sample((N,))), N)


@pytest.mark.parametrize("num", [1, 3])
def test_log_prob_drops_scales_and_keeps_masks(num):
    mask = torch.tensor([True, False, True, True])
    scaled = program(normal, size=80, subsample_size=N)
    model, guide = (poutine.mask(poutine.scale(f, 0.1), mask) for f in (scaled.model, scaled.guide))
    with traces.particles(num, 1):
        guide = poutine.trace(guide).get_trace(X1)
        model = poutine.trace(poutine.replay(model, trace=guide)).get_trace(X1)
    assert "data" in guide
    assert [*traces.latents(guide), *traces.latents(model)] == ["z", "z"]
    where = traces.check_pair(model, guide, N)
    z = guide.nodes["z"]["value"]
    expected = dist.Normal(0.0, 1.0).log_prob(z).reshape(num, N) * mask
    for computed in (False, True):
        if computed:
            model.compute_log_prob()
        assert_close(traces.log_prob(model.nodes["z"], where, num), expected)
        assert_close(traces.total(model.nodes["z"]), expected.sum())
    assert_close(model.nodes["z"]["log_prob"].reshape(num, N), expected * 0.1 * 80 / N)


@pytest.mark.parametrize("num", [1, 5])
@pytest.mark.parametrize("size", [2, 3])
def test_inner_plates_are_summed(num, size):
    """Of data and pixels in plates, also where there are as many of one as of the other."""

    def model(x):
        with pyro.plate("data", size, dim=-2):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with pyro.plate("pixels", 3, dim=-1):
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", size, dim=-2):
            pyro.sample("z", dist.Normal(x.mean(-1, keepdim=True), 1.0))

    x = torch.randn(size, 3)
    with traces.particles(num, 2):
        m, g = traces.pair(Program(model, guide), x)
    where = traces.check_pair(m, g, size)
    assert where == traces.Plates(size, -2, 2)
    z = g.nodes["z"]["value"].reshape(num, size, 1)
    assert_close(traces.log_prob(m.nodes["x"], where, num), dist.Normal(z, 1.0).log_prob(x).sum(-1))
    assert_close(traces.log_prob(m.nodes["z"], where, num), dist.Normal(0.0, 1.0).log_prob(z)[..., 0])
    assert_close(traces.total(m.nodes["x"]), traces.log_prob(m.nodes["x"], where, num).sum())


def test_warm_ups():
    assert [Linear(epochs=0.5)(t, 4) for t in range(3)] == [0.5, 1.0, 1.0]
    assert Constant(4.0)(10**6, 1) == 4.0
    cyclical = Cyclical(epochs=4, cycles=2, ramp=0.5)
    assert [round(cyclical(t, 2), 6) for t in range(9)] == [1e-6, 0.5, 1.0, 1.0, 1e-6, 0.5, 1.0, 1.0, 1.0]
    assert (Linear(3).epochs, cyclical.epochs, Constant().epochs) == (3, 4, 0)
    for wrong in (
        lambda: Constant(0.0),
        lambda: Linear(0),
        lambda: Cyclical(-1),
        lambda: Cyclical(ramp=math.nan),
    ):
        with pytest.raises(ValueError, match=r"expects .*number.*, got"):
            wrong()
    with pytest.raises(ValueError, match=r"Cyclical expects ramp to be a number above 0 and at most 1, got 2; the def"):
        Cyclical(ramp=2)


def test_the_earlier_name_of_schedules_warns():
    with pytest.warns(DeprecationWarning, match="Beta is now BetaSchedule"):
        assert objectives.Beta is objectives.BetaSchedule
