"""PSIS against ArviZ, and the estimate of log p(x) against what can be worked out."""

import math

import arviz
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from ppl_vae.importance import above, few_error, good_k, log_marginal, psis

ARVIZ_0 = hasattr(arviz, "psislw")
SIZES = [25, 100, 1000, 4001] if ARVIZ_0 else [100, 400, 2500]
"""ArviZ 1.x rounds the length of the tail down, where Vehtari et al. 2024 and 0.23 round up, and fits no tail of 5."""


def by_arviz(log_w):
    """ArviZ 0.23 takes log weights; 1.x takes a log likelihood, their negative."""
    if ARVIZ_0:
        return [np.array(a) for a in arviz.psislw(log_w)]
    from arviz_stats.base import array_stats

    return [np.array(a) for a in array_stats.psislw(-log_w)[:2]]


TAILS = {
    "gaussian": lambda rng, n: rng.normal(size=n),
    "wide": lambda rng, n: 5 * rng.normal(size=n),
    "narrow": lambda rng, n: 0.01 * rng.normal(size=n),
    "light": lambda rng, n: -rng.exponential(size=n),
    "bounded": lambda rng, n: np.log(rng.uniform(size=n)),
    "cauchy": lambda rng, n: np.log(np.abs(rng.standard_cauchy(size=n))),
    **{f"pareto {k}": lambda rng, n, k=k: k * rng.exponential(size=n) for k in (0.1, 0.5, 0.7, 1.0, 2.0)},
    "shifted": lambda rng, n: rng.normal(size=n) - 1234.5,
    "bimodal": lambda rng, n: rng.normal(size=n) + 4 * (rng.uniform(size=n) < 0.02),
}


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("num_draws", SIZES)
def test_psis_is_arvizs(tail, num_draws):
    rng = np.random.default_rng(1)
    log_w = np.stack([TAILS[tail](rng, num_draws) for _ in range(6)], 1)
    ours, k = psis(torch.as_tensor(log_w))
    for i in range(6):
        theirs, their_k = by_arviz(log_w[:, i])
        assert_close(k[i].item(), float(their_k), rtol=1e-10, atol=1e-10)
        assert_close(ours[:, i], torch.as_tensor(theirs), rtol=0, atol=1e-10)
    assert_close(ours.logsumexp(0), torch.zeros(6).double(), rtol=0, atol=1e-12)


def gaussian_pair(scale):
    """Log weights of p = N(0, 1) under q = N(0, scale^2), one column for each of 20 seeds."""
    draws = [torch.randn(100_000, generator=torch.Generator().manual_seed(seed)) for seed in range(20)]
    z = scale * torch.stack(draws, 1).double()
    return -0.5 * z.square() + 0.5 * (z / scale).square()


@pytest.mark.parametrize("scale", [0.7, 0.8, 0.9])
def test_psis_finds_the_shape_of_a_gaussian_pair(scale):
    assert abs(psis(gaussian_pair(scale))[1].median() - (1 - scale**2)) < 0.05


@pytest.mark.parametrize("scale", [1.1, 1.5])
def test_bounded_weights_have_a_negative_shape(scale):
    assert psis(gaussian_pair(scale))[1].max() < 0


def test_psis_of_equal_and_of_too_few_weights():
    for log_w in (torch.full((100, 2), -7.0), -7 + 1e-5 * torch.randn(100, 2)):
        weights, k = psis(log_w)
        assert k.equal(torch.zeros(2).double())
        assert_close(weights, torch.full((100, 2), -math.log(100)).double(), rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match=r"at least 25 draws, got shape \(24, 2\); draw more"):
        psis(torch.randn(24, 2))
    few = torch.full((100, 1), -1e4)
    few[:3] = torch.tensor([0.0, -1.0, -2.0])[:, None]  # three weights count: no tail to fit
    weights, k = psis(few)
    assert k.item() == math.inf
    assert_close(weights[:3, 0], torch.tensor([0.0, -1.0, -2.0]).log_softmax(0).double())


def test_psis_knows_each_datum_by_itself():
    log_w = 3 * torch.randn(200, 5).double()
    whole = psis(log_w)
    for i in range(5):
        for a, b in zip(whole, psis(log_w[:, i : i + 1]), strict=True):
            assert_close(a[..., i : i + 1], b, rtol=0, atol=1e-12)


def test_log_marginal_is_the_formula():
    log_w = 2 * np.random.default_rng(0).normal(size=(500, 3)) - 800  # exp underflows
    w = np.exp(log_w + 800)
    result = log_marginal(torch.as_tensor(log_w))
    np.testing.assert_allclose(result.estimate, np.log(w.mean(0)) - 800, rtol=1e-14)
    np.testing.assert_allclose(result.ess, w.sum(0) ** 2 / (w**2).sum(0), rtol=1e-10)
    np.testing.assert_allclose(result.mcse, w.std(0) / w.mean(0) / np.sqrt(500), rtol=1e-10)
    single = log_marginal(torch.tensor([[-3.0]]))
    assert (single.estimate.item(), single.mcse.item(), single.ess.item()) == (-3.0, 0.0, 1.0)


@pytest.mark.parametrize("shift", [0.5, 1.0])
def test_ess_and_error_of_a_shifted_normal(shift):
    z = shift + torch.randn(10_000, 400).double()
    log_w = -0.5 * z.square() + 0.5 * (z - shift).square()  # their mean is 1
    result = log_marginal(log_w)
    assert_close(result.ess.mean().item() / 10_000, math.exp(-(shift**2)), rtol=0.02, atol=0)
    assert abs(result.estimate.mean()) < 5 * result.mcse.mean() / math.sqrt(400)
    assert abs((result.estimate / result.mcse).std() - 1) < 0.15
    assert abs(result.estimate.exp().mean() - 1) < 5 * result.mcse.mean() / math.sqrt(400)


def test_good_k():
    assert good_k(10**6) == 0.7
    assert good_k(1000) == pytest.approx(2 / 3)
    assert good_k(100) == 0.5


def test_a_few_values_below_a_bound_among_many_above_may_be_luck():
    values = torch.tensor([0.5, 0.9, 2.0, 3.0, 4.0])
    assert above(values[:2], 1.0, 0.3).tolist() == [False, False]
    assert above(values, 1.0, 0.3).tolist() == [True] * 5  # most are above
    some = torch.cat([values[:3], torch.full((6,), 0.1)])  # 11 % are
    assert above(some, 1.0, 0.3).tolist() == [False, True, True, *[False] * 6]
    assert above(torch.tensor([torch.nan, 2.0]), 1.0, 0.3).tolist() == [False, True]
    assert above(torch.empty(0), 1.0, 0.3).shape == (0,)


@pytest.mark.parametrize("sd", [0.2, 0.7, 1.0])
def test_the_error_of_few_weights_covers(sd):
    """Of 16 weights with normal logarithms, whose mean is one; from the weights alone 88 % at sd 1."""
    torch.manual_seed(0)
    log_w = sd * torch.randn(16, 4000).double() - sd**2 / 2
    held = (log_marginal(log_w).estimate.abs() <= 1.96 * few_error(log_w)).double().mean()
    assert 0.93 < held < 0.98
