from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from small_models import CASES, coupling, ppca, two_sites

from ppl_vae import Flat, Laplace, Point, Program, build, data
from ppl_vae.diagnostics.session import diagnosing
from ppl_vae.draws import draws
from ppl_vae.unconstrained.log_joint import bijection, gradient, log_joints


def opened(case):
    """The joint density of all data of a case."""
    with diagnosing(case.program, case.x, *case.context, mask=case.mask, seed=0) as (split, _):
        ((_, joint),) = log_joints(case.program, split, 7)
        yield joint


def log_joint(joint, u):
    return joint(u).log_joint


@pytest.mark.parametrize("make", CASES)
def test_densities_are_those_of_the_draws(make):
    case = make()
    with diagnosing(case.program, case.x, *case.context, mask=case.mask, seed=0) as (split, _):
        ((_, joint),) = log_joints(case.program, split, 7)
        torch.manual_seed(3)
        u = joint.from_guide(7)
        ((_, drawn),) = draws(case.program, split, 7)
        torch.manual_seed(3)
        ((_, drawn),) = draws(_Same(case.program), split, 7)
        at = joint(u, guide=True)
        torch.testing.assert_close(at.log_weight, drawn.log_weights)
        torch.testing.assert_close(at.log_likelihood, drawn.log_likelihood)
        for name, z in joint.values(u).items():
            torch.testing.assert_close(z, drawn.z[name])


def mixed(component):
    return dist.MixtureSameFamily(dist.Categorical(torch.ones(component.batch_shape)), component)


MIXTURES = {
    "of vectors": mixed(dist.Normal(torch.zeros(3, 2), 1.0).to_event(1)),
    "of numbers": mixed(dist.Normal(torch.zeros(2, 3), 1.0)).to_event(1),
    "of mixtures": mixed(mixed(dist.Exponential(torch.ones(2, 3, 2))).to_event(1)),
    "of positive numbers": mixed(dist.LogNormal(torch.zeros(2, 3), 1.0)).to_event(1),
}


@pytest.mark.parametrize("name", MIXTURES)
def test_a_mixture_has_the_bijection_of_its_components(name):
    fn = MIXTURES[name]
    transform = bijection("z", {"fn": fn})
    z = fn.sample()
    torch.testing.assert_close(transform(transform.inv(z)), z)
    assert transform.codomain.event_dim <= fn.event_dim
    jacobian = transform.log_abs_det_jacobian(transform.inv(z), z)
    positive = "positive" in name or "mixtures" in name
    torch.testing.assert_close(jacobian.sum(), z.log().sum() if positive else torch.zeros(()), rtol=1e-5, atol=1e-5)


class _Same(torch.nn.Module):
    """A program whose first calls, which inspect it, consume no random numbers: the states are restored."""

    def __init__(self, program):
        super().__init__()
        self.program, self.calls = program, 0

    def model(self, *args, **kwargs):
        return self.program.model(*args, **kwargs)

    def guide(self, *args, **kwargs):
        self.calls += 1
        if self.calls == 4:  # after those for two data, for three, and for two again
            torch.manual_seed(3)
        return self.program.guide(*args, **kwargs)


@pytest.mark.parametrize("make", CASES)
def test_the_same_points_for_every_datum(make):
    case = make()
    for joint in opened(case):
        u = joint.from_prior(7)[:, :1]
        shared, repeated = joint(u, guide=True), joint(u.expand(-1, len(case.x), -1), guide=True)
        for name in ("log_prior", "log_likelihood", "log_guide"):
            torch.testing.assert_close(getattr(shared, name), getattr(repeated, name))


@pytest.mark.parametrize("make", CASES)
def test_the_gradient_of_a_datum_is_its_own(make):
    case = make()
    constant = [p for p in case.program.parameters() if not p.requires_grad]
    for joint in opened(case):
        u = joint.from_guide(7)
        _, grad = gradient(partial(log_joint, joint), u)
        step = torch.zeros_like(u)
        step[:, 0] = 1e-6
        up, down = (joint(u + s * step).log_joint for s in (1, -1))
        torch.testing.assert_close(up[:, 1:], down[:, 1:], atol=1e-12, rtol=0)
        torch.testing.assert_close((up - down)[:, 0] / 2e-6, grad[:, 0].sum(-1), atol=1e-5, rtol=1e-5)
    assert len(constant) == sum(not p.requires_grad for p in case.program.parameters())
    assert all(p.grad is None for p in case.program.parameters())


def test_the_jacobian_is_counted():
    """A positive latent: the density of its logarithm integrates to the same log p(x)."""
    for joint in opened(two_sites()):
        axis = torch.linspace(-6, 6, 300).double()
        u = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 1, 2)
        at = joint(u, guide=True)
        area = 2 * torch.log(axis[1] - axis[0])
        torch.testing.assert_close((at.log_guide.logsumexp(0) + area).exp(), torch.ones(6).double(), atol=1e-4, rtol=0)
        prior = at.log_prior.logsumexp(0) + area
        torch.testing.assert_close(prior, torch.zeros(6).double(), atol=1e-3, rtol=0)


def test_plates_within_a_datum_and_supports_that_move():
    """Three local factors a datum in a plate of their own, the second site bounded by the first."""

    def model(x):
        with pyro.plate("data", len(x), dim=-2), pyro.plate("factors", 3, dim=-1):
            low = pyro.sample("low", dist.Normal(torch.zeros((), dtype=x.dtype), 1.0))
            high = pyro.sample("high", dist.Uniform(low, low + 2))
            pyro.sample("x", dist.Normal(high, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-2), pyro.plate("factors", 3, dim=-1):
            low = pyro.sample("low", dist.Normal(0.5 * x, 0.9))
            pyro.sample("high", dist.Uniform(low, low + 2))

    x = torch.randn(5, 3).double()
    program = Program(model, guide)
    with diagnosing(program, x, seed=0) as (split, _):
        ((_, joint),) = log_joints(program, split, 4)
        u = joint.from_guide(4)
        z = joint.values(u)
    assert joint.dim == 6
    assert {name: tuple(v.shape) for name, v in z.items()} == {"low": (4, 5, 3), "high": (4, 5, 3)}
    assert ((z["low"] < z["high"]) & (z["high"] < z["low"] + 2)).all()
    at = joint(u, guide=True)
    low, high = z["low"], z["high"]
    weight = dist.Normal(0.0, 1.0).log_prob(low) + dist.Normal(high, 1.0).log_prob(x)
    weight = weight - dist.Normal(0.5 * x, 0.9).log_prob(low)
    torch.testing.assert_close(at.log_weight, weight.sum(-1))


def test_exact_posterior_density():
    made = ppca(n=10)
    with diagnosing(made.vae, made.x, seed=0) as (split, _):
        for rows, joint in log_joints(made.vae, split, 5, max_rows=20):
            at = joint(joint.from_prior(5), guide=True)
            torch.testing.assert_close(at.log_weight, made.log_px[rows].expand(5, -1))


def test_nothing_changes():
    made = ppca(n=4)
    before = torch.get_rng_state()
    with diagnosing(made.vae, made.x, seed=0) as (split, _):
        assert not any(p.requires_grad for p in made.vae.parameters())
        next(log_joints(made.vae, split, 5))[1].from_guide(3)
    assert all(p.requires_grad for p in made.vae.parameters())
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("choice", [{"posterior": Point, "prior": Laplace}, {"posterior": Point, "prior": Flat}])
def test_no_density_is_refused(choice):
    digits = data.load("digits").binarize("threshold")
    vae = build(digits, latent_dim=2, **choice, seed=0)
    with (
        diagnosing(vae, digits.test, seed=0) as (split, _),
        pytest.raises(ValueError, match=r"expects a proper prior and a q with a density at 'z'.* use another"),
    ):
        next(log_joints(vae, split, 5))


def test_discrete_latents_are_refused():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=x))

    program = Program(model, guide)
    with (
        diagnosing(program, torch.randn(3), seed=0) as (split, _),
        pytest.raises(ValueError, match="got the discrete 'z'; sum over it"),
    ):
        next(log_joints(program, split, 5))


def test_scales_are_removed():
    made = ppca(n=3)

    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.vae = made.vae

        def model(self, *args, **kwargs):
            return poutine.scale(self.vae.model, scale=0.1)(*args, **kwargs)

        def guide(self, *args, **kwargs):
            return poutine.scale(self.vae.guide, scale=0.1)(*args, **kwargs)

    with diagnosing(Scaled(), made.x, seed=0) as (split, _):
        ((_, joint),) = log_joints(Scaled(), split, 2)
        torch.testing.assert_close(joint(joint.from_guide(2), guide=True).log_weight, made.log_px.expand(2, -1))


def by_autograd(joint, of, u, guide):
    with torch.enable_grad():
        at = u.detach().requires_grad_()
        values = of(joint(at, guide=guide))
        return [*values, *(torch.autograd.grad(v.sum(), at, retain_graph=True)[0] for v in values)]


ENDS = {
    "guide": lambda found: [found.log_guide, found.log_weight],
    "prior": lambda found: [found.log_prior, found.log_likelihood],
}


@pytest.mark.parametrize("precision", [torch.float64, torch.float32])
@pytest.mark.parametrize("first", ENDS)
@pytest.mark.parametrize("make", [*CASES, coupling])
def test_replayed_gradients_are_those_of_autograd(make, first, precision):
    case = make()
    program, of = case.program.to(precision), ENDS[first]
    context = (c.to(precision) for c in case.context)
    with diagnosing(program, case.x.to(precision), *context, mask=case.mask, seed=0) as (split, _):
        ((_, joint),) = log_joints(program, split, 7)
        function = joint.gradients(of, guide=first == "guide")
        function.after = 1
        near = joint.from_guide(7)
        for u in (near, joint.from_prior(7), near + 0.1, 3 * near, near + 5):  # the last far out
            expected = by_autograd(joint, of, u, first == "guide")
            for found, value in zip(function(u), expected, strict=True):
                torch.testing.assert_close(found, value.detach(), rtol=1e-5, atol=1e-5 * float(value.abs().max()))
        assert function.reason is None
        assert function.replays == 2


def test_control_flow_on_latents_falls_back():
    class ByValue(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones((), dtype=torch.float64))

        def model(self, x):
            with pyro.plate("data", len(x), dim=-1):
                z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
                scale = 1.0 if bool((z > 0).all()) else 2.0
                pyro.sample("x", dist.Normal(self.weight * z, scale), obs=x)

        def guide(self, x):
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("z", dist.Normal(x, 1.0))

    program = ByValue()
    with diagnosing(program, torch.randn(3).double(), seed=0) as (split, _):
        ((_, joint),) = log_joints(program, split, 2)
        function = joint.gradients(lambda found: [found.log_joint])
        function.after = 1
        for u in (torch.ones(2, 3, 1).double(), -torch.ones(2, 3, 1).double()) * 3:
            value, grad = function(u)
            assert torch.equal(value, joint(u).log_joint)
            assert grad.shape == u.shape
        assert function.reason == "its control flow or its shapes depend on values"
