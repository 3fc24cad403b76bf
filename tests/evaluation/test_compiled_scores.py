"""Scores with the model compiled: those of `evaluate` up to rounding, with its errors and random numbers."""

from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn
from trainings import CASES, binary, built

from ppl_vae import IAF, GaussianMixture, Program, RealNVP, compiled, evaluate, posteriors, priors
from ppl_vae.captured import NotCaptured
from ppl_vae.draws import draws
from ppl_vae.evaluation import Evaluation, compiled_scores
from ppl_vae.group import Group
from ppl_vae.isolation import evaluating

GIVEN = {"num_samples": 30, "seed": 0, "progress": False, "max_rows": 300}
SETTINGS = {
    **{case: settings for case, (settings, _) in CASES.items() if (settings and case != "codes") or case == "mask"},
    "RealNVP": {"prior": RealNVP},
    "mixture": {"prior": partial(GaussianMixture, num_components=3)},
    "Student t and IAF": {"prior": priors.StudentT, "posterior": IAF},
    "mixture q": {"posterior": partial(posteriors.GaussianMixturePosterior, num_components=2)},
}


@pytest.fixture
def uncompiled(monkeypatch):
    """Graphs in torch's own kernels: all but what inductor does."""
    monkeypatch.setattr(compiled, "_lowered", lambda graph, example: graph)


def given(case):
    """The VAE and the data of a case, in float64."""
    vae = built(SETTINGS[case]).double()
    x = CASES.get(case, ({}, {}))[1].get("data", binary())
    return vae, getattr(x, "train", x)


def alike(found, expected, tolerance=1e-9):
    pairs = ((found.per_datum[name], expected.per_datum[name]) for name in expected.per_datum)
    near = all(abs(a - b).max() <= tolerance * (1 + abs(b).max()) or (a.isna() & b.isna()).all() for a, b in pairs)
    return near and list(found.per_datum) == list(expected.per_datum)


@pytest.mark.parametrize("case", SETTINGS)
def test_it_is_the_evaluation_up_to_rounding(case, uncompiled):
    vae, x = given(case)
    weights, state = [p.clone() for p in vae.parameters()], torch.get_rng_state()
    expected, found = evaluate(vae, x, **GIVEN), evaluate(vae, x, compile=True, **GIVEN)
    assert alike(found, expected)
    assert found.compiled["reason"] is None
    assert found.compiled["data"] == (len(expected.per_datum) // 10 - 1) * 10  # but the first chunk
    assert found.unit_variance == expected.unit_variance
    assert expected.compiled is None
    assert all(map(torch.equal, weights, vae.parameters()))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("num_samples", [1, 2, 29, 30, 31])
@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_blocks_and_chunks_of_other_sizes(num_samples, at_once, uncompiled, monkeypatch):
    vae, x = given("mask")
    expected = evaluate(vae, x[:47], **GIVEN | {"num_samples": num_samples})
    monkeypatch.setattr("ppl_vae.draws.rows_at_once", lambda *_: at_once * 10)
    found = evaluate(vae, x[:47], compile=True, **GIVEN | {"num_samples": num_samples})
    assert alike(found, expected)
    size = min(47, 300 // num_samples)
    called = 1 if num_samples > 1 else 3  # of several blocks of a chunk only the first is compared
    assert found.compiled["data"] == (max(0, 47 // size - called) * size if 47 - size >= 3 * size else 0)


def test_inductor_compiles_it(tmp_path):
    vae, x = given("VampPrior at beta 2")
    expected, found = evaluate(vae, x, **GIVEN), evaluate(vae, x, compile=True, **GIVEN)
    assert alike(found, expected)
    assert found.compiled["data"] == 80
    assert f"  compiled for 80 of 90 data, in {found.compiled['seconds']:.1f} s\n" in f"{found!r}\n"
    assert "compiled" not in repr(expected)
    found.save(tmp_path / "found.json")
    assert Evaluation.load(tmp_path / "found.json").compiled == found.compiled


@pytest.mark.float32
@pytest.mark.filterwarnings("ignore:precision='bf16' does not make:UserWarning")
def test_with_products_in_bfloat16(uncompiled):
    vae, x = built({}), binary()
    both = {"precision": "bf16", **GIVEN}
    expected, found = evaluate(vae, x, **both), evaluate(vae, x, compile=True, **both)
    assert alike(found, expected, 1e-4)
    assert found.compiled["data"] == 80
    assert found.rounded == pytest.approx(expected.rounded, abs=1e-4)


def test_data_outside_the_support_are_the_same_error(uncompiled):
    vae, x = built({}).double(), binary()
    x[75, 2] = 0.5
    with pytest.raises(ValueError, match="expects x in") as expected:
        evaluate(vae, x, **GIVEN)
    with pytest.raises(ValueError, match="expects x in") as found:
        evaluate(vae, x, compile=True, **GIVEN)
    assert str(found.value) == str(expected.value)


def program(decode):
    """A program whose mean is any function of z."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decode(z, x), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, :2], 1.0).to_event(1))

    return Program(model, guide, nn.Linear(1, 1).double())


def test_a_program_of_ones_own(uncompiled):
    x = torch.randn(90, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = evaluate(program(lambda z, x: z.sin()), x, **GIVEN)
    found = evaluate(program(lambda z, x: z.sin()), x, compile=True, **GIVEN)
    assert alike(found, expected)
    assert found.compiled["data"] == 80


def test_not_a_number_is_the_same_error(uncompiled):
    x = torch.randn(90, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x[:, 0] = x[:, 0].abs()
    x[85, 0] = -1
    one = program(lambda z, x: z + x[:, :1].sqrt())
    with pytest.raises(ValueError, match=r"invalid values|nan") as expected:
        evaluate(one, x, **GIVEN)
    with pytest.raises(ValueError, match=r"invalid values|nan") as found:
        evaluate(one, x, compile=True, **GIVEN)
    assert str(found.value) == str(expected.value)


@pytest.mark.parametrize(
    ("likelihood", "bad"),
    [
        (lambda c: dist.Poisson(c), -1.0),
        (lambda c: dist.Gamma(c, 1.0), -0.5),
        (lambda c: dist.NegativeBinomial(c, torch.tensor(0.5).double()), -2.0),
    ],
)
def test_a_parameter_outside_its_bounds_is_the_same_error(likelihood, bad, uncompiled):
    def model(x, c):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", likelihood(c).to_event(1), obs=x)

    def guide(x, c):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))

    one = Program(model, guide, nn.Linear(1, 1).double())
    x, c = torch.ones(90, 2).double(), torch.ones(90, 2).double()
    assert evaluate(one, x, c, compile=True, **GIVEN).compiled["reason"] is None
    c[75, 1] = bad
    with pytest.raises(ValueError, match="constraint") as expected:
        evaluate(one, x, c, **GIVEN)
    with pytest.raises(ValueError, match="constraint") as found:
        evaluate(one, x, c, compile=True, **GIVEN)
    assert str(found.value) == str(expected.value)


def test_random_numbers_of_the_model_are_those_without(uncompiled, monkeypatch):
    x = torch.randn(90, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    one = program(lambda z, x: z + 0.1 * torch.randn_like(z))
    monkeypatch.setattr("ppl_vae.draws.rows_at_once", lambda *_: 70)
    expected, found = evaluate(one, x, **GIVEN), evaluate(one, x, compile=True, **GIVEN)
    assert found.per_datum.equals(expected.per_datum)
    assert found.compiled["reason"] == "the model draws random numbers where its latents are given"


def test_lengths_that_are_read_as_numbers(uncompiled):
    x = torch.randn(90, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def decode(z, x):
        kept = torch.zeros_like(z)
        for row, length in enumerate((x[:, 0] > 0).int().add(1).tolist()):
            kept[..., row, :length] = 1
        return z * kept

    expected, found = evaluate(program(decode), x, **GIVEN), evaluate(program(decode), x, compile=True, **GIVEN)
    assert found.per_datum.equals(expected.per_datum)
    assert found.compiled["reason"] == "it reads values of its arguments"


def test_what_depends_on_more_than_its_arguments_is_found_out(uncompiled):
    calls = []

    def decode(z, x):
        calls.append(1)
        return z * len(calls) ** 0.5

    found = evaluate(program(decode), torch.randn(90, 2).double(), compile=True, **GIVEN)
    assert "differs" in found.compiled["reason"]


BY_VALUE = "its control flow or its shapes depend on values"


def test_what_cannot_be_captured_is_scored_without(uncompiled):
    x = torch.randn(90, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    one = program(lambda z, x: z if z.sum() > 0 else -z)
    expected, found = evaluate(one, x, **GIVEN), evaluate(one, x, compile=True, **GIVEN)
    assert found.per_datum.equals(expected.per_datum)
    assert (found.compiled["data"], found.compiled["reason"]) == (0, BY_VALUE)
    assert f"  not compiled: {BY_VALUE}" in repr(found).splitlines()


def missing(graph, example):
    raise NotCaptured("its graph cannot be compiled (InvalidCxxCompiler: no C++ compiler)")


def wrong(graph, example):
    return lambda *tensors: [*(each + 1 for each in graph(*tensors)[:-1]), torch.tensor(True)]


@pytest.mark.parametrize(("lowered", "reason"), [(missing, "InvalidCxxCompiler"), (wrong, "differs")])
def test_without_a_compiler_and_with_a_wrong_graph(lowered, reason, monkeypatch):
    monkeypatch.setattr(compiled, "_lowered", lowered)
    vae, x = given("hierarchy")
    expected, found = evaluate(vae, x, **GIVEN), evaluate(vae, x, compile=True, **GIVEN)
    assert found.per_datum.equals(expected.per_datum)
    assert reason in found.compiled["reason"]


def test_discrete_latents_and_few_data(uncompiled):
    vae = built({"prior": priors.Bernoulli, "posterior": posteriors.Bernoulli}).double()
    found = evaluate(vae, binary(), compile=True, **GIVEN)
    assert (found.compiled["data"], found.compiled["reason"]) == (0, "its latents are discrete")
    for few in (8, 39):
        found = evaluate(built({}).double(), binary()[:few], compile=True, **GIVEN)
        said = "the data are too few: 40 or more are needed, 4 batches of 10"
        assert (found.compiled["data"], found.compiled["reason"]) == (0, said)
    assert evaluate(built({}).double(), binary()[:40], compile=True, **GIVEN).compiled["data"] == 30


def test_auto_compiles_where_it_pays(uncompiled, monkeypatch):
    vae, x = given("mask")
    found = evaluate(vae, x, compile="auto", **GIVEN)
    assert found.compiled == {"data": 0, "seconds": 0.0, "reason": None}
    assert "compiled" not in repr(found)
    monkeypatch.setattr(compiled_scores, "PAYS", 0.0)
    assert evaluate(vae, x, compile="auto", **GIVEN).compiled["data"] == 80


def test_a_share_of_the_data_is_scored_alike(uncompiled):
    vae, split = given("mask")
    for part in range(2):
        with evaluating(vae, 0):
            expected = [d for _, d in draws(vae, split, 30, max_rows=300, share=(part, 2))]
        by = compiled_scores.CompiledScores(True, len(split))
        with evaluating(vae, 0):
            found = [d for _, d in draws(vae, split, 30, max_rows=300, share=(part, 2), by=by)]
        assert by.said(Group(("a test", "start it again")))["data"] >= 30
        for a, b in zip(found, expected, strict=True):
            assert torch.equal(a.z["z"], b.z["z"])
            assert torch.allclose(a.log_weights, b.log_weights)
            assert a.measure == b.measure
