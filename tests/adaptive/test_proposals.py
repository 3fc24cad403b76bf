"""Student t, their moments and their mixture with the prior, against SciPy and closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from small_models import ppca

from ppl_vae.adaptive import Defensive, Density, Settings, Student, adapt, pareto_k
from ppl_vae.adaptive.leftovers import annealed, cost
from ppl_vae.adaptive.moments import matched, of_draws
from ppl_vae.find_plates import find_plates
from ppl_vae.importance import good_k, log_marginal
from ppl_vae.isolation import evaluating, frozen
from ppl_vae.split import Split
from ppl_vae.unconstrained import LogJoint


def student(dim, n=3, df=8.0, seed=0):
    g = torch.Generator().manual_seed(seed)
    tril = torch.randn(n, dim, dim, generator=g).double().tril() / dim
    tril.diagonal(dim1=-2, dim2=-1).abs_().add_(0.5)
    return Student(torch.randn(n, dim, generator=g).double(), tril, df)


@pytest.mark.parametrize("dim", [1, 2, 40])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_density_is_that_of_scipy(dim, scale):
    t = student(dim)
    t = Student(t.loc, scale * t.tril, t.df)
    u = t.sample(5)
    far = torch.cat([u, t.loc[None] + 1e3 * scale])
    for n in range(3):
        exact = stats.multivariate_t(t.loc[n].numpy(), (t.tril[n] @ t.tril[n].T).numpy(), df=t.df, allow_singular=True)
        np.testing.assert_allclose(t.log_prob(far)[:, n], exact.logpdf(far[:, n].numpy()), rtol=1e-5, atol=1e-5)


def test_draws_have_the_distribution_of_their_density():
    torch.manual_seed(1)
    t = student(2, n=1)
    square = t.standardized(t.sample(20_000)).square().sum(-1).flatten() / 2
    assert stats.kstest(square.numpy(), stats.f(2, t.df).cdf).pvalue > 1e-3
    defensive = Defensive([t, student(2, n=1, seed=1)], 0.1)
    assert defensive.counts(1000) == [450, 450, 100]
    u = defensive.sample(torch.randn(100, 1, 2).double(), 1000)
    prior = stats.multivariate_normal(np.zeros(2))
    log_prior = torch.from_numpy(prior.logpdf(u[:, 0].numpy()))[:, None]
    parts = [*(s.log_prob(u).exp() * 0.45 for s in defensive.students), log_prior.exp() * 0.1]
    torch.testing.assert_close(defensive.log_prob(u, log_prior, 1000), sum(parts).log())


def test_moments_are_those_of_the_weighted_distribution():
    torch.manual_seed(0)
    p = torch.distributions.MultivariateNormal(
        torch.tensor([1.0, -1.0]).double(), torch.tensor([[2.0, 0.9], [0.9, 1.0]]).double()
    )
    around = Student(torch.zeros(1, 2).double(), 2 * torch.eye(2).double()[None], 8.0)
    u = around.sample(50_000)
    found = matched(u, p.log_prob(u) - around.log_prob(u), around)
    assert (found.loc[0] - p.loc).abs().max() < 0.05
    assert (found.tril[0] @ found.tril[0].T - p.covariance_matrix).abs().max() < 0.1
    drawn = of_draws(p.sample((50_000,))[:, None], 8.0)
    assert (drawn.tril[0] @ drawn.tril[0].T - p.covariance_matrix).abs().max() < 0.1


def test_noise_in_correlations_is_shrunk_and_weights_are_tempered():
    torch.manual_seed(0)
    drawn = of_draws(torch.randn(100, 1, 40).double(), 8.0)
    off = (drawn.tril[0] @ drawn.tril[0].T).fill_diagonal_(0)
    assert off.abs().max() < 0.1  # of a standard deviation of 0.1 each without shrinkage
    around = Student(torch.zeros(1, 5).double(), torch.eye(5).double()[None], 8.0)
    u = around.sample(500)
    one = torch.full((500, 1), -1e9).double()
    one[3] = 0.0
    found = matched(u, one, around)  # one draw has all the weight
    assert found.tril.isfinite().all()
    assert found.tril[0].diagonal().min() > 0.1


@pytest.mark.parametrize("wrong", [{"s": 0.5}, {"shift": 1.0}], ids=["narrow", "shifted"])
@pytest.mark.parametrize("latent_dim", [2, 40])
def test_probabilistic_pca_with_a_wrong_q(wrong, latent_dim):
    """The mean of log p(x) is right to 0.01 nats, though q is half as wide or off by one standard deviation."""
    n, dim = 100, latent_dim + 20
    if "shift" in wrong:
        covariance = ppca(latent_dim=latent_dim, dim=dim, n=1).covariance
        wrong = {"shift": torch.linalg.cholesky(covariance).sum(1)}
    known = ppca(latent_dim=latent_dim, dim=dim, n=n, **wrong)
    split = Split.of(known.x)
    with evaluating(known.vae, 0), frozen(known.vae):
        density = Density(known.vae, split, find_plates(known.vae, split), 10_000)
        found = adapt(density, torch.arange(n), Settings())
    log_px = log_marginal(found.log_w)
    assert (pareto_k(found.log_w) <= good_k(1000)).double().mean() > 0.95
    noise = 4 * float(log_px.mcse.square().sum().sqrt()) / n
    assert abs(float((log_px.estimate - known.log_px).mean())) < 0.01 + noise
    assert (found.evaluations >= 1000).all()


def test_weights_are_bounded_by_the_share_of_the_prior():
    known = ppca(latent_dim=2, n=5, s=0.1)
    split = Split.of(known.x)
    with evaluating(known.vae, 0), frozen(known.vae):
        density = Density(known.vae, split, find_plates(known.vae, split), 10_000)
        rows = torch.arange(5)
        narrow = Student(known.mean, 1e-3 * torch.eye(2).double().expand(5, 2, 2), 8.0)
        joint = density.of(rows)
        mixture = Defensive([narrow], 0.05)
        u = mixture.sample(joint.from_prior(50), 1000)
        scored = density.score(joint, u)
        log_w = scored.log_joint - mixture.log_prob(u, scored.log_prior, 1000)
    assert (log_w <= scored.log_joint - scored.log_prior - math.log(0.05) + 1e-9).all()


def test_the_cost_of_annealing_is_that_of_its_gradients(monkeypatch):
    known, seen, call = ppca(latent_dim=3, n=2), [], LogJoint.__call__
    monkeypatch.setattr(LogJoint, "__call__", lambda self, u, **given: (seen.append(len(u)), call(self, u, **given))[1])
    with evaluating(known.vae, 0), frozen(known.vae):
        split = Split.of(known.x)
        density = Density(known.vae, split, find_plates(known.vae, split), 1000)
        annealed(density, torch.arange(2), Defensive([student(3, n=2)], 0.0), 4)
    assert 3 * sum(seen) == cost(4)
