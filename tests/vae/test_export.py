"""Exported encoders and decoders compute what the VAE does, in a process that has no ppl_vae."""

import os
import subprocess
import sys
from functools import partial

import numpy as np
import onnxruntime
import pytest
import torch
from small_models import SMALL
from torch.testing import assert_close

from ppl_vae import (
    IAF,
    Bernoulli,
    Categorical,
    Conv1dEncoder,
    DataSpec,
    DiscretizedLogistic,
    Domain,
    Flat,
    Gaussian,
    GRUDecoder,
    GRUEncoder,
    Heterogeneous,
    Point,
    TopK,
    build,
    load,
)
from ppl_vae.cli import main

pytestmark = pytest.mark.float32

APART = """
import sys
sys.modules["ppl_vae"] = None
import numpy as np, onnxruntime, torch
for name in sys.argv[1:]:
    given = dict(np.load(f"{name}.npz"))
    pt2 = torch.export.load(f"{name}.pt2").module()(*map(torch.from_numpy, given.values()))
    session = onnxruntime.InferenceSession(f"{name}.onnx")
    found = dict(zip([one.name for one in session.get_outputs()], session.run(None, given)))
    assert list(pt2) == list(found)
    both = {f"pt2_{k}": v.numpy() for k, v in pt2.items()} | {f"onnx_{k}": v for k, v in found.items()}
    np.savez(f"{name}-out.npz", **both)
assert not [name for name in sys.modules if name.startswith("pyro")]
"""


def moved(vae):
    with torch.no_grad():
        for p in vae.parameters():
            p += 0.3 * torch.randn_like(p)
    return vae


def small(x_shape, domain, context=(), **more):
    spec = DataSpec(x_shape, domain, context, masked=more.pop("masked", False))
    return moved(build(spec, latent_dim=3, **{"encoder": SMALL, "decoder": SMALL, **more}))


def test_both_formats_in_a_fresh_process(tmp_path):
    """A table in raw units with missing values and a context, and pictures of grey levels; batches of other sizes."""
    columns = Domain("real", shift=(5.0, -2.0, 0.0, 1.0), span=(3.0, 0.1, 1.0, 7.0))
    table = small((4,), columns, ((2,),), likelihood=partial(Gaussian, scale="decoder"), masked=True)
    pictures = small((1, 4, 4), Domain("levels", 17), likelihood=DiscretizedLogistic)
    raw = np.random.default_rng(0).normal(5, 3, (7, 4)).astype(np.float32)
    raw[2, 1] = raw[0, 3] = np.nan
    labels = np.eye(2, dtype=np.float32)[[0, 1, 1, 0, 0, 1, 0]]
    z = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)
    given = {"encoder": {"x": raw, "context_0": labels}, "decoder": {"z": z}}
    for part, vae in (("encoder", table), ("decoder", pictures)):
        np.savez(tmp_path / f"{part}.npz", **given[part])
        for format in ("pt2", "onnx"):
            assert vae.export(tmp_path / f"{part}.{format}", part, format).is_file()
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", APART, *given], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    seen = ~torch.tensor(raw).isnan()
    x = columns.scaled(torch.tensor(raw).nan_to_num())
    q = table.encode(x, torch.tensor(labels), mask=seen)
    p = pictures.decode(z)
    for part, fn in (("encoder", q), ("decoder", p)):
        found = np.load(tmp_path / f"{part}-out.npz")
        for name, value in (("mean", fn.mean.detach()), ("scale", fn.stddev.detach())):
            for format in ("pt2", "onnx"):
                close = {"atol": 1e-6 * float(1 + value.abs().max()), "rtol": 1e-5}
                assert_close(torch.from_numpy(found[f"{format}_{name}"]), value, **close)


def test_results_are_in_raw_units(tmp_path):
    vae = small((3,), Domain("real", shift=(1.0, 2.0, 3.0), span=(10.0, 20.0, 30.0)), likelihood=Gaussian)
    z = torch.randn(5, 3)
    found = torch.export.load(vae.export(tmp_path / "decoder.pt2", "decoder")).module()(z)
    p = vae.decode(z)
    assert_close(found["mean"], vae.raw(p.mean))
    assert_close(found["scale"], p.stddev * torch.tensor([10.0, 20.0, 30.0]))


MIXED = Domain(("real", "counts", "categories"), levels=(None, None, 4))


@pytest.mark.parametrize(
    ("vae", "part"),
    [
        (partial(small, (6,), Domain("real"), posterior=Point, prior=Flat), "encoder"),
        (partial(small, (6,), Domain("real"), posterior=TopK, prior=Flat), "encoder"),
        (partial(small, (10, 2), Domain("real"), encoder=GRUEncoder, decoder=GRUDecoder), "encoder"),
        (partial(small, (10, 2), Domain("real"), encoder=GRUEncoder, decoder=GRUDecoder), "decoder"),
        (partial(small, (10, 2), Domain("real"), encoder=Conv1dEncoder), "encoder"),
        (partial(small, (6,), Domain("categories", 5), likelihood=Categorical), "decoder"),
    ],
    ids=["point", "top k", "gru encoder", "gru decoder", "convolutions", "categories"],
)
def test_what_can_be_exported(vae, part, tmp_path):
    """`export` itself compares batches of 1, 3 and 5 data."""
    made = vae()
    made.export(tmp_path / "it.pt2", part)
    assert {p.requires_grad for p in made.parameters()} == {True}
    assert made.training


def test_categories_have_no_scale(tmp_path):
    vae = small((3,), MIXED, likelihood=Heterogeneous)
    z = torch.randn(4, 3)
    found = torch.export.load(vae.export(tmp_path / "it.pt2", "decoder")).module()(z)
    p = vae.decode(z)
    assert_close(found["mean"], vae.likelihood.typical(p))
    assert_close(found["scale"][:, :2], p.stddev[:, :2])
    assert found["scale"][:, 2].isnan().all()


def test_an_encoder_is_written_without_the_decoder(tmp_path):
    vae = small((6,), Domain("binary"), likelihood=Bernoulli, decoder=partial(SMALL, hidden_dims=[999]))
    assert vae.export(tmp_path / "it.pt2").stat().st_size < 60_000


@pytest.mark.parametrize(
    ("vae", "format", "message"),
    [
        (partial(small, (6,), Domain("real"), posterior=IAF), "pt2", "expects the mean and the scale of the encoder"),
        (partial(build, DataSpec((6,), Domain("real")), latent_dim=[2, 3]), "pt2", "a Chain of 2 levels"),
        (partial(small, (6,), Domain("real"), posterior=TopK, prior=Flat), "onnx", "ONNX expects operations it has"),
    ],
    ids=["flow", "hierarchy", "no operator"],
)
def test_what_cannot_is_refused_in_a_sentence(vae, format, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        vae().export(tmp_path / "it", "encoder", format)
    assert not list(tmp_path.iterdir())


def test_without_the_libraries(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"pip install 'ppl_vae\[export\]'"):
        small((6,), Domain("real")).export(tmp_path / "it.onnx", "decoder", "onnx")


def test_a_file_has_the_format_that_its_name_says(tmp_path):
    vae = small((6,), Domain("real"))
    found = onnxruntime.InferenceSession(vae.export(tmp_path / "it.onnx"))
    assert [one.name for one in found.get_outputs()] == ["mean", "scale"]
    for name in ("it.pt2", "it"):
        assert torch.export.load(vae.export(tmp_path / name)).module()(torch.zeros(2, 6))["mean"].shape == (2, 3)
    for name, format in (("other.pt2", "onnx"), ("other.ONNX", "pt2")):
        with pytest.raises(ValueError, match=rf"got '{name}' for '{format}'; name it 'other.{format}', or leave out"):
            vae.export(tmp_path / name, format=format)
    assert not list(tmp_path.glob("other*"))


def test_on_the_command_line(tmp_path, capsys):
    tiny = ["--data", "digits", "--take", "30", "--epochs", "1", "--latent-dim", "2", "--device", "cpu"]
    assert main(["train", *tiny, "--run", str(tmp_path / "run")]) == 0
    assert main(["export", str(tmp_path / "run"), "--part", "decoder"]) == 0
    assert "without ppl_vae: torch.export.load" in capsys.readouterr().out
    found = torch.export.load(tmp_path / "run" / "decoder.pt2").module()(torch.zeros(1, 2))
    assert_close(found["mean"], load(tmp_path / "run").vae.decode(torch.zeros(1, 2)).mean)
    assert main(["export", str(tmp_path / "run"), "--out", str(tmp_path / "encoder.onnx")]) == 0
    assert "without ppl_vae: onnxruntime.InferenceSession" in capsys.readouterr().out
    assert onnxruntime.InferenceSession(tmp_path / "encoder.onnx").get_inputs()[0].name == "x"
    assert main(["export", str(tmp_path / "run"), "--format", "pt2", "--out", str(tmp_path / "decoder.onnx")]) == 1
    assert "got 'decoder.onnx' for 'pt2'" in capsys.readouterr().err
