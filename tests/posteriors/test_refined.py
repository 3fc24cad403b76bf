"""`Refined`: what its steps gain, against the exact gradient steps and the exact posterior; use, and refusals."""

import math
import re
from functools import partial

import numpy as np
import pytest
import torch
from matrix import X_SHAPE, described, loss
from small_models import linear, ppca
from torch.testing import assert_close

from ppl_vae import (
    VAE,
    Bernoulli,
    Gaussian,
    StandardNormal,
    build,
    corruptions,
    evaluate,
    fit,
    fit_prior,
    load,
    posteriors,
    priors,
    semi_amortized,
)
from ppl_vae.data import from_arrays
from ppl_vae.diagnostics import inference_gaps
from ppl_vae.domain import Domain
from ppl_vae.nets import MLP
from ppl_vae.objectives import IWAE

SMALL = partial(MLP, hidden_dims=[8], activation="tanh")
QUIET = {"seed": 0, "progress": False}
BASES = [posteriors.DiagonalNormal, posteriors.FullRankNormal, posteriors.StudentT, posteriors.IAF, posteriors.Point]


def constant(in_shape, out_shape):
    """An encoder that says nothing of x."""
    return linear(torch.zeros(math.prod(out_shape), *in_shape))(in_shape, out_shape)


def exact(num_steps, **settings):
    """Probabilistic PCA with an encoder that says nothing."""
    known = ppca(n=20)
    q = posteriors.Refined((5,), 2, constant, posteriors.FullRankNormal, num_steps, **{"num_particles": 16} | settings)
    likelihood = Gaussian(2, (5,), linear(known.weight), scale=0.5)
    return known, VAE(StandardNormal(2), likelihood, q).double()


def test_a_step_is_along_the_gradient_of_the_elbo():
    """By the mean of a normal: the mean of d log p(x, z) / dz at the draws of the step."""
    known, vae = exact(1)
    base = vae.posterior.base
    z, _ = vae.posterior._draws(base.net(known.x), 0)
    slope = (known.mean - z.mean(0)) @ torch.linalg.inv(known.covariance)
    moved = vae.encode(known.x).mean - base.given(known.x).mean
    assert_close(torch.nn.functional.cosine_similarity(moved, slope), torch.ones(20).double())


def test_many_steps_lead_to_the_posterior():
    known, vae = exact(30, learning_rate=0.05)
    plain = evaluate(exact(1)[1], known.x, num_samples=400, **QUIET).per_datum
    found = evaluate(vae, known.x, num_samples=400, **QUIET).per_datum
    assert found.kl_gap.mean() < 0.3 < 3 < plain.kl_gap.mean()
    error = found.log_px - known.log_px.numpy()
    assert (error.abs() < 4.5 * found.log_px_mcse + 0.01).all()


def test_q_is_a_function_of_x():
    """Neither of the random state, which it leaves as it is, nor of the neighbours."""
    known, vae = exact(3)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    q = vae.encode(known.x)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert_close(vae.encode(known.x[[7, 3]]).mean, q.mean[[7, 3]], rtol=0, atol=1e-12)


def test_gradients_through_the_steps_are_those_of_differences():
    torch.manual_seed(0)
    vae = build(
        described(),
        latent_dim=2,
        likelihood=Bernoulli,
        encoder=SMALL,
        decoder=SMALL,
        seed=0,
        posterior=partial(posteriors.Refined, num_steps=2),
    ).double()
    x = torch.rand(3, *X_SHAPE).round().double()
    params = [vae.posterior.log_rate, vae.posterior.base.net.state_dict(keep_vars=True).popitem()[1]]
    params.append(next(vae.likelihood.parameters()))
    for p, gradient in zip(params, torch.autograd.grad(loss(vae, [x]), params), strict=True):
        direction = torch.randn_like(p)
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                p += sign * 1e-5 * direction
            values.append(loss(vae, [x]).item())
            with torch.no_grad():
                p -= sign * 1e-5 * direction
        slope = (values[0] - values[1]) / 2e-5
        assert (gradient * direction).sum().item() == pytest.approx(slope, rel=1e-4, abs=1e-6)


def data():
    return from_arrays(np.random.default_rng(0).random((60, *X_SHAPE)).round(), domain=Domain("binary"))


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.__name__)
def test_it_trains_and_is_stored(base, tmp_path):
    some = data()
    refined = partial(posteriors.Refined, base=base, num_steps=2)
    vae = build(some, latent_dim=2, posterior=refined, likelihood=Bernoulli, encoder=SMALL, decoder=SMALL, seed=0)
    assert vae.formula().endswith(f"q(z | x) = Refined({vae.posterior.settings()})")
    result = fit(vae, some, epochs=2, run=tmp_path / "run", **QUIET)
    assert math.isfinite(result.history.validation_elbo.iloc[-1])
    stored, x = load(tmp_path / "run").vae, some.test.x
    assert loss(stored, [x]) == loss(vae.eval(), [x])
    if base is posteriors.Point:
        return
    fit(vae, some, epochs=1, objective=IWAE(3), **QUIET)
    found = evaluate(vae, some.test, num_samples=50, method="adaptive", **QUIET)
    assert found.per_datum.log_px.notna().all()


def test_around_a_trained_posterior(tmp_path):
    some = data()
    vae = build(some, latent_dim=2, likelihood=Bernoulli, encoder=SMALL, decoder=SMALL, seed=0)
    fit(vae, some, epochs=3, **QUIET)
    refined = semi_amortized(vae, num_steps=6)
    before, after = (evaluate(v, some.train, num_samples=500, **QUIET).per_datum for v in (vae, refined))
    assert after.elbo.mean() > before.elbo.mean()
    assert abs(after.log_px - before.log_px).mean() < 0.05
    assert not {*map(id, vae.parameters())} & {*map(id, refined.parameters())}
    fit(refined, some, epochs=1, run=tmp_path / "run", **QUIET)
    stored = load(tmp_path / "run").vae
    assert stored.recipe == refined.recipe
    assert loss(stored, [some.test.x]) == loss(refined.eval(), [some.test.x])
    gaps = inference_gaps(refined, some.test[:2], num_steps=10, num_samples=50, **QUIET)
    assert gaps.kl_gap.notnull().all()
    with pytest.raises(TypeError, match=r"one of ppl_vae.posteriors, got Refined"):
        semi_amortized(refined)


def made(x=None, **options):
    vae = build(described(), likelihood=Bernoulli, encoder=SMALL, decoder=SMALL, seed=0, **{"latent_dim": 2, **options})
    with torch.no_grad():
        vae.guide(torch.zeros(2, *X_SHAPE))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"posterior": partial(posteriors.Refined, base=posteriors.GaussianMixturePosterior)},
            "function of normal noise",
        ),
        ({"posterior": partial(posteriors.Refined, base=posteriors.VectorQuantized)}, "function of normal noise"),
        ({"posterior": partial(posteriors.Refined, base=posteriors.Beta)}, "function of normal noise, got Beta; use"),
        ({"posterior": posteriors.Refined, "latent_dim": [2, 2]}, "expects a prior of one level|one level of latents"),
        ({"posterior": posteriors.Refined, "corruption": corruptions.Masking}, "got a corruption"),
        ({"posterior": partial(posteriors.Refined, base=posteriors.BottomUp)}, "for a single level .*, got BottomUp"),
        ({"posterior": partial(posteriors.Refined, base=StandardNormal)}, "StandardNormal expects a call"),
    ],
)
def test_refusals(options, message):
    with pytest.raises((ValueError, TypeError)) as refused:
        made(**options)
    assert re.search(message, str(refused.value))


def of_arrays(num_steps=4):
    """A VAE whose q is refined, and its data."""
    generator = torch.Generator().manual_seed(0)
    made = from_arrays(torch.randn(80, 2, generator=generator) @ torch.randn(2, 5, generator=generator))
    q = partial(posteriors.Refined, num_steps=num_steps, learning_rate=0.1)
    return build(made, latent_dim=2, posterior=q, encoder=SMALL, decoder=SMALL, seed=0), made.train.x


def test_encode_under_inference_mode():
    vae, x = of_arrays()
    expected = vae.encode(x).mean.detach()
    with torch.inference_mode():
        assert torch.equal(vae.encode(x).mean, expected)


def test_every_parameter_moves_in_every_step_so_that_encoder_steps_are_refused():
    vae, x = of_arrays()
    with pytest.raises(ValueError, match="encoder_steps expects parameters that q does not depend on"):
        fit(vae, x, epochs=1, encoder_steps=3, seed=0, progress=False)


def test_a_fitted_prior_leaves_q_where_it_is():
    vae, x = of_arrays()
    with torch.no_grad():
        expected = vae.encode(x).sample((400,)).flatten(0, 1)
    fitted = fit_prior(vae, x, priors.DiagonalNormal, epochs=150, learning_rate=0.05, seed=0, progress=False)
    p = fitted.prior.given()
    assert (p.mean - expected.mean(0)).abs().max() < 0.05 * expected.std(0).max()
    assert (p.stddev / expected.std(0) - 1).abs().max() < 0.05
