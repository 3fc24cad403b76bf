"""Compiled steps: eager ones up to rounding, with the same random numbers, protections and resumes."""

import json
import re
import runpy
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close
from trainings import ADAM, CASES, Normalized, binary, built, fitted

from ppl_vae import compiled, fit, load, onednn
from ppl_vae.captured import NotAssumed, NotCaptured
from ppl_vae.training import steps


@pytest.fixture
def uncompiled(monkeypatch):
    """Graphs of whole steps in torch's own kernels: all but what inductor does."""
    monkeypatch.setattr(compiled, "_lowered", lambda graph, example: graph)


def close(a, b, tolerance=1e-8):
    """Whether weights agree; a gradient that is but rounding, as before batch norm, moves one by 1e-8 of eps."""
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.allclose(p.double(), q.double(), rtol=tolerance, atol=tolerance) for p, q in pairs)


def same(found, expected, tolerance=1e-9):
    found, expected = (r.history.drop(columns="seconds") for r in (found, expected))
    return list(found) == list(expected) and bool(
        (abs(found - expected) <= tolerance * (1 + abs(expected))).all().all()
    )


@pytest.mark.parametrize("case", CASES)
def test_compiled_steps_are_the_eager_ones(case, uncompiled):
    plain, expected = fitted(case, torch.float64, compile=False)
    vae, found = fitted(case, torch.float64, compile=True)
    assert expected.compiled == expected.replayed == 0
    assert found.not_compiled is None
    assert found.compiled > 3
    assert found.compile_seconds > 0
    assert same(found, expected)
    assert close(plain, vae)


OPTIMIZERS = {
    "Adam with all it has": partial(torch.optim.Adam, amsgrad=True, weight_decay=0.1, maximize=True, lr=1e-4),
    "AdamW": partial(torch.optim.AdamW, weight_decay=0.1),
    "SGD": partial(torch.optim.SGD, lr=1e-3),
    "SGD with all it has": partial(
        torch.optim.SGD, lr=1e-3, momentum=0.9, weight_decay=0.1, nesterov=True, maximize=False
    ),
    "damped SGD": partial(torch.optim.SGD, lr=1e-3, momentum=0.9, dampening=0.3),
    "RMSprop": torch.optim.RMSprop,
    "RMSprop with all it has": partial(torch.optim.RMSprop, momentum=0.9, centered=True, weight_decay=0.1),
    "groups": lambda params: torch.optim.Adam([{"params": params[:3], "lr": 1e-2}, {"params": params[3:]}], lr=1e-3),
}


@pytest.mark.parametrize("compile", [False, True])
def test_means_of_gradients_that_stay_0_do_not_stay_denormal(compile, uncompiled):
    x = binary(40)
    x[:, 0] = 0  # no gradient reaches its weights in the encoder
    made = []

    def adam(parameters):
        made.append(torch.optim.Adam(parameters))
        return made[0]

    def decayed(state):
        means = [kept["exp_avg"] for kept in made[0].state.values() if kept["exp_avg"].shape[1:] == x[0].shape]
        if state.epoch == 1:
            for mean in means:
                mean[:, 0] = 1e-39
        return state.epoch == 64 and bool(all((mean[:, 0] == 0).all() and (mean[:, 1] != 0).any() for mean in means))

    found = fit(built({}), x, epochs=65, batch_size=10, optimizer=adam, compile=compile, callbacks=[decayed])
    assert (found.compiled > 0) == compile
    assert found.stopped == "callback"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_optimizer_is_part_of_the_graph(name, uncompiled):
    call = {"optimizer": OPTIMIZERS[name], "dtype": torch.float64, "epochs": 3}
    plain, expected = fitted("last smaller batch", compile=False, **call)
    vae, found = fitted("last smaller batch", compile=True, **call)
    assert found.not_compiled is None
    assert found.compiled > 3
    assert same(found, expected)
    assert close(plain, vae)


def test_an_optimizer_that_is_not_known_steps_outside_of_the_graph(uncompiled):
    call = {"optimizer": torch.optim.NAdam, "dtype": torch.float64}
    plain, expected = fitted("clipped", compile=False, **call)
    vae, found = fitted("clipped", compile=True, **call)
    assert found.not_compiled == "the step of NAdam is not part of it"
    assert found.compiled > 3
    assert found.replayed == 0
    assert "not compiled as a whole: the step of NAdam is not part of it" in repr(found)
    assert same(found, expected)
    assert close(plain, vae)


def test_without_a_compiler_the_steps_are_eager(monkeypatch):
    def missing(graph, example):
        raise NotCaptured("its graph cannot be compiled (InvalidCxxCompiler: no C++ compiler)")

    monkeypatch.setattr(compiled, "_lowered", missing)
    plain, expected = fitted("clipped", compile=False)
    vae, found = fitted("clipped", compile=True)
    assert (found.compiled, found.replayed > 0) == (0, True)
    assert "InvalidCxxCompiler" in found.not_compiled
    assert same(found, expected, 0)
    assert close(plain, vae, 0)


def test_a_wrong_graph_is_not_used(monkeypatch):
    def wrong(graph, example):
        def moved(*tensors):
            found = graph(*tensors)
            next(t for t in tensors[1:] if t.is_floating_point()).mul_(2)  # state, after the numbers of the optimizer
            return found

        return moved

    monkeypatch.setattr(compiled, "_lowered", wrong)
    plain, expected = fitted("clipped", compile=False)
    vae, found = fitted("clipped", compile=True)
    assert found.compiled == 0
    assert "depends on more than its arguments" in found.not_compiled
    assert same(found, expected, 1e-5)
    assert close(plain, vae, 1e-5)


def test_a_compiled_training_is_resumed(tmp_path, uncompiled):
    call = {"dtype": torch.float64, "compile": True}
    _, expected = fitted("batch norm and dropout", torch.float64, compile=False)
    fitted("batch norm and dropout", run=tmp_path / "run", epochs=2, **call)
    vae, found = fitted("batch norm and dropout", run=tmp_path / "run", resume=True, **call)
    assert found.compiled
    assert same(found, expected)
    assert close(vae, load(tmp_path / "run", classes=[Normalized]).vae)


def test_a_graph_is_compiled_for_the_masks_that_shapes_depend_on():
    def halves(x, mask):
        return [x[..., mask.nonzero().squeeze(-1)].sum(-1), x[..., (~mask).nonzero().squeeze(-1)].exp()]

    x, mask = torch.arange(10.0).view(2, 5), torch.tensor([True, False, True, False, False])
    found = compiled.Compiler()(halves, x, mask)
    for given in (x, x + 1):
        assert_close(list(found(given, mask)), halves(given, mask))
    with pytest.raises(NotAssumed, match="a mask that shapes depend on has changed"):
        found(x, ~mask)


def test_products_by_onednn_are_those_of_torch(monkeypatch):
    def f(bias, a, b):
        return [
            torch.addmm(bias, a, b),
            a @ b,
            a.T @ a,
            a @ b.T.contiguous().T,
            (a.double() @ b.double()).float(),
            bias + a @ b,
        ]

    taken = []
    monkeypatch.setattr(onednn, "is_faster", lambda: True)
    monkeypatch.setattr(onednn, "LEAST", 1)
    monkeypatch.setattr(compiled, "_lowered", lambda graph, example: taken.append(str(graph.graph)) or graph)
    generator = torch.Generator().manual_seed(0)
    given = [torch.randn(*shape, generator=generator) for shape in ((7,), (5, 6), (6, 7))]
    assert_close(list(compiled.Compiler()(f, *given)(*given)), f(*given), rtol=1e-5, atol=1e-5)
    assert taken[0].count("ppl_vae.product") == 5
    assert taken[0].count("aten.mm") == 1  # in float64
    bias, *matrices = given
    folded = compiled.Compiler().folded(lambda a: [torch.addmm(bias, a, matrices[1])], matrices[0])
    assert_close(list(folded(matrices[0])), [torch.addmm(*given)], rtol=1e-5, atol=1e-5)
    assert taken[1].count("ppl_vae.product") == 1  # with constants


@pytest.mark.parametrize("case", ["clipped", "hierarchy", "VampPrior at beta 2", "FlowPrior and a schedule"])
def test_steps_with_such_products_are_the_eager_ones(case, uncompiled, monkeypatch):
    plain, expected = fitted(case, compile=False)
    monkeypatch.setattr(onednn, "is_faster", lambda: True)
    monkeypatch.setattr(onednn, "LEAST", 1)
    vae, found = fitted(case, compile=True)
    assert found.not_compiled is None
    assert found.compiled > 3
    assert same(found, expected, 1e-5)
    assert close(plain, vae, 1e-5)


def test_compilation_waits_until_it_pays(uncompiled, monkeypatch):
    assert fitted("clipped", compile="auto", epochs=12)[1].compiled == 0
    monkeypatch.setattr(steps, "PAYS", 0.0)
    found = fitted("clipped", compile="auto", epochs=12)[1]
    assert found.compiled
    assert found.not_compiled is None


def test_a_rare_kind_of_batches_is_not_compiled(uncompiled):
    data = [*binary(88).split(4), binary(3, seed=1)]
    found = fit(built({}), data, epochs=2, optimizer=ADAM, compile=True, progress=False)
    assert 2 * len(data) - 8 < found.compiled < 2 * len(data) - 2


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_inductor_compiles_the_same_step():
    plain, expected = fitted("batch norm and dropout", compile=False)
    vae, found = fitted("batch norm and dropout", compile=True)
    if torch.__version__.startswith("2.6."):
        assert "it differs" in found.not_compiled  # inductor of torch 2.6 draws other numbers for dropout
        assert same(found, expected, 1e-5)
        return
    assert found.not_compiled is None
    assert found.compiled > 3
    assert same(found, expected, 1e-5)
    drifting = ("net.0.bias", "running_mean")  # gradients but for rounding 0, which Adam makes steps of
    assert all(
        name.endswith(drifting) or torch.allclose(p, q, rtol=1e-4, atol=1e-5)
        for (name, p), q in zip(plain.state_dict().items(), vae.state_dict().values(), strict=True)
    )


@pytest.mark.float32
def test_the_page_runs_and_shows_what_was_measured(tmp_path, monkeypatch, uncompiled):
    root = Path(__file__).parents[2]
    page = (root / "docs" / "speed.md").read_text()
    script = runpy.run_path(str(root / "experiments" / "benchmarks" / "steps.py"))
    assert script["table"](json.loads((root / "experiments" / "results" / "steps.json").read_text())) in page
    monkeypatch.chdir(tmp_path)
    for snippet in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(snippet, "speed.md", "exec"), {})
