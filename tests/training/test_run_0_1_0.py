"""A run folder that version 0.1.0 wrote: it loads, gives the same numbers, and resumes."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ppl_vae import data, fit, load

STORED = Path(__file__).parent / "run_0_1_0"  # two epochs on 40 digits, by the first code that wrote run folders
ELBO = -48.687495  # nats per datum, as that code estimated it, with the same draws
HISTORY = [-48.259764, -47.926763, -48.611074]  # ELBO of training, nats per datum: the third epoch as without a break
pytestmark = pytest.mark.filterwarnings("ignore:.*kept no checksums", "ignore:.*was written by another version")


def test_it_loads():
    run = load(STORED)
    weights = load_file(STORED / "best-000002.safetensors")
    assert run.config["versions"]["ppl_vae"] == "0.1.0"
    assert all(torch.equal(value, weights[name]) for name, value in run.vae.state_dict().items())
    x = data.again(run.config["data"][0]).train.fixed().x.to(torch.float32)
    noise = torch.randn(100, len(x), 2, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    q, p = run.vae.encode(x), run.vae.prior.given()
    z = q.mean + q.stddev * noise
    elbo = run.vae.decode(z).log_prob(x) + p.log_prob(z) - q.log_prob(z)
    assert elbo.mean().item() == pytest.approx(ELBO, abs=1e-4)


def test_it_goes_on(tmp_path):
    folder = shutil.copytree(STORED, tmp_path / "run")
    run = load(folder)
    digits = data.again(run.config["data"][0])
    resumed = fit(run.vae, digits, epochs=3, run=folder, resume=True, device="cpu", progress=False)
    assert resumed.history["train_elbo"].tolist() == pytest.approx(HISTORY, abs=1e-3)
