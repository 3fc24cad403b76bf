"""Likelihoods of real, positive and unit-interval numbers."""

from functools import partial

import pytest
import torch
from small_models import SMALL
from torch.testing import assert_close

import ppl_vae
from ppl_vae import (
    VAE,
    Beta,
    CorrelatedGaussian,
    Domain,
    Gamma,
    Gaussian,
    LogNormal,
    StudentT,
    build,
    data,
    evaluate,
    fit,
    likelihoods,
    traces,
)
from ppl_vae.vae.build import rebuild


def table(domain, values):
    return data.from_arrays(values.numpy(), domain=Domain(domain))


def real(seed=0):
    g = torch.Generator().manual_seed(seed)
    return table("real", torch.randn(90, 4, generator=g) @ torch.randn(4, 4, generator=g))


def above_0(seed=0):
    return table("positive", torch.randn(90, 4, generator=torch.Generator().manual_seed(seed)).exp())


def built(likelihood, source, **parts):
    return build(source, latent_dim=2, likelihood=likelihood, encoder=SMALL, decoder=SMALL, seed=0, **parts)


def test_the_optimal_scale_is_that_of_the_batch_in_training_and_fixed_in_evaluation():
    vae = built(partial(Gaussian, scale="optimal"), real())
    x, leaf = real().train.x, vae.likelihood
    vae.train()
    losses = []
    for _ in range(3):
        before = leaf.mean_square.clone()
        _, guide = traces.pair(vae, x)
        z = guide.nodes["z"]["value"]
        p = leaf.given(z, x=x)
        square = (x - p.mean).square().mean()
        assert_close(p.base_dist.base_dist.scale, square.sqrt().expand(x.shape))
        assert leaf.mean_square != before
        losses.append(square)
    best = p.log_prob(x).sum()
    for factor in (0.9, 1.1):
        assert torch.distributions.Normal(p.mean, square.sqrt() * factor).log_prob(x).sum() < best
    vae.eval()
    before = leaf.mean_square.clone()
    scale = leaf.given(z, x=x).base_dist.base_dist.scale
    assert_close(scale, before.sqrt().expand(x.shape))
    half = leaf.given(z[:5], x=x[:5]).log_prob(x[:5])  # a datum's density knows nothing of its batch
    assert_close(half, leaf.given(z, x=x).log_prob(x)[:5])
    assert leaf.mean_square == before


def test_the_running_mean_is_of_what_was_observed():
    leaf = Gaussian(2, (4,), SMALL, scale="optimal").train()
    x, z = torch.randn(8, 4), torch.randn(3, 8, 2)
    mask = torch.rand(8, 4) < 0.5
    p = leaf.given(z, x=torch.where(mask, x, 1e6), mask=mask)
    expected = (x - p.mean).square()[mask.expand(3, 8, 4)].mean()
    assert_close(leaf.mean_square, expected)
    leaf.given(z, x=x)
    assert_close(leaf.mean_square, (expected + (x - p.mean).square().mean()) / 2)


def test_the_optimal_scale_needs_no_steps_and_is_stored():
    source = real()
    vae = built(partial(Gaussian, scale="optimal"), source)
    fit(vae, source, epochs=3, seed=0, progress=False)
    again = rebuild(vae.recipe)
    again.load_state_dict(vae.state_dict())
    results = [evaluate(v, source.test, num_samples=30, seed=0, progress=False) for v in (vae, again)]
    assert results[0].per_datum.equals(results[1].per_datum)
    with torch.no_grad():
        residual = (source.train.x - vae.reconstruct(source.train, seed=0)).square().mean().sqrt()
    assert 0.7 < vae.likelihood.mean_square.sqrt() / residual < 1.5
    learned = built(Gaussian, source)
    fit(learned, source, epochs=3, seed=0, progress=False)
    started = (source.train.x - learned.reconstruct(source.train, seed=0)).square().mean().sqrt()
    assert abs(vae.likelihood.mean_square.sqrt() / residual - 1) < abs(1 / started - 1)


@pytest.mark.parametrize("covariance", ["full", 1])
def test_a_correlated_gaussian_finds_a_covariance_that_a_diagonal_one_cannot(covariance):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(400, 1, generator=g) + 0.1 * torch.randn(400, 4, generator=g)
    source = table("real", x)
    found = {}
    for leaf in (partial(CorrelatedGaussian, covariance=covariance), partial(Gaussian, scale="decoder")):
        vae = built(leaf, source, prior=ppl_vae.StandardNormal)
        for parameter in vae.posterior.parameters():
            parameter.requires_grad_(False)
        fit(vae, source, epochs=40, batch_size=64, optimizer=partial(torch.optim.Adam, lr=0.02), seed=0, progress=False)
        found[leaf.func] = evaluate(vae, source.test, num_samples=30, seed=0, progress=False).summary.loc[
            "elbo", "mean"
        ]
    assert found[CorrelatedGaussian] > found[Gaussian] + 1


@pytest.mark.parametrize("leaf", [Gamma, LogNormal])
def test_positive_data_train_and_everything_else_is_refused(leaf):
    source = above_0()
    assert isinstance(build(source, latent_dim=2).likelihood, LogNormal)
    vae = built(leaf, source)
    fit(vae, source, epochs=1, seed=0, progress=False)
    assert (vae.sample(20, seed=0) > 0).all()
    with pytest.raises(ValueError, match=r"expects x above 0, got values in \[0, 0\].*leave out or shift.*Gaussian"):
        vae.encode(torch.zeros(2, 4))
    assert_close(vae.likelihood.standardize(source.test.x), source.test.x.log())
    hidden = source.hide(0.3, seed=0)
    fit(built(leaf, hidden), hidden, epochs=1, seed=0, progress=False)
    assert build(source.suit(Gaussian), latent_dim=2).likelihood.base_measure == "density"
    with pytest.raises(ValueError, match=r"scores positive data, got real; choose"):
        real().suit(leaf)


def test_an_outlier_costs_a_student_t_little():
    x, far = torch.zeros(1, 4), torch.full((1, 4), 1e3)
    cost = {}
    for leaf in (Gaussian, StudentT, likelihoods.Laplace):
        p = built(leaf, real()).likelihood.given(torch.zeros(1, 2))
        cost[leaf] = (p.log_prob(x) - p.log_prob(far)).item()
    assert cost[StudentT] < 150 < cost[likelihoods.Laplace] < cost[Gaussian] / 100
    assert_close(built(StudentT, real()).likelihood.standardize(torch.tensor([0.0, 1e3])), torch.tensor([0.0, 7.6009]))


def test_degrees_of_freedom_are_given_or_learned():
    z = torch.zeros(3, 2)
    for df, expected in {"learned": 3.0001, "elementwise": 3.0001, 7: 7.0}.items():
        leaf = StudentT(2, (4,), SMALL, df=df)
        assert_close(leaf.given(z).base_dist.base_dist.df, torch.full((3, 4), expected))
        assert ("raw_df" in dict(leaf.named_parameters())) == isinstance(df, str)
        assert leaf.given(z).variance.isfinite().all()


def test_a_beta_takes_the_ends_of_the_interval():
    vae = built(Beta, table("unit", torch.rand(60, 3, generator=torch.Generator().manual_seed(0))))
    x = torch.tensor([[0.0, 0.5, 1.0]]).requires_grad_()
    log_p = vae.likelihood.given(torch.zeros(1, 2)).log_prob(x)
    log_p.sum().backward()
    assert log_p.isfinite().all()
    assert x.grad.isfinite().all()
    with pytest.raises(ValueError, match=r"Beta expects x in \[0, 1\], got values in \[1.5, 1.5\].*dequantize"):
        vae.encode(torch.full((1, 3), 1.5))


def test_a_name_of_a_prior_is_resolved_by_role():
    vae = built(likelihoods.Laplace, real(), prior=ppl_vae.Laplace)
    assert vae.recipe["prior"]["class"] == vae.recipe["likelihood"]["class"] == "Laplace"
    again = rebuild(vae.recipe)
    assert type(again.prior) is ppl_vae.Laplace
    assert type(again.likelihood) is likelihoods.Laplace
    assert isinstance(again, VAE)
    assert "Laplace" not in {leaf.__name__ for leaf in vars(ppl_vae).values() if leaf is likelihoods.Laplace}
