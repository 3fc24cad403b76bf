"""Tables in Parquet that stay on disk: the data of a frame in memory, a row group at a time."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from ppl_vae import Heterogeneous, build, evaluate, fit
from ppl_vae.data import again, from_frame, load
from ppl_vae.data.parquet import ParquetRows
from ppl_vae.diagnostics import to_arviz
from ppl_vae.training import load as load_run

N = 400


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "size": np.where(rng.random(N) < 0.1, np.nan, rng.normal(30, 5, N)),
            "rooms": rng.poisson(3.0, N),
            "heating": rng.choice(["gas", "oil", "wood"], N),
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 90, N), "D"),
            "town": rng.choice(["A", "B"], N),
            "sold": rng.choice(["yes", "no"], N),
            "part": rng.choice(["train", "train", "val", "test"], N),
        }
    )


@pytest.fixture
def file(tmp_path, frame, monkeypatch):
    frame.to_parquet(tmp_path / "houses.parquet", row_group_size=30)
    monkeypatch.setattr("ppl_vae.data.formats.MOST_IN_MEMORY", 100)
    return tmp_path / "houses.parquet"


@pytest.mark.parametrize("split", [None, "part"])
def test_they_are_the_data_of_the_frame(file, frame, split):
    known = {"label": "sold", "context": ["town"], "kinds": {"rooms": "counts"} | ({} if split else {"part": "skip"})}
    stored, dense = load(file, **known, split=split), from_frame(frame, **known, split=split, name="houses")
    assert isinstance(stored.train.x, ParquetRows)
    assert repr(stored) == repr(dense)
    assert str(stored.columns) == str(dense.columns)
    assert stored.classes == dense.classes
    for role, one in dense.splits.items():
        here, there = stored.splits[role], one[one.index.argsort()]
        assert torch.equal(here.index, there.index)
        assert torch.equal(here.x.dense(), there.x)
        assert torch.equal(here.observed, there.observed)
        assert torch.equal(here.y, there.y)
        assert torch.equal(here.context[0], there.context[0])
    both = stored.standardize(), dense.standardize()
    assert both[0].domain.kind == both[1].domain.kind
    np.testing.assert_allclose(both[0].domain.span, both[1].domain.span, rtol=1e-5)
    assert again(json.loads(json.dumps(both[0].provenance))).checksum == both[0].checksum


def test_train_evaluate_and_prepare(file, frame, tmp_path, monkeypatch):
    monkeypatch.setattr("ppl_vae.rows.BUFFER", 60 * 4 * 4)
    monkeypatch.setattr("ppl_vae.data.parquet.BUFFER", 60 * 4 * 4)
    kinds = dict.fromkeys(["part", "sold"], "skip")
    data = load(file, context=["town"], kinds=kinds).standardize()
    results = []
    for number, stops in enumerate(([3], [1, 3])):
        for epochs in stops:
            vae = build(data, latent_dim=2, likelihood=Heterogeneous, seed=0)
            run = {"run": tmp_path / f"run{number}", "resume": True}
            fit(vae, data, epochs=epochs, batch_size=50, seed=0, progress=False, **run)
        results.append(evaluate(vae, data.test, num_samples=30, seed=0, progress=False).per_datum)
    pd.testing.assert_frame_equal(*results)  # resumed, bit for bit
    assert len(data.train.x._read) <= 4  # groups of 30 rows of 4 columns, twice the buffer of 60 rows
    assert to_arviz(vae, data.test, num_samples=30, seed=0, progress=False).observed_data["x"].shape == (40, 4)
    stored = load_run(tmp_path / "run1")
    table, plain = stored.prepare(data.train.x._stored), stored.prepare(frame)
    torch.testing.assert_close(table.x.dense(), plain.x, rtol=1e-5, atol=1e-5)
    assert torch.equal(table.observed, plain.observed)
    assert torch.equal(table.context[0], plain.context[0])


def test_what_is_refused_and_said(file, frame, tmp_path, monkeypatch):
    frame.drop(columns="rooms").to_parquet(tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="tables expect the same columns, got rooms in one of"):
        load(file, test=tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=r"label expects columns of the frame, size, .* got price"):
        load(file, label="price")
    frame.assign(size=np.nan).to_parquet(tmp_path / "empty.parquet")
    with pytest.raises(ValueError, match="column 'size' expects at least one observed value, got none"):
        load(tmp_path / "empty.parquet")
    frame.iloc[:50].to_parquet(tmp_path / "test.parquet")
    held_out = load(file, test=tmp_path / "test.parquet", kinds={"part": "skip"})
    assert torch.equal(held_out.test.index, torch.arange(50))
    monkeypatch.setattr("ppl_vae.data.parquet.BUFFER", 20 * 4 * 7)
    with pytest.warns(UserWarning, match=r"row groups of 30 rows, .* df.to_parquet\(path, row_group_size=5\)"):
        load(file)


def test_what_float32_loses_is_said_as_of_a_frame(tmp_path, monkeypatch):
    frame = pd.DataFrame({"time": 1e9 + np.random.default_rng(0).normal(size=90), "place": np.arange(90.0)})
    with pytest.warns(UserWarning, match="is rounded to float32, in which 1 of 2 elements of x vary by little more"):
        from_frame(frame)
    frame.to_parquet(tmp_path / "times.parquet", row_group_size=30)
    monkeypatch.setattr("ppl_vae.data.formats.MOST_IN_MEMORY", 100)
    with pytest.warns(UserWarning, match="column 'time' is rounded to float32, in which 1 of 1 elements of x vary"):
        load(tmp_path / "times.parquet")
