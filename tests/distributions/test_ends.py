"""Numbers that round to an end of their support: densities of draws there are those of the masses they stand for."""

import math

import pytest
import torch
from scipy import stats

from ppl_vae.distributions import (
    Beta,
    Dirichlet,
    LogisticNormal,
    PowerSpherical,
    RelaxedBernoulli,
    RelaxedCategorical,
)


def coin(logit, temperature):
    return RelaxedBernoulli(torch.tensor(logit), torch.tensor(temperature), validate_args=False)


def beta(a, b):
    return Beta(torch.tensor(a), torch.tensor(b))


def cap(kappa):
    return PowerSpherical(torch.tensor([0.36, 0.48, 0.8]), torch.tensor(kappa))


def category(logits, temperature):
    return RelaxedCategorical(torch.tensor(logits), temperature)


PAIRS = {
    "coins, cold": (coin(2.0, 0.1), coin(0.0, 0.1)),
    "coins, cold, other end": (coin(-2.0, 0.1), coin(0.0, 0.1)),
    "coins, warm": (coin(5.0, 0.3), coin(3.0, 0.3)),
    "beta": (beta(0.05, 0.1), beta(0.07, 0.05)),
    "beta and coin": (beta(0.05, 0.05), coin(0.0, 0.05)),
    "beta and uniform": (beta(0.7, 0.5), beta(1.0, 1.0)),
    "beta, narrow": (beta(1.0, 1e8), beta(1.0, 7e7)),
    "beta, narrow, other end": (beta(1e5, 1.0), beta(1.2e5, 1.0)),
    "sphere": (cap(5e7), cap(6e7)),
    "sphere, narrow": (cap(1e12), cap(1.2e12)),
    "categories": (category([1.0, 0.0, -1.0], 0.02), category([0.0, 0.0, 0.0], 0.02)),
    "Dirichlet": (Dirichlet(torch.tensor([0.01, 0.01, 0.02])), Dirichlet(torch.tensor([0.015, 0.01, 0.015]))),
    "Dirichlet and categories": (Dirichlet(torch.tensor([0.02, 0.02, 0.03])), category([0.0, 0.0, 0.0], 0.02)),
    "LogisticNormal": (
        LogisticNormal(torch.tensor([-80.0, -85.0]), torch.full((2,), 5.0)),
        LogisticNormal(torch.tensor([-82.0, -86.0]), torch.full((2,), 5.0)),
    ),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_importance_weights_of_draws_have_mean_one(pair):
    q, p = PAIRS[pair]
    torch.manual_seed(0)
    z = q.sample((200_000,))
    w = (p.log_prob(z) - q.log_prob(z)).double().exp()
    assert abs(w.mean() - 1) < 5 * w.std() / math.sqrt(len(w))
    assert w.std() / math.sqrt(len(w)) < 0.01


@pytest.mark.parametrize("logit", [-10.0, 10.0])
def test_a_relative_entropy_is_at_most_that_of_unrounded_numbers(logit):
    q, p = coin(logit, 0.1), coin(0.0, 0.1)
    torch.manual_seed(0)
    z = q.sample((50_000,))
    ends = math.log1p(math.exp(0.1 * 25 * math.log(2)))  # -log P(z = 1) under p
    assert 0 < (q.log_prob(z) - p.log_prob(z)).mean() < ends + 1e-3
    assert ends < abs(logit) - 2  # about the relative entropy of the noises


@pytest.mark.parametrize(
    ("a", "b"), [(0.05, 0.3), (1e-3, 1.0), (0.5, 1e3), (1.0, 1e5), (1.0, 1e7), (0.5, 1e8), (3.0, 1e8)]
)
def test_the_density_at_0_and_1_is_the_mean_of_those_that_round_there(a, b):
    width = 2.0**-25
    for p, x in ((beta(a, b), 0.0), (beta(b, a), 1.0)):
        mass = stats.beta.cdf(width, a, b)
        assert float(p.log_prob(torch.tensor(x))) == pytest.approx(math.log(mass / width), rel=2e-3, abs=2e-3)


def test_draws_of_nan_are_nan():
    assert torch.isnan(coin(math.nan, 0.5).sample())
    assert torch.isnan(Beta(torch.tensor(math.nan), torch.tensor(1.0), validate_args=False).sample())


def test_draws_are_ends_as_often_as_their_mass_says():
    torch.manual_seed(0)
    for p in (coin(2.0, 0.1), coin(-1.0, 0.2), beta(0.05, 0.1)):
        z = p.sample((100_000,))
        for end in (0.0, 1.0):
            mass = float(p.log_prob(torch.tensor(end)).exp()) * 2.0**-25
            assert float((z == end).double().mean()) == pytest.approx(mass, abs=5 * math.sqrt(mass / 100_000))


def test_a_mean_without_a_formula_says_what_to_do():
    with pytest.raises(
        NotImplementedError, match=r"which has no formula; average them: q.sample\(\(1000,\)\).mean\(0\)"
    ):
        _ = RelaxedCategorical(torch.zeros(3), 0.5).mean
