import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import torch.nn.functional as F
from pyro import poutine

from ppl_vae import Program, build, data, evaluate, impute, to_arviz
from ppl_vae.diagnostics import elpd, hmc, inference_gaps, log_marginal_likelihood, log_weights
from ppl_vae.domain import Domain
from ppl_vae.raw_units import as_observed, log_volume
from ppl_vae.split import Split


def centre(x):
    """Mean and variance of z given the covariate and y, from z ~ N(c, 1) and y ~ N(z, 1)."""
    return (x[:, 0] + x[:, 1]) / 2, 0.5


def model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x[:, 0], 1.0))
        pyro.sample("y", dist.Normal(z, 1.0), obs=x[:, 1])


def guide(x):
    loc, variance = centre(x)
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(loc, variance**0.5))


def standardized(unit=1.0):
    c = torch.randn(60, generator=torch.Generator().manual_seed(0)).double() * 20
    y = 5 * (c / 20 + torch.randn(60, generator=torch.Generator().manual_seed(1)))
    return data.from_arrays(torch.stack([c * unit, y], 1).numpy()).standardize().test


def exact(split):
    """log p(y | c), where y is in the units that it was recorded in."""
    c, y = split.x.double().T
    return (dist.Normal(c, 2**0.5).log_prob(y) - math.log(split.domain.span[1])).numpy()


@pytest.mark.parametrize("unit", [1.0, 1000.0])
def test_a_covariate_has_no_part_in_the_units(unit):
    split, program = standardized(unit), Program(model, guide)
    for method in ("importance", "adaptive"):
        found = evaluate(program, split, num_samples=50, method=method, seed=0)
        np.testing.assert_allclose(found.per_datum["elbo"], exact(split), atol=1e-5)
        error = abs(found.per_datum["log_px"] - exact(split))
        assert (error < 4 * found.per_datum["log_px_mcse"] + 1e-5).all()


def test_every_number_in_raw_units_leaves_a_covariate_out():
    split, program = standardized(), Program(model, guide)
    settings = {"seed": 0, "progress": False}
    for method, options in {"iwae": {}, "prior": {}, "quadrature": {}, "ais": {"num_temperatures": 50}}.items():
        found = log_marginal_likelihood(program, split, method=method, **options, **settings)
        assert abs(found.log_px.values - exact(split)).mean() < 0.1, method
    near = {"atol": 1e-4}
    np.testing.assert_allclose(
        elpd(program, split, num_samples=30, **settings).per_datum["log_px"], exact(split), **near
    )
    found = log_weights(program, split, num_samples=30, **settings)
    np.testing.assert_allclose(found.log_weight.mean("draw"), exact(split), **near)
    found = inference_gaps(program, split[:3], num_steps=5, num_samples=30, **settings)
    np.testing.assert_allclose(found.log_px, exact(split[:3]), **near)
    found = to_arviz(program, split, num_samples=30, **settings)
    np.testing.assert_allclose(found["diagnostics"]["log_px"], exact(split), **near)
    found = hmc(program, split[:2], num_warmup=50, num_samples=100, **settings)
    loc, variance = centre(split.x[:2])
    log_posterior = dist.Normal(loc, variance**0.5).log_prob(torch.as_tensor(found["posterior"]["z"].values))
    np.testing.assert_allclose(found["sample_stats"]["lp"] - log_posterior.numpy() - exact(split[:2]), 0, **near)


SPANS = (2.0, 3.0, 5.0)
VOLUMES = np.log(SPANS)


def observing(*parts):
    """A program whose sites each observe something of x."""

    def observes(x, mask=True):
        with pyro.plate("data", len(x), dim=-2):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 1).to(x), 1.0))
            for number, part in enumerate(parts):
                seen = part(x)
                with pyro.plate(f"columns_{number}", seen.shape[-1], dim=-1):
                    pyro.sample(f"x_{number}", dist.Normal(z, 1.0), obs=seen)

    def draws(x, mask=True):
        with pyro.plate("data", len(x), dim=-2):
            pyro.sample("z", dist.Normal(torch.zeros(len(x), 1).to(x), 1.0))

    return Program(observes, draws)


@pytest.mark.parametrize(
    ("parts", "counted"),
    [
        ([lambda x: x], (0, 1, 2)),
        ([lambda x: x.flip(1)], (0, 1, 2)),
        ([lambda x: x[:, :1], lambda x: x[:, 1:]], (0, 1, 2)),
        ([lambda x: x[:, [2, 0]]], (0, 2)),
        ([lambda x: x[:, 2:], lambda x: x[:, 2:]], (2,)),
    ],
)
@pytest.mark.parametrize("missing", [False, True])
def test_columns_are_found_wherever_they_are_observed(parts, counted, missing):
    x = torch.randn(7, 3).double()
    mask = torch.rand(7, 3) > 0.4 if missing else torch.ones(7, 3, dtype=torch.bool)
    split = Split(x, torch.arange(7), Domain("real", span=SPANS), mask=mask if missing else None)
    before = torch.get_rng_state()
    found = log_volume(observing(*parts), split)
    assert torch.equal(torch.get_rng_state(), before)
    expected = (mask.numpy() * VOLUMES)[:, counted].sum(1)
    np.testing.assert_allclose(found, expected)


def test_values_that_are_none_of_x_stay_in_the_units_of_the_model():
    split = Split(torch.randn(7, 3).double(), torch.arange(7), Domain("real", span=SPANS))
    with pytest.warns(
        UserWarning, match=r"elements of x as they came, got other values at \['x_0'\]: their density stays"
    ):
        found = log_volume(observing(lambda x: x[:, :2] * 2, lambda x: x[:, 2:]), split)
    np.testing.assert_allclose(found, np.full(7, VOLUMES[2]))
    with pytest.warns(UserWarning, match="elements of x as they came"):
        found = log_volume(observing(lambda x: x[:, :1] - x[:, 1:2]), split)  # one value of two elements
    np.testing.assert_allclose(found, np.zeros(7))


def test_columns_of_equal_values_are_told_apart():
    mask = torch.ones(7, 3, dtype=torch.bool)
    mask[::2, 0] = False
    x = torch.randn(7, 1).double().expand(7, 3).clone()
    split = Split(x, torch.arange(7), Domain("unit", levels=256, span=256.0), mask=mask)
    assert as_observed(observing(lambda x: x[:, 1:]), split).elements.tolist() == [2] * 7
    assert as_observed(observing(lambda x: x[:, :2]), split).elements.tolist() == [1, 2, 1, 2, 1, 2, 1]


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 0, 1, 2]])
def test_values_that_are_cut_off_are_in_raw_units_in_any_order(order):
    x = torch.tensor([[0.5, 0.5], [0.1, 0.2], [0.3, 0.4], [5.0, 5.0]]).double()[order]
    split = Split(x, torch.tensor(order), Domain("real", span=(2.0, 3.0)))
    np.testing.assert_allclose(log_volume(observing(lambda x: x.clamp(-2, 2)), split), np.full(4, math.log(6)))


def test_constants_and_contexts_have_no_units_of_x(recwarn):
    split = Split(torch.randn(7, 3).double(), torch.arange(7), Domain("real", span=SPANS))
    found = log_volume(observing(lambda x: x, lambda x: torch.zeros(len(x), 2).to(x)), split)
    np.testing.assert_allclose(found, np.full(7, VOLUMES.sum()))
    assert not recwarn.list


def bits(transform, likelihood, split):
    """Bits a dimension of a model that observes a function of x, independent of z."""

    def observes(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("x", likelihood(len(x)), obs=transform(x))

    def draws(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))

    return evaluate(Program(observes, draws), split, num_samples=3, seed=0).per_datum["bits_per_dim"]


def test_bits_of_a_function_of_countable_data_are_of_all_of_x(recwarn):
    digits = data.load("digits").test[:20]

    def coins(n):
        return dist.Bernoulli(logits=torch.zeros(n, 64)).to_event(1)

    def states(n):
        return dist.OneHotCategorical(logits=torch.zeros(n, 64, 17)).to_event(1)

    def uniform(n):
        return dist.Uniform(torch.zeros(n, 64), 17 * torch.ones(n, 64)).to_event(1)

    binarized = bits(lambda x: (x.reshape(len(x), -1) > 8).float(), coins, digits)
    one_hot = bits(lambda x: F.one_hot(x.reshape(len(x), -1).long(), 17).float(), states, digits)
    noisy = bits(lambda x: x.reshape(len(x), -1) + torch.rand(len(x), 64), uniform, digits)
    for found, levels in ((binarized, 2), (one_hot, 17), (noisy, 17)):
        np.testing.assert_allclose(found, math.log2(levels), rtol=1e-5)
    assert not recwarn.list


def test_what_a_factor_scores_is_all_of_x():
    def factored(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x[:, 0] * 0, 1.0))
            pyro.factor("x", dist.Normal(z[..., None], 1.0).log_prob(x).sum(-1))

    program = Program(factored, poutine.block(factored, hide=["x"]))
    split = Split(torch.randn(7, 3).double(), torch.arange(7), Domain("real", span=SPANS))
    np.testing.assert_allclose(log_volume(program, split), np.full(7, VOLUMES.sum()))

    def beside(x):
        factored(x)
        with pyro.plate("data_2", len(x)):
            pyro.sample("y", dist.Normal(0.0, 1.0), obs=x[:, 1])

    program = Program(beside, poutine.block(factored, hide=["x"]))
    np.testing.assert_allclose(log_volume(program, split), np.full(7, VOLUMES.sum()))


def test_it_is_said_once():
    split = Split(torch.randn(7, 3).double(), torch.arange(7), Domain("real", span=SPANS))
    with pytest.warns(UserWarning, match="in raw units") as said:
        evaluate(observing(lambda x: x.exp()), split, num_samples=30, method="adaptive", seed=0)
    assert sum("in raw units" in str(warning.message) for warning in said) == 1


def test_bits_are_those_of_the_elements_that_are_observed():
    split = Split(torch.rand(7, 4).double(), torch.arange(7), Domain("unit", levels=256, span=256.0))
    program = observing(lambda x: x[:, :1])
    assert as_observed(program, split).elements.tolist() == [1] * 7
    found = evaluate(program, split, num_samples=30, seed=0).per_datum
    np.testing.assert_allclose(found["bits_per_dim"], -found["log_px"] / math.log(2))


def test_data_in_other_units_than_the_vae_s_are_told(recwarn):
    made = data.from_arrays(torch.randn(60, 2, generator=torch.Generator().manual_seed(0)).numpy() * 3 + 7)
    known, other = made.standardize(), made.hide(0.5).standardize()
    vae = build(known, latent_dim=1, seed=0)
    evaluate(vae, known.test, num_samples=5, seed=0, progress=False)
    assert not [w for w in recwarn if "other units" in str(w.message)]
    for use in (evaluate, impute):
        with pytest.warns(UserWarning, match="the data are in other units than those that the VAE was built for"):
            use(vae, other.test, num_samples=30, seed=0, progress=False)
