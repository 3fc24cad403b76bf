"""The contributing page: every example runs as written, and what it adds keeps the laws."""

import importlib.util
import re
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import matrix
import pytest
import torch

from ppl_vae import diagnostics, objectives, plots, traces
from ppl_vae.cli.commands import COMMANDS
from ppl_vae.cli.main import main

ROOT = Path(__file__).parents[2]
EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / ".github" / "CONTRIBUTING.md").read_text(), re.DOTALL)
_SPEC = importlib.util.spec_from_file_location("laws", ROOT / "tests" / "laws" / "test_laws.py")
laws = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(laws)


@pytest.fixture(scope="module")
def page():
    """What the examples define, run in order."""
    namespace = {"__name__": "contributing"}
    for example in EXAMPLES:
        exec(compile(example, "CONTRIBUTING.md", "exec"), namespace)
    return namespace


@pytest.fixture
def case(page):
    """Its prior, likelihood and posterior together."""
    return matrix.Case(*(partial(page[name]) for name in ("LearnedNormal", "OverdispersedCounts", "DiagonalLaplace")))


def test_the_examples_are_short():
    assert max(len(example.splitlines()) for example in EXAMPLES) <= 30


@pytest.mark.parametrize(
    "law",
    [
        laws.test_shapes_under_plates,
        laws.test_gradient_reaches_every_parameter,
        laws.test_loss_is_affine_in_beta_and_meets_the_reconstruction,
        laws.test_data_do_not_see_each_other,
        laws.test_formula_and_samples,
        laws.test_latent_densities_integrate_to_one,
    ],
    ids=lambda law: law.__name__,
)
def test_the_leaves_keep_the_laws(law, case):
    law(case)


def test_the_likelihood_sums_to_one(case):
    vae, _ = matrix.make(case)
    fn = vae.likelihood.given(torch.randn(3, matrix.LATENT).double()).base_dist
    counts = torch.arange(500).double().reshape(-1, 1, 1, 1, 1)
    mass = fn.log_prob(counts).exp().sum(0)
    assert torch.allclose(mass, torch.ones_like(mass))


def test_the_prior_starts_from_latents(page):
    z = torch.tensor([[0.0, 1.0], [2.0, 5.0]])
    prior = page["LearnedNormal"](2)
    prior.start_from(z)
    assert torch.allclose(prior.given().mean, z.mean(0))
    assert torch.allclose(prior.given().stddev, z.std(0))


def test_the_objective_trains(page, case):
    vae, args = matrix.make(case)
    objective, plain = page["Sparse"](weight=0.5, num_particles=2), page["Sparse"](weight=0, num_particles=2)
    objectives.check(objective, *traces.pair(vae, *args))
    penalty = matrix.loss(vae, args, objective) - matrix.loss(vae, args, plain)
    assert 0 < penalty < 100
    assert abs(objective.loss_and_grads(vae.model, vae.guide, *args)) < 1e4
    assert all(p.grad.isfinite().all() for p in vae.parameters() if p.requires_grad)


def test_the_data_set_is_whole(page):
    wine = page["wine"](ROOT, download=False, seed=0)
    assert [len(split) for split in wine.splits.values()] == [118, 30, 30]
    assert wine.x_shape == (13,)


def test_the_diagnostic_is_reported_and_drawn(page):
    found = page["found"]
    assert len(found.results) > 4
    assert "## How much does x say about z?\n\nThe standard deviation of q(z | x) is 0." in str(found.report())
    (figure,) = [figure for name, figure in found.figures() if name == "posterior_sd"]
    assert plots.draw(figure).get_ylabel() == "data"
    plt.close("all")
    assert "posterior_sd" in diagnostics.groups(found.to_arviz())


@pytest.mark.filterwarnings("ignore:.*kept no checksums")
def test_the_command_runs(page, monkeypatch, capsys):
    monkeypatch.setitem(COMMANDS, "history", page["COMMAND"])
    assert main(["history", str(ROOT / "tests" / "training" / "run_0_1_0"), "--last", "1"]) == 0
    assert "-47.926763" in capsys.readouterr().out
