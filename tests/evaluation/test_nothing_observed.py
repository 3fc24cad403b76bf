"""What is known of a datum of which nothing was observed."""

import numpy as np
import pytest
import torch

from ppl_vae import IAF, DiagonalNormal, Domain, build, evaluate, posteriors, priors
from ppl_vae.data import from_arrays
from ppl_vae.diagnostics import log_marginal_likelihood
from ppl_vae.split import Split


@pytest.mark.filterwarnings("ignore:the data are in other units")  # by a span of 7, for the volume
@pytest.mark.parametrize("posterior", [DiagonalNormal, IAF])
def test_a_datum_of_which_nothing_was_observed_has_a_log_p_of_exactly_zero(posterior):
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).double()
    mask = torch.rand(6, 4, generator=torch.Generator().manual_seed(1)) < 0.5
    mask[2], mask[4], mask[0] = False, False, True
    vae = build(from_arrays(x, x_validation=x, x_test=x), latent_dim=2, posterior=posterior, seed=0).double()
    domain = Domain("real", span=7.0)
    split = Split(x, torch.arange(6), domain, mask=mask)
    found = evaluate(vae, split, num_samples=50, seed=0, progress=False).per_datum
    empty = ~mask.any(1).numpy()
    exact = found.loc[empty]
    assert (exact[["log_px", "log_px_mcse", "log_px_bias", "pareto_k", "reconstruction"]] == 0).all(axis=None)
    np.testing.assert_array_equal(exact.kl_gap, -exact.elbo)
    np.testing.assert_array_equal(exact.kl_gap_mcse, exact.elbo_mcse)
    assert (found.loc[~empty, "log_px_mcse"] > 0).all()
    for method in ("iwae", "prior"):
        weights = log_marginal_likelihood(vae, split, num_samples=50, seed=0, method=method, progress=False)
        assert all((weights[name].values[empty] == 0).all() for name in ("log_px", "log_px_mcse", "log_px_bias"))
        assert (weights.pareto_k.values[empty] == 0).all()
        assert (weights.log_px_mcse.values[~empty] > 0).all()


@pytest.mark.parametrize("latent_dim", [2, 30])
def test_discrete_latents_from_the_prior_add_no_error_to_nothing(latent_dim):
    """Whether their states are summed over or drawn."""
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).double()
    mask = torch.ones(4, 3, dtype=torch.bool)
    mask[1] = False
    kinds = {"prior": priors.Bernoulli, "posterior": posteriors.Bernoulli}
    vae = build(from_arrays(x, x_validation=x, x_test=x), latent_dim=latent_dim, seed=0, **kinds).double()
    found = log_marginal_likelihood(vae, x, mask=mask, method="prior", num_samples=50, seed=0, progress=False)
    assert all(found[name].values[1] == 0 for name in ("log_px", "log_px_mcse", "log_px_bias", "pareto_k"))
