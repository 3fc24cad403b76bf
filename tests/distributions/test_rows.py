"""The law of distributions of whole rows: exact, one in all, with marginals, moments, samplers and gradients."""

import itertools
import math

import mpmath as mp
import numpy as np
import pytest
import scipy.stats
import torch

from ppl_vae.distributions import CorrelatedNormal, LowRankNormal, Multinomial
from ppl_vae.likelihoods import CorrelatedGaussian

F32, F64 = torch.float32, torch.float64
RTOL = {F32: 1e-5, F64: 1e-10}
dtypes = pytest.mark.parametrize("dtype", [F32, F64], ids=["float32", "float64"])
SEEN = [True, *(torch.tensor(m) for m in ([True, False, True], [False, False, True], [False, False, False]))]
seen = pytest.mark.parametrize("mask", SEEN, ids=["all", "two", "one", "none"])
SCALES = (1e-4, 1.0, 1e3)


def normal(kind, dtype, scale=1.0):
    """A normal row of three numbers, in float64 what the type holds of its parameters."""
    g = torch.Generator().manual_seed(3)
    loc, square = torch.randn(3, generator=g).to(dtype), torch.randn(3, 3, generator=g).to(dtype)
    if kind == "full":
        lower = (square.tril(-1) + torch.diag(torch.tensor([scale, 1.0, 2.0], dtype=dtype))).requires_grad_()
        return CorrelatedNormal(loc.requires_grad_(), lower), lower.detach().double()
    own = torch.tensor([1.0, 0.5, 1.5], dtype=dtype).requires_grad_()
    factor = (square[:, :2] * scale).requires_grad_()
    p = LowRankNormal(loc.requires_grad_(), factor, own)
    return p, torch.cat([factor.detach().double(), torch.diag(own.detach().double())], -1)


def covariance(root):
    root = mp.matrix(root.tolist())
    return root * root.T


def exact_normal(x, loc, cov, mask):
    """Log density of the elements that are seen, from the covariance without the others."""
    kept = range(3) if mask is True else [i for i in range(3) if mask[i]]
    if not kept:
        return 0.0
    sub = mp.matrix([[cov[i, j] for j in kept] for i in kept])
    d = mp.matrix([mp.mpf(x[i]) - mp.mpf(loc[i]) for i in kept])
    distance = (d.T * mp.lu_solve(sub, d))[0]
    return float(-(distance + mp.log(mp.det(sub)) + len(kept) * mp.log(2 * mp.pi)) / 2)


@dtypes
@seen
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kind", ["full", "low rank"])
def test_normal_rows_have_exact_marginals_and_gradients(kind, scale, mask, dtype):
    with mp.workdps(60):
        p, root = normal(kind, dtype, scale)
        p = p.observed(mask)
        torch.manual_seed(0)
        x = p.sample((5,)) + torch.tensor([0.0, 1.0, -1.0], dtype=dtype)
        log_p = p.log_prob(x)
        cov, loc = covariance(root), p.loc.detach().double().tolist()
        exact = torch.tensor([exact_normal(row, loc, cov, mask) for row in x.double().tolist()], dtype=F64)
        error = (log_p.double() - exact).abs() / exact.abs().clamp_min(1)
        assert error.max() <= RTOL[dtype]
        log_p.sum().backward()
        assert all(leaf.grad.isfinite().all() for leaf in (p.loc, p.factor))


@pytest.mark.parametrize("kind", ["full", "low rank"])
def test_normal_rows_are_drawn_with_their_mean_and_covariance(kind):
    p, root = normal(kind, F64)
    torch.manual_seed(0)
    x, cov, n = p.sample((20_000,)), root @ root.T, 20_000
    assert ((x.mean(0) - p.mean).abs() < 5 * (cov.diagonal() / n).sqrt()).all()
    error = torch.cov(x.T) - cov
    assert (error.abs() < 5 * ((cov.diagonal().outer(cov.diagonal()) + cov.square()) / n).sqrt()).all()
    assert torch.allclose(p.variance, cov.diagonal())


@pytest.mark.parametrize("covariance", ["full", 2])
def test_a_masked_row_of_a_picture_is_the_marginal_of_its_elements(covariance):
    torch.manual_seed(0)
    leaf = CorrelatedGaussian(2, (1, 2, 2), covariance=covariance).double()
    z, x, mask = torch.randn(3, 5, 2).double(), torch.randn(5, 1, 2, 2).double(), torch.rand(5, 1, 2, 2) < 0.6
    whole, part = leaf.given(z), leaf.given(z, mask=mask)
    assert part.log_prob(x).shape == (3, 5)
    root = whole.factor if covariance == "full" else torch.cat([whole.factor, torch.diag_embed(whole.scale)], -1)
    cov = (root @ root.mT).detach()
    for i, j in itertools.product(range(3), range(5)):
        kept = mask[j].flatten()
        expected = 0.0
        if kept.any():
            exact = scipy.stats.multivariate_normal(whole.loc[i, j, kept].detach(), cov[i, j][kept][:, kept])
            expected = exact.logpdf(x[j].flatten()[kept])
        assert part.log_prob(x)[i, j].item() == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert torch.equal(leaf.given(z, mask=torch.ones_like(mask)).mean, whole.mean)
    assert torch.allclose(leaf.given(z, mask=torch.ones_like(mask)).log_prob(x), whole.log_prob(x))


def rows(total, width=3):
    """All rows of counts with a total."""
    return [r for r in itertools.product(range(total + 1), repeat=width) if sum(r) == total]


@dtypes
@pytest.mark.parametrize("logits", [(0.0, 1.0, -2.0), (1e3, 999.0, -1e3), (-50.0, 0.0, 0.0)])
def test_multinomial_masses_are_exact_and_add_up(logits, dtype):
    p = Multinomial(torch.tensor(logits, dtype=dtype).requires_grad_(), torch.tensor(6.0, dtype=dtype))
    x = torch.tensor(rows(6), dtype=dtype)
    log_p = p.log_prob(x)
    with mp.workdps(60):
        log_share = [mp.mpf(v) - mp.log(sum(mp.exp(mp.mpf(u)) for u in logits)) for v in logits]
        for row, got in zip(rows(6), log_p.tolist(), strict=True):
            ways = mp.loggamma(7) - sum(mp.loggamma(k + 1) for k in row)
            expected = float(ways + sum(k * v for k, v in zip(row, log_share, strict=True)))
            assert got == pytest.approx(expected, rel=RTOL[dtype], abs=RTOL[dtype])
    assert log_p.double().exp().sum().item() == pytest.approx(1, abs=1e-5 if dtype is F32 else 1e-10)
    log_p.sum().backward()
    weights = log_p.detach().double().exp().unsqueeze(-1)
    mean = (weights * x).sum(0)
    assert torch.allclose(p.mean.double(), mean, atol=1e-5)
    assert torch.allclose(p.variance.double(), (weights * (x - mean).square()).sum(0), atol=1e-5)


@pytest.mark.parametrize("seed", [0, 1])
def test_multinomial_rows_are_drawn_from_it(seed):
    torch.manual_seed(seed)
    p = Multinomial(torch.tensor([0.0, 1.0, -2.0]), torch.tensor(4.0))
    x, known = p.sample((20_000,)), rows(4)
    mass = p.log_prob(torch.tensor(known).float()).double().exp().numpy()
    counts = np.array([(x == torch.tensor(row)).all(-1).sum().item() for row in known])
    large = mass * 20_000 > 5
    observed = np.append(counts[large], counts[~large].sum())
    expected = np.append(mass[large], mass[~large].sum()) * 20_000
    assert scipy.stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > 1e-4


@seen
def test_a_masked_multinomial_is_given_the_total_of_what_is_seen(mask):
    logits = torch.tensor([0.3, 1.0, -2.0]).double().requires_grad_()
    p = Multinomial(logits, torch.tensor(4.0).double()).observed(mask)
    kept = [True] * 3 if mask is True else mask.tolist()
    x = torch.tensor([3.0, 7.0, 2.0]).double()
    share, counts = logits[torch.tensor(kept)].detach().softmax(-1).numpy(), x[torch.tensor(kept)].numpy()
    expected = scipy.stats.multinomial.logpmf(counts, int(counts.sum()), share) if any(kept) else 0.0
    log_p = p.log_prob(x)
    assert log_p.item() == pytest.approx(expected, abs=1e-10)
    log_p.backward()
    assert logits.grad.isfinite().all()
    torch.manual_seed(0)
    drawn, n = p.sample((4000,)), 4000
    if any(kept):
        assert (drawn[:, torch.tensor(kept)].sum(-1) == 4).all()
    assert ((drawn.mean(0) - p.mean).abs() <= 5 * (p.mean / n).sqrt()).all()  # the variance is at most the mean


def test_large_totals_are_exact_in_float32():
    p = Multinomial(torch.zeros(2), torch.tensor(1e5))
    x = torch.tensor([50_100.0, 49_900.0])
    assert p.log_prob(x).item() == pytest.approx(scipy.stats.binom.logpmf(50_100, 100_000, 0.5), rel=1e-5)
    assert math.isfinite(p.sample().sum().item())
