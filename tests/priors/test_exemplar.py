"""The exemplar prior: a mixture around codes of training data, without the datum itself."""

from functools import partial

import pyro
import pytest
import torch
from matrix import X_SHAPE, described
from torch.testing import assert_close

from ppl_vae import (
    Chain,
    ConditionalNormal,
    Exemplar,
    Flat,
    Point,
    SplineFlow,
    StandardNormal,
    build,
    evaluate,
    fit,
    fit_prior,
    load,
)
from ppl_vae.data import from_arrays
from ppl_vae.distributions import positive, unconstrained
from ppl_vae.domain import Domain
from ppl_vae.nets import MLP
from ppl_vae.posteriors import DiagonalNormal

SMALL = partial(MLP, hidden_dims=[8], activation="tanh")
X = torch.rand(40, *X_SHAPE, generator=torch.Generator().manual_seed(0)).round()


def data():
    return from_arrays(X.numpy(), domain=Domain("binary"))


def vae_of(prior, **parts):
    return build(data(), latent_dim=2, prior=prior, encoder=SMALL, decoder=SMALL, seed=0, **parts)


def scale_of(prior):
    return positive(prior.raw_scale)


def by_hand(vae, z, exemplars):
    """log mean_k N(z; E q(z | x_k), s^2)."""
    centres = vae.posterior.given(exemplars).mean
    each = torch.distributions.Normal(centres, scale_of(vae.prior)).log_prob(z).sum(-1)
    return torch.logsumexp(each, -1) - torch.tensor(float(len(exemplars))).log()


def test_the_density_is_the_mixture_and_leaves_out_the_datum():
    vae = vae_of(partial(Exemplar, num_components=6))
    prior, z = vae.prior, torch.tensor([0.3, -0.7])
    assert all(any(torch.equal(one, x) for x in data().train.x) for one in prior.exemplars)
    assert_close(prior.eval().given().log_prob(z), by_hand(vae, z, prior.exemplars))
    prior.train()
    other = 1 - prior.exemplars[0]
    x = torch.stack([prior.exemplars[2], other])
    found = prior.given(x=x).log_prob(z)
    assert_close(found[0], by_hand(vae, z, prior.exemplars[[0, 1, 3, 4, 5]]))
    assert_close(found[1], by_hand(vae, z, prior.exemplars))
    prior.exemplars[:] = prior.exemplars[:1].clone()
    assert prior.given(x=prior.exemplars[:1]).log_prob(z).isfinite()  # all of them are that datum


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("levels", [2, 5])
def test_only_equal_data_are_left_out(dtype, levels):
    x = torch.randint(levels, (64, *X_SHAPE), generator=torch.Generator().manual_seed(1)).to(dtype) / 4 - 0.5
    x[5:9] = x[0]
    x[9] = x[0]
    x[9].view(-1)[-1] += 0.25
    prior = vae_of(partial(Exemplar, num_components=64)).to(dtype).prior
    prior.exemplars[:] = x.flip(0)
    x = torch.where(x == 0, -x, x).mT.contiguous().mT  # -0.0 is 0, whatever the memory
    with pyro.validation_enabled(False):
        left_out = prior.given(x=x).log_weights.isneginf()
    assert torch.equal(left_out, (x.flatten(1).unsqueeze(1) == x.flip(0).flatten(1)).all(-1))


def test_a_step_of_training_uses_few_and_leaves_out_the_data():
    vae = vae_of(partial(Exemplar, num_components=20, per_step=5))
    vae.train()
    assert vae.prior.given().log_weights.shape == (5,)
    with pyro.get_param_store().scope():
        pyro.poutine.trace(vae.guide).get_trace(X[:3])
        site = pyro.poutine.trace(vae.model).get_trace(X[:3]).nodes["z"]
    assert site["fn"].log_weights.shape == (3, 5)
    vae.eval()
    with pyro.get_param_store().scope():
        assert pyro.poutine.trace(vae.model).get_trace(X[:3]).nodes["z"]["fn"].log_weights.shape == (20,)


def test_without_the_datum_itself_the_scale_does_not_shrink(tmp_path):
    """Of an autoencoder whose codes are fitted alone: with themselves among the exemplars the scale goes to 0."""
    flat = vae_of(Flat, posterior=Point)
    fit(flat, data(), epochs=2, batch_size=8, progress=False, seed=0)
    settings = {"epochs": 30, "batch_size": 32, "progress": False, "learning_rate": 0.3}
    exemplar = partial(Exemplar, num_components=40)
    kept = fit_prior(flat, data().train, exemplar, run=tmp_path / "run", **settings).prior
    shrunk = fit_prior(flat, data().train, partial(_WithItself, num_components=40), **settings).prior
    scales = [scale_of(p).item() for p in (kept, shrunk)]
    assert scales[1] < 0.5 * scales[0]
    loaded = load(tmp_path / "run").vae.prior
    assert torch.equal(loaded.exemplars, kept.exemplars)


@pytest.mark.parametrize("num_components", [2, 10, 200])
def test_the_scale_starts_at_the_most_likely_one(num_components):
    """Of codes that are given, without themselves; whatever the number of exemplars."""
    vae = vae_of(partial(Exemplar, num_components=num_components)).double().eval()
    prior, centres = vae.prior, vae.posterior.given(X.double()).mean.detach()
    z = centres + 0.7 * torch.randn(len(X), 2, dtype=torch.float64)
    prior.start_from_codes(z, X)
    raw = torch.linspace(-8, 4, 300, dtype=torch.float64)
    with torch.no_grad():
        found = prior.given(x=X).log_prob(z).mean()
        start = scale_of(prior)
        every = []
        for value in raw:
            prior.raw_scale.copy_(value)
            every.append(prior.given(x=X).log_prob(z).mean())
        assert found > max(every) - 0.002
        prior.start_from_codes(centres, X)  # as of a point mass: the datum's own centre would be at a distance of 0
    assert 0.001 < scale_of(prior) < start


def test_fit_prior_starts_from_draws_and_from_what_they_are_codes_of():
    """With a step size near 0 the scale stays where it starts: within 0.02 nats of the best for new draws from q."""
    vae = vae_of(StandardNormal)
    settings = {"epochs": 1, "learning_rate": 1e-9, "progress": False, "seed": 0}
    prior = fit_prior(vae, data().train, partial(Exemplar, num_components=40), **settings).prior.eval()
    z, start, values = vae.encode(X).sample((50,)), scale_of(prior), []
    with torch.no_grad():
        for factor in torch.linspace(0.3, 3, 50):
            prior.raw_scale.copy_(unconstrained(start * factor))
            values.append(prior.given(x=X).log_prob(z).mean())
        prior.raw_scale.copy_(unconstrained(start))
        assert prior.given(x=X).log_prob(z).mean() > max(values) - 0.02


class _WithItself(Exemplar):
    def forward(self, *context, obs=None, x=None):
        return super().forward(*context, obs=obs)


def test_it_is_the_top_of_a_hierarchy_and_is_given_labels():
    parts = {"prior": [partial(Exemplar, num_components=6), ConditionalNormal], "posterior": DiagonalNormal}
    vae = build(data(), latent_dim=[2, 3], **parts, encoder=SMALL, decoder=SMALL, seed=0)
    assert isinstance(vae.prior, Chain)
    fit(vae, data(), epochs=1, batch_size=8, progress=False, seed=0)
    assert evaluate(vae, data().test, num_samples=20, seed=0, progress=False).per_datum["log_px"].notna().all()
    spec = described(context=True)
    vae = build(spec, latent_dim=2, prior=partial(Exemplar, num_components=4), encoder=SMALL, decoder=SMALL, seed=0)
    assert vae.train().prior.given(torch.zeros(5, 3), x=X[:5]).log_prob(torch.zeros(5, 2)).shape == (5,)


def test_a_posterior_without_a_mean_is_refused():
    vae = vae_of(partial(Exemplar, num_components=4), posterior=SplineFlow)
    with pytest.raises(ValueError, match="Exemplar expects a posterior whose mean is known, got one without"):
        vae.prior.given()
