"""The law of every distribution that a leaf returns, at the extremes too.

It integrates or sums to one, agrees with an exact reference (mpmath, of the rounded inputs) to 1e-5 in float32 and
1e-10 in float64, relative where above 1, and has the right mean, variance and sampler, and finite gradients. What
float32 cannot hold is no error of a density: 1e4 plus draws of scale 1e-6 are integrated and drawn in float64.
"""

import inspect
import itertools
import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import mpmath as mp
import numpy as np
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from matrix import CASES, LATENT, make
from torch import nn

from ppl_vae import distributions, likelihoods, posteriors, priors
from ppl_vae.support import unwrapped

F32, F64 = torch.float32, torch.float64
RTOL = {F32: 1e-5, F64: 1e-10}
P = 1e-5  # of a sampler's test: with about 300 of them in all, one right sampler in 300 seeds fails
LOGITS = (0.0, 1e-6, 0.3, -0.999, 1.0, 5.0, -17.0, 20.0, -50.0, 89.0, -500.0, 1e3, -1e3)
LOC_SCALE = tuple(itertools.product((0.0, 0.7, -1e4, 1e4), (1e-6, 1e-4, 1.0, 1e3, 1e6)))
LEVELS = (1, 2, 5, 17, 256)
STEPS = (-30.0, -3.0, -0.5, 0.0, 1e-3, 1.0, 6.0)
dtypes = pytest.mark.parametrize("dtype", [F32, F64], ids=["float32", "float64"])


@pytest.fixture(autouse=True)
def _digits():
    with mp.workdps(60):
        yield


class One(NamedTuple):
    """A distribution of numbers: how it is made of parameters (each a column), and all that is exactly known of it."""

    make: Callable[..., Any]
    params: tuple[tuple[float, ...], ...]  # one tuple for each distribution
    log_p: Callable[..., Any]  # of x and the parameters, by mpmath
    moments: Callable[..., Any]
    values: Callable[..., Any]  # to score; of a mass its whole support
    cdf: Callable[..., Any] | None = None  # of a density
    area: Callable[..., Any] | None = None  # nodes and weights that hold all mass but 1e-12

    def at(self, dtype):
        """The parameters as that type holds them, in float64, and the distribution."""
        columns = [torch.tensor(c, dtype=dtype).requires_grad_() for c in zip(*self.params, strict=True)]
        return [c.detach().double().tolist() for c in columns], columns, self.make(*columns)


def log_normal(x, loc, scale):
    return -(((mp.mpf(x) - loc) / scale) ** 2) / 2 - mp.log(scale) - mp.log(2 * mp.pi) / 2


def log_tilted(x, logit):
    """Log density of the continuous Bernoulli."""
    if logit == 0:
        return mp.mpf(0)
    a = mp.mpf(abs(logit))
    return mp.log(a) - mp.log(-mp.expm1(-a)) - a * (1 - mp.mpf(x) if logit > 0 else mp.mpf(x))


def tilted_moments(logit):
    if logit == 0:
        return mp.mpf(1) / 2, mp.mpf(1) / 12
    a = mp.mpf(logit)
    return 1 / -mp.expm1(-a) - 1 / a, 1 / a**2 - 1 / (4 * mp.sinh(a / 2) ** 2)


def tilted_cdf(x, logit):
    a = abs(logit)
    near = x if logit <= 0 else 1 - x
    below = near if a == 0 else np.expm1(-a * near) / np.expm1(-a)
    return below if logit <= 0 else 1 - below


def tilted_area(logit):
    nodes, weights = np.polynomial.legendre.leggauss(80)
    width = min(1.0, 32 / max(abs(logit), 1e-9))
    near = (nodes + 1) / 2 * width
    return (near if logit <= 0 else 1 - near), weights / 2 * width


def log_coin(x, logit):
    return -mp.log1p(mp.exp(-mp.mpf(logit) if x else mp.mpf(logit)))


def coin_moments(logit):
    p = mp.exp(log_coin(1, logit))
    return p, p * mp.exp(log_coin(0, logit))


def log_level(x, *logits):
    return logits[int(x)] - log_total(logits)


@cache
def log_total(logits):
    with mp.workdps(60):
        return max(logits) + mp.log(sum(mp.exp(mp.mpf(v) - max(logits)) for v in logits))


def log_logistic_level(x, loc, scale, levels):
    low, high = ((mp.mpf(x) + d - loc) / scale for d in (-0.5, 0.5))
    low, high = (-mp.inf if x == 0 else low), (mp.inf if x == levels - 1 else high)
    if low > 0:
        low, high = -high, -low  # no difference of numbers near 1
    below, above = (0 if v == -mp.inf else 1 if v == mp.inf else 1 / (1 + mp.exp(-v)) for v in (low, high))
    return mp.log(above - below)


def mass_moments(log_p, levels, *params):
    p = [mp.exp(log_p(k, *params)) for k in range(levels)]
    mean = sum(k * q for k, q in enumerate(p))
    return mean, sum((k - mean) ** 2 * q for k, q in enumerate(p))


def around(loc, scale):
    """Nodes and weights over all of a bell-shaped density."""
    t = np.linspace(-14, 14, 1401)
    return loc + scale * t, np.full(len(t), scale * 0.02)


def by_decoder(loc, scale):
    return likelihoods.Gaussian(2, (1,), scale="decoder").elementwise(loc, distributions.unconstrained(scale))


def normals(make, pairs=LOC_SCALE):
    return One(
        make,
        pairs,
        log_normal,
        lambda loc, scale: (loc, mp.mpf(scale) ** 2),
        lambda loc, scale: [loc + scale * t for t in STEPS],
        lambda x, loc, scale: scipy.stats.norm.cdf(x, loc, scale),
        around,
    )


def of_levels(levels):
    logits = [torch.zeros(levels), 8 * torch.randn(levels), 1e3 * torch.rand(levels), 1e3 - torch.rand(levels)]
    one_sided = torch.full((levels,), -1e3)
    one_sided[-1] = 1e3
    almost = torch.full((levels,), -18.0)  # variance 1e-8 at a mean of levels - 1
    almost[-1] = 0
    return One(
        lambda *columns: likelihoods.Categorical(2, (1,), levels=levels).elementwise(*columns),
        tuple(tuple(v.tolist()) for v in (*logits, one_sided, almost)),
        log_level,
        partial(mass_moments, log_level, levels),
        lambda *params: range(levels),
    )


def logistic_levels(levels):
    log_p = partial(log_logistic_level, levels=levels)
    pairs = itertools.product((0.0, 0.3 * levels, levels - 0.8, -1e4, 1e4), (1e-6, 1e-2, 0.5, 3.0, 1e3, 1e6))
    return One(
        lambda loc, scale: distributions.DiscretizedLogistic(loc, scale, levels),
        tuple(pairs),
        log_p,
        partial(mass_moments, log_p, levels),
        lambda *params: range(levels),
    )


def leaf_logistic(levels):
    """As the leaf makes it: its parameters are what that made of its own."""
    leaf = likelihoods.DiscretizedLogistic(2, (1,), levels=levels)
    raw = tuple(itertools.product((-1.0, 0.2, 1e3), (-1e3, 0.0, 1e3)))
    made = leaf.elementwise(*(torch.tensor(c, dtype=F32) for c in zip(*raw, strict=True)))
    return logistic_levels(levels)._replace(params=tuple(zip(made.loc.tolist(), made.scale.tolist(), strict=True)))


def log_count(x, mean, r):
    x, m, r = mp.mpf(x), mp.mpf(mean), mp.mpf(r)
    ways = mp.loggamma(r + x) - mp.loggamma(r) - mp.loggamma(1 + x)
    return ways - r * mp.log1p(m / r) - x * mp.log1p(r / m)


def counts():
    """As far as the support of the widest goes."""
    pairs = ((1e-4, 1e-4), (0.3, 0.5), (1.0, 1.0), (2.0, 0.3), (5.0, 2.0), (20.0, 50.0), (80.0, 1e3), (200.0, 1e4))
    return One(
        distributions.NegativeBinomial,
        pairs,
        log_count,
        lambda mean, r: (mean, mean + mp.mpf(mean) ** 2 / r),
        lambda mean, r: range(600),
    )


def log_poisson(x, mean):
    return x * mp.log(mp.mpf(mean)) - mp.mpf(mean) - mp.loggamma(1 + mp.mpf(x))


def poissons():
    return One(
        distributions.Poisson,
        tuple((m,) for m in (0.3, 1.0, 20.0, 400.0)),
        log_poisson,
        lambda mean: (mean, mean),
        lambda mean: range(600),
    )


def log_inflated(x, logit, mean, r):
    counted = mp.log1p(-1 / (1 + mp.exp(-mp.mpf(logit)))) + log_count(x, mean, r)
    return counted if x else mp.log(mp.exp(counted) + 1 / (1 + mp.exp(-mp.mpf(logit))))


def inflated_moments(logit, mean, r):
    w, m = 1 / (1 + mp.exp(-mp.mpf(logit))), mp.mpf(mean)
    return (1 - w) * m, (1 - w) * (m + m**2 / r + w * m**2)


def inflated():
    """Zero-inflated counts."""
    return One(
        lambda logit, mean, r: distributions.ZeroInflated(distributions.NegativeBinomial(mean, r), logit),
        ((-1e3, 0.3, 0.5), (-5.0, 5.0, 2.0), (0.7, 80.0, 1e3), (0.7, 0.3, 0.5), (40.0, 5.0, 2.0)),
        log_inflated,
        inflated_moments,
        lambda *params: range(600),
    )


def laplaces(pairs=LOC_SCALE):
    return One(
        dist.Laplace,
        pairs,
        lambda x, loc, scale: -abs(mp.mpf(x) - loc) / scale - mp.log(2 * mp.mpf(scale)),
        lambda loc, scale: (loc, 2 * mp.mpf(scale) ** 2),
        lambda loc, scale: [loc + scale * t for t in STEPS],
        lambda x, loc, scale: scipy.stats.laplace.cdf(x, loc, scale),
        lambda loc, scale: both_sides(loc, scale, np.linspace(-32, 4, 1801)),
    )


def both_sides(centre, scale, t):
    """Nodes and weights on both sides of a centre, at distances scale * e^t."""
    far = scale * np.exp(t)
    return np.concatenate([centre - far, centre + far]), np.tile(far * (t[1] - t[0]), 2)


def log_logistic(x, loc, scale):
    t = abs(mp.mpf(x) - loc) / scale
    return -t - 2 * mp.log1p(mp.exp(-t)) - mp.log(scale)


def logistics():
    t = np.linspace(-36, 36, 1801)
    return One(
        distributions.Logistic,
        tuple((loc, s) for loc, s in LOC_SCALE if s >= 1e-4),
        log_logistic,
        lambda loc, scale: (loc, mp.mpf(scale) ** 2 * mp.pi**2 / 3),
        lambda loc, scale: [loc + scale * t for t in (*STEPS, -900.0)],
        lambda x, loc, scale: scipy.stats.logistic.cdf(x, loc, scale),
        lambda loc, scale: (loc + scale * t, np.full(len(t), scale * 0.04)),
    )


def log_student(x, df, loc, scale):
    df, t = mp.mpf(df), (mp.mpf(x) - loc) / scale
    constant = mp.loggamma((df + 1) / 2) - mp.loggamma(df / 2) - mp.log(df * mp.pi) / 2 - mp.log(scale)
    return constant - (df + 1) / 2 * mp.log1p(t**2 / df)


def students():
    triples = [(df, *pair) for df in (2.1, 3.0, 30.0, 1e3, 1e7) for pair in ((0.0, 1.0), (-1e4, 1e-2), (0.7, 1e6))]
    return One(
        distributions.StudentT,
        tuple(triples),
        log_student,
        lambda df, loc, scale: (loc, mp.mpf(scale) ** 2 * df / (mp.mpf(df) - 2)),
        lambda df, loc, scale: [loc + scale * t for t in STEPS] + [loc + 1e6 * scale],
        lambda x, df, loc, scale: scipy.stats.t.cdf(x, df, loc, scale),
        lambda df, loc, scale: both_sides(loc, scale, np.linspace(-32, 14, 1801)),
    )


def log_normals_above_0():
    return One(
        distributions.LogNormal,
        tuple(itertools.product((0.0, -3.0, 10.0), (1e-4, 0.1, 1.0, 2.0))),
        lambda x, loc, scale: log_normal(mp.log(mp.mpf(x)), loc, scale) - mp.log(mp.mpf(x)),
        lambda loc, scale: (
            mp.exp(loc + mp.mpf(scale) ** 2 / 2),
            mp.expm1(mp.mpf(scale) ** 2) * mp.exp(2 * mp.mpf(loc) + mp.mpf(scale) ** 2),
        ),
        lambda loc, scale: [math.exp(loc + scale * t) for t in (*STEPS[1:], 4.0)],
        lambda x, loc, scale: scipy.stats.norm.cdf(np.log(x), loc, scale),
        lambda loc, scale: above_0(loc, scale * np.linspace(-14, 14, 1401)),
    )


def above_0(log_centre, t):
    """Nodes and weights in equal steps of log x."""
    nodes = np.exp(log_centre + t)
    return nodes, nodes * (t[1] - t[0])


def log_gamma(x, k, rate):
    x, k, rate = mp.mpf(x), mp.mpf(k), mp.mpf(rate)
    return k * mp.log(rate) + (k - 1) * mp.log(x) - rate * x - mp.loggamma(k)


def gammas():
    return One(
        distributions.Gamma,
        tuple(itertools.product((0.5, 1.0, 7.9, 8.1, 50.0, 1e6), (1e-3, 1.0, 40.0))),
        log_gamma,
        lambda k, rate: (mp.mpf(k) / rate, mp.mpf(k) / mp.mpf(rate) ** 2),
        lambda k, rate: [k / rate * math.exp(t / math.sqrt(k)) for t in (-3.0, -0.5, 0.0, 1e-3, 1.0, 1.5)],
        lambda x, k, rate: scipy.stats.gamma.cdf(x, k, scale=1 / rate),
        lambda k, rate: above_0(
            math.log(k / rate), np.linspace(-160 if k < 7 else -14, 12, 7001) / math.sqrt(max(k, 7.0))
        ),
    )


def steps_of_log(k):
    return np.linspace(-160 if k < 7 else -14, 12, 7001) / math.sqrt(max(k, 7.0))


def log_beta(x, a, b):
    x, a, b = mp.mpf(x), mp.mpf(a), mp.mpf(b)
    return (a - 1) * mp.log(x) + (b - 1) * mp.log1p(-x) + mp.loggamma(a + b) - mp.loggamma(a) - mp.loggamma(b)


def beta_moments(a, b):
    a, b = mp.mpf(a), mp.mpf(b)
    return a / (a + b), a * b / (a + b) ** 2 / (a + b + 1)


def betas():
    pairs = ((0.5, 0.5), (1.0, 1.0), (0.7, 5.0), (3.0, 40.0), (2e3, 7.0), (1e5, 1e5))
    return One(
        distributions.Beta,
        pairs,
        log_beta,
        beta_moments,
        lambda a, b: [float(scipy.stats.beta.ppf(q, a, b)) for q in (1e-3, 0.2, 0.5, 0.7, 0.9)],
        lambda x, a, b: scipy.stats.beta.cdf(x, a, b),
        lambda a, b: logit_area(math.log(a / b), 14 / math.sqrt(min(a, b)) + 7 / min(a, b)),
    )


def logit_area(centre, half):
    """Nodes and weights in equal steps of the logit."""
    t = np.linspace(max(centre - half, -35), min(centre + half, 35), 7001)
    nodes = 1 / (1 + np.exp(-t))
    return nodes, nodes * (1 - nodes) * (t[1] - t[0])


def log_ordered(k, loc):
    """Of five levels, with cutpoints where these have the same probability at 0."""
    below = [0, *(1 / (1 + mp.exp(mp.mpf(loc) - c)) for c in CUTPOINTS), 1]
    above = [1, *(1 / (1 + mp.exp(c - mp.mpf(loc))) for c in CUTPOINTS), 0]
    p = below[int(k) + 1] - below[int(k)] if loc > 0 else above[int(k)] - above[int(k) + 1]
    return mp.log(p)


def ordered():
    leaf = likelihoods.OrderedLogistic(2, (1,), levels=5)

    def make(loc):
        p = leaf.to(loc.dtype).elementwise(loc.unsqueeze(-1))
        return distributions.Levels(p.logits.squeeze(-2))

    with torch.no_grad():
        gaps = distributions.positive(leaf.double().raw_gaps)[0]
        CUTPOINTS[:] = [float(leaf.first), *(float(leaf.first) + gaps.cumsum(-1)).tolist()]
    return One(
        make,
        tuple((v,) for v in (0.0, -0.7, 3.0, -17.0, 40.0, -500.0, 500.0)),
        log_ordered,
        partial(mass_moments, log_ordered, 5),
        lambda loc: range(5),
    )


CUTPOINTS: list[float] = []


def log_logistic_mixture(x, *params):
    """Of two components: logits, locations, scales."""
    w, loc, scale = params[:2], params[2:4], params[4:]
    return mp.log(sum(mp.exp(log_level(k, *w) + log_logistic_level(x, loc[k], scale[k], 17)) for k in (0, 1)))


def logistic_mixture():
    def make(*columns):
        logits, loc, scale = (torch.stack(columns[i : i + 2], -1) for i in (0, 2, 4))
        return distributions.Mixture(logits, distributions.DiscretizedLogistic(loc, scale, 17))

    params = ((0.0, 1.0, 2.0, 14.0, 0.5, 3.0), (-30.0, 0.0, -1e3, 8.0, 0.5, 1e3), (5.0, 5.0, 3.0, 3.0, 1e-2, 0.5))
    return One(
        make, params, log_logistic_mixture, partial(mass_moments, log_logistic_mixture, 17), lambda *params: range(17)
    )


torch.manual_seed(0)
NUMBERS = {
    "Bernoulli": One(
        likelihoods.Bernoulli(2, (1,)).elementwise,
        tuple((v,) for v in LOGITS),
        log_coin,
        coin_moments,
        lambda logit: (0, 1),
    ),
    "ContinuousBernoulli": One(
        likelihoods.ContinuousBernoulli(2, (1,)).elementwise,
        tuple((v,) for v in LOGITS),
        log_tilted,
        tilted_moments,
        lambda logit: (0.0, 1e-6, 0.3, 0.5, 1 - 2.0**-20, 1.0),
        tilted_cdf,
        tilted_area,
    ),
    "Gaussian": normals(
        lambda loc, scale: likelihoods.Gaussian(2, (1,), scale="decoder").elementwise(
            loc, distributions.unconstrained(scale)
        ),
        tuple((loc, s) for loc, s in LOC_SCALE if s >= 1.0),
    ),
    **{
        f"Gaussian {scale:g}": normals(
            lambda loc, _, scale=scale: likelihoods.Gaussian(2, (1,), scale=scale).elementwise(loc),
            tuple((loc, scale) for loc in (0.0, 0.7, -1e4)),
        )
        for scale in (1e-6, 1e-4, 1.0, 1e6)
    },
    **{f"Categorical {n}": of_levels(n) for n in LEVELS},
    **{f"DiscretizedLogistic {n}": logistic_levels(n) for n in LEVELS},
    "DiscretizedLogistic leaf": leaf_logistic(17),
    "NegativeBinomial": counts(),
    "Poisson": poissons(),
    "ZeroInflatedNegativeBinomial": inflated(),
    "Laplace": laplaces(tuple((loc, s) for loc, s in LOC_SCALE if s >= 1e-4)),
    "Logistic": logistics(),
    "StudentT": students(),
    "LogNormal": log_normals_above_0(),
    "Gamma": gammas(),
    "Beta": betas(),
    "OrderedLogistic": ordered(),
    "DiscretizedLogisticMixture": logistic_mixture(),
}
numbers = pytest.mark.parametrize("name", NUMBERS)


def close(got, exact, dtype, scale=1.0):
    """Within the law's tolerance, relative to `scale` or to the number itself where that is larger."""
    exact = np.array([float(v) for v in exact])
    error = np.abs(got.detach().double().numpy().ravel() - exact) / np.maximum(np.abs(exact), scale)
    assert np.nanmax(error) <= RTOL[dtype], (float(np.nanmax(error)), int(np.nanargmax(error)))
    assert not np.isnan(error).any()


def columns_of(case, params):
    """Values to score, (values, distributions)."""
    return torch.tensor([list(map(float, case.values(*p))) for p in zip(*params, strict=True)], dtype=F64).T


@dtypes
@numbers
def test_log_probabilities_are_exact_and_have_gradients(name, dtype):
    case = NUMBERS[name]
    params, leaves, p = case.at(dtype)
    x = columns_of(case, params).to(dtype).requires_grad_()
    log_p = p.log_prob(x)
    exact = [case.log_p(v, *own) for row in x.tolist() for v, own in zip(row, zip(*params, strict=True), strict=True)]
    close(log_p, exact, dtype)
    log_p.sum().backward()
    for tensor in (x, *leaves):
        assert tensor.grad is None or tensor.grad.isfinite().all()
    assert case.cdf or p.support.is_discrete


@dtypes
@numbers
def test_all_of_it_is_one(name, dtype):
    case = NUMBERS[name]
    params, _, p = case.at(dtype)
    if case.cdf is None:
        total = p.log_prob(columns_of(case, params).to(dtype)).double().exp().sum(0)
        close(total, [1.0] * total.numel(), dtype)
        return
    each = [case.area(*own) for own in zip(*params, strict=True)]
    nodes, weights = (torch.tensor(np.array(part)).T for part in zip(*each, strict=True))
    total = (p.log_prob(nodes.to(dtype)).double().exp() * weights).sum(0)
    held = (weights > 10 * torch.finfo(dtype).eps * nodes.abs()).all(0) | (dtype is F64)
    assert ((total - 1).abs()[held] < (1e-4 if dtype is F32 else 1e-6)).all(), total


@dtypes
@numbers
def test_means_and_variances_are_exact(name, dtype):
    case = NUMBERS[name]
    params, _, p = case.at(dtype)
    mean, variance = zip(*(case.moments(*own) for own in zip(*params, strict=True)), strict=True)
    close(p.mean, mean, dtype, scale=np.sqrt([float(v) for v in variance]) + 1e-30)
    close(p.variance, variance, dtype, scale=1e-30)
    assert (p.variance >= 0).all()


@dtypes
@numbers
def test_samplers_draw_from_it(name, dtype):
    case = NUMBERS[name]
    params, _, p = case.at(dtype)
    draws = p.sample((3000,)).detach().double().numpy()
    assert p.support.check(p.sample((50,))).all()
    for column, own in zip(draws.T, zip(*params, strict=True), strict=True):
        if case.cdf is None:
            mass = np.array([float(mp.exp(case.log_p(k, *own))) for k in case.values(*own)])
            assert chi_square(np.bincount(column.astype(int), minlength=len(mass)), mass) > P
        elif dtype is F64 or not (len(own) == 2 and abs(own[0]) > 1e3 * own[1]):
            assert scipy.stats.kstest(column, lambda x, own=own: case.cdf(x, *own)).pvalue > P


def chi_square(counts, mass):
    """p-value of counts, cells of fewer than 5 expected joined."""
    expected = counts.sum() * mass / mass.sum()
    assert not counts[expected < 1e-12].any()
    order = np.argsort(expected)
    cells = np.searchsorted(np.cumsum(expected[order]), 5) + 1
    joined = [np.append(v[order][cells:], v[order][:cells].sum()) for v in (counts, expected)]
    return scipy.stats.chisquare(*joined).pvalue if len(joined[0]) > 1 else 1.0


class Latent(NamedTuple):
    """A distribution of vectors of two numbers."""

    make: Callable[[], Any]  # a distribution in the default type
    boxes: tuple[tuple[float, float], ...]  # centres and scales: all mass lies within 14 of them; seen in draws if ()
    log_p: Callable[..., Any]  # exact, of the distribution and one value


def of(leaf, *params):
    """A posterior's distribution from its parameters."""
    return lambda: leaf.to(torch.get_default_dtype()).distribution(torch.tensor(params))


def log_normals(p, z):
    loc, scale = p.base_dist.loc.tolist(), p.base_dist.scale.tolist()
    return sum(map(log_normal, z, loc, scale))


def log_laplaces(p, z):
    return sum(-mp.sqrt(2) * abs(mp.mpf(v)) + mp.log(2) / 2 - mp.log(2) for v in z)


def log_full_rank(p, z):
    L = mp.matrix(p.scale_tril.tolist())
    y = mp.lu_solve(L, mp.matrix([mp.mpf(v) - m for v, m in zip(z, p.loc.tolist(), strict=True)]))
    return -(y.T * y)[0] / 2 - mp.log(L[0, 0] * L[1, 1]) - mp.log(2 * mp.pi)


def log_low_rank(p, z):
    W = mp.matrix(p.factor.tolist())
    covariance = W * W.T + mp.diag([mp.mpf(s) ** 2 for s in p.scale.tolist()])
    r = mp.matrix([mp.mpf(v) - m for v, m in zip(z, p.loc.tolist(), strict=True)])
    return -((r.T * mp.lu_solve(covariance, r))[0] + mp.log(mp.det(covariance))) / 2 - mp.log(2 * mp.pi)


def log_rotated(p, z):
    loc, scale = p.transforms[-1].loc.tolist(), p.base_dist.base_dist.scale.tolist()
    A = mp.diag([mp.mpf(s) for s in scale])
    for row in p.transforms[0].u_unnormed.tolist():
        v = mp.matrix(row)
        A = A - v * (v.T * A) * (2 / (v.T * v)[0])
    y = mp.lu_solve(A, mp.matrix([mp.mpf(value) - m for value, m in zip(z, loc, strict=True)]))
    return -(y.T * y)[0] / 2 - mp.log(abs(mp.det(A))) - mp.log(2 * mp.pi)


def log_students(p, z):
    return sum(map(log_student, z, p.base_dist.df.tolist(), p.base_dist.loc.tolist(), p.base_dist.scale.tolist()))


def log_mixture(logits, p, z):
    each = zip(p.components.base_dist.loc.tolist(), p.components.base_dist.scale.tolist(), strict=True)
    terms = [log_level(k, *logits) + sum(map(log_normal, z, *part)) for k, part in enumerate(each)]
    return max(terms) + mp.log(sum(mp.exp(t - max(terms)) for t in terms))


def mixture(logits, pairs):
    """Components with these locations and scales, in both coordinates."""

    def make():
        loc, scale = (torch.tensor(c)[:, None].expand(-1, 2) for c in zip(*pairs, strict=True))
        return distributions.Mixture(torch.tensor(logits), distributions.DiagonalNormal(loc, scale))

    return Latent(make, pairs, partial(log_mixture, logits))


def gaussian_mixture():
    leaf = priors.GaussianMixture(2, 3)
    with torch.no_grad():
        leaf.logits.copy_(torch.tensor([0.5, -1.0, 0.0]))
        leaf.loc.copy_(torch.tensor([0.0, 1e4, -1e4])[:, None])
        leaf.raw_scale.copy_(torch.tensor([0.0, -1e3, 1e2])[:, None])
    return Latent(
        lambda: leaf.to(torch.get_default_dtype()).given(),
        ((0.0, 1.0), (1e4, 1e-4), (-1e4, 101.0)),
        partial(log_mixture, (0.5, -1.0, 0.0)),
    )


def vamp_prior():
    def net(in_shape, out_shape):
        layer = nn.Linear(2, 4)
        nn.init.eye_(layer.weight)
        nn.init.zeros_(layer.bias)
        return nn.Sequential(layer, nn.Unflatten(-1, out_shape))

    q = posteriors.DiagonalNormal((2,), 2, net)
    leaf = priors.VampPrior(q, (2,), num_components=2, pseudo_inputs=torch.tensor([[0.0, 0.0], [30.0, 30.0]]))
    dtype = torch.get_default_dtype
    return Latent(
        lambda: leaf.to(dtype()).requires_grad_(False) and q.to(dtype()) and leaf.given(),
        ((0.0, 1.0), (30.0, 1.0)),
        partial(log_mixture, (0.0, 0.0)),
    )


def by_autograd(inverse, p, z):
    """log p of z whose noise `inverse` computes in float64, by the determinant of its Jacobian."""
    z = torch.tensor(z, dtype=F64)
    noise, jacobian = inverse(z), torch.autograd.functional.jacobian(inverse, z)
    return float(-noise.square().sum() / 2 - math.log(2 * math.pi) + jacobian.slogdet().logabsdet)


def learned(leaf):
    """A normal prior with parameters away from their start."""
    with torch.no_grad():
        leaf.loc.fill_(1e4)
        leaf.raw_scale.copy_(torch.tensor([0.0, -0.5]))
        for lower in (p for name, p in leaf.named_parameters() if name == "lower"):
            lower.fill_(0.8)
    return lambda: leaf.to(torch.get_default_dtype()).given()


def log_logistics(p, z):
    return sum(map(log_logistic, z, p.base_dist.loc.tolist(), p.base_dist.scale.tolist()))


def flow_prior():
    leaf = priors.FlowPrior(2, num_transforms=2, hidden_dim=8).requires_grad_(False)

    def inverse(z):
        for net in leaf.double().flow.nets:
            shift, raw = net(z, z.new_zeros(1))
            z = shift + (2 * torch.tanh(raw / 2)).exp() * z
        return z

    return Latent(lambda: leaf.to(torch.get_default_dtype()).given(), ((0.0, 1.0),), partial(by_autograd, inverse))


def of_zuko(leaf):
    """A flow of zuko, at its start."""
    leaf.requires_grad_(False).start_from(torch.tensor([[-2.0, 1.0], [4.0, 5.0]]))  # mean (1, 3), scale (3, 2)

    def inverse(z):
        return leaf.double().flow.transform()((z - leaf.loc) / leaf.scale)

    return Latent(lambda: leaf.to(torch.get_default_dtype()).given(), (), partial(by_autograd, inverse))


def iaf(loc, raw_scale, scale):
    leaf = posteriors.IAF((3,), 2, num_transforms=2, hidden_dim=8).requires_grad_(False)
    params = torch.tensor([[loc, loc], [raw_scale, raw_scale], [0.5, -1.0]])

    def inverse(z):
        for net in reversed(leaf.double().flow.nets):
            rows = [z.new_zeros(())] * 2
            for i in net.permutation.tolist():
                shift, raw = net(torch.stack(rows), params[2].double())
                rows[i] = (z[i] - shift[i]) * torch.exp(-2 * torch.tanh(raw[i] / 2))
            z = torch.stack(rows)
        return (z - loc) / scale

    def make():
        dtype = torch.get_default_dtype()
        return leaf.to(dtype).distribution(params.to(dtype))

    return Latent(make, (), partial(by_autograd, inverse))


def sylvester(loc, raw_scale, scale):
    """Its inverse here: Newton's method on all coordinates, with the Jacobian of a transform written anew."""
    leaf = posteriors.SylvesterFlow((3,), 2, num_transforms=1, num_columns=2)
    numbers = torch.tensor([0.0, 0.0, 1.5, 0.0, 1.25, -0.75, 0.5, -2.0, 0.875, -1.125, 0.25, -0.125])
    params = torch.cat([torch.tensor([[loc, loc], [raw_scale, raw_scale]]), numbers.reshape(-1, 2)])
    normal, shift = np.array([[1.0], [1.5]]), torch.tensor([0.25, -0.125], dtype=F64)
    reflection = np.eye(2) - 2 * normal @ normal.T / 3.25
    q = torch.tensor(reflection @ np.diag([1.0, -1.0]))
    r = torch.tensor([[math.tanh(1.25), -0.75], [0.0, math.tanh(-2.0)]], dtype=F64)
    s = torch.tensor([[0.99 * math.tanh(0.875), 0.5], [0.0, 0.99 * math.tanh(-1.125)]], dtype=F64)

    def forward(e):
        return e + q @ r @ torch.tanh(s @ q.T @ e + shift)

    def log_p(p, z):
        z, e = ((torch.tensor(z, dtype=F64) - loc) / scale for _ in range(2))
        for _ in range(100):
            e = e - torch.linalg.solve(torch.autograd.functional.jacobian(forward, e), forward(e) - z)
        torch.testing.assert_close(forward(e), z, rtol=1e-12, atol=1e-12)
        log_det = torch.autograd.functional.jacobian(forward, e).slogdet().logabsdet + 2 * math.log(scale)
        return float(-e.square().sum() / 2 - math.log(2 * math.pi) - log_det)

    def make():
        dtype = torch.get_default_dtype()
        return leaf.to(dtype).distribution(params.to(dtype))

    return Latent(make, (), log_p)


FAR = ((0.0, 1.0), (1e4, 1e-6), (-1e4, 1e3))
LATENTS = {
    "StandardNormal": Latent(
        lambda: priors.StandardNormal(2).to(torch.get_default_dtype()).given(), ((0.0, 1.0),), log_normals
    ),
    "DiagonalNormal learned": Latent(learned(priors.DiagonalNormal(2)), ((1e4, 1.0),), log_normals),
    "FullRankNormal learned": Latent(learned(priors.FullRankNormal(2)), ((1e4, 1.0),), log_full_rank),
    "StudentT of a prior": Latent(
        lambda: priors.StudentT(2, df=8.0).to(torch.get_default_dtype()).given(), ((0.0, 1.5),), log_students
    ),
    "Logistic of a prior": Latent(
        lambda: priors.Logistic(2).to(torch.get_default_dtype()).given(), ((0.0, 1.0),), log_logistics
    ),
    "Laplace": Latent(lambda: priors.Laplace(2).to(torch.get_default_dtype()).given(), ((0.0, 1.0),), log_laplaces),
    **{
        f"DiagonalNormal {loc:g} {raw:g}": Latent(
            of(posteriors.DiagonalNormal((3,), 2), [loc, loc], [raw, raw]), ((loc, scale),), log_normals
        )
        for loc, (raw, scale) in itertools.product((0.0, 1e4), ((-1e3, 1e-4), (0.0, 1.0), (1e6, 1e6)))
    },
    **{
        f"FullRankNormal {loc:g} {raw:g}": Latent(
            of(posteriors.FullRankNormal((3,), 2), [loc, loc], [raw, 7.0], [0.8, raw]), ((loc, scale),), log_full_rank
        )
        for loc, (raw, scale) in itertools.product((0.0, 1e4), ((-1e3, 1e-4), (0.0, 1.0), (1e6, 1e6)))
    },
    **{
        f"LowRankNormal {loc:g} {raw:g}": Latent(
            of(posteriors.LowRankNormal((3,), 2, rank=1), [loc, loc], [raw, raw], [0.8 * scale, -scale]),
            ((loc, 1.5 * scale),),
            log_low_rank,
        )
        for loc, (raw, scale) in itertools.product((0.0, 1e4), ((-1e3, 1e-4), (0.0, 1.0), (1e6, 1e6)))
    },
    **{
        f"Householder {loc:g} {raw:g}": Latent(
            of(posteriors.Householder((3,), 2, num_reflections=2), [loc, loc], [raw, raw], [0.3, -0.8], [7.0, 1.0]),
            ((loc, scale),),
            log_rotated,
        )
        for loc, (raw, scale) in itertools.product((0.0, 1e4), ((-1e3, 1e-4), (0.0, 1.0), (1e6, 1e6)))
    },
    "Householder of two widths": Latent(
        of(posteriors.Householder((3,), 2, num_reflections=1), [1.0, 1.0], [0.0, 1.5], [-1.0, 0.8]),
        ((1.0, 1.5),),
        log_rotated,
    ),
    "StudentT of latents": Latent(
        of(posteriors.StudentT((3,), 2, df=8.0), [1.0, 1.0], [0.0, 0.0]), ((1.0, 2.0),), log_students
    ),
    "GaussianMixturePosterior": Latent(
        of(
            posteriors.GaussianMixturePosterior((3,), 2, num_components=3),
            [0.5, 0.0, 0.0, 0.0, 0.0],
            [-1.0, 1e4, 1e4, -1e3, -1e3],
            [0.0, -1e4, -1e4, 1e2, 1e2],
        ),
        ((0.0, 1.0), (1e4, 1e-4), (-1e4, 101.0)),
        partial(log_mixture, (0.5, -1.0, 0.0)),
    ),
    "GaussianMixture": gaussian_mixture(),
    "GaussianMixture far": mixture((0.0, 1.0, -1.0), FAR),
    "GaussianMixture near": mixture((0.0, 3.0), ((1.0, 0.5), (1.0, 2.0))),
    "VampPrior": vamp_prior(),
    "FlowPrior": flow_prior(),
    "RealNVP": of_zuko(priors.RealNVP(2, hidden_dim=8)),
    "NeuralSpline": of_zuko(priors.NeuralSpline(2, hidden_dim=8, num_bins=4)),
    "MAF": of_zuko(priors.MAF(2, hidden_dim=8)),
    "IAF": iaf(0.5, 0.0, 1.0001),
    "IAF small": iaf(-3.0, -1e3, 1e-4),
    "SylvesterFlow": sylvester(0.5, 0.0, 1.0001),
    "SylvesterFlow small": sylvester(-3.0, -1e3, 1e-4),
}
latents = pytest.mark.parametrize("name", LATENTS)


@pytest.fixture
def default(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    yield dtype
    torch.set_default_dtype(before)


def boxes_of(case, p):
    if case.boxes:
        return [[torch.full((2,), v, dtype=F64) for v in box] for box in case.boxes]
    draws = p.sample((4000,)).double()
    return [[draws.mean(0), (draws - draws.mean(0)).abs().amax(0) / 9]]


def grid(boxes):
    """Points (boxes, n, 2), and the weight of each in an integral: without overlap of the boxes."""
    t = torch.linspace(-14, 14, 561, dtype=F64)
    unit = torch.cartesian_prod(t, t)
    points = torch.stack([centre + scale * unit for centre, scale in boxes])
    weights = torch.stack([(scale * 0.05).prod().expand(len(unit)) for _, scale in boxes])
    return points, torch.where(home(points, boxes) == torch.arange(len(boxes))[:, None], weights, 0.0)


def home(z, boxes):
    """The first box that holds z (..., 2)."""
    inside = torch.stack([((z - centre).abs() <= 14.01 * scale).all(-1) for centre, scale in boxes], -1)
    return inside.to(torch.uint8).argmax(-1)


def cell(z, boxes):
    """z (..., 2) as one of 16 cells of its box."""
    which = home(z, boxes)
    centre, scale = (torch.stack(part)[which] for part in zip(*boxes, strict=True))
    quarter = ((z - centre) / scale).unsqueeze(-1) > torch.tensor([-0.713, 0.013, 0.722], dtype=F64)
    return (which * 4 + quarter[..., 0, :].sum(-1)) * 4 + quarter[..., 1, :].sum(-1)


@dtypes
@latents
def test_densities_of_latents_are_exact_and_have_gradients(name, dtype, default):
    case = LATENTS[name]
    p = case.make()
    far = [centre + t * scale for centre, scale in boxes_of(case, p) for t in (0.0, 0.5, -6.0)]
    z = torch.cat([p.sample((10,)), torch.stack(far).to(dtype)]).detach().clone().requires_grad_()
    log_p = p.log_prob(z)
    log_p.sum().backward()
    assert z.grad.isfinite().all()
    exact = [case.log_p(p, row) for row in z.tolist()]
    scale = 1.0
    if not case.boxes:  # a flow's inverse rounds: allowed is what 8 last digits of z change
        moved = [z.detach().double() * (1 + t * torch.finfo(dtype).eps) for t in (-8, 8)]
        change = np.abs([[case.log_p(p, row) for row in values.tolist()] for values in moved] - np.array(exact))
        scale = np.maximum(1.0, change.sum(0) / RTOL[dtype])
    close(log_p, exact, dtype, scale)


@pytest.mark.parametrize("dtype", [F64])
@latents
def test_densities_of_latents_integrate_to_one_and_are_drawn_from(name, dtype, default):
    case = LATENTS[name]
    p = case.make()
    boxes = boxes_of(case, p)
    points, weights = grid(boxes)
    with torch.no_grad():
        mass = p.log_prob(points).exp() * weights
    assert abs(mass.sum() - 1) < 1e-3
    mean = boxes[0][0] + (mass.unsqueeze(-1) * (points - boxes[0][0])).sum((0, 1)) / mass.sum()
    variance = (mass.unsqueeze(-1) * (points - mean).square()).sum((0, 1))
    if not name.startswith(
        ("IAF", "SylvesterFlow", "FlowPrior", "RealNVP", "NeuralSpline", "MAF")
    ):  # which have none in closed form
        assert ((p.mean - mean).abs() <= 2e-3 * variance.sqrt()).all()
        assert (p.variance / variance - 1).abs().max() < 4e-3
    shares = torch.zeros(16 * len(boxes), dtype=F64).index_add(0, cell(points, boxes).flatten(), mass.flatten())
    counts = cell(p.sample((4000,)), boxes).bincount(minlength=len(shares))
    assert chi_square(counts.numpy(), shares.numpy()) > P


def test_codes_are_masses():
    q = posteriors.VectorQuantized((3,), 4, num_codes=3, groups=2).eval()
    q.codebook.codes = torch.tensor([[1000.0, 0.0], [1000.01, -1e-6], [1000.02, 1e4]])
    prior = priors.CodePrior(q, weighted=True)
    prior.logits.data = torch.tensor([[0.0, 1.0, -2.0], [1e3, 999.5, -1e3]])
    p, codes = prior.given(), q.codebook.codes
    pairs = list(itertools.product(range(3), repeat=2))
    mass = [mp.exp(sum(log_level(k, *w) for k, w in zip(pair, prior.logits.tolist(), strict=True))) for pair in pairs]
    vectors = torch.stack([codes[list(pair)].flatten() for pair in pairs])
    assert p.log_prob(vectors).exp().sum().item() == pytest.approx(1, rel=1e-6)
    close(p.log_prob(vectors), [mp.log(m) for m in mass], F32)
    mean = [sum(m * v for m, v in zip(mass, column, strict=True)) for column in vectors.T.tolist()]
    square = [
        sum(m * (v - e) ** 2 for m, v in zip(mass, column, strict=True))
        for column, e in zip(vectors.T.tolist(), mean, strict=True)
    ]
    close(p.mean, mean, F32)
    close(p.variance, square, F32, scale=1e-30)
    drawn = (p.expand([3000]).sample()[:, None] == vectors).all(-1).double().sum(0)
    assert chi_square(drawn.numpy(), np.array([float(m) for m in mass])) > P
    code = q.distribution(torch.tensor([[1000.0, 0.0, 1000.02, 1e4]]))
    assert code.log_prob(code.sample()) == 0
    assert code.log_prob(vectors).exp().sum() == 1


@pytest.mark.parametrize("leaf", [posteriors.Point((3,), 2), posteriors.TopK((3,), 2, k=1)], ids=repr)
@pytest.mark.parametrize("value", [0.0, 1e-6, 1e4])
def test_points_are_points(leaf, value):
    p = leaf.distribution(torch.tensor([[value, 0.0]]))
    assert torch.equal(p.sample((2,)), torch.tensor([[value, 0.0]] * 2))
    assert torch.equal(p.mean, p.sample())
    assert not p.variance.any()
    assert p.log_prob(p.sample()) == 0
    assert p.log_prob(p.sample() + 1) == -math.inf


def test_flat_is_no_distribution_and_says_so():
    p = priors.Flat(2).given()
    assert p.log_prob(torch.tensor([1e4, -1e4])) == 0
    with pytest.raises(ValueError, match="expects a proper prior"):
        p.sample()


ELSEWHERE = {"AutoregressiveCodePrior"}  # test_quantized.py
ELSEWHERE |= {"CodePrior", "VectorQuantized", "Point", "TopK", "Flat"}  # the tests above
ELSEWHERE |= {"CorrelatedGaussian", "Multinomial"}  # test_rows.py
ELSEWHERE |= {"PowerSpherical", "SphericalUniform", "Dirichlet", "LogisticNormal"}  # test_simplex_and_sphere.py
ELSEWHERE |= {"Exemplar"}  # test_exemplar.py
ELSEWHERE |= {"RelaxedBernoulli", "RelaxedCategorical"}  # test_discrete.py
ELSEWHERE |= {"Heterogeneous"}  # test_heterogeneous.py, column by column


def made_by(leaf):
    """The class of the distribution that a leaf makes."""
    case = next(c for c in CASES if leaf in [part.func for part in c[:3]])
    vae, (x, *_) = make(case)
    made = vae.prior.given, partial(vae.decode, torch.zeros(len(x), LATENT)), partial(vae.encode, x)
    return type(unwrapped(made[[part.func for part in case[:3]].index(leaf)]()))


def test_every_distribution_of_our_own_is_under_the_law():
    named = [getattr(module, name) for module in (priors, likelihoods, posteriors) for name in module.__all__]
    leaves = [leaf for leaf in named if inspect.isclass(leaf) and not inspect.isabstract(leaf)]
    under = {name.split()[0] for name in (*NUMBERS, *LATENTS)} | ELSEWHERE
    checked = {made_by(leaf) for leaf in leaves if leaf.__name__ in under}
    for leaf in leaves:
        if leaf in (posteriors.Ladder, posteriors.BottomUp):  # normal, in test_hierarchies.py
            continue
        made = made_by(leaf)
        assert made in checked or not made.__module__.startswith("ppl_vae"), (
            f"{leaf.__name__} makes {made.__name__}, a distribution of ppl_vae whose density nobody checked: give "
            "NUMBERS or LATENTS an entry with its exact log density"
        )
