"""Decoders that start at the marginals of the data."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from ppl_vae import (
    MLP,
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    ConvDecoder,
    DataSpec,
    DiscretizedLogistic,
    Domain,
    Gaussian,
    Heterogeneous,
    NegativeBinomial,
    build,
    fit,
    likelihoods,
)
from ppl_vae.data import from_arrays

SMALL = partial(MLP, hidden_dims=[16])


def column(kind, rng, n=1000):
    return {
        "real": 1000 + 30 * rng.normal(size=(n, 3)) * [1, 2, 0.5],
        "binary": rng.random((n, 3)) < [0.02, 0.5, 0.9],
        "unit": rng.beta([0.5, 2, 8], [3, 2, 1], size=(n, 3)),
        "levels": rng.binomial(7, [0.1, 0.5, 0.9], size=(n, 3)),
        "counts": rng.negative_binomial([1, 5, 50], [0.01, 0.5, 0.9], size=(n, 3)),
        "positive": np.exp([0, 2, -1] + rng.normal(size=(n, 3)) * [1, 0.2, 0.5]),
        "categories": np.stack([rng.choice(8, n, p=np.arange(1, 9) / 36) for _ in range(3)], 1),
    }[kind].astype(np.float32)


LEAVES = {
    "Bernoulli": (Bernoulli, "binary"),
    "ContinuousBernoulli": (ContinuousBernoulli, "unit"),
    "Gaussian": (Gaussian, "real"),
    "Gaussian elementwise": (partial(Gaussian, scale="elementwise"), "real"),
    "CorrelatedGaussian": (likelihoods.CorrelatedGaussian, "real"),
    "CorrelatedGaussian low rank": (partial(likelihoods.CorrelatedGaussian, covariance=2), "real"),
    "Gaussian decoder": (partial(Gaussian, scale="decoder"), "real"),
    "Categorical": (Categorical, "levels"),
    "DiscretizedLogistic": (DiscretizedLogistic, "levels"),
    "NegativeBinomial": (NegativeBinomial, "counts"),
    "Heterogeneous": (Heterogeneous, "categories"),
    "Beta": (likelihoods.Beta, "unit"),
    "Poisson": (likelihoods.Poisson, "counts"),
    "NegativeBinomial elementwise": (partial(NegativeBinomial, dispersion="elementwise"), "counts"),
    "ZeroInflatedNegativeBinomial": (likelihoods.ZeroInflatedNegativeBinomial, "counts"),
    "LogNormal": (partial(likelihoods.LogNormal, scale="elementwise"), "positive"),
    "Gamma": (likelihoods.Gamma, "positive"),
    "OrderedLogistic": (likelihoods.OrderedLogistic, "levels"),
    "Laplace": (partial(likelihoods.Laplace, scale="elementwise"), "real"),
    "StudentT": (partial(likelihoods.StudentT, scale="elementwise"), "real"),
}


def table(kind, seed=0):
    rng = np.random.default_rng(seed)
    x = np.concatenate([column(kind, rng) for _ in range(4)], 1)
    return from_arrays(x, domain=Domain(kind, 8 if kind in ("levels", "categories") else None), seed=0)


def at_marginals(vae, x):
    """log p(x) per datum where the decoder puts out its bias alone."""
    params = vae.likelihood.net.layers[-1].bias.reshape(vae.likelihood.param_shape(vae.likelihood.x_shape))
    return vae.likelihood.distribution(params.expand(len(x), *params.shape)).log_prob(x).reshape(len(x), -1).sum(-1)


@pytest.mark.parametrize("name", LEAVES)
def test_the_start_is_near_the_best_that_sees_no_z(name):
    """By less than 10 %; by moments, where these are not the maximum of the likelihood."""
    leaf, kind = LEAVES[name]
    data = table(kind)
    vae = build(data, latent_dim=2, likelihood=leaf, encoder=SMALL, decoder=SMALL, seed=0).double()
    x = data.train.x.double()
    start = float(at_marginals(vae, x).mean().detach())
    own = [p for name, p in vae.likelihood.named_parameters() if not name.startswith("net.")]
    free = [vae.likelihood.net.layers[-1].bias, *own]
    optimizer = torch.optim.LBFGS(free, max_iter=300, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = -at_marginals(vae, x).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    best = float(at_marginals(vae, x).mean().detach())
    assert -1e-9 <= best - start < 0.1 * abs(best)


@pytest.mark.parametrize("name", LEAVES)
def test_the_first_epoch_is_no_worse_than_the_marginals(name):
    leaf, kind = LEAVES[name]
    data = table(kind)
    data = data.standardize() if kind in ("real", "positive") else data
    for seed in range(2):
        vae = build(data, latent_dim=2, likelihood=leaf, encoder=SMALL, decoder=SMALL, seed=seed)
        nll = -float(at_marginals(vae, data.validation.x).mean().detach())
        history = fit(vae, data, epochs=1, seed=seed, progress=False, device="cpu").history
        assert -history.validation_elbo[1] < nll + 0.1 * abs(nll)


def test_closed_forms():
    rng = np.random.default_rng(0)
    x = np.stack([5 + 2 * rng.normal(size=500), -1 + 0.1 * rng.normal(size=500)], 1)
    data = from_arrays(x, domain=Domain("real"))
    train = data.train.x.double()
    vae = build(data, latent_dim=2, likelihood=partial(Gaussian, scale="elementwise"), decoder=SMALL, seed=0)
    scale = vae.likelihood.elementwise(train[0].float()).scale
    assert_close(scale.double(), train.std(0, correction=0), rtol=1e-5, atol=0)
    last = vae.likelihood.net.layers[-1]
    assert_close(last.bias.double(), train.mean(0), rtol=1e-5, atol=1e-5)
    leaf = partial(Gaussian, scale="elementwise")
    drawn = build(data, latent_dim=2, likelihood=leaf, decoder=SMALL, seed=0, start=None)
    assert (drawn.likelihood.net.layers[-1].weight / 10).equal(last.weight)  # the same draws
    assert drawn.posterior.net.layers[-1].weight.equal(vae.posterior.net.layers[-1].weight)
    one = build(data, latent_dim=2, likelihood=Gaussian, decoder=SMALL, seed=0)
    expected = train.var(0, correction=0).mean().sqrt().float()
    assert_close(one.likelihood.elementwise(train[0].float()).scale[0].detach(), expected, rtol=1e-5, atol=0)


def test_missing_values_and_constants_have_no_say():
    x = np.stack([np.r_[np.full(150, 3.0), np.full(150, 777.0)], np.full(300, 2.0), np.zeros(300)], 1)
    mask = np.ones(x.shape, dtype=bool)
    mask[150:, 0] = False
    mask[:, 2] = False
    data = from_arrays(x, mask=mask, domain=Domain("counts"))
    vae = build(data, latent_dim=2, encoder=SMALL, decoder=SMALL, seed=0)
    fn = vae.likelihood.distribution(vae.likelihood.net.layers[-1].bias.reshape(2, 3))
    assert_close(fn.mean[:2], torch.tensor([3.0, 2.0]), rtol=1e-4, atol=0)
    assert all(p.isfinite().all() for p in vae.parameters())


def test_an_exposure_divides_the_mean():
    rng = np.random.default_rng(0)
    e = rng.uniform(0.5, 2, size=(400, 1))
    data = from_arrays(rng.poisson(20 * e * [1, 3]).astype(np.float32), domain=Domain("counts"))
    splits = {r: replace(s, context=(torch.from_numpy(e[s.index]).float(),)) for r, s in data.splits.items()}
    data = replace(data, **splits)
    vae = build(data, latent_dim=2, likelihood=partial(NegativeBinomial, exposure=True), decoder=SMALL, seed=0)
    bias = vae.likelihood.net.layers[-1].bias.reshape(2, 2)
    mean = vae.likelihood.distribution(bias, torch.zeros(2), torch.ones(1)).mean
    assert_close(mean.detach(), torch.tensor([20.0, 60.0]), rtol=0.05, atol=0)


def test_images_start_as_drawn_unless_asked():
    x = np.random.default_rng(0).random((40, 1, 4, 4)) < 0.1
    data = from_arrays(x, domain=Domain("binary"))
    as_drawn, auto, asked = (
        build(data, latent_dim=2, decoder=SMALL, seed=0, **kw) for kw in ({"start": None}, {}, {"start": "marginals"})
    )
    biases = [vae.likelihood.net.layers[-1].bias for vae in (as_drawn, auto, asked)]
    assert biases[0].equal(biases[1])
    assert_close(biases[2].sigmoid().detach(), (data.train.x.sum(0).flatten() + 0.5) / (len(data.train) + 1))
    with pytest.raises(ValueError, match=r"start='marginals' .* got Bernoulli with ConvDecoder and training data"):
        build(data, latent_dim=2, decoder=ConvDecoder, start="marginals")
    with pytest.raises(ValueError, match="and no training data"):
        build(DataSpec((4,), Domain("binary")), latent_dim=2, start="marginals")


def test_wide_tables_start_from_fewer_rows(monkeypatch):
    data = from_arrays(np.random.default_rng(0).poisson(3, (200, 4)), seed=0)
    monkeypatch.setattr("ppl_vae.vae.seen._IN_FLOAT64", 40)
    found = build(data, latent_dim=1, decoder=SMALL, encoder=SMALL, likelihood=likelihoods.Poisson, seed=0)
    monkeypatch.undo()
    few = build(data.take(10), latent_dim=1, decoder=SMALL, encoder=SMALL, likelihood=likelihoods.Poisson, seed=0)
    for a, b in zip(found.parameters(), few.parameters(), strict=True):
        assert_close(a, b, rtol=0, atol=0)
