"""Trainings with products in bfloat16: what is computed in it, and how far the ELBO is from that in float32."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from trainings import binary, built, fitted

from ppl_vae import build, compiled, data, fit, products
from ppl_vae.products import InBfloat16

SLOW = "ignore:precision='bf16' does not make:UserWarning"


def test_products_are_in_bfloat16_and_the_rest_is_not():
    torch.manual_seed(0)
    x, image = torch.randn(7, 5), torch.randn(2, 3, 6, 6)
    linear, down, up = nn.Linear(5, 4), nn.Conv2d(3, 2, 3), nn.ConvTranspose2d(3, 2, 3, bias=False)
    with InBfloat16():
        found, convolved, deconvolved, summed = linear(x), down(image), up(image), (x @ x.mT).sum()
        wide = linear.double()(x.double())
    linear.float()
    exact = F.linear(x.bfloat16().double(), linear.weight.bfloat16().double(), linear.bias.bfloat16().double())
    assert found.dtype == convolved.dtype == deconvolved.dtype == torch.float32
    assert torch.equal(found, found.bfloat16().float())
    assert torch.allclose(found.double(), exact, rtol=2**-7, atol=2**-7)
    assert torch.equal(convolved, convolved.bfloat16().float())
    assert torch.equal(deconvolved, deconvolved.bfloat16().float())
    assert torch.equal(summed, (x @ x.mT).sum())
    assert torch.equal(wide, linear.double()(x.double()))


@pytest.mark.filterwarnings(SLOW)
@pytest.mark.float32
def test_the_elbo_is_that_of_float32_within_its_bound():
    digits = data.load("digits").binarize("threshold").take(train=600, validation=200)
    elbos = []
    for precision in (None, "bf16"):
        vae = build(digits, latent_dim=4, seed=0)
        found = fit(vae, digits, epochs=3, precision=precision, progress=False)
        assert all(p.dtype == torch.float32 for p in vae.parameters())
        elbos.append(found.history.validation_elbo[3])
    assert elbos[0] != elbos[1]
    assert abs(elbos[0] - elbos[1]) < 0.05


@pytest.mark.filterwarnings(SLOW)
@pytest.mark.float32
def test_compiled_steps_have_the_same_products(monkeypatch):
    monkeypatch.setattr(compiled, "_lowered", lambda graph, example: graph)
    found = [fitted("clipped", precision="bf16", compile=compile)[1] for compile in (False, True)]
    assert found[1].not_compiled is None
    assert found[1].compiled > 3
    assert abs(found[0].history.train_elbo - found[1].history.train_elbo).max() < 1e-3
    assert abs(found[0].history.train_elbo - fitted("clipped")[1].history.train_elbo).max() > 0


def test_a_device_that_is_slow_with_it_is_named(monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False)
    with pytest.warns(UserWarning, match="neither AVX512-BF16 nor AMX"):
        fit(built({}).float(), binary(18), epochs=1, precision="bf16", progress=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(built({}).float(), binary(18), epochs=1, precision="bf16", progress=False)
    assert products.why_slow(torch.device("cpu")) is None


def test_other_dtypes_are_refused():
    with pytest.raises(ValueError, match=r"parameters in float32, got float64; call program.float\(\)"):
        fit(built({}).double(), binary(18), epochs=1, precision="bf16", progress=False)


@pytest.mark.filterwarnings(SLOW)
def test_a_resume_in_another_precision_is_refused(tmp_path):
    fit(built({}).float(), binary(18), epochs=1, run=tmp_path / "run", progress=False)
    with pytest.raises(ValueError, match=r"another fit\.precision"):
        fit(
            built({}).float(), binary(18), epochs=2, run=tmp_path / "run", resume=True, precision="bf16", progress=False
        )
