"""What a guide must have in common with its model, and what a program does with parameters of Pyro's store."""

import math
import pickle
from functools import partial

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.distributions import constraints, transforms
from pyro.infer import SVI, Trace_ELBO
from torch.distributions import biject_to

from ppl_vae import Program, evaluate, fit
from ppl_vae.bare_support import support_of
from ppl_vae.diagnostics import log_marginal_likelihood

QUIET = {"seed": 0, "progress": False}
X = torch.tensor([-2.0, -0.3, 0.4, 1.7])
EXACT = dist.Normal(0.0, math.sqrt(2.0)).log_prob(X).double().numpy()


def sampled(fn, x, mask=True):
    with pyro.plate("data", len(x)), poutine.mask(mask=mask):
        pyro.sample("z", fn)


def joint(x, prior, of_x, mask=True, seen=True):
    with pyro.plate("data", len(x)):
        with poutine.mask(mask=mask):
            z = pyro.sample("z", prior)
        with poutine.mask(mask=seen):
            pyro.sample("x", of_x(z), obs=x)


def model(x, mask=True, seen=True):
    """x ~ N(0, 2): z ~ N(0, 1), x ~ N(z, 1)."""
    joint(x, dist.Normal(0.0, 1.0), lambda z: dist.Normal(z, 1.0), mask, seen)


def guide(x, mask=True):
    sampled(dist.Normal(x / 2, 1.0), x, mask)


def transformed(base, *parts):
    return dist.TransformedDistribution(base, list(parts))


NORMAL = dist.Normal(torch.zeros(3), 1.0)
SUPPORTS = {
    "an affine map of a half-line": (
        transformed(dist.Exponential(torch.ones(3)), transforms.AffineTransform(1.0, 2.0)),
        (1.0, math.inf),
    ),
    "a negative one": (
        transformed(dist.Exponential(torch.ones(3)), transforms.AffineTransform(0.0, -2.0)),
        (-math.inf, 0.0),
    ),
    "of a vector": (
        transformed(
            dist.Exponential(torch.ones(3)).to_event(1), transforms.AffineTransform(torch.ones(3), 2.0, event_dim=1)
        ),
        (1.0, math.inf),
    ),
    "an interval": (transformed(NORMAL, biject_to(constraints.interval(-1.0, 2.0))), (-1.0, 2.0)),
    "a half-line": (transformed(NORMAL, biject_to(constraints.greater_than(1.0))), (1.0, math.inf)),
    "1 - z": (transformed(NORMAL, transforms.SigmoidTransform(), transforms.AffineTransform(1.0, -1.0)), (0.0, 1.0)),
    "an angle": (
        transformed(dist.VonMises(torch.zeros(3), 1.0), transforms.AffineTransform(math.pi, 1.0)),
        (0.0, 2 * math.pi),
    ),
    "reals": (transformed(NORMAL, transforms.AffineTransform(1.0, 2.0)), (-math.inf, math.inf)),
    "of events": (
        transformed(NORMAL, transforms.ExpTransform(), transforms.AffineTransform(2.0, 1.0)).to_event(1),
        (2.0, math.inf),
    ),
    "a mixture": (
        dist.MixtureSameFamily(
            dist.Categorical(torch.ones(3)),
            transformed(NORMAL, transforms.ExpTransform(), transforms.AffineTransform(2.0, 1.0)),
        ),
        (2.0, math.inf),
    ),
}


@pytest.mark.parametrize("case", SUPPORTS)
def test_the_support_of_transforms_is_the_image_of_that_of_their_base(case):
    """torch says that it is the codomain of the last transform: of an affine one all reals."""
    fn, (low, high) = SUPPORTS[case]
    found = support_of(fn)
    each = getattr(found, "base_constraint", found)
    bounds = getattr(each, "lower_bound", -math.inf), getattr(each, "upper_bound", math.inf)
    assert bounds == pytest.approx((low, high), abs=1e-6)
    assert found.event_dim == len(fn.event_shape)
    with pyro.validation_enabled(False):
        assert found.check(fn.sample((100,))).all()


@pytest.mark.parametrize("part", [dist.transforms.Spline(2), dist.transforms.affine_coupling(2)])
def test_transforms_that_keep_their_last_draw_are_not_called(part):
    fn = transformed(dist.Normal(torch.zeros(2), 1.0).to_event(1), part)
    x = fn.rsample((4,))
    before = fn.log_prob(x)
    assert support_of(fn).base_constraint is constraints.real
    assert torch.equal(fn.log_prob(x), before)


@pytest.mark.parametrize(
    "fn",
    [
        transformed(dist.Uniform(torch.zeros(2), 1.0), transforms.SigmoidTransform().inv),
        transformed(dist.Exponential(torch.ones(2)), transforms.AffineTransform(0.0, torch.tensor([1.0, -1.0]))),
        transformed(dist.Poisson(torch.ones(2)), transforms.AffineTransform(1.0, 1.0)),
    ],
    ids=["an inverse", "bounds on different sides", "a mass"],
)
def test_other_supports_are_those_of_torch(fn):
    assert support_of(fn) == fn.support


def half(x):
    """Draws on one side of x / 2."""
    sampled(transformed(dist.Exponential(torch.ones_like(x)), transforms.AffineTransform(x / 2, 1.0)), x)


def test_a_posterior_on_half_of_the_support_is_noticed():
    program = Program(model, half)
    with pytest.warns(UserWarning, match="got a smaller one at"):
        assert (evaluate(program, X, num_samples=1000, **QUIET).per_datum.log_px < EXACT - 0.3).all()
    found = evaluate(program, X, method="adaptive", **QUIET).per_datum
    assert (abs(found.log_px - EXACT) < 5 * found.log_px_mcse).all()


def bounded(x):
    joint(x, dist.Uniform(0.0, 2.0), lambda z: dist.Normal(z, 1.0))


def test_a_transformed_posterior_fits_a_bounded_prior():
    def of_bounded(x, high=2.0):
        sampled(transformed(dist.Normal(x - 1, 1.0), biject_to(constraints.interval(0.0, high))), x)

    exact = torch.log((dist.Normal(X, 1.0).cdf(torch.tensor(2.0)) - dist.Normal(X, 1.0).cdf(torch.tensor(0.0))) / 2)
    program = Program(bounded, of_bounded)
    found = evaluate(program, X, num_samples=10_000, **QUIET).per_datum
    assert (abs(found.log_px - exact.numpy()) < 5 * found.log_px_mcse + 1e-5).all()
    by_sums = log_marginal_likelihood(program, X, method="quadrature", seed=0)
    np.testing.assert_allclose(by_sums["log_px"], exact, atol=1e-4)
    with pytest.raises(ValueError, match="got 'z' from TransformedDistribution on Interval"):
        evaluate(Program(bounded, partial(of_bounded, high=3.0)), X, **QUIET)


@pytest.mark.parametrize(("of_model", "of_guide"), [(False, True), (True, False), ("some", True), (True, "some")])
def test_a_latent_has_one_mask(of_model, of_guide):
    """log p without log q was up to 4 nats too high, with a good k-hat."""

    def masked(f, mask):
        return lambda x: f(x, mask=x > 0 if mask == "some" else mask)

    program = Program(masked(model, of_model), masked(guide, of_guide))
    for verb in (evaluate, partial(fit, epochs=1)):
        with pytest.raises(ValueError, match="a latent expects one mask in model and guide, got 'z' with"):
            verb(program, X, **QUIET)


def test_a_mask_within_an_event_counts():
    def of_event(f, mask):
        return lambda x: f(x, dist.Normal(torch.zeros(len(x), 2), 1.0).mask(mask).to_event(1))

    def some(x, fn):
        joint(x, fn, lambda z: dist.Normal(z[..., 0], 1.0))

    half = torch.tensor([True, False])
    with pytest.raises(ValueError, match="with 50% masked in the model and 0% in the guide"):
        evaluate(Program(of_event(some, half), of_event(lambda x, fn: sampled(fn, x), True)), X, **QUIET)
    evaluate(Program(of_event(some, half), of_event(lambda x, fn: sampled(fn, x), half)), X, **QUIET)


def test_masked_latents_are_left_out_where_nothing_depends_on_them():
    def rows(x):
        return torch.arange(len(x)) % 2 == 0

    for verb in (evaluate, partial(fit, epochs=1)):
        with pytest.raises(ValueError, match="got 'x', whose log density changes with masked values of \\['z'\\]"):
            verb(Program(lambda x: model(x, rows(x)), lambda x: guide(x, rows(x))), X, **QUIET)

    def noisy(x):
        joint(x, dist.Normal(0.0, 1.0), lambda z: dist.Normal(z + torch.randn(()), 1.0), rows(x), rows(x))

    evaluate(Program(noisy, lambda x: guide(x, rows(x))), X, num_samples=10, **QUIET)
    program = Program(lambda x: model(x, rows(x), rows(x)), lambda x: guide(x, rows(x)))
    found = evaluate(program, X, num_samples=1000, **QUIET).per_datum
    assert (found.log_px[[1, 3]] == 0).all()
    assert (abs(found.log_px - EXACT)[[0, 2]] < 5 * found.log_px_mcse[[0, 2]]).all()


def test_a_latent_has_the_same_event_dimensions_in_both():
    """One draw was scored by the sum of log q over all data."""
    program = Program(model, lambda x: pyro.sample("z", dist.Normal(x / 2, 0.7).to_event(1)))
    for num in (1, 100):
        with pytest.raises(ValueError, match="got 0 in the model and 1 in the guide at 'z'"):
            evaluate(program, X, num_samples=num, **QUIET)


def test_a_guide_has_no_factors():
    def weighed(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 0.7))
            pyro.factor("f", torch.full_like(x, -0.5), has_rsample=True)

    for verb in (evaluate, partial(fit, epochs=1)):
        with pytest.raises(ValueError, match="a guide expects latent sites alone, got 'f' with a value"):
            verb(Program(model, weighed), X, **QUIET)


def test_a_parameter_for_each_datum_is_refused():
    """Data are shuffled: the rows of the parameter would be those of other data in the next batch."""

    def each(x):
        mean = pyro.param("mean", lambda: torch.zeros(len(x)))
        sampled(dist.Normal(mean, 0.7), x)

    message = "the same for all data, got 'mean' of shape \\({}\\,\\) for {} data and \\({}\\,\\) for {}"
    with pytest.raises(ValueError, match=message.format(4, 4, 3, 3)):
        fit(Program(model, each), X, epochs=1, **QUIET)
    with pytest.raises(ValueError, match=message.format(2, 2, 3, 3)):
        evaluate(Program(model, each), X, **QUIET)


def test_a_parameter_as_long_as_the_batch_is_trained():
    def shared(x):
        mean = pyro.param("mean", torch.zeros(4))
        sampled(dist.Normal(mean.mean() + x / 2, 0.7), x)

    fit(Program(model, shared), X, epochs=1, **QUIET)


def slope(x):
    sampled(dist.Normal(pyro.param("slope", torch.tensor(0.0)) * x, 0.7), x)


def test_functions_that_svi_trained_keep_their_parameters():
    pyro.clear_param_store()
    svi = SVI(model, slope, pyro.optim.Adam({"lr": 0.05}), Trace_ELBO(num_particles=20))
    for _ in range(200):
        svi.step(X)
    trained = pyro.param("slope").item()
    program = Program(model, slope)
    with pytest.warns(UserWarning, match="pyro.params 'slope' start at the values that Pyro's parameter store had"):
        evaluate(program, X, num_samples=100, **QUIET)
    assert program.params["pyro:slope"].item() == trained != 0
    pyro.clear_param_store()
    assert program.params["pyro:slope"].item() == trained
    other = Program(model, slope)
    evaluate(other, X, num_samples=100, **QUIET)
    assert other.params["pyro:slope"].item() == 0


def test_a_program_holds_copies_of_what_the_store_has():
    pyro.clear_param_store()
    pyro.param("slope", torch.ones(2))
    program = pickle.loads(pickle.dumps(Program(model, slope)))
    pyro.get_param_store()["slope"].data.fill_(7.0)
    pyro.clear_param_store()
    with pytest.warns(UserWarning, match="Pyro's parameter store had"):
        program.guide(torch.zeros(2))
    assert program.params["pyro:slope"].tolist() == [1.0, 1.0]
    program.guide(torch.zeros(2, 2))  # another number of data than the first, and another shape than in the statement


def test_a_stored_value_is_that_of_its_constraint():
    pyro.clear_param_store()
    pyro.param("slope", torch.tensor(0.5), constraint=constraints.positive)
    program = Program(model, slope)
    pyro.clear_param_store()
    with pytest.warns(UserWarning, match="Pyro's parameter store had"):
        trace = poutine.trace(program.guide).get_trace(X)
    assert trace.nodes["slope"]["value"].item() == pytest.approx(0.5)


def test_a_parameter_is_read_without_a_start_value():
    pyro.clear_param_store()
    pyro.param("at", torch.tensor(0.25))
    stored = Program(model, lambda x: sampled(dist.Normal(pyro.param("at") * x, 0.7), x))
    pyro.clear_param_store()
    with pytest.warns(UserWarning, match="Pyro's parameter store had"):
        evaluate(stored, X, num_samples=10, **QUIET)
    assert stored.params["pyro:at"].item() == 0.25
    calls = []

    def later(x):
        calls.append(len(x))
        at = pyro.param("at", torch.tensor(0.5)) if len(calls) == 1 else pyro.param("at")
        sampled(dist.Normal(at * x, 0.7), x)

    fit(Program(model, later), X, epochs=2, batch_size=3, **QUIET)


def test_a_sum_over_a_plate_keeps_its_dimension():
    """Without it, 1,000 particles of log p(x) were added up."""

    def summed(x, keep):
        with pyro.plate("data", len(x), dim=-1):
            with pyro.plate("two", 2, dim=-2):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z.sum(-2, keepdim=keep), 1.0), obs=x)

    def halves(x):
        with pyro.plate("data", len(x), dim=-1), pyro.plate("two", 2, dim=-2):
            pyro.sample("z", dist.Normal(x / 3, 0.7))

    with pytest.raises(ValueError, match=r"site 'x' expects dimensions of its own plates, .*keepdim=True"):
        evaluate(Program(partial(summed, keep=False), halves), X, num_samples=100, **QUIET)
    found = evaluate(Program(partial(summed, keep=True), halves), X, num_samples=1000, **QUIET).per_datum
    exact = dist.Normal(0.0, math.sqrt(3.0)).log_prob(X).numpy()
    assert (abs(found.log_px - exact) < 5 * found.log_px_mcse).all()


def test_a_mask_of_data_of_one_dimension():
    def missing(f):
        return lambda x, mask=True: f(x, mask)

    def seen(x, mask):
        joint(x, dist.Normal(0.0, 1.0), lambda z: dist.Normal(z, 1.0).mask(torch.as_tensor(mask)))

    mask = torch.tensor([True, False, True, True])
    program = Program(missing(seen), missing(lambda x, mask: guide(torch.where(torch.as_tensor(mask), x, 0.0))))
    found = evaluate(program, X, num_samples=1000, mask=mask, **QUIET).per_datum
    assert found.log_px[1] == 0
    assert (abs(found.log_px - EXACT)[[0, 2, 3]] < 5 * found.log_px_mcse[[0, 2, 3]]).all()


def test_a_posterior_of_fewer_states_is_summed_exactly():
    """log p(x) is a sum over the states of the prior, whether or not q has them."""

    def five(x):
        joint(x, dist.Categorical(torch.ones(5)), lambda k: dist.Normal(k.to(x), 1.0))

    program = Program(five, lambda x: sampled(dist.Categorical(torch.ones(len(x), 3)), x))
    found = evaluate(program, X, num_samples=50, **QUIET).per_datum
    exact = dist.Normal(torch.arange(5.0), 1.0).log_prob(X[:, None]).logsumexp(-1) - math.log(5)
    np.testing.assert_allclose(found.log_px, exact.double(), atol=1e-5)
