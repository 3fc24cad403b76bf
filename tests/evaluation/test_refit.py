"""`impute(method="adaptive")` against the exact conditional mean."""

import pytest
import torch
from small_models import CASES, ppca, two_sites

from ppl_vae import impute

QUIET = {"progress": False, "seed": 0}


def test_imputations_of_data_with_a_high_k_hat():
    """Probabilistic PCA with placeholders for what is missing: q is off, and the exact conditional is a normal."""
    known = ppca(n=30, dim=6, s=0.5)
    mask = torch.rand(known.x.shape, generator=torch.Generator().manual_seed(0)) < 0.6
    mask[:, 0] = True
    covariance = known.weight @ known.weight.T + 0.25 * torch.eye(6).double()
    exact = known.x.clone()
    for n in range(30):
        seen, missing = mask[n].nonzero().flatten(), (~mask[n]).nonzero().flatten()
        gain = covariance[missing][:, seen] @ torch.linalg.inv(covariance[seen][:, seen])
        exact[n, missing] = gain @ known.x[n, seen]
    plain = impute(known.vae, known.x, mask=mask, num_samples=1000, num_draws=40, **QUIET)
    found = impute(known.vae, known.x, mask=mask, num_samples=1000, num_draws=40, method="adaptive", **QUIET)
    assert plain.pareto_k.nanmean() > 0.6
    assert found.pareto_k.nan_to_num(0).max() < 0.7
    rmse = [float((done.mean - exact)[~mask].square().mean().sqrt()) for done in (plain, found)]
    assert rmse[1] < 0.1
    assert rmse[1] < 0.5 * rmse[0]


WITH_PLACEHOLDERS = [case for case in CASES if case is not two_sites]  # whose guide takes the mean of what is missing


@pytest.mark.parametrize("case", WITH_PLACEHOLDERS, ids=lambda case: case.__name__)
def test_every_kind_of_model(case):
    program, x, context, _ = case()
    mask = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.7
    found = impute(program, x, *context, mask=mask, num_samples=200, num_draws=40, method="adaptive", **QUIET)
    assert found.draws.isfinite().all()
    assert found.pareto_k.nan_to_num(0).max() < 0.75
