"""Posteriors on the sphere and the simplex: closed KLs, what starts where, training, and what diagnostics leave out."""

from functools import partial

import numpy as np
import pytest
import torch
from matrix import X_SHAPE, loss
from torch.distributions import kl_divergence

from ppl_vae import (
    Bernoulli,
    PowerSpherical,
    SphericalUniform,
    build,
    diagnose,
    evaluate,
    fit,
    load,
    posteriors,
    priors,
)
from ppl_vae.data import from_arrays
from ppl_vae.domain import Domain
from ppl_vae.nets import MLP
from ppl_vae.objectives import TraceMeanField_ELBO

SMALL = partial(MLP, hidden_dims=[8], activation="tanh")
PAIRS = [
    (SphericalUniform, PowerSpherical),
    (priors.Dirichlet, posteriors.Dirichlet),
    (partial(priors.Dirichlet, concentration=0.3), posteriors.LogisticNormal),
    (priors.LogisticNormal, posteriors.LogisticNormal),
]


def pictures(n=60):
    x = np.random.default_rng(0).random((n, *X_SHAPE)) < 0.4
    return from_arrays(x.astype("float32"), domain=Domain("binary"))


def built(prior, posterior, x, latent_dim=3):
    parts = {"likelihood": Bernoulli, "encoder": SMALL, "decoder": SMALL, "seed": 0}
    return build(x, latent_dim=latent_dim, prior=prior, posterior=posterior, **parts)


@pytest.mark.parametrize(("prior", "posterior"), PAIRS)
def test_it_trains_is_stored_and_evaluated(prior, posterior, tmp_path):
    x = pictures()
    vae = built(prior, posterior, x)
    fit(vae, x, epochs=2, seed=0, run=tmp_path / "run", progress=False)
    assert loss(load(tmp_path / "run").vae, [x.test.x]) == loss(vae.eval(), [x.test.x])
    found = evaluate(vae, x.test, num_samples=50, seed=0, progress=False)
    assert found.per_datum.log_px.notna().all()


@pytest.mark.parametrize(("prior", "posterior"), PAIRS[:2])
def test_its_kl_in_closed_form_is_the_mean_of_its_log_ratio(prior, posterior):
    vae = built(prior, posterior, pictures()).double()
    torch.manual_seed(0)
    q, p = vae.posterior.distribution(torch.randn(5, *vae.posterior.param_shape(3)).double()), vae.prior.given()
    z = q.sample((20_000,))
    ratio = q.log_prob(z) - p.log_prob(z)
    error = (ratio.mean(0) - kl_divergence(q, p)) / (ratio.std(0) / 20_000**0.5)
    assert error.abs().max() < 4.5
    assert loss(vae, [pictures().test.x.double()], TraceMeanField_ELBO()).isfinite()


def test_an_encoder_that_points_nowhere_gives_a_direction():
    q = PowerSpherical((3,), 4).distribution(torch.zeros(2, 1, 5, requires_grad=True))
    assert q.support.check(q.loc).all()
    assert q.rsample().isfinite().all()


def test_diagnostics_leave_a_sphere_out_with_the_reason():
    x = pictures()
    vae = built(SphericalUniform, PowerSpherical, x, latent_dim=2)
    found = diagnose(vae, x.test, num_samples=30, seed=0, progress=False)
    assert "sphere" in found.report().lower()
