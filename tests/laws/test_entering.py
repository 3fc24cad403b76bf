"""What enters is what is scored: shapes, supports, missing values, and what every verb makes of an input."""

from contextlib import nullcontext
from functools import partial

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import constraints

from ppl_vae import (
    Bernoulli,
    Gaussian,
    Likelihood,
    Prior,
    Program,
    build,
    data,
    evaluate,
    fit,
)
from ppl_vae.diagnostics import to_arviz
from ppl_vae.distributions import positive
from ppl_vae.domain import Domain
from ppl_vae.manifold import decoded, interpolate
from ppl_vae.sklearn import OutlierDetector, VariationalAutoencoder
from ppl_vae.split import Split
from ppl_vae.tensors import as_mask, as_tensor, check_precision
from ppl_vae.traces import pair

quick = {"epochs": 1, "progress": False}


def real(n=60, width=5, **more):
    return data.from_arrays(np.random.default_rng(0).normal(size=(n, width)), **more)


def real_vae(**parts):
    return build(real(), latent_dim=2, seed=0, **parts)


def program(x_given_z, z=lambda n: dist.Normal(torch.zeros(n), 1.0), q=None, dim=-1):
    """Two functions over a plate of the data, and a parameter to train."""

    def model(x):
        with pyro.plate("data", len(x), dim=dim):
            pyro.sample("x", x_given_z(pyro.sample("z", z(len(x))), x), obs=x)

    def guide(x):
        loc = pyro.param("loc", torch.zeros(()))
        with pyro.plate("data", len(x), dim=dim):
            pyro.sample("z", (q or z)(len(x)) if q else dist.Normal(loc.expand(len(x)), 1.0))

    return Program(model, guide)


# shapes


BROADCAST = {
    "one column for five": ((7, 1), lambda z, x: dist.Normal(torch.zeros(len(x), 5), 1.0).to_event(1)),
    "five columns for one": ((7, 5), lambda z, x: dist.Normal(torch.zeros(len(x), 1), 1.0).to_event(1)),
    "a missing channel": ((7, 5), lambda z, x: dist.Normal(torch.zeros(len(x), 1, 5), 1.0).to_event(2)),
    "a column for numbers": ((7, 1), lambda z, x: dist.Normal(torch.zeros(len(x)), 1.0)),
    "three for five": ((7, 3), lambda z, x: dist.Normal(torch.zeros(len(x), 5), 1.0).to_event(1)),
}


@pytest.mark.parametrize("verb", [partial(fit, **quick), partial(evaluate, num_samples=2)], ids=["fit", "evaluate"])
@pytest.mark.parametrize("name", BROADCAST)
def test_values_that_would_be_broadcast_are_refused(name, verb):
    shape, likelihood = BROADCAST[name]
    with pytest.raises(ValueError, match=r"site 'x' expects values of the shape .* got \(\d, .*; reshape"):
        verb(program(likelihood), torch.zeros(shape))


def test_numbers_in_a_plate_of_columns_are_refused():
    model = program(lambda z, x: dist.Normal(z, 1.0), z=lambda n: dist.Normal(torch.zeros(n, 1), 1.0), dim=-2)
    model = Program(model._model, lambda x: _columns(x))
    with pytest.raises(ValueError, match=r"site 'x' expects .* \(\d, 1\), got \(\d,\), which would be scored"):
        evaluate(model, torch.zeros(6), num_samples=2)
    assert len(evaluate(model, torch.zeros(6, 1), num_samples=2).per_datum) == 6


def _columns(x):
    with pyro.plate("data", len(x), dim=-2):
        pyro.sample("z", dist.Normal(torch.zeros(len(x), 1), 1.0))


def test_a_latent_that_would_be_broadcast_is_refused():
    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x), 1), 1.0).to_event(1))

    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x), 4), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(torch.zeros(len(x)), 1.0), obs=x)

    with pytest.raises(ValueError, match=r"site 'z' expects values of the shape .*\(3, 4\), got \(3, 1\)"):
        evaluate(Program(model, guide), torch.zeros(3), num_samples=2)


def test_factors_and_deterministic_sites_are_let_be():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.deterministic("twice", torch.zeros(3))
            pyro.factor("bonus", torch.zeros(()))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    found = program(lambda z, x: dist.Normal(z, 1.0))
    assert len(evaluate(Program(model, found._guide), torch.zeros(4), num_samples=2).per_datum) == 4


# missing values


class OwnLogNormal(Likelihood):
    kinds, base_measure, fn = ("real",), "density", dist.LogNormal

    def param_shape(self, x_shape):
        return 2, *x_shape

    def elementwise(self, loc, raw):
        return dist.LogNormal(loc, positive(raw))


class Weibull(OwnLogNormal):
    def elementwise(self, a, b):
        return dist.Weibull(positive(a), positive(b))


class InverseGamma(OwnLogNormal):
    def elementwise(self, a, b):
        return dist.InverseGamma(positive(a) + 1, positive(b))


class OwnBeta(OwnLogNormal):
    kinds = ("unit",)

    def elementwise(self, a, b):  # a density that is infinite at 0
        return dist.Beta(0.5 * positive(a), 0.5 * positive(b))


class OwnPoisson(OwnLogNormal):
    kinds, base_measure = ("counts",), "mass"

    def elementwise(self, a, b):
        return dist.Poisson(positive(a) + 0 * b)


class Between(OwnLogNormal):
    def elementwise(self, a, b):  # a support of its own for every element
        return dist.Uniform(2.0 - positive(a), 3.0 + positive(b))


VALUES = {
    OwnLogNormal: np.exp,
    Weibull: np.exp,
    InverseGamma: np.exp,
    OwnBeta: lambda x: 1 / (1 + np.exp(-x)),
    OwnPoisson: lambda x: np.floor(np.exp(x)),
    Between: lambda x: 2 + 1 / (1 + np.exp(-x)),
}


@pytest.mark.float32
@pytest.mark.parametrize("likelihood", VALUES)
def test_what_is_missing_is_filled_inside_the_support(likelihood):
    rng = np.random.default_rng(0)
    x = VALUES[likelihood](rng.normal(size=(80, 6)))
    mask = rng.random(x.shape) > 0.3
    kind = Domain(likelihood.kinds[0])
    holes = data.from_arrays(np.where(mask, x, np.nan), mask=mask, domain=kind)
    vae = build(holes, latent_dim=2, likelihood=likelihood, seed=0)
    assert np.isfinite(fit(vae, holes, **quick).history.to_numpy()).all()
    train = holes.train
    found = []
    for foul in (0.0, torch.nan, -1e30):  # not used
        split = Split(train.x.masked_fill(~train.mask, foul), train.index, domain=kind, mask=train.mask)
        found.append(evaluate(vae, split, num_samples=30, seed=0).per_datum)
    assert found[0].equals(found[1])
    assert found[0].equals(found[2])
    z = vae.posterior_draw(train)
    each = vae.likelihood.distribution(vae.likelihood.net(z)).log_prob(train.x.where(train.mask, x[mask].max().item()))
    model, _ = pair(vae, train.x, mask=train.mask)
    model.compute_log_prob()
    assert each.isfinite().all()
    vae.zero_grad()
    model.nodes["x"]["log_prob"].sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in vae.parameters())


@pytest.mark.float32
def test_the_encoder_sees_0_for_what_is_missing():
    class Logarithmic(OwnLogNormal):
        def standardize(self, x):
            return x.log()

    x = data.from_arrays(np.exp(np.random.default_rng(0).normal(size=(50, 4))), domain=Domain("real")).hide(0.3)
    vae = build(x, latent_dim=2, likelihood=Logarithmic, mask_input=False, seed=0)
    seen = torch.where(x.train.mask, x.train.x.log(), 0)
    torch.testing.assert_close(vae.encode(x.train).mean, vae.posterior.given(seen).mean)


def test_a_program_may_score_missing_values_of_any_support():
    x = torch.randn(50, 3).exp()
    mask = torch.rand(50, 3) > 0.3

    def model(x, mask=True):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.LogNormal(z[..., None].expand(*z.shape, 3), 1.0).mask(mask).to_event(1), obs=x)

    def guide(x, mask=True):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(pyro.param("loc", torch.zeros(())).expand(len(x)), 1.0))

    split = Split(x.where(mask, torch.nan), torch.arange(50), mask=mask)
    assert np.isfinite(fit(Program(model, guide), split, **quick).history.to_numpy()).all()
    assert evaluate(Program(model, guide), split, num_samples=5).per_datum.log_px.notna().all()


def test_no_nan_under_a_mask_gets_out():
    x = np.random.default_rng(0).normal(size=(60, 5))
    masked = Split.of(np.ma.masked_invalid(np.where(x > 1, np.nan, x).astype(np.float32)))
    assert masked.x.isfinite().all()
    tree = to_arviz(real_vae(), masked, num_samples=25, seed=0)
    assert all(np.isfinite(v).all() for v in tree["observed_data"].data_vars.values())


# supports of latents


def on(fn):
    return lambda n: fn.expand([n])


NORMAL = dist.Normal(torch.zeros(3), 1.0).to_event(1)
UNIT = dist.Uniform(0.0, 1.0, validate_args=False)
OUTSIDE = {
    "sphere": (dist.ProjectedNormal(torch.ones(3)), NORMAL, "Sphere"),
    "unit": (UNIT, dist.Normal(0.5, 1e-4), "Interval"),  # though every draw lies inside
    "positive": (dist.LogNormal(0.0, 1.0, validate_args=False), dist.Normal(9.0, 0.1), "GreaterThan"),
    "simplex": (
        dist.Dirichlet(torch.ones(3), validate_args=False),
        dist.Normal(torch.zeros(3), 1.0).to_event(1),
        "Simp",
    ),
    "point": (UNIT, dist.Delta(torch.tensor(2.0)), "Interval"),
    "classes": (
        dist.Categorical(torch.ones(2), validate_args=False),
        dist.Categorical(torch.ones(5)),
        "IntegerInterval",
    ),
}
ONES = torch.ones(50, dtype=torch.float64)  # in float32 cold draws are rounded to the edge, which is another error
INSIDE = {
    "simplex": (dist.Dirichlet(torch.ones(50)), dist.RelaxedOneHotCategorical(torch.tensor(0.5), torch.ones(50))),
    "simplex, cold": (dist.Dirichlet(ONES), dist.RelaxedOneHotCategorical(torch.tensor(0.1).double(), ONES)),
    "unit": (UNIT, dist.Beta(2.0, 2.0)),
    "point": (UNIT, dist.Delta(torch.tensor(0.5))),
    "sphere": (dist.ProjectedNormal(torch.ones(3)), dist.ProjectedNormal(torch.zeros(3))),
    "line": (dist.Normal(0.0, 1.0), dist.LogNormal(0.0, 1.0)),
}


def over(p, q):
    return program(lambda z, x: dist.Normal(torch.zeros(len(x)), 1.0), z=on(p), q=on(q))


@pytest.mark.parametrize("name", OUTSIDE)
def test_draws_outside_the_priors_support_are_refused(name):
    p, q, said = OUTSIDE[name]
    how = rf"a distribution on {said}" + (r"\([^()]*\)$" if p.support.is_discrete else ".*biject_to")
    with pytest.raises(ValueError, match=rf"draws in the support of its prior, got 'z' .* on {said}.*{how}"):
        evaluate(over(p, q), torch.zeros(20), num_samples=2)


@pytest.mark.parametrize("name", INSIDE)
def test_draws_inside_the_priors_support_pass(name):
    narrower = pytest.warns(UserWarning, match="got a smaller one at") if name == "line" else nullcontext()
    with narrower:
        assert len(evaluate(over(*INSIDE[name]), torch.zeros(20), num_samples=2).per_datum) == 20


def test_a_simplex_by_another_name_is_left_its_rounding():
    class Shares(dist.RelaxedOneHotCategorical):
        support = constraints.real_vector

    q = Shares(torch.tensor(0.5), torch.ones(300))
    assert (q.sample([20]).sum(-1) - 1).abs().max() > 0
    evaluate(over(dist.Dirichlet(torch.ones(300), validate_args=False), q), torch.zeros(20), num_samples=2)


def test_fit_refuses_a_gaussian_on_a_sphere():
    class Sphere(Prior):
        def given(self):
            return dist.ProjectedNormal(torch.ones(2), validate_args=False)

    vae = build(real(), latent_dim=2, prior=lambda: Sphere(), seed=0)
    with pytest.raises(ValueError, match=r"got 'z' from Normal on Real.* for ProjectedNormal on Sphere"):
        fit(vae, real(), **quick)


# the verbs


def conditional():
    labelled = data.load("digits").binarize("threshold").take(40, 20, 20).condition_on_labels()
    return build(labelled, latent_dim=2, seed=0), labelled


VERBS = {
    "encode": lambda vae, *args, **more: vae.encode(*args, **more).mean,
    "reconstruct": lambda vae, *args, **more: vae.reconstruct(*args, seed=0, **more),
    "posterior_draw": lambda vae, *args, **more: _seeded(vae.posterior_draw, *args, **more),
    "evaluate": lambda vae, *args, **more: torch.tensor(
        evaluate(vae, *args, num_samples=3, seed=0, progress=False, **more).per_datum.elbo.to_numpy()
    ),
}
each_verb = pytest.mark.parametrize("verb", VERBS)


def _seeded(f, *args, **more):
    torch.manual_seed(0)
    return f(*args, **more)


@each_verb
def test_data_of_any_kind_give_the_same_result(verb):
    vae, labelled = conditional()
    test, call = labelled.test, partial(VERBS[verb], vae)
    expected = call(test.x, *test.context)
    c = test.context[0]
    for x, context in [
        (test.x.bool(), c),
        (test.x.long(), c.long()),
        (test.x.numpy(), c.numpy()),
        (test.x.numpy().astype(np.uint8), c.numpy().astype(bool)),
        (test.x.double().numpy()[:, ::-1][:, ::-1], pd.DataFrame(c.numpy())),
        (test.x.numpy().astype(">f4"), c),
    ]:
        assert call(x, context).equal(expected)
    assert call(test).equal(expected)
    mask = np.ones(test.x.shape, bool)
    # elements without a mask may be summed in one pass
    torch.testing.assert_close(call(test.x, c, mask=mask), expected, rtol=1e-6, atol=0)
    mask[:, :, :4] = False
    holes = call(test.x, c, mask=torch.from_numpy(mask))
    assert call(np.ma.array(test.x.numpy(), mask=~mask), c).equal(holes)
    assert call(test.x, c, mask=mask.tolist()).equal(holes)
    assert not holes.equal(expected)


BAD = {
    "0-dim": (lambda x, c: ((x.sum(), c), {}), "expect"),
    "1-D": (lambda x, c: ((x[:, 0, 0, 0], c), {}), r"x of shape .*, got \(\d+,\); reshape it"),
    "too wide": (lambda x, c: ((x.repeat(1, 1, 1, 2), c), {}), r"x of shape \('n', 1, 8, 8\), got \(\d+, 1, 8, 16\)"),
    "flat": (lambda x, c: ((x.flatten(1), c), {}), r"got \(\d+, 64\); reshape it"),
    "no context": (lambda x, c: ((x,), {}), r"expects 1 contexts, of shapes \[\('n', 10\)\]"),
    "two contexts": (lambda x, c: ((x, c, c), {}), r"expects 1 contexts, of shapes \[\('n', 10\)\]"),
    "labels": (lambda x, c: ((x, c.argmax(1)), {}), r"expects 1 contexts, of shapes \[\('n', 10\)\]"),
    "NaN": (lambda x, c: ((x.masked_fill(x > 0, torch.nan), c), {}), "data expect finite values, got .* mask="),
    "NaN context": (lambda x, c: ((x, c.masked_fill(c > 0, torch.nan)), {}), "context expects finite values"),
    "grey": (lambda x, c: ((x / 2, c), {}), r"Bernoulli expects x in \{0, 1\}, got .*; binarize"),
    "complex": (lambda x, c: ((x.numpy() * 1j, c), {}), "x expects numbers, got dtype complex"),
    "text": (lambda x, c: ((x.numpy().astype(str), c), {}), "x expects numbers, got dtype <U"),
    "objects": (lambda x, c: ((x.numpy().astype(object), c), {}), "x expects numbers, got dtype object"),
    "sparse": (lambda x, c: ((x.to_sparse(), c), {}), "real and dense, got .*sparse"),
    "lists": (lambda x, c: ((x.tolist(), c), {}), "a tensor or a Split, got list"),
    "mask of floats": (lambda x, c: ((x, c), {"mask": torch.ones_like(x)}), "mask expects booleans.*got .*float32"),
    "mask of text": (lambda x, c: ((x, c), {"mask": np.full(x.shape, "no")}), "mask expects booleans.*got <U2"),
    "mask of rows": (
        lambda x, c: ((x, c), {"mask": torch.ones(20, dtype=torch.bool)}),
        "mask expects the shape",
    ),
    "masked context": (lambda x, c: ((x, np.ma.masked_equal(c.numpy(), 1)), {}), "for each datum, got a masked array"),
    "beside a split": (lambda x, c: ((Split.of(x, c), c), {}), "no context or mask beside it"),
    "too few": (lambda x, c: ((x, c[:3]), {}), r"as many context\[0\] as x, got 3 for 20"),
    "nothing": (lambda x, c: ((x[:0], c[:0]), {}), "at least one datum, got none"),
}


@each_verb
@pytest.mark.parametrize("name", BAD)
def test_each_bad_input_gets_a_sentence(verb, name):
    vae, labelled = conditional()
    make, message = BAD[name]
    args, more = make(labelled.test.x, *labelled.test.context)
    with pytest.raises((ValueError, TypeError), match=message):
        VERBS[verb](vae, *args, **more)


CODES = {
    "NaN": (torch.full((3, 2), torch.nan), "z expects finite values, got 6 of 6"),
    "infinite": (np.full((3, 2), np.inf), "z expects finite values"),
    "too wide": (torch.zeros(3, 4), r"codes \(\*leading, 2\), got z of shape \(3, 4\)"),
    "0-dim": (torch.zeros(()), r"got z of shape \(\)"),
    "text": ([["a", "b"]], "z expects numbers"),
    "ragged": ([[1.0], [1.0, 2.0]], "z expects rows of one length"),
    "beyond float32": (np.full((3, 2), 1e300), "z expects finite values in float32, got 1e\\+300"),
}


@pytest.mark.float32
@pytest.mark.parametrize("name", CODES)
def test_codes_that_are_refused(name):
    z, message = CODES[name]
    with pytest.raises((ValueError, TypeError), match=message):
        real_vae().decode(z)


def test_codes_of_any_kind_decode_alike():
    vae, z = real_vae(), torch.tensor([[0, 1], [2, 3]])
    expected = vae.decode(z.float()).mean
    for same in (z, z.numpy(), z.tolist(), z.double(), pd.DataFrame(z.numpy())):
        assert vae.decode(same).mean.equal(expected)


def test_context_that_is_refused():
    vae, labelled = conditional()
    c = labelled.test.context[0]
    for context in ((), (c, c), (c[:, :3],), (c.argmax(1),)):
        with pytest.raises(ValueError, match=r"expects 1 contexts, of shapes \[\('n', 10\)\], got .*; give each"):
            vae.decode(torch.zeros(20, 2), *context)
        with pytest.raises(ValueError, match="expects 1 contexts"):
            vae.sample(20, *context)
    codes = torch.arange(10)
    with pytest.raises(ValueError, match=r"of shapes \[\('n', 10\)\], got \[\(10,\)\]; give each .* one-hot"):
        vae.sample(10, codes)  # ten codes are not the one-hot row of one datum
    with pytest.raises(ValueError, match=r"got n=20 and contexts of lengths \[1\]"):
        vae.sample(20, torch.tensor(3.0))
    with pytest.raises(ValueError, match="context expects finite"):
        vae.sample(20, c * torch.nan)
    assert vae.sample(20, c.numpy(), seed=0).equal(vae.sample(20, c, seed=0))


def test_walks_refuse_nan():
    bad = torch.full((2,), torch.nan)
    with pytest.raises(ValueError, match="interpolate expects codes that are finite"):
        interpolate(bad, bad, 3)
    with pytest.raises(ValueError, match=r"decoded expects codes that are finite.*got"):
        decoded(real_vae(), bad)


def test_a_denoiser_encodes_what_it_was_trained_on():
    from ppl_vae.corruptions import GaussianNoise

    unit = data.load("digits").dequantize().take(40, 20, 20)
    noisy = unit.test.x + 1
    vae = build(unit, latent_dim=2, corruption=partial(GaussianNoise, scale=0.3), seed=0)
    assert vae.reconstruct(noisy, seed=0).isfinite().all()
    with pytest.raises(ValueError, match="ContinuousBernoulli expects"):
        build(unit, latent_dim=2, seed=0).reconstruct(noisy)


def test_estimators_take_masked_values_as_missing():
    x = np.random.default_rng(0).normal(size=(20, 4))
    masked, gaps = np.ma.masked_greater(x, 1), np.where(x > 1, np.nan, x)
    model = VariationalAutoencoder(n_components=4, epochs=1, random_state=0)
    expected = model.fit(gaps).transform(gaps)
    np.testing.assert_array_equal(model.fit(masked).transform(masked), expected)
    with pytest.raises(ValueError, match="complete X, got a masked array"):
        model.inverse_transform(masked)
    with pytest.raises(ValueError, match="complete X, got a masked array"):
        OutlierDetector(epochs=1).fit(masked)


@pytest.mark.parametrize("verb", [partial(fit, **quick), partial(evaluate, num_samples=2)], ids=["fit", "evaluate"])
def test_masked_arrays_keep_their_mask(verb):
    x = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    verb(real_vae(), np.ma.masked_array(np.where(x > 1, np.nan, x), mask=x > 1))
    assert data.from_arrays(np.ma.masked_greater(x, 1)).train.mask.float().mean() < 1
    with pytest.raises(ValueError, match="a label for each datum, got a masked array"):
        data.from_arrays(x, np.ma.masked_equal(np.arange(60), 3))


# numbers


def test_numbers_that_a_tensor_cannot_hold():
    with pytest.raises(ValueError, match=r"below 2\^63, got larger ones of dtype uint64"):
        as_tensor("x", np.array([2**64 - 1], np.uint64))
    assert as_tensor("x", np.array([7], np.uint64)).tolist() == [7]
    assert as_tensor("x", np.array([7], np.uint16)).dtype == torch.int32
    for odd in (np.array(["2020-01-01"], "datetime64[D]"), pd.DataFrame({"a": [1], "b": ["x"]}), b"\0"):
        with pytest.raises(TypeError, match=r"x expects numbers, got dtype .*; convert it"):
            as_tensor("x", odd)
    with pytest.raises(TypeError, match="real and dense, got dtype complex64"):
        as_tensor("x", torch.zeros(2, dtype=torch.complex64))
    assert as_mask("mask", np.True_, torch.zeros(3)) is None


LOSSES = {
    "underflow": (np.array([[1e-300], [1.0]]), "5 values become 0, 1e-300 for one"),
    "int64": (np.array([[2**53 + 1], [3]]), "5 whole numbers become others, 9007199254740993 9007199254740992"),
    "int32": (np.array([[2**24 + 1], [3]], np.int32), "5 whole numbers become others, 16777217 16777216"),
    "a long way off": (1.7e9 + np.arange(20.0)[:, None], "1 of 1 elements of x vary by little more than rounding"),
}


@pytest.mark.float32
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.filterwarnings("error::UserWarning")
def test_what_rounding_loses_is_said(name):
    x, message = LOSSES[name]
    x = np.concatenate([x] * 5)
    with pytest.warns(UserWarning, match=f"x is rounded to float32, in which {message}"):
        data.from_arrays(x, domain=Domain("real"))
    vae = build(real(width=1), latent_dim=1, seed=0)
    for dtype in (torch.float32, torch.float16):  # what the verbs call, with the precision of the program
        with pytest.raises((UserWarning, ValueError), match=str(dtype).removeprefix("torch.")):
            check_precision("x", torch.from_numpy(x), dtype)
    with pytest.raises(UserWarning, match="x is rounded to float32"):
        fit(vae, x, **quick)
    with pytest.raises(UserWarning, match="x is rounded to float32"):
        evaluate(vae, x, num_samples=2)
    with pytest.raises(UserWarning, match="x is rounded to float32"):
        vae.encode(x)


@pytest.mark.parametrize(
    "x",
    [
        np.random.default_rng(0).normal(size=(9, 3)),
        np.full((9, 3), 0.1),
        np.full((9, 3), 1e9) + np.eye(9, 3) * 1e-8,  # constant but for its own rounding
        np.arange(27).reshape(9, 3),
        np.array([[2**40], [2**41]]),  # whole numbers that float32 has
    ],
)
def test_mere_rounding_is_quiet(x):
    check_precision("x", torch.from_numpy(x), torch.float32)


def test_what_float32_cannot_hold_is_refused():
    with pytest.raises(ValueError, match=r"x expects finite values in float32, got 1e\+300, which is infinite there"):
        data.from_arrays(np.full((9, 2), 1e300))
    double = real_vae().double()
    assert evaluate(double, np.full((3, 5), 1e100), num_samples=2).per_datum.elbo.notna().all()


@pytest.mark.parametrize("mask", [np.ones((9, 2)), np.full((9, 2), "yes"), np.ones((9, 2), object)])
def test_masks_that_are_no_booleans_are_refused(mask):
    with pytest.raises(ValueError, match=r"the mask of x expects booleans, .* got .*; convert it"):
        data.from_arrays(np.eye(9)[:, :2], mask=mask)


def test_tables_and_lists():
    table = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    for same in (pd.DataFrame(table), table.tolist()):
        assert data.from_arrays(same).checksum != ""
        assert data.from_arrays(same).train.x.equal(data.from_arrays(table).train.x)
    padded = data.from_arrays([[1.0], [1.0, 2.0]] * 5)
    assert padded.x_shape == (2,)
    assert padded.masked
    assert "padded to 2 steps" in repr(padded)


def test_what_was_done_unasked_is_said():
    digits = data.load("digits")
    assert repr(digits.suit(Bernoulli)).endswith("binary by binarize(mode='dynamic', seed=0))")
    assert "real by dequantize(seed=0), standardize(seed=0))" in repr(digits.suit(Gaussian, seed=0))
    assert " by " not in repr(digits.binarize().suit(Bernoulli))
    assert real().provenance["rounded"] == "float64 to float32"
    assert "rounded" not in data.from_arrays(np.eye(9, dtype=np.float32)).provenance
    drawn = digits.binarize("dynamic").take(20, 20, 20)
    vae = build(drawn, latent_dim=2, seed=0)
    assert "drawn once, from seed 3" in repr(evaluate(vae, drawn.train, num_samples=2, seed=3))
    assert "drawn once" not in repr(evaluate(vae, drawn.test, num_samples=2, seed=3))


def test_a_density_on_a_simplex_is_none_over_real_numbers():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Dirichlet(torch.ones(3)))

    with pytest.raises(ValueError, match="draws in the support of its prior, got 'z' from Dirichlet"):
        evaluate(Program(model, guide), torch.randn(4, 3), num_samples=5, progress=False)
