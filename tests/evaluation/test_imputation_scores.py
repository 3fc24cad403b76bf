"""The coverage of intervals where values tie, against draws that are like the truth."""

import pytest
import torch

from ppl_vae.evaluation import Imputation, imputation_scores


def imputed_as(draws):
    """All of x missing, imputed by draws (num_draws, n, columns)."""
    _, n, columns = draws.shape
    return Imputation(
        mean=draws.mean(0),
        draws=draws,
        observed=torch.zeros(n, columns, dtype=torch.bool),
        pareto_k=torch.zeros(n),
        ess=torch.full((n,), 100.0),
        index=torch.arange(n),
        num_samples=100,
        seed=0,
        domain=None,
        provenance={},
        formula="",
    )


@pytest.mark.parametrize("prob", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("num_draws", [39, 100])
def test_it_is_as_large_as_it_says_for_draws_like_the_truth_however_many_tie(num_draws, prob):
    """Of a value that is rare, of counts, of real numbers: 8,000 elements each, standard error 0.6 % at most."""
    generator = torch.Generator().manual_seed(num_draws)
    shape = (num_draws + 1, 8000)
    every = torch.stack(
        [
            (torch.rand(shape, generator=generator) < 0.1).float(),
            torch.poisson(torch.full(shape, 2.0), generator=generator),
            torch.randn(shape, generator=generator),
        ],
        -1,
    )
    scores = imputation_scores(imputed_as(every[1:]), every[0], prob=prob)
    assert (scores.coverage_randomized - prob).abs().max() < 0.025
    assert (scores.coverage - scores.coverage_randomized)[["0", "1"]].min() > 0.01  # intervals hold values whole


def test_it_sees_draws_that_are_too_narrow_and_too_wide():
    """Poisson counts of mean 9, and draws of half and of twice their spread: 4,000 elements, standard error 0.8 %."""
    generator = torch.Generator().manual_seed(0)
    counts = torch.poisson(torch.full((101, 4000, 1), 9.0), generator=generator)
    for factor, low, high in [(0.5, 0.6, 0.8), (2.0, 0.99, 1.0)]:
        draws = (9 + factor * (counts[1:] - 9)).round()
        found = imputation_scores(imputed_as(draws), counts[0]).loc["all", "coverage_randomized"]
        assert low < found <= high


def test_ranks_by_hand():
    """20 of 40 draws below the true value and 10 that tie: ranks from 20/41 to 31/41, of which 0.6 cuts a part off."""
    draws = torch.tensor([0.0, 0.0, 1.0, 2.0]).repeat(10).reshape(40, 1, 1)
    found = imputation_scores(imputed_as(draws), torch.ones(1, 1), prob=0.2).loc["all", "coverage_randomized"]
    assert found == pytest.approx((0.6 - 20 / 41) / (11 / 41), abs=1e-6)


def test_too_few_draws_for_the_intervals_are_refused():
    with pytest.raises(
        ValueError, match=r"intervals\(0.95\) expects at least 39 draws, got 38; impute again with num_draws"
    ):
        imputation_scores(imputed_as(torch.zeros(38, 1, 1)), torch.ones(1, 1))
    assert imputation_scores(imputed_as(torch.zeros(38, 1, 1)), torch.ones(1, 1), prob=0.9).loc["all", "elements"] == 1
