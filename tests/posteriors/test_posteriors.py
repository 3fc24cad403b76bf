"""Posteriors of low rank, with several modes, heavy tails or splines: densities, gradients of draws, and use."""

import math
import sys
from functools import partial

import numpy as np
import pytest
import torch
from matrix import X_SHAPE, described, loss
from scipy import stats
from torch.testing import assert_close

from ppl_vae import Bernoulli, build, evaluate, fit, load, objectives, posteriors
from ppl_vae.data import from_arrays
from ppl_vae.distributions import NormalMixture, StudentT, positive
from ppl_vae.domain import Domain
from ppl_vae.nets import MLP

SMALL = partial(MLP, hidden_dims=[8], activation="tanh")
LEAVES = [
    partial(posteriors.LowRankNormal, rank=1),
    partial(posteriors.GaussianMixturePosterior, num_components=2),
    partial(posteriors.Householder, num_reflections=2),
    posteriors.StudentT,
    partial(posteriors.StudentT, df=4),
    partial(posteriors.SylvesterFlow, num_columns=2),
    partial(posteriors.SplineFlow, num_transforms=2, hidden_dim=6, num_bins=3),
]
names = [getattr(leaf, "func", leaf).__name__ + str(getattr(leaf, "keywords", "")) for leaf in LEAVES]
each = pytest.mark.parametrize("leaf", LEAVES, ids=names)
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def near(found, exact, dtype):
    np.testing.assert_allclose(found.numpy(), exact, rtol=2e-5 if dtype == torch.float32 else 1e-10, atol=1e-6)


@dtypes
@pytest.mark.parametrize(("loc", "raw"), [(0.0, 0.0), (1e4, -1e3), (-1e4, 1e5)])
def test_the_density_of_low_rank_is_that_of_scipy(dtype, loc, raw):
    q = posteriors.LowRankNormal((3,), 3, rank=2).to(dtype)
    g = torch.Generator().manual_seed(0)
    scale = positive(torch.tensor(raw)).item()
    factor = torch.randn(2, 3, generator=g) * scale
    params = torch.cat([torch.full((1, 3), loc), torch.full((1, 3), raw), factor]).to(dtype)
    p = q.distribution(params)
    torch.manual_seed(1)
    z = torch.cat([p.sample((5,)), p.mean[None] + 1e3 * scale])
    w, m = params[2:].T.double().numpy(), params[0].double().numpy()
    covariance = w @ w.T + positive(params[1]).double().diag().numpy() ** 2
    near(p.log_prob(z), stats.multivariate_normal(m, covariance).logpdf(z.double().numpy()), dtype)
    near(p.variance, covariance.diagonal(), dtype)


@pytest.mark.parametrize("size", [0.0, 1.0, 30.0])
def test_sylvester_flows_invert_and_change_variables_exactly(size):
    """By the determinant of the whole Jacobian, also where tanh is nearly a step; at 0 it is a mean field."""
    torch.manual_seed(0)
    q = posteriors.SylvesterFlow((3,), 5, num_transforms=3, num_columns=4).double()
    params = torch.randn(q.param_shape(5)).double()
    params[2:] *= size
    p = q.distribution(params)
    frames = torch.stack([flow.q for flow in p.transforms[:-1]])
    assert_close(frames.mT @ frames, torch.eye(4).double().expand(3, 4, 4))
    e = torch.randn(5).double()
    jacobian = torch.autograd.functional.jacobian(lambda e: _through(p, e), e)
    z = _through(p, e)
    exact = -e.square().sum() / 2 - 2.5 * math.log(2 * math.pi) - jacobian.slogdet().logabsdet
    new = q.distribution(params)  # which has no noise of z in its cache
    assert_close(new.log_prob(z), exact, rtol=1e-6, atol=1e-6)
    gradient = torch.autograd.functional.jacobian(q.distribution(params).log_prob, z)
    step = 1e-6 * torch.eye(5).double()
    steps = (new.log_prob(z + step) - new.log_prob(z - step)) / 2e-6
    assert_close(gradient, steps, rtol=1e-3, atol=1e-3 * max(1.0, float(gradient.abs().max())))
    if size == 0:
        assert_close(new.log_prob(z), posteriors.DiagonalNormal((3,), 5).distribution(params[:2]).log_prob(z))


def _through(p, e):
    for transform in p.transforms:
        e = transform._call(e)
    return e


def test_reflections_change_variables_exactly():
    """By the Jacobian from noise to z, and by the covariance; without reflections by the encoder, a mean field."""
    torch.manual_seed(0)
    q = posteriors.Householder((3,), 4, num_reflections=3).double()
    params = torch.randn(5, 4).double()
    p = q.distribution(params)

    def of_noise(e):
        return p.transforms[1]._call(p.transforms[0]._call(positive(params[1]) * e))

    e = torch.randn(4).double()
    jacobian = torch.autograd.functional.jacobian(of_noise, e)
    exact = -e.square().sum() / 2 - 2 * math.log(2 * math.pi) - jacobian.slogdet().logabsdet
    assert_close(p.log_prob(of_noise(e)), exact)
    covariance = jacobian @ jacobian.T
    normal = torch.distributions.MultivariateNormal(params[0], covariance)
    z = 3 * torch.randn(6, 4).double()
    assert_close(p.log_prob(z), normal.log_prob(z))
    assert_close(p.variance, covariance.diagonal())
    assert covariance.fill_diagonal_(0).abs().max() > 0.1
    params[2:] = 0.0
    field = posteriors.DiagonalNormal((3,), 4).distribution(params[:2])
    assert_close(q.distribution(params).log_prob(z), field.log_prob(z))


@dtypes
@pytest.mark.parametrize("raw_df", [-1e3, 0.0, 1e6])
def test_the_density_of_heavy_tails_is_that_of_scipy(dtype, raw_df):
    q = posteriors.StudentT((3,), 2).to(dtype).requires_grad_(False)
    assert (2 + positive(q.raw_df)).tolist() == pytest.approx([8, 8], abs=0.01)
    q.raw_df.fill_(raw_df)
    params = torch.tensor([[0.0, 1e4], [-1e3, 1e3]]).to(dtype)
    p, df, scale = q.distribution(params), (2 + positive(q.raw_df)).double(), positive(params[1]).double()
    z = params[0] + scale.to(dtype) * torch.tensor([-1e3, 0.0, 0.7, 1e6])[:, None].to(dtype)
    exact = stats.t(df.numpy(), params[0].double().numpy(), scale.numpy()).logpdf(z.double().numpy()).sum(-1)
    near(p.log_prob(z), exact, dtype)


@dtypes
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("t", [-7.0, 0.3, 7.0])
def test_a_mixture_of_equals_moves_its_draws_as_one_normal_does(dtype, scale, t, monkeypatch):
    """Far in the tails, too, where the distribution function is 1 to rounding."""
    logits, loc, s = torch.tensor([0.3, -1.0]).to(dtype), torch.full((2, 3), 5.0 * scale).to(dtype), scale
    loc, s = loc.requires_grad_(), torch.full((2, 3), s).to(dtype).requires_grad_()
    q = NormalMixture(logits.requires_grad_(), loc, s)
    monkeypatch.setattr(q, "sample", lambda shape=(): (loc[0] + t * s[0]).detach())
    weight = torch.tensor([1.0, -2.0, 0.5]).to(dtype)
    by_logits, by_loc, by_scale = torch.autograd.grad((q.rsample() * weight).sum(), [logits, loc, s])
    assert by_logits.abs().max() < 1e-5 * scale
    assert_close(by_loc.sum(0), weight, rtol=1e-4, atol=0)
    assert_close(by_scale.sum(0), t * weight, rtol=1e-4, atol=0)


def test_draws_of_a_mixture_have_the_gradients_of_the_mean():
    """Of E f(z) by quadrature, by weights, means and scales."""
    params = [
        torch.tensor([0.0, 0.5, -0.5]),
        torch.tensor([[0.0, 0.0], [1.5, -1.0], [-0.5, 2.0]]),
        torch.tensor([[0.5, 0.8], [0.6, 0.4], [0.3, 0.7]]),
    ]
    params = [p.double().requires_grad_() for p in params]

    def f(z):
        return torch.sin(1.3 * z[..., 0]) * z[..., 1] + 0.3 * z[..., 0].square()

    t = torch.linspace(-7, 8, 401).double()
    grid = torch.cartesian_prod(t, t)
    mean = (NormalMixture(*params).log_prob(grid).exp() * f(grid)).sum() * (t[1] - t[0]) ** 2
    exact = torch.cat([g.flatten() for g in torch.autograd.grad(mean, params)])
    torch.manual_seed(0)
    runs = []
    for _ in range(100):
        value = f(NormalMixture(*params).rsample((1000,))).mean()
        runs.append(torch.cat([g.flatten() for g in torch.autograd.grad(value, params)]))
    runs = torch.stack(runs)
    assert ((runs.mean(0) - exact) / (runs.std(0) / 10)).abs().max() < 4.5
    (g,) = torch.autograd.grad(f(NormalMixture(*params).rsample()), params[:1], create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        g.sum().backward()


def test_draws_with_heavy_tails_have_the_gradients_of_the_mean():
    """Of E min(z^2, 9), by degrees of freedom, location and scale."""
    params = [torch.tensor([v]).double().requires_grad_() for v in (5.0, 0.4, 1.5)]

    def f(z):
        return z.square().clamp_max(9)

    t = torch.linspace(-300, 300, 600_001).double()[:, None]
    mean = (StudentT(*params).log_prob(t).exp() * f(t)).sum() * 1e-3
    exact = torch.cat(torch.autograd.grad(mean, params))
    torch.manual_seed(0)
    runs = []
    for _ in range(100):
        q = StudentT(*params)
        runs.append(torch.cat(torch.autograd.grad(f(q.rsample((2000,))).mean(), params)))
    runs = torch.stack(runs)
    assert ((runs.mean(0) - exact) / (runs.std(0) / 10)).abs().max() < 4.5


def test_splines_score_their_own_draws_and_others_alike():
    torch.manual_seed(0)
    q = posteriors.SplineFlow((3,), 3, hidden_dim=6, num_bins=3).double()
    p = q.distribution(2 * torch.randn(4, 3, 3).double())
    z = p.rsample((5,))
    assert_close(p.log_prob(z), p.log_prob(z.clone()), rtol=1e-9, atol=1e-9)
    far = p.log_prob(z + 1e4)
    assert far.isfinite().all()
    assert (far < -1e3).all()


def test_zuko_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "zuko", None)
    with pytest.raises(
        ImportError, match=r"SplineFlow expects zuko, got .* cannot be imported \(.*\); pip install 'ppl_vae\[zuko\]'"
    ):
        posteriors.SplineFlow((3,), 2)


@each
def test_it_trains_is_stored_and_is_a_level_of_a_hierarchy(leaf, tmp_path):
    data = from_arrays(np.random.default_rng(0).random((60, *X_SHAPE)).round(), domain=Domain("binary"))
    options = {"likelihood": Bernoulli, "encoder": SMALL, "decoder": SMALL, "seed": 0}
    vae = build(data, latent_dim=2, posterior=leaf, **options)
    result = fit(vae, data, epochs=2, objective=objectives.IWAE(3), seed=0, run=tmp_path / "run", progress=False)
    assert math.isfinite(result.history.validation_elbo.iloc[-1])
    stored = load(tmp_path / "run").vae
    x = data.test.x
    assert loss(stored, [x]) == loss(vae.eval(), [x])
    found = evaluate(vae, data.test, num_samples=50, method="adaptive", seed=0, progress=False)
    assert found.per_datum.log_px.notna().all()
    ladder = build(described(), latent_dim=[2, 2], posterior=leaf, **options)
    loss(ladder, [x[:5]]).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in ladder.posterior.parameters())


def test_torch_still_validates_once_zuko_is_imported(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "zuko"]:
        monkeypatch.delitem(sys.modules, name)
    posteriors.SplineFlow((3,), 2)
    assert "zuko" in sys.modules
    with pytest.raises(ValueError, match="support"):
        torch.distributions.Bernoulli(torch.tensor(0.5)).log_prob(torch.tensor(2.0))
