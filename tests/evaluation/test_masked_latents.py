"""Rows of unequal length: latents that a mask leaves out change no log p(x)."""

import math
from contextlib import ExitStack

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.testing import assert_close

from ppl_vae import Program, evaluate, fit, impute
from ppl_vae.diagnostics import (
    active_units,
    aggregated_posterior,
    compare_posteriors,
    hmc,
    log_marginal_likelihood,
    posterior_pit,
    simulation_based_calibration,
    to_arviz,
)
from ppl_vae.diagnostics.posterior import log_joints
from ppl_vae.evaluation import kl_per_unit
from ppl_vae.split import Split

T = 3
X = torch.randn(6, T, generator=torch.Generator().manual_seed(0)).double()
SEEN = (torch.arange(T) < torch.tensor([1, 2, 3, 1, 2, 3])[:, None]).double()
QUIET = {"seed": 0, "progress": False}


def rows(prior, q, by_distribution):
    """x_t given z_t, each z_t by itself, of a data plate and one over t; masked by `poutine.mask` or by `fn.mask`."""

    def plates(x):
        return pyro.plate("data", len(x), dim=-2), pyro.plate("t", T, dim=-1)

    def masked(fn, seen):
        return (
            fn.expand(torch.broadcast_shapes(fn.batch_shape, seen.shape)).mask(seen.bool()) if by_distribution else fn
        )

    def model(x, seen):
        data, places = plates(x)
        with data, places, pyro.poutine.mask(mask=True if by_distribution else seen.bool()):
            z = pyro.sample("z", masked(prior(), seen))
            pyro.sample("x", masked(dist.Normal(2 * z, 1.0), seen), obs=x)

    def guide(x, seen):
        data, places = plates(x)
        with data, places, pyro.poutine.mask(mask=True if by_distribution else seen.bool()):
            pyro.sample("z", masked(q(x), seen))

    return Program(model, guide)


by = pytest.mark.parametrize("by_distribution", [False, True], ids=["poutine", "distribution"])


@by
def test_states_of_masked_latents_are_not_counted(by_distribution):
    p = torch.tensor(0.3).double()
    program = rows(lambda: dist.Bernoulli(p), lambda x: dist.Bernoulli(torch.full_like(x, 0.4)), by_distribution)
    found = evaluate(program, X, SEEN, **QUIET).per_datum
    at = dist.Normal(torch.tensor([0.0, 2.0]).double(), 1.0).log_prob(X[..., None])
    each = (at + torch.stack([1 - p, p]).log()).logsumexp(-1)
    q = torch.tensor([0.6, 0.4]).double()
    elbo = (q * (at + torch.stack([1 - p, p]).log() - q.log())).sum(-1)
    assert_close(torch.tensor(found.log_px), (each * SEEN).sum(1))
    assert_close(torch.tensor(found.elbo), (elbo * SEEN).sum(1))


@by
@pytest.mark.parametrize("scale", [0.1, 0.6])
def test_proposals_for_masked_latents_have_the_prior_to_fit(by_distribution, scale):
    program = rows(
        lambda: dist.Normal(torch.zeros(()).double(), 1.0), lambda x: dist.Normal(0.4 * x, scale), by_distribution
    )
    exact = (dist.Normal(torch.zeros(()).double(), 5**0.5).log_prob(X) * SEEN).sum(1)
    found = evaluate(program, X, SEEN, method="adaptive", num_samples=1000, **QUIET).per_datum
    assert found.believed.all()
    assert ((torch.tensor(found.log_px) - exact).abs() < 4 * torch.tensor(found.log_px_mcse) + 1e-3).all()
    one = log_marginal_likelihood(program, X[:2], SEEN[:2], method="ais", **QUIET)
    assert (
        (torch.tensor(one.log_px.to_numpy()) - exact[:2]).abs() < 5 * torch.tensor(one.log_px_mcse.to_numpy()) + 1e-2
    ).all()


def test_chains_of_masked_latents_draw_their_prior():
    program = rows(lambda: dist.Normal(torch.zeros(()).double(), 1.0), lambda x: dist.Normal(0.4 * x, 0.4), False)
    z = hmc(program, X[:1], SEEN[:1], **QUIET).posterior["z"].to_numpy().reshape(-1, T)
    assert z[:, 1:].std() == pytest.approx(1, abs=0.15)
    assert z[:, 0].std() == pytest.approx(5**-0.5, abs=0.1)


def below_a_top(of_top, top, of_unit, unit, mean, by_distribution=False):
    """A latent for each element of x below one for each datum; those of missing elements are masked."""

    def run(x, mask, top, unit, observed):
        seen = torch.as_tensor(mask).expand(x.shape)
        with pyro.plate("data", len(x), dim=-2):
            z = pyro.sample("z", top(x, seen))
            with pyro.plate("units", x.shape[1], dim=-1), pyro.poutine.mask(mask=True if by_distribution else seen):
                fn = unit(x, z)
                fn = fn.mask(seen) if by_distribution else fn
                w = pyro.sample("w", fn)
                if observed:
                    pyro.sample("x", dist.Normal(mean(z, w), 0.5).mask(seen), obs=x)

    return Program(
        lambda x, mask=True: run(x, mask, of_top, of_unit, True), lambda x, mask=True: run(x, mask, top, unit, False)
    )


def normal(by_distribution=False, of_w=lambda x, z: dist.Normal(z + 0.8 * (x - 2 * z), 0.2**0.5)):
    """z ~ N(0, 1), w_t ~ N(z, 1), x_t ~ N(z + w_t, 1/4), so that x_t ~ N(2 z, 5/4); q is exact but for `of_w`."""

    def top(x, seen):
        precision = 1 + 3.2 * seen.sum(-1, keepdim=True)
        return dist.Normal(1.6 * (x * seen).sum(-1, keepdim=True) / precision, precision.double() ** -0.5)

    return below_a_top(
        lambda x, seen: dist.Normal(torch.zeros(()).double(), 1.0),
        top,
        lambda x, z: dist.Normal(z, 1.0),
        of_w,
        lambda z, w: z + w,
        by_distribution,
    )


PAIRS = torch.tensor([[2.0, 9.0], [-1.0, 9.0], [3.0, 9.0]]).double()
FIRST = torch.tensor([[True, False]]).expand(3, 2)


@by
@pytest.mark.parametrize("method", ["importance", "adaptive"])
def test_missing_elements_below_masked_latents_come_from_their_prior(by_distribution, method):
    given = {"mask": FIRST, "method": method, "num_draws": 4000, "num_samples": 4000}
    # E[x_2 | x_1] = 2 E[z | x_1], and the variance is 4 var(z | x_1) + 5/4
    found = impute(normal(by_distribution), PAIRS, **given, **QUIET)
    assert_close(found.mean[:, 1], 3.2 / 4.2 * PAIRS[:, 0], atol=0.06, rtol=0)
    assert_close(found.draws[:, :, 1].std(0), torch.full((3,), (4 / 4.2 + 1.25) ** 0.5).double(), atol=0.08, rtol=0)


def test_discrete_latents_that_are_masked_come_from_their_prior():
    chances, means = torch.tensor([[0.9, 0.1], [0.2, 0.8]]).double(), torch.tensor([-1.0, 1.5]).double()
    half = torch.full((2,), 0.5).double()
    program = below_a_top(
        lambda x, seen: dist.Categorical(half),
        lambda x, seen: dist.Categorical(half.expand(len(x), 1, 2)),
        lambda x, z: dist.Categorical(chances[z]),
        lambda x, z: dist.Categorical(logits=torch.stack([-x, x], -1)),
        lambda z, w: means[w],
    )
    x = PAIRS.clamp(-1, 1.5)
    found = impute(program, x, mask=FIRST, num_draws=4000, num_samples=4000, **QUIET)
    of_w = dist.Normal(means, 0.5).log_prob(x[:, :1]).exp()  # (n, 2)
    of_z = torch.nn.functional.normalize(of_w @ chances.T, p=1, dim=-1)
    assert_close(found.mean[:, 1], of_z @ chances @ means, atol=0.06, rtol=0)


@by
def test_an_exact_q_is_calibrated_where_latents_are_masked(by_distribution):
    program = normal(by_distribution)
    x, mask = PAIRS.repeat(2, 1), torch.cat([FIRST, ~FIRST])
    found = simulation_based_calibration(program, x, mask=mask, **QUIET)["diagnostics"]
    assert found.p_value_overall > 0.05
    ((_, joint),) = log_joints(program, Split.of(x, mask=mask), 10)
    log_weight = joint(joint.from_guide(10), guide=True).log_weight
    assert_close(log_weight, log_weight[:1].expand_as(log_weight))
    of_q, of_p = to_arviz(program, x, mask=mask, num_samples=2000, **QUIET), hmc(program, x, mask=mask, **QUIET)
    compared = compare_posteriors(of_q, of_p)
    assert float(abs(compared.mean_error).max()) < 0.15
    assert float(abs(compared.sd_ratio - 1).max()) < 0.15
    assert posterior_pit(of_q, of_p, num_draws=100, seed=0)["posterior_pit"].w.mean() == pytest.approx(0.5, abs=0.05)


MANY = 2**0.5 * torch.randn(200, T, generator=torch.Generator().manual_seed(1)).double()
SEEN_OF_MANY = (torch.rand(200, T, generator=torch.Generator().manual_seed(2)) < torch.tensor([0.9, 0.5, 0.0])).double()


def one_each(by_distribution):
    """z_t ~ N(0, 1) and, though x_t given it has a mean of 2 z_t, q of mean x_t / 2 and variance 1/2."""
    return rows(
        lambda: dist.Normal(torch.zeros(()).double(), 1.0), lambda x: dist.Normal(x / 2, 0.5**0.5), by_distribution
    )


@by
def test_the_kl_of_units_adds_up_where_latents_are_masked(by_distribution):
    program = one_each(by_distribution)
    right = 0.5 * (0.5 + MANY.square() / 4 - 1 - math.log(0.5)) * SEEN_OF_MANY
    values, label = kl_per_unit(program, MANY, SEEN_OF_MANY, seed=0)["z"]
    assert label == "KL"
    assert_close(torch.tensor(values), right.mean(0))
    found = active_units(program, MANY, SEEN_OF_MANY, **QUIET)
    means = MANY / 2 * SEEN_OF_MANY
    assert_close(torch.tensor(found.variance.to_numpy()), means.var(0, correction=0), atol=0.02, rtol=0)
    assert found.attrs["collapsed"] == "z[2]"
    assert evaluate(program, MANY, SEEN_OF_MANY, **QUIET).per_datum.kl_z.mean() == pytest.approx(values.sum(), abs=0.03)


@by
def test_the_aggregated_posterior_has_the_prior_where_latents_are_masked(by_distribution):
    found = aggregated_posterior(one_each(by_distribution), MANY, SEEN_OF_MANY, num_samples=2000, **QUIET)
    right = (0.5 * (0.5 + MANY.square() / 4 - 1 - math.log(0.5)) * SEEN_OF_MANY).sum(1).mean()
    assert float(abs(found.mean_kl - float(right))) < 4 * float(found.mean_kl_mcse)
    seen, var = SEEN_OF_MANY[:, :, None].bool(), torch.tensor([0.5, 1.0]).double()
    z = torch.linspace(-6, 6, 2001).double()
    each = torch.where(
        seen, dist.Normal(MANY[..., None] / 2, var[0].sqrt()).log_prob(z), dist.Normal(0.0, var[1]).log_prob(z)
    )
    of_q = each.logsumexp(0) - math.log(len(MANY))  # q(z_t) on a grid
    kl = (of_q.exp() * (of_q - dist.Normal(0.0, var[1]).log_prob(z))).sum(1) * (z[1] - z[0])
    assert found.dimwise_kl.attrs["estimator"] == "q(z_j) exact, p(z_j) exact"
    assert (abs(found.dimwise_kl - kl.numpy()) < 4 * found.dimwise_kl_mcse + 1e-6).all()


@by
def test_marginals_of_masked_latents_below_a_top_are_averaged_over_it(by_distribution):
    """Their prior depends on the latent above, also where that of q does not and no mask is in the first data."""
    top, noise = torch.randn(2, 300, 2, generator=torch.Generator().manual_seed(3)).double().unbind(0)
    x = 2 * top[:, :1] + 1.25**0.5 * noise
    mask = torch.ones(300, 2, dtype=torch.bool)
    mask[150:, 1] = False
    program = normal(by_distribution, lambda x, z: dist.Normal(x / 2, 0.7))
    found = aggregated_posterior(program, x, mask=mask, num_samples=1000, **QUIET)
    kls = evaluate(program, x, mask=mask, **QUIET).summary.loc[["kl_z", "kl_w"], "mean"].sum()
    assert float(abs(found.mean_kl - kls)) < 4 * float(found.mean_kl_mcse) + 0.02
    w, precision = torch.linspace(-8, 8, 2001).double()[:, None], 1 + 3.2
    of_w = dist.Normal(1.6 * x[150:, 0] / precision, (1 / precision + 1) ** 0.5)  # z given x_1 and noise of variance 1
    each = torch.cat([dist.Normal(x[:150, 1] / 2, 0.7).log_prob(w), of_w.log_prob(w)], 1)
    of_q = each.logsumexp(1) - math.log(300)
    kl = (of_q.exp() * (of_q - dist.Normal(0.0, 2**0.5).log_prob(w[:, 0]))).sum() * (w[1, 0] - w[0, 0])
    assert float(found.dimwise_kl_w[1]) == pytest.approx(float(kl), abs=4 * float(found.dimwise_kl_w_mcse[1]) + 0.01)


def forgets(x):
    """A guide without the mask of `x_unobserved`, which Pyro makes for an `obs_mask` of the model."""
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x.clamp_min(0) / 2, 0.9))
        pyro.sample("x_unobserved", dist.Normal(0.0, pyro.param("s", torch.tensor(1.0).double())))


def observes_some(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x, obs_mask=x > 0)


def masks_some(x):
    with pyro.plate("data", len(x)):
        with pyro.poutine.mask(mask=x < 0):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def masks_them_too(x):
    with pyro.plate("data", len(x)), pyro.poutine.mask(mask=x < 0):
        pyro.sample("z", dist.Normal(x / 2, pyro.param("s", torch.tensor(0.8).double())))


def below_x(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Uniform(torch.zeros_like(x), x))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def below_two(x):
    with pyro.plate("data", len(x)):
        pyro.sample(
            "z", dist.Uniform(torch.zeros_like(x), x.clamp_min(2) * pyro.param("s", torch.tensor(1.0).double()))
        )


OTHERS_LATER = [
    (observes_some, forgets, -1.0, 1.0, "one mask in model and guide"),
    (masks_some, masks_them_too, -1.0, 1.0, "nothing which is scored depends on them"),
    (below_x, below_two, 3.0, 1.0, "draws in the support of its prior"),
]


@pytest.mark.parametrize(("model", "guide", "first", "later", "message"), OTHERS_LATER)
def test_masks_and_supports_of_later_data_are_checked(model, guide, first, later, message):
    x = torch.cat([torch.full((3,), first), torch.full((253,), later)]).double()
    with pytest.raises(ValueError, match=message):
        evaluate(Program(model, guide), x, num_samples=30, max_rows=100, **QUIET)
    batches = [torch.full((64,), each).double() for each in (first, first, later)]
    with pytest.raises(ValueError, match=message):
        fit(Program(model, guide), batches, epochs=2, progress=False)
    with pytest.raises(ValueError, match=message):
        fit(Program(model, guide), batches[:2], validation=batches[2:], epochs=2, progress=False)


def test_that_check_changes_no_random_number():
    """The same program with a mask that is no tensor, and so is not checked again, has the same ELBO."""

    def programs(mask):
        def model(x):
            with pyro.plate("data", len(x)), pyro.poutine.mask(mask=mask(x)):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)

        def guide(x):
            with pyro.plate("data", len(x)), pyro.poutine.mask(mask=mask(x)):
                pyro.sample("z", dist.Normal(x / 2, pyro.param("s", torch.tensor(0.8).double())))

        return Program(model, guide)

    x = torch.linspace(-2, 2, 50).double()
    each = [programs(mask) for mask in (lambda x: True, lambda x: x < 9)]
    first, second = (fit(program, x, epochs=2, batch_size=20, seed=0, progress=False).history for program in each)
    assert first.train_elbo.tolist() == pytest.approx(second.train_elbo.tolist(), abs=1e-12)
    first, second = (evaluate(p, x, num_samples=50, max_rows=500, **QUIET).per_datum for p in each)
    assert_close(torch.tensor(first.log_px), torch.tensor(second.log_px))


def test_a_flow_without_an_inverse_is_scored_at_its_own_draws():
    torch.manual_seed(0)
    flow, x = dist.transforms.Planar(1).double(), torch.randn(20, 2).double()
    mask = torch.rand(20, 2) > 0.4

    def units(x, mask):
        return pyro.plate("data", len(x), dim=-2), pyro.plate("t", 2, dim=-1), pyro.poutine.mask(mask=mask)

    def model(x, mask=True):
        with ExitStack() as stack:
            [stack.enter_context(scope) for scope in units(x, mask)]
            z = pyro.sample("z", dist.Normal(torch.zeros_like(x)[..., None], 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z[..., 0], 1.0), obs=x)

    def guide(x, mask=True):
        with ExitStack() as stack:
            [stack.enter_context(scope) for scope in units(x, mask)]
            base = dist.Normal(x[..., None] / 2, 0.8).to_event(1)
            pyro.sample("z", dist.TransformedDistribution(base, [flow]))

    found = evaluate(Program(model, guide, flow), x, mask=mask, num_samples=1000, seed=0, progress=False).per_datum
    exact = (dist.Normal(0.0, 2**0.5).log_prob(x) * mask).sum(1).numpy()
    assert (abs(found["log_px"] - exact) <= 5 * found["log_px_mcse"] + 1e-6).all()
