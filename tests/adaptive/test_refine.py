"""`refine` and `to_arviz(refined=True)`: distributions and draws closer to p(z | x) than q's."""

import math
from dataclasses import replace

import pytest
import torch
from small_models import CASES, ppca, two_modes

from ppl_vae import refine, to_arviz
from ppl_vae.diagnostics import compare_posteriors, hmc
from ppl_vae.diagnostics.results import group
from ppl_vae.posteriors import Point

QUIET = {"progress": False, "seed": 0}


@pytest.mark.parametrize("wrong", [{"s": 0.5}, {"shift": 0.5}], ids=["narrow", "shifted"])
def test_the_distribution_and_weighted_draws_are_those_of_the_exact_posterior(wrong):
    known = ppca(n=20, **wrong)
    found = known.vae.refine(known.x, num_samples=2000, **QUIET)
    assert found.believed.all()
    assert found.distribution.batch_shape == (20,)
    first = found.scale_tril[:, 0] @ found.scale_tril[:, 0].mT  # the scale matrix is the covariance
    assert (found.loc[:, 0] - known.mean).abs().max() < 0.35 * known.covariance.diagonal().sqrt().max()
    assert (first.diagonal(dim1=-2, dim2=-1) / known.covariance.diagonal()).log().abs().max() < math.log(1.6)
    drawn = found.resampled(1000, seed=1)["z"]
    assert drawn.shape == (1000, 20, 2)
    z = (drawn.mean(0) - known.mean) / known.covariance.diagonal().sqrt()
    assert z.square().mean().sqrt() < 0.06
    spread = drawn.var(0) / known.covariance.diagonal()
    assert abs(spread.mean() - 1) < 0.05
    assert "k-hat is good" in repr(found)
    heavy = torch.linspace(0.001, 1, 2000).double().log().neg().mul(2).reshape(-1, 1).expand(2000, 20)  # k-hat of 2
    said = "k-hat is too high for 20: these may be far from p(z | x), though closer than q)"
    assert repr(replace(found, log_weight=heavy)).endswith(said)


def test_two_modes_are_two_components():
    x = torch.linspace(0.8, 2.0, 5).double()
    found = refine(two_modes(), x, num_samples=1000, **QUIET)
    assert found.loc.shape[1] == 4  # from q, and from three climbs
    drawn = found.resampled(1000, seed=0)["z"]
    assert ((drawn > 0).double().mean(0) - 0.5).abs().max() < 0.15
    assert found.distribution.log_prob(x.sqrt()[:, None]).exp().min() > 0.1
    assert found.distribution.log_prob(-x.sqrt()[:, None]).exp().min() > 0.1


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_every_kind_of_model_has_a_tree_of_refined_draws(case):
    program, x, context, mask = case()
    tree = to_arviz(program, x, *context, mask=mask, num_samples=400, refined=True, **QUIET)
    plain = to_arviz(program, x, *context, mask=mask, num_samples=400, **QUIET)
    posterior, expected = group(tree, "posterior"), group(plain, "posterior")
    assert {k: v.shape for k, v in posterior.items()} == {k: v.shape for k, v in expected.items()}
    assert "a Student t of each datum" in posterior.attrs["draws"]
    assert (group(tree, "diagnostics")["pareto_k"] < 0.7).all()
    stats = group(tree, "sample_stats")
    log_w = stats["lp"] - stats["log_q"]
    assert abs(log_w - stats["log_weight"]).max() < 1e-6


def test_compare_posteriors_shows_what_it_bought():
    known = ppca(n=4, s=0.4)
    reference = hmc(known.vae, known.x, num_warmup=100, num_samples=200, **QUIET)
    plain, refined = (
        compare_posteriors(to_arviz(known.vae, known.x, num_samples=400, refined=is_refined, **QUIET), reference)
        for is_refined in (False, True)
    )
    assert (plain.sd_ratio < 0.6).all()
    assert (abs(refined.sd_ratio - 1) < 0.4).all()
    assert float(refined.energy_distance.mean()) < 0.3 * float(plain.energy_distance.mean())


def test_refusals():
    known = ppca(n=2)
    with pytest.raises(ValueError, match=r"refine expects num_samples of 25 or more, got 3"):
        refine(known.vae, known.x, num_samples=3)
    known.vae.posterior = Point(
        (5,), 2, lambda i, o: torch.nn.Sequential(torch.nn.Linear(5, 2), torch.nn.Unflatten(-1, o))
    )
    with pytest.raises(ValueError, match="point mass"):
        refine(known.vae.double(), known.x)
