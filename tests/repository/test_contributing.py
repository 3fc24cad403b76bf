"""The contributing page: every example runs as written, and what it adds keeps the laws."""

import importlib.util
import re
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import matrix
import pytest
import torch
from scipy import stats

from ppl_vae import DataSpec, Domain, build, diagnostics, objectives, plots, posteriors, priors, traces
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


def test_the_context_is_the_exposure(page):
    described = DataSpec((3, 2), Domain("counts"), ((1,),))
    likelihood = build(described, latent_dim=2, likelihood=page["CountsWithExposure"], seed=0).likelihood
    z, exposure = torch.randn(4, 3, 2), torch.full((3, 1), 2.0)
    params = torch.randn(4, 3, 2, 3, 2)  # (particles, n, k, *x_shape)
    once, twice = (likelihood.distribution(params, z, e).mean for e in (exposure, 2 * exposure))
    assert once.shape == (4, 3, 3, 2)
    torch.testing.assert_close(twice, 2 * once)


def test_the_hierarchy_is_built(page):
    prior = "LearnedNormal(z3) ConditionalNormal(z2 | z3) ConditionalNormal(z1 | z2)"
    assert page["ladder"].formula().startswith(f"p(x, z3, z2, z1) = {prior} NegativeBinomial(x | z1)")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_density_is_that_of_scipy(page, dtype):
    loc, scale = torch.tensor([0.0, 3.0], dtype=dtype), torch.tensor([1.0, 0.1], dtype=dtype)
    fn = page["HyperbolicSecant"](loc, scale)
    x = torch.tensor([[-20.0, 2.9], [0.5, 3.5]], dtype=dtype)
    expected = stats.hypsecant(loc.double(), 2 / torch.pi * scale.double()).logpdf(x.double())
    torch.testing.assert_close(fn.log_prob(x).double(), torch.from_numpy(expected), rtol=1e-6, atol=1e-6)
    assert fn.log_prob(torch.full((2,), 1e4, dtype=dtype)).isfinite().all()
    torch.manual_seed(0)
    draws = fn.expand((2, 2)).rsample((100_000,))
    torch.testing.assert_close(draws.mean(0), loc.expand(2, 2), rtol=0, atol=5 / 100_000**0.5)
    torch.testing.assert_close(draws.std(0) / scale, torch.ones(2, 2, dtype=dtype), rtol=0, atol=0.02)


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


def test_the_penalty_reads_the_distribution(page, case):
    vae, args = matrix.make(case)
    objective, plain = (page["Wide"](weight=w, num_particles=2) for w in (1.0, 0.0))
    penalty = matrix.loss(vae, args, objective) - matrix.loss(vae, args, plain)
    torch.testing.assert_close(penalty, -vae.encode(*args).variance.log().sum())
    with pytest.raises(ValueError, match="Wide expects a posterior with a variance"):
        objectives.check(objective, *traces.pair(*_autoencoder()))


def _autoencoder():
    vae, args = matrix.make(matrix.Case(partial(priors.Flat), matrix.COIN, partial(posteriors.Point)))
    return vae, *args


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
