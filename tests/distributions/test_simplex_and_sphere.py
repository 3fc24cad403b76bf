"""Densities on the sphere and on the simplex: against SciPy and quadrature, their samplers, and gradients of draws."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import kl_divergence
from torch.testing import assert_close

from ppl_vae.distributions import Dirichlet, LogisticNormal, PowerSpherical, SphericalUniform

F32, F64 = torch.float32, torch.float64
dtypes = pytest.mark.parametrize("dtype", [F32, F64])
P = 1e-5


def along(axis, t):
    """Points of the sphere at these cosines to an axis."""
    across = torch.roll(torch.eye(len(axis)).to(axis)[0], 1)
    across = across - (across @ axis) * axis
    return t[:, None] * axis + (1 - t.square()).clamp_min(0).sqrt()[:, None] * across / across.norm()


def exact(kappa, dim, half):
    """Log density where (1 + t) / 2 is `half`, from SciPy's of a beta variate."""
    a = (dim - 1) / 2
    log_circle = math.log(2) + a * math.log(math.pi) - math.lgamma(a)  # area of the sphere across
    return stats.beta(a + kappa, a).logpdf(half) - math.log(2) - log_circle - (a - 1) * np.log(4 * half * (1 - half))


@dtypes
@pytest.mark.parametrize("dim", [2, 3, 40])
@pytest.mark.parametrize("kappa", [0.0, 1e-3, 1.0, 100.0, 1e5])
def test_the_power_spherical_density_is_that_of_its_cosine(dtype, dim, kappa):
    torch.manual_seed(0)
    axis = torch.nn.functional.normalize(torch.randn(dim).double(), dim=0)
    p = PowerSpherical(axis.to(dtype), torch.tensor(kappa, dtype=dtype))
    t = torch.cat([torch.linspace(-0.999, 0.999, 9).double(), 1 - 4 / (1 + kappa + dim) * torch.rand(5).double() / 4])
    z = along(axis, t).to(dtype)
    mu = p.loc.double()
    half = np.where(t > 0, 1 - ((z - mu) ** 2).sum(-1) / 4, ((z + mu) ** 2).sum(-1) / 4)
    found = p.log_prob(z).double().numpy()
    np.testing.assert_allclose(found, exact(kappa, dim, half), rtol=2e-6 if dtype == F32 else 1e-9, atol=2e-6)
    ends = torch.stack([p.loc, -p.loc])
    ends.requires_grad_()
    log_p = p.log_prob(ends)
    log_p.sum().backward()
    assert log_p.isfinite().all()
    assert ends.grad.isfinite().all()


@pytest.mark.parametrize("kappa", [0.0, 0.3, 5.0, 300.0])
def test_the_power_spherical_density_integrates_to_one_and_so_do_its_moments(kappa):
    steps = (torch.arange(4000).double() + 0.5) / 4000
    axis = torch.tensor([0.6, 0.8], dtype=F64)
    circle = torch.stack([(2 * math.pi * steps).cos(), (2 * math.pi * steps).sin()], -1)
    u = 2 * (torch.arange(4000).double() + 0.5) / 4000 - 1  # of equal area by height
    angle = 2 * math.pi * (torch.arange(12).double() + 0.5) / 12
    ring = torch.stack([angle.cos(), angle.sin()], -1)
    globe = torch.cat([u[:, None, None].expand(-1, 12, 1), (1 - u**2).sqrt()[:, None, None] * ring], -1).flatten(0, 1)
    first = torch.tensor([1.0, 0.0, 0.0]).double()
    for mu, points, area in ((axis, circle, 2 * math.pi), (first, globe, 4 * math.pi)):
        p = PowerSpherical(mu, torch.tensor(kappa).double())
        mass = p.log_prob(points).exp() * area / len(points)
        assert_close(mass.sum(), torch.ones(()).double(), rtol=0, atol=2e-3 if kappa == 300 else 1e-4)
        mean = (mass[:, None] * points).sum(0)
        assert_close(p.mean, mean, rtol=0, atol=2e-3)
        assert_close(p.variance, (mass[:, None] * (points - mean) ** 2).sum(0), rtol=0, atol=2e-3)
        assert_close(p.entropy(), -(mass * p.log_prob(points)).sum(), rtol=0, atol=1e-2)
        uniform = SphericalUniform(len(mu), mu)
        assert_close(kl_divergence(p, uniform), math.log(area) - p.entropy(), rtol=0, atol=1e-10)
        assert_close(uniform.log_prob(points).exp() * area, torch.ones(len(points)).double(), rtol=0, atol=1e-10)


@dtypes
@pytest.mark.parametrize("dim", [2, 3, 40])
def test_the_power_spherical_sampler_has_its_law(dtype, dim):
    torch.manual_seed(1)
    a = (dim - 1) / 2
    for kappa in (0.0, 2.0, 1e4):
        axis = torch.nn.functional.normalize(torch.randn(dim).double(), dim=0).to(dtype)
        p = PowerSpherical(axis, torch.tensor(kappa, dtype=dtype))
        z = p.sample((4000,))
        assert p.support.check(z).all()
        away = ((z.double() - axis.double()) ** 2).sum(-1) / 4
        assert stats.kstest(away, stats.beta(a, a + kappa).cdf).pvalue > P
        across = z.double() - (z.double() @ axis.double())[:, None] * axis.double()
        side = across @ along(axis.double(), torch.zeros(1).double())[0] / across.norm(dim=-1)
        if dim > 2:  # uniform directions across: their cosine to one of them
            assert stats.kstest((1 + side) / 2, stats.beta((dim - 2) / 2, (dim - 2) / 2).cdf).pvalue > P
        else:
            assert stats.binomtest(int((side > 0).sum()), len(side)).pvalue > P


@dtypes
@pytest.mark.parametrize("dim", [2, 3, 10])
@pytest.mark.parametrize("kappa", [1e-3, 1.0, 1e4, 5e7, 1e9, 1e12])
def test_draws_of_a_power_spherical_near_its_mean_are_told_apart(dtype, dim, kappa):
    """Their angles have their law, and their densities, of vectors of length 1 alone, the entropy as their mean."""
    torch.manual_seed(0)
    axis = torch.nn.functional.normalize(torch.randn(dim).double(), dim=0).to(dtype)
    p = PowerSpherical(axis, torch.tensor(kappa, dtype=dtype))
    z = p.sample((4000,))
    log_p = p.log_prob(z).double()
    assert abs(log_p.mean() + p.entropy().double()) < 4.5 * log_p.std() / math.sqrt(len(z)) + 1e-6
    unit = torch.nn.functional.normalize(axis.double(), dim=0)
    away = ((torch.nn.functional.normalize(z.double(), dim=-1) - unit) ** 2).sum(-1) / 4
    a = (dim - 1) / 2
    assert stats.kstest(away, stats.beta(a, a + float(p.concentration)).cdf).pvalue > P


@dtypes
@pytest.mark.parametrize("dim", [2, 3, 10])
@pytest.mark.parametrize("kappa", [0.0, 1e-3, 1.0, 1e4, 1e9])
def test_the_variance_of_a_power_spherical_loses_no_digits(dtype, dim, kappa):
    """To that of exact fractions: along the mean direction that of t, across it the rest of 1 = E |z|^2."""
    first = torch.eye(dim, dtype=dtype)[0]
    p = PowerSpherical(first, torch.tensor(kappa, dtype=dtype))
    a, k = Fraction(dim - 1, 2), Fraction(float(p.concentration))
    t = 2 * (a + k) / (2 * a + k) - 1
    of_t = 4 * a * (a + k) / ((2 * a + k) ** 2 * (2 * a + k + 1))
    exact = [float(of_t), *[float((1 - of_t - t**2) / (dim - 1))] * (dim - 1)]
    np.testing.assert_allclose(p.variance.double(), exact, rtol=1e-6 if dtype == F32 else 1e-14)
    np.testing.assert_allclose(p.mean.double(), float(t) * first.double(), rtol=1e-6 if dtype == F32 else 1e-14)


def test_draws_on_the_circle_have_the_gradients_of_the_mean():
    """Of E cos(z_1 + 2 z_2), by the angle of the mean direction and the concentration."""
    params = [torch.tensor(v).double().requires_grad_() for v in (0.7, 3.0)]

    def p():
        return PowerSpherical(torch.stack([params[0].cos(), params[0].sin()]), params[1])

    def f(z):
        return (z[..., 0] + 2 * z[..., 1]).cos()

    angles = 2 * math.pi * torch.arange(20_000).double() / 20_000
    points = torch.stack([angles.cos(), angles.sin()], -1)
    exact = torch.stack(torch.autograd.grad((p().log_prob(points).exp() * f(points)).mean() * 2 * math.pi, params))
    torch.manual_seed(0)
    runs = torch.stack([torch.stack(torch.autograd.grad(f(p().rsample((1000,))).mean(), params)) for _ in range(100)])
    assert ((runs.mean(0) - exact) / (runs.std(0) / 10)).abs().max() < 4.5


@dtypes
@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e4])
def test_the_dirichlet_is_that_of_scipy_and_draws_small_parts(dtype, scale):
    torch.manual_seed(0)
    a = scale * torch.tensor([0.5, 1.0, 4.0, 2.0], dtype=dtype)
    p = Dirichlet(a)
    z = p.sample((3000,))
    assert p.log_prob(z).isfinite().all()
    rows = torch.distributions.Dirichlet(torch.ones(4).double()).sample((20,)).to(dtype)
    b = a.double().numpy()
    log_z = rows.double().log().numpy()
    exact = ((b - 1) * log_z).sum(-1) + math.lgamma(b.sum()) - sum(map(math.lgamma, b))
    np.testing.assert_allclose(p.log_prob(rows).double().numpy(), exact, rtol=2e-6 if dtype == F32 else 1e-9)
    if scale == 1:
        normed = rows.double().numpy() / rows.double().numpy().sum(-1, keepdims=True)
        np.testing.assert_allclose(exact, [stats.dirichlet(b).logpdf(v) for v in normed], rtol=1e-4, atol=1e-4)
    for k in range(4):  # marginals, by their logs where parts are small
        cdf = stats.beta(b[k], b.sum() - b[k]).cdf
        some, (low, middle) = z[:, k].double().numpy(), cdf([1e-30, 0.5])  # nearer to 1 than a float comes lies mass
        for share, found in ((low, some <= 1e-30), (1 - middle, some > 0.5)):
            assert stats.binomtest(int(found.sum()), 3000, float(share)).pvalue > P
        between = some[(some > 1e-30) & (some <= 0.5)]
        if len(between):
            assert stats.kstest((cdf(between) - low) / (middle - low), "uniform").pvalue > P


def test_draws_of_a_dirichlet_have_the_gradients_of_the_mean():
    """Of E sin(5 z_1), whose z_1 is a beta variate."""
    a = torch.tensor([0.4, 1.5]).double().requires_grad_()
    t = torch.linspace(-60, 30, 200_001).double()
    z = torch.stack([t.sigmoid(), (-t).sigmoid()], -1)
    mean = (Dirichlet(a).log_prob(z).exp() * (5 * z[:, 0]).sin() * z.prod(-1)).sum() * 90 / 200_000
    (exact,) = torch.autograd.grad(mean, a)
    torch.manual_seed(0)
    runs = [torch.autograd.grad((5 * Dirichlet(a).rsample((1000,))[:, 0]).sin().mean(), a)[0] for _ in range(100)]
    runs = torch.stack(runs)
    assert ((runs.mean(0) - exact) / (runs.std(0) / 10)).abs().max() < 4.5


@dtypes
def test_the_logistic_normal_is_a_normal_of_log_ratios(dtype):
    torch.manual_seed(0)
    loc, scale = torch.tensor([0.5, -1.0], dtype=dtype), torch.tensor([0.7, 2.0], dtype=dtype)
    p = LogisticNormal(loc, scale)
    z = p.sample((3000,))
    assert p.support.check(z).all()
    y = (z[:, :-1].double() / z[:, -1:].double()).log().numpy()
    q = stats.norm(loc.double().numpy(), scale.double().numpy())
    exact = q.logpdf(y).sum(-1) - z.double().log().sum(-1).numpy()
    np.testing.assert_allclose(p.log_prob(z).double().numpy(), exact, rtol=1e-5 if dtype == F32 else 1e-10, atol=1e-5)
    for k in range(2):
        assert stats.kstest(y[:, k], stats.norm(float(loc[k]), float(scale[k])).cdf).pvalue > P


def test_the_logistic_normal_integrates_to_one_and_holds_at_the_extremes():
    p = LogisticNormal(torch.tensor([0.5, -1.0]).double(), torch.tensor([0.7, 1.2]).double())
    steps = (torch.arange(1000).double() + 0.5) / 1000
    a, b = steps[:, None], steps[None] * (1 - steps[:, None])  # the rest of the stick
    z = torch.stack([a.expand_as(b), b, 1 - a - b], -1)
    mass = (p.log_prob(z).exp() * (1 - a)).mean()
    assert_close(mass, torch.ones(()).double(), rtol=0, atol=1e-4)
    for loc in (1e4, -1e4):
        far = LogisticNormal(torch.full((2,), loc, requires_grad=True), torch.full((2,), 1e-4))
        z = far.rsample((5,))
        far.log_prob(z).sum().backward()
        assert far.log_prob(z).isfinite().all()
        assert far.loc.grad.isfinite().all()


@pytest.mark.parametrize("a", [0.3, 1e2, 1e4, 1e6, 1e8])
def test_entropies_of_a_dirichlet_lose_no_digits_in_float32(a):
    shares = torch.tensor([1.0, 0.5, 0.25, 1.0])
    q, p = Dirichlet(a * shares), Dirichlet(torch.ones(4))
    exact = stats.dirichlet(a * shares.double().numpy())
    assert float(q.entropy()) == pytest.approx(exact.entropy(), rel=1e-5, abs=1e-5)
    # the log density of p is constant, log 3!
    assert float(kl_divergence(q, p)) == pytest.approx(-exact.entropy() - math.log(6), rel=1e-5, abs=1e-5)
