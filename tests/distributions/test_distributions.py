"""Exactness of the densities: against torch, scipy, NumPyro, autograd and sums."""

import copy
import math

import mpmath as mp
import numpy as np
import numpyro
import numpyro.distributions as numpyro_dist
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from ppl_vae import (
    IAF,
    FlowPrior,
    FullRankNormal,
    Laplace,
    OrderedLogistic,
    StandardNormal,
    VampPrior,
    distributions,
    posteriors,
)
from ppl_vae.distributions import (
    AutoregressiveFlow,
    DiagonalNormal,
    DiscretizedLogistic,
    Improper,
    Levels,
    Mixture,
    diagonal_normal,
    positive,
)

numpyro.enable_x64()
X = (4,)


def close(a, b, atol=1e-10):
    a, b = (t if torch.is_tensor(t) else torch.as_tensor(np.array(t)) for t in (a, b))
    assert_close(a.detach(), b.detach(), rtol=0, atol=atol)


def mixture(*batch, k=3, dim=2):
    logits, loc, scale = (
        torch.randn(*batch, k),
        2 * torch.randn(*batch, k, dim),
        torch.rand(*batch, k, dim) + 0.3,
    )
    return logits.double(), loc.double(), scale.double()


def within(sample, expected, ses=5.0):
    """The mean over draws (draws, ...) lies within some standard errors of what it should be."""
    se = sample.double().std(0) / math.sqrt(len(sample))
    assert ((sample.double().mean(0) - expected).abs() <= ses * se + 1e-12).all()


@pytest.mark.parametrize("batch", [(), (4,), (2, 4)])
@pytest.mark.parametrize("generic", [False, True])
def test_mixture_is_torchs(batch, generic):
    logits, loc, scale = mixture(*batch)
    components = dist.Normal(loc, scale).to_event(1) if generic else DiagonalNormal(loc, scale)
    ours = Mixture(logits, components)
    theirs = dist.MixtureSameFamily(dist.Categorical(logits=logits), dist.Normal(loc, scale).to_event(1))
    value = 3 * torch.randn(7, *batch, 2).double()
    close(ours.log_prob(value), theirs.log_prob(value))
    close(ours.mean, theirs.mean)
    expanded = ours.expand([5, *batch])
    assert expanded.shape() == (5, *batch, 2)
    assert expanded.sample((3,)).shape == (3, 5, *batch, 2)
    many = torch.randn(6, 5, *batch, 2).double()
    close(expanded.log_prob(many), theirs.log_prob(many))
    assert expanded.log_prob(many[0, 0]).shape == (5, *batch)
    product = (logits.log_softmax(-1)[..., None] + dist.Normal(loc, scale).log_prob(value.unsqueeze(-2))).logsumexp(-2)
    assert (product.sum(-1) - ours.log_prob(value)).abs().min() > 1e-6  # not a product of mixtures a dimension


def test_diagonal_normal_scores_far_values_as_scipy_does():
    _, loc, scale = mixture(k=4, dim=3)
    scale = scale * 1e-2
    value = loc[1] + 1e-2 * torch.randn(50, 3).double()
    close(
        DiagonalNormal(loc, scale).log_prob_each(value),
        dist.Normal(loc, scale).log_prob(value[:, None]).sum(-1),
        1e-6,
    )
    normal = DiagonalNormal(loc[0], scale[0])
    close(
        normal.log_prob(value),
        scipy.stats.multivariate_normal(loc[0], np.diag(scale[0] ** 2)).logpdf(value),
        1e-8,
    )
    in_float32 = DiagonalNormal(loc.float(), scale.float()).log_prob_each(value.float())
    exact = dist.Normal(loc.float().double(), scale.float().double()).log_prob(value.float().double()[:, None]).sum(-1)
    assert_close(in_float32.double(), exact, rtol=1e-6, atol=1e-6)
    assert isinstance(normal.expand([3]), DiagonalNormal)


class NoFloat64(TorchDispatchMode):
    """As on a device without float64."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        assert getattr(out, "dtype", None) != torch.float64, func
        return out


@pytest.mark.float32
@pytest.mark.parametrize("most", [10, 2**21])
def test_mixtures_need_no_float64_where_there_is_none(most, monkeypatch):
    loc, scale = (torch.randn(2, 7, 3) * 10).requires_grad_(), (torch.rand(2, 7, 3) + 0.1).requires_grad_()
    value = torch.randn(5, 2, 3, requires_grad=True)
    expected = DiagonalNormal(loc.double(), scale.double()).log_prob_each(value.double())
    gradients = torch.autograd.grad(expected.logsumexp(-1).sum(), (loc, scale, value))
    monkeypatch.setattr(diagonal_normal, "has_float64", lambda device: False)
    monkeypatch.setattr(diagonal_normal, "MOST", most)  # all at once, and one component at a time
    with NoFloat64():
        log_p = DiagonalNormal(loc, scale).log_prob_each(value)
        found = torch.autograd.grad(log_p.logsumexp(-1).sum(), (loc, scale, value))
    assert_close(log_p.double(), expected, rtol=1e-5, atol=1e-5)
    for a, b in zip(found, gradients, strict=True):
        assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_mixture_samples_its_components_at_random():
    weights = torch.tensor([0.1, 0.3, 0.6]).double()
    loc = torch.tensor([[-50.0, 0.0], [0.0, 20.0], [50.0, 0.0]]).double()
    p = Mixture(weights.log(), DiagonalNormal(loc, torch.ones_like(loc))).expand([4])
    z = p.sample((20_000,))
    component = (z[..., None, :] - loc).square().sum(-1).argmin(-1)
    within(torch.nn.functional.one_hot(component, 3), weights.expand(4, 3))
    within(z, p.mean)
    within(z[component == 2], loc[2])  # here, and not elsewhere, are its samples
    within((z[component == 0] - loc[0]).square(), torch.ones(2))
    assert torch.corrcoef((component == 0).double().T)[0, 1].abs() < 0.05  # anew for each datum


def test_vamp_prior_over_flows_is_the_explicit_mixture():
    q = IAF(X, 2, hidden_dim=8).double()
    prior = VampPrior(q, X, num_components=3, weighted=True).double()
    torch.nn.init.normal_(prior.logits)
    z = torch.randn(6, 2).double()
    by_hand = torch.stack(
        [w + q.given(u).log_prob(z) for w, u in zip(prior.logits.log_softmax(0), prior.pseudo_inputs, strict=True)]
    ).logsumexp(0)
    close(prior.given().log_prob(z).detach(), by_hand.detach())
    close(prior.given().expand([6]).log_prob(z).detach(), by_hand.detach())
    with torch.no_grad():
        prior.logits.copy_(torch.tensor([-40.0, 0.0, 0.0]))
        draws = prior.given().sample((4000,))
        within(
            draws,
            torch.stack([q.given(u).sample((20_000,)).mean(0) for u in prior.pseudo_inputs[1:]]).mean(0),
            7,
        )


def test_full_rank_normal_is_scipys():
    q = FullRankNormal(X, 3).double()
    params = torch.randn(2, 4, 3).double()
    z = torch.randn(5, 2, 3).double()
    for i, (loc, *square) in enumerate(params):
        square = torch.stack(square)
        L = torch.diag(positive(square.diagonal())) @ (torch.eye(3).double() + square.tril(-1))
        by_scipy = scipy.stats.multivariate_normal(loc, L @ L.T).logpdf(z[:, i])
        close(q.distribution(params).log_prob(z)[:, i], by_scipy)
        precise = numpyro_dist.MultivariateNormal(loc.numpy(), scale_tril=L.numpy())
        close(q.distribution(params).log_prob(z)[:, i], precise.log_prob(z[:, i].numpy()))


def test_densities_are_numpyros():
    z = 2 * torch.randn(5, 3).double()
    params = torch.randn(2, 3).double()
    logits, loc, scale = mixture(dim=3)
    diagonal = posteriors.DiagonalNormal(X, 3).double().distribution(params)
    ours_theirs = [
        (StandardNormal(3).double().given(), numpyro_dist.Normal(np.zeros(3), 1).to_event(1)),
        (Laplace(3).double().given(), numpyro_dist.Laplace(np.zeros(3), 0.5**0.5).to_event(1)),
        (diagonal, numpyro_dist.Normal(params[0].numpy(), positive(params[1]).numpy()).to_event(1)),
        (
            Mixture(logits, DiagonalNormal(loc, scale)),
            numpyro_dist.MixtureSameFamily(
                numpyro_dist.Categorical(logits=logits.numpy()),
                numpyro_dist.Normal(loc.numpy(), scale.numpy()).to_event(1),
            ),
        ),
    ]
    for ours, theirs in ours_theirs:
        close(ours.log_prob(z), theirs.log_prob(z.numpy()))
    assert_close(Laplace(3).given().variance, torch.ones(3))


def test_densities_of_numbers_are_numpyros():
    a, b, x = torch.rand(3, 40).double() * 5 + 0.1
    u, k = torch.rand(40).double(), torch.poisson(3 * torch.rand(40).double())
    ours_theirs = [
        (distributions.Poisson(a), numpyro_dist.Poisson(a.numpy()), k),
        (distributions.Gamma(a, b), numpyro_dist.Gamma(a.numpy(), b.numpy()), x),
        (distributions.Beta(a, b), numpyro_dist.Beta(a.numpy(), b.numpy()), u),
        (distributions.LogNormal(a, b), numpyro_dist.LogNormal(a.numpy(), b.numpy()), x),
        (distributions.StudentT(b + 2, a, b), numpyro_dist.StudentT((b + 2).numpy(), a.numpy(), b.numpy()), x),
    ]
    for ours, theirs, values in ours_theirs:
        close(ours.log_prob(values), theirs.log_prob(values.numpy()))
        assert_close(ours.mean, torch.tensor(np.array(theirs.mean)))
        assert_close(ours.variance, torch.tensor(np.array(theirs.variance)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_moments_of_a_log_normal_are_finite_where_the_type_holds_them(dtype):
    """A factor of them may be infinite or 0 where they are not: at (-400, 20) they are 1e-87 and 1."""
    params = [
        (-400.0, 20.0),
        (-100.0, 10.0),
        (-90.0, 10.0),
        (40.0, 1e-24),
        (40.0, 1e-3),
        (-30.0, 3.0),
        (0.0, 1e3),
        (-1e6, 1e3),
    ]
    loc, scale = torch.tensor(params, dtype=dtype).T
    found, kept = distributions.LogNormal(loc, scale), torch.finfo(dtype)
    squares = [mp.mpf(s.item()) ** 2 for s in scale]
    means = [mp.exp(m.item() + q / 2) for m, q in zip(loc, squares, strict=True)]
    variances = [mp.expm1(q) * mean**2 for q, mean in zip(squares, means, strict=True)]
    for ours, exact in ((found.mean, means), (found.variance, variances)):
        held = torch.tensor([math.inf if v > kept.max else float(v) for v in exact], dtype=torch.float64).to(dtype)
        assert_close(ours, held, rtol=1e-6 if dtype == torch.float32 else 1e-11, atol=kept.tiny)
    assert found.variance.isfinite().sum() > 4


def test_rows_are_numpyros():
    logits, x = torch.randn(4).double(), torch.poisson(3 * torch.rand(6, 4)).double()
    theirs = numpyro_dist.MultinomialLogits(logits.numpy(), total_count=x.sum(-1).numpy().astype(int))
    close(distributions.Multinomial(logits, x.sum(-1)).log_prob(x), theirs.log_prob(x.numpy()))
    loc, factor, scale, y = torch.randn(4), torch.randn(4, 2), torch.rand(4) + 0.1, torch.randn(6, 4)
    loc, factor, scale, y = (v.double() for v in (loc, factor, scale, y))
    theirs = numpyro_dist.LowRankMultivariateNormal(loc.numpy(), factor.numpy(), scale.square().numpy())
    close(distributions.LowRankNormal(loc, factor, scale).log_prob(y), theirs.log_prob(y.numpy()))


def test_a_full_rank_normal_knows_its_draws():
    loc, raw = (torch.randn(*shape).double().requires_grad_() for shape in ((3, 4), (3, 4, 4)))
    tril = raw.tril(-1) + positive(raw.diagonal(dim1=-2, dim2=-1)).diag_embed()
    theirs = torch.distributions.MultivariateNormal(loc, scale_tril=tril)
    for ours in (distributions.FullRankNormal(loc, scale_tril=tril), distributions.FullRankNormal(loc, tril @ tril.mT)):
        torch.manual_seed(0)
        z = ours.expand([5, 3]).rsample()
        torch.manual_seed(0)
        close(z, theirs.expand([5, 3]).rsample())
        for fn in (ours, ours.expand([5, 3])):
            z = fn.rsample((2,))
            close(fn.log_prob(z), theirs.log_prob(z))
            weights = torch.randn(z.shape[:-1]).double()
            found, expected = (
                torch.autograd.grad((weights * p.log_prob(z) + z.sin().sum(-1)).sum(), (loc, raw), retain_graph=True)
                for p in (fn, theirs)
            )
            close(found[0], expected[0])
            close(found[1].tril(), expected[1].tril())
            other = torch.randn(z.shape).double()
            close(fn.log_prob(other), theirs.log_prob(other))
            close(fn.log_prob(z.detach()), theirs.log_prob(z))
            (at_draws,) = torch.autograd.grad(fn.log_prob(z.detach()).sum(), loc, retain_graph=True)  # the score
            close(at_draws, torch.autograd.grad(theirs.log_prob(z.detach()).sum(), loc, retain_graph=True)[0])
            drawn = fn.sample((2,))
            (score,) = torch.autograd.grad(fn.log_prob(drawn).sum(), loc, retain_graph=True)
            close(score, torch.autograd.grad(theirs.log_prob(drawn).sum(), loc, retain_graph=True)[0])
            with torch.no_grad():
                changed = fn.rsample((2,))
                changed += 5
            close(fn.log_prob(changed), theirs.log_prob(changed))


def test_an_ordered_logistic_is_numpyros():
    leaf = OrderedLogistic(2, (1,), levels=5).double()
    loc, x = torch.randn(20, 1).double(), torch.arange(20).remainder(5)[:, None].double()
    gaps = positive(leaf.raw_gaps).cumsum(-1)
    cutpoints = torch.cat([leaf.first[:, None], leaf.first[:, None] + gaps], -1).detach().numpy()
    theirs = numpyro_dist.OrderedLogistic(loc.numpy(), cutpoints)
    close(leaf.elementwise(loc).log_prob(x), theirs.log_prob(x.numpy().astype(int)))


def test_continuous_bernoulli_is_the_papers():
    from ppl_vae import ContinuousBernoulli

    logits = torch.tensor([-6.0, -2.0, 0.5, 3.0, 9.0]).double()
    x = torch.linspace(0, 1, 11).double()[:, None]
    p = torch.sigmoid(logits)
    constant = torch.log(2 * torch.atanh(1 - 2 * p) / (1 - 2 * p))
    exact = constant + x * p.log() + (1 - x) * torch.log1p(-p)
    close(ContinuousBernoulli(2, (5,)).elementwise(logits).log_prob(x.expand(11, 5)), exact)


@pytest.mark.parametrize("levels", [2, 5, 256])
def test_discretized_logistic(levels):
    loc = torch.tensor([-0.3, 0.45, 0.9]).double() * (levels - 1)
    scale = torch.tensor([0.6, 1.0, 4.0]).double()
    p = DiscretizedLogistic(loc, scale, levels)
    k = torch.arange(levels).double()[:, None]
    edges = torch.cat([k - 0.5, k[-1:] + 0.5])
    cdf = torch.sigmoid((edges - loc) / scale)
    cdf[0], cdf[-1] = 0, 1
    mass = cdf.diff(dim=0)
    close(p.log_prob(k.expand(levels, 3)).exp(), mass, 1e-12)
    close(p.mean, (k * mass).sum(0))
    draws = p.expand([2, 3]).sample((5000,))[:, 1]
    assert p.support.check(draws).all()
    within(draws, p.mean)
    for i in range(3):
        counts, expected = np.bincount(draws[:, i].int(), minlength=levels), 5000 * mass[:, i].numpy()
        rare = expected < 5
        pooled = [np.append(c[~rare], c[rare].sum()) for c in (counts, expected)]
        if pooled[1][-1] < 5:
            pooled = [np.append(c[:-2], c[-2:].sum()) for c in pooled]
        assert len(pooled[0]) < 2 or scipy.stats.chisquare(*pooled).pvalue > 1e-4


def test_discretized_logistic_is_finite_at_the_extremes():
    loc = torch.tensor([-1e4, -300.0, 0.0, 127.0, 255.0, 600.0, 1e4], requires_grad=True)
    scale = torch.full((7,), 0.5, requires_grad=True)
    log_p = DiscretizedLogistic(loc, scale, 256).log_prob(torch.arange(256.0)[:, None].expand(256, 7))
    log_p.sum().backward()
    assert all(t.isfinite().all() for t in (log_p, loc.grad, scale.grad))
    assert (log_p <= 0).all()
    with pytest.raises(ValueError, match="support"):
        DiscretizedLogistic(loc, scale, 256).log_prob(torch.full((7,), 0.5))


def test_levels_have_a_mean():
    logits = torch.randn(4, 6).double()
    p = Levels(logits=logits).expand([3, 4])
    k, probs = torch.arange(6).double(), logits.softmax(-1)
    mean = (probs * k).sum(-1)
    close(p.mean, mean.expand(3, 4))
    close(p.variance, (probs * (k - mean[:, None]).square()).sum(-1).expand(3, 4))
    draws = p.sample((4000,))
    assert draws.dtype == logits.dtype
    within(draws, mean)
    close(
        p.log_prob(draws[0]),
        logits.log_softmax(-1).expand(3, 4, 6).gather(-1, draws[0].long()[..., None])[..., 0],
    )


@pytest.mark.parametrize("dim", [2, 5])
@pytest.mark.parametrize("context_dim", [0, 3])
def test_autoregressive_flow(dim, context_dim):
    flow = AutoregressiveFlow(dim, context_dim, num_transforms=3, hidden_dim=8).double()
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    context = torch.randn(6, context_dim).double() if context_dim else None
    x, other = torch.randn(2, 6, dim).double()
    y, log_det = x, 0
    for t in flow.transforms(context):
        after = t(y)
        t(other)  # what is cached is another's now
        log_det = log_det + t.log_abs_det_jacobian(y, after)
        y = after

    def run(row, i):
        for t in flow.transforms(None if context is None else context[i]):
            row = t(row)
        return row

    jacobians = [torch.autograd.functional.jacobian(lambda r, i=i: run(r, i), x[i]) for i in range(6)]
    close(log_det.detach(), torch.stack([j.slogdet().logabsdet for j in jacobians]), 1e-9)
    back = y.clone()  # not the cached tensor
    for t in reversed(flow.transforms(context)):
        back = t.inv(back)
    close(back.detach(), x, 1e-8)
    copied = copy.deepcopy(flow)
    assert all(map(torch.equal, flow.parameters(), copied.parameters()))
    with pytest.raises(ValueError, match=r"two or more dimensions, got 1; use latent_dim >= 2"):
        AutoregressiveFlow(1, 0, 1, 8)


def test_autoregressive_flow_forgets_when_its_weights_change():
    q = IAF(X, 3).double()
    x = torch.randn(2, 4).double()
    z = q.given(x).rsample()
    before = q.given(x).log_prob(z)
    with torch.no_grad():
        for parameter in q.flow.parameters():
            parameter += 0.5
    after = q.given(x).log_prob(z)
    assert (before - after).abs().min() > 1e-3
    close(after.detach(), q.given(x).log_prob(z.clone()).detach())
    fn = q.given(x)
    own = fn.rsample()
    close(fn.log_prob(own).detach(), q.given(x).log_prob(own.clone()).detach(), 1e-9)  # cached and inverted


@pytest.mark.parametrize("context", [(), ((3,),)])
def test_flow_prior_by_change_of_variables(context):
    prior = FlowPrior(3, num_transforms=2, context=context).double()
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    seen = [torch.randn(4, 3).double() for _ in context]
    z = torch.randn(4, 3).double()

    def noise(row, i):
        for t in prior.flow.transforms(seen[0][i] if seen else None):
            row = t(row)
        return row

    by_hand = []
    for i, row in enumerate(z):
        jacobian = torch.autograd.functional.jacobian(lambda r, i=i: noise(r, i), row)
        by_hand.append(dist.Normal(0.0, 1.0).log_prob(noise(row, i)).sum() + jacobian.slogdet().logabsdet)
    close(prior.given(*seen).log_prob(z).detach(), torch.stack(by_hand).detach())
    fn = prior.given(*seen).expand([4])
    draws = fn.sample((3,))
    close(fn.log_prob(draws).detach(), prior.given(*seen).log_prob(draws.clone()).detach(), 1e-8)


def test_improper_and_points():
    p = Improper(dist.constraints.real_vector, (), (2,)).expand([3])
    assert isinstance(p, Improper)
    assert p.log_prob(torch.randn(3, 2).double()).equal(torch.zeros(3).double())
    with pytest.raises(ValueError, match="an autoencoder has no prior to sample"):
        p.sample()
    with pytest.raises(ValueError, match="infinite density"):
        Mixture(torch.zeros(2), dist.Delta(torch.zeros(2, 3), event_dim=1))


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_a_bernoullis_sum_is_the_sum_of_its_log_densities(precision):
    logits = torch.cat([torch.linspace(-30, 30, 40), torch.tensor([-1e4, 1e4, 0.0, -88.0, 88.0, 104.0])]).double()
    logits = torch.stack([logits, logits.flip(0)]).unflatten(-1, (2, -1))
    x = (torch.arange(46) % 3 == 0).unflatten(-1, (2, -1)).double()
    exact = torch.nn.functional.logsigmoid(torch.where(x == 1, logits, -logits)).sum((-2, -1))
    found = distributions.Bernoulli(logits.to(precision)).log_prob_sum(x.to(precision), 2)
    assert_close(found.double(), exact, rtol=4 * torch.finfo(precision).eps, atol=0.0)
    at = logits.to(precision).requires_grad_()
    distributions.Bernoulli(at).log_prob_sum(x.to(precision), 2).sum().backward()
    assert_close(at.grad.double(), x - logits.sigmoid(), rtol=0.0, atol=4 * torch.finfo(precision).eps)


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [(), (1, 1, 1), (3, 5), (2, 1, 1), (2, 3, 5)])
def test_the_summed_density_of_a_normal_is_exact(precision, scale):
    torch.manual_seed(0)
    loc, x = torch.randn(2, 3, 5).double() * 10, torch.randn(3, 5).double() * 1e3
    loc[0, 0, 0] = x[0, 0]  # a residual of 0, whose gradient is 0
    scale = torch.linspace(1e-3, 1e3, torch.Size(scale).numel()).double().reshape(scale)
    at = loc.to(precision).requires_grad_()
    found = distributions.Normal(at, scale.to(precision)).log_prob_sum(x.to(precision), 2)
    found.sum().backward()
    p = torch.distributions.Normal(at.detach().double(), scale.to(precision).double())
    exact = p.log_prob(x.to(precision).double())
    assert_close(found.double(), exact.sum((-2, -1)), rtol=30 * torch.finfo(precision).eps, atol=0.0)
    slope = (x.to(precision).double() - p.loc) / p.scale**2
    assert_close(at.grad.double(), slope, rtol=30 * torch.finfo(precision).eps, atol=0.0)


def test_a_mixture_draws_from_the_chosen_components_alone():
    torch.manual_seed(0)
    weights = torch.tensor([[0.1, 0.6, 0.3], [0.8, 0.0, 0.2]]).double()
    loc = torch.randn(2, 3, 2).double() * 5
    p = Mixture(weights.log(), DiagonalNormal(loc, torch.full_like(loc, 0.01)))
    z = p.sample((4000,))
    nearest = torch.cdist(z.movedim(0, 1), loc).argmin(-1)  # (2, draws)
    for number in range(3):
        within((nearest == number).double().T, weights[:, number])
    far = z - loc.gather(1, nearest.unsqueeze(-1).expand(-1, -1, 2)).movedim(0, 1)
    assert float(far.abs().max()) < 0.06  # six standard deviations
    within(far.square(), torch.full((2, 2), 1e-4))
    shared = Mixture(torch.zeros(3), DiagonalNormal(loc, torch.ones_like(loc))).expand([5, 2])
    assert shared.sample((7,)).shape == (7, 5, 2, 2)
