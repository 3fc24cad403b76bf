"""Rows of unequal length: latents that a mask leaves out change no log p(x)."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.testing import assert_close

from ppl_vae import Program, evaluate, fit
from ppl_vae.diagnostics import hmc, log_marginal_likelihood

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
