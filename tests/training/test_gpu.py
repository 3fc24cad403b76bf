"""Training and scores on a GPU: graphs of CUDA are the steps, and scores those of the CPU."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from test_late import Data, Infinite
from trainings import ADAM, CASES, Normalized, built, equal, fitted

from ppl_vae import build, data, evaluate, fit, load
from ppl_vae import diagnostics as dg
from ppl_vae.training import steps

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    pytest.mark.filterwarnings("error:kernels of the GPU"),
]
ON_GPU = {"device": "cuda", "batch_size": 18}


@pytest.fixture(autouse=True)
def replays(monkeypatch):
    """A list with an entry for every launch of a CUDA graph."""
    found, replay = [], torch.cuda.CUDAGraph.replay

    def counted(graph):
        found.append(graph)
        replay(graph)

    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", counted)
    return found


def near(found, expected, tolerance):
    found, expected = (r.history.drop(columns="seconds") for r in (found, expected))
    return bool((abs(found - expected) <= tolerance * (1 + abs(expected))).all().all())


@pytest.mark.parametrize("case", CASES)
def test_replayed_steps_are_the_called_ones(case, replays, monkeypatch):
    monkeypatch.setattr(steps, "MANY", 0)
    plain, expected = fitted(case, compile=False, **ON_GPU)
    vae, found = fitted(case, **ON_GPU)
    assert found.not_replayed is None
    assert found.replayed > 3
    assert len(replays) >= found.replayed
    assert near(found, expected, 1e-5)
    assert all(torch.allclose(p, q, atol=1e-5) for p, q in zip(plain.parameters(), vae.parameters(), strict=True))


@pytest.mark.parametrize("case", ["clipped", "last smaller batch", "FlowPrior and a schedule", "mask", "hierarchy"])
def test_compiled_steps_are_the_called_ones(case, replays):
    _, expected = fitted(case, compile=False, **{**ON_GPU, "epochs": 6})
    _, found = fitted(case, compile=True, **{**ON_GPU, "epochs": 6})
    assert found.not_compiled is None
    assert found.compiled > 3
    assert len(replays) >= found.compiled
    assert near(found, expected, 1e-4)


def test_a_step_that_is_not_finite_is_named():
    vae = built({"encoder": Infinite})
    with pytest.raises(FloatingPointError, match=r"log q of site 'z' is not finite in epoch \d, batch 3"):
        fit(vae, Data(), epochs=9, optimizer=ADAM, compile=True, progress=False, device="cuda")
    assert all(p.isfinite().all() for p in vae.parameters())


@pytest.mark.parametrize("compile", [None, True])
def test_a_training_is_resumed(compile, tmp_path, monkeypatch):
    monkeypatch.setattr(steps, "MANY", 0)
    call = {"compile": compile, **ON_GPU}
    expected, _ = fitted("batch norm and dropout", run=tmp_path / "whole", **call)
    fitted("batch norm and dropout", run=tmp_path / "run", epochs=2, **call)
    vae, _ = fitted("batch norm and dropout", run=tmp_path / "run", resume=True, **call)
    assert equal(vae, expected)
    assert equal(load(tmp_path / "run", classes=[Normalized]).vae, vae.cpu())


@pytest.fixture(scope="module")
def trained():
    digits = data.load("digits").binarize("threshold")
    vae = build(digits, latent_dim=4, seed=0)
    fit(vae, digits, epochs=20, device="cuda", progress=False)
    return digits, vae


SCORES = {
    "importance": lambda v, x: evaluate(v, x, num_samples=1000, seed=0, progress=False).per_datum.log_px,
    "adaptive": lambda v, x: evaluate(v, x, method="adaptive", seed=0, progress=False).per_datum.log_px,
    "ais": lambda v, x: dg.ais(v, x, num_temperatures=100, seed=0, progress=False).log_px,
    "hmc": lambda v, x: (
        dg.hmc(v, x, num_warmup=100, num_samples=200, seed=0, progress=False).posterior["z"].mean(("chain", "draw"))
    ),
}


@pytest.mark.parametrize("name", SCORES)
def test_scores_are_those_of_the_cpu(name, trained, replays):
    digits, vae = trained
    found = np.asarray(SCORES[name](vae.to("cuda"), digits.test[:20]))
    expected = np.asarray(SCORES[name](vae.to("cpu"), digits.test[:20]))
    gap = found - expected
    assert (len(replays) > 10) == (name in ("ais", "hmc", "adaptive"))
    assert abs(gap.mean()) < 5 * gap.std(ddof=1) / gap.size**0.5
    assert abs(gap).max() < 1.0


def test_products_in_bfloat16_train(trained):
    digits, _ = trained
    bounds = []
    for precision in (None, "bf16"):
        vae = build(digits, latent_dim=4, seed=0)
        found = fit(vae, digits, epochs=20, device="cuda", precision=precision, compile=True, progress=False)
        assert found.not_compiled is None
        bounds.append(float(found.history.validation_elbo.iloc[-1]))
    assert abs(bounds[0] - bounds[1]) < 0.5


def test_processes_sum_their_gradients_by_nccl(tmp_path):
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "1",
        "-m",
        "--",
        "ppl_vae",
    ]
    command += ["train", "--data", "digits", "--likelihood", "Bernoulli", "--epochs", "2", "--device", "cuda"]
    done = subprocess.run([*command, "--run", str(tmp_path / "run")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "run").exists()
