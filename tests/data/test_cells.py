"""Cells: AnnData objects, and .h5ad files as anndata 0.12 writes them."""

import json
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

from ppl_vae import build, fit, load
from ppl_vae.cli.main import main
from ppl_vae.data import Domain, again, from_anndata, from_file
from ppl_vae.data.cells import Cells
from ppl_vae.rows import SparseRows

RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(1.0, (50, 6)).astype(np.float32)


@pytest.fixture
def adata():
    """What is used of an AnnData object."""
    n = np.arange(50)
    obs = pd.DataFrame(
        {
            "batch": pd.Categorical(np.where(n % 3, "one", "two")),
            "type": pd.Categorical(np.where(n % 2, "T", "B")),
            "age": n * 1.5,
            "gaps": np.where(n % 5, 1.0, np.nan),
        },
        index=[f"cell {i}" for i in n],
    )
    return SimpleNamespace(
        X=scipy.sparse.csr_matrix(np.log1p(COUNTS)),
        layers={"counts": scipy.sparse.csc_matrix(COUNTS)},
        obs=obs,
        var_names=pd.Index([f"gene {i}" for i in range(6)]),
    )


@pytest.fixture
def file(tmp_path, adata):
    """The same in a file, in the format of anndata: https://anndata.readthedocs.io/en/stable/fileformat-prose.html."""
    with h5py.File(tmp_path / "cells.h5ad", "w") as f:
        for name, x in (("X", adata.X), ("layers/counts", adata.layers["counts"])):
            group = f.create_group(name)
            group.attrs["encoding-type"], group.attrs["shape"] = f"{x.format}_matrix", x.shape
            for part in ("data", "indices", "indptr"):
                group[part] = getattr(x, part)
        for name, frame in (("obs", adata.obs), ("var", pd.DataFrame(index=adata.var_names))):
            group = f.create_group(name)
            group.attrs["_index"], group.attrs["column-order"] = "_index", list(frame) or np.zeros(0, dtype="S1")
            group["_index"] = list(frame.index)
            for key, values in frame.items():
                if isinstance(values.dtype, pd.CategoricalDtype):
                    part = group.create_group(key)
                    part.attrs["encoding-type"], part.attrs["ordered"] = "categorical", False
                    part["codes"], part["categories"] = values.cat.codes.to_numpy(), list(values.cat.categories)
                else:
                    group[key] = values.to_numpy()
    return tmp_path / "cells.h5ad"


def test_an_object_and_its_file_are_the_same_data(adata, file):
    arguments = {"layer": "counts", "labels_key": "type", "context": ["batch", "age"]}
    data = from_anndata(adata, **arguments)
    read = from_file(file, layer="counts", label="type", context=["batch", "age"])
    assert data.domain == Domain("counts")
    assert isinstance(data.train.x, SparseRows)
    assert data.classes == ("B", "T")
    assert data.context_shapes == ((2,), (1,))
    assert read.checksum == data.checksum == from_anndata(Cells(file), **arguments).checksum
    rows = data.test.index.numpy()
    assert torch.equal(data.test.x.dense(), torch.from_numpy(COUNTS[rows]))
    age = adata.obs["age"].to_numpy()
    seen = age[data.train.index.numpy()]
    torch.testing.assert_close(
        data.test.context[1][:, 0].double(), torch.from_numpy((age[rows] - seen.mean()) / seen.std())
    )
    assert from_anndata(adata, layer="counts", batch_key="batch").train.context[0].sum(1).eq(1).all()
    assert from_file(file).domain == Domain("real")
    assert again(json.loads(json.dumps(read.provenance))).checksum == read.checksum


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layer": "raw"}, "expects one of the layers, counts, got 'raw'"),
        ({"batch_key": "plate"}, "expects columns of obs, batch, type, age, gaps, got plate"),
        ({"labels_key": "gaps"}, "labels expect a value for each cell, got gaps in 'gaps'"),
        ({"batch_key": "gaps"}, "context 'gaps' expects a value for each datum, got 10 missing"),
    ],
)
def test_what_is_refused(adata, arguments, message):
    with pytest.raises(ValueError, match=message):
        from_anndata(adata, **arguments)


def test_damaged_files_and_other_objects(tmp_path):
    with h5py.File(tmp_path / "other.h5ad", "w") as f:
        f["x"] = np.eye(3)
    with pytest.raises(ValueError, match=r"other.h5ad to hold cells of AnnData, got KeyError"):
        from_file(tmp_path / "other.h5ad")
    (tmp_path / "text.h5ad").write_text("no cells")
    with pytest.raises(ValueError, match=r"text.h5ad to hold cells of AnnData, got OSError"):
        from_file(tmp_path / "text.h5ad")
    with pytest.raises(TypeError, match=r"expects an AnnData object, got ndarray; .* pandas below 3.* to from_file"):
        from_anndata(np.eye(3))


def test_new_cells_and_results_beside_them(adata, file, tmp_path):
    data = from_file(file, layer="counts", context=["batch"])
    fit(build(data, latent_dim=2, seed=0), data, epochs=1, seed=0, progress=False, run=tmp_path / "run")
    run = load(tmp_path / "run")
    prepared = run.prepare(adata)
    assert torch.equal(prepared.x.dense()[data.test.index], data.test.x.dense())
    assert torch.equal(prepared.context[0][data.test.index], data.test.context[0])
    other = SimpleNamespace(**{**vars(adata), "var_names": adata.var_names[::-1]})
    with pytest.raises(ValueError, match="expects the genes of the training data in their order"):
        run.prepare(other)
    with pytest.raises(ValueError, match=r"expects no context beside a frame or cells, .*; give the columns batch in"):
        run.prepare(adata, context=np.zeros(50))
    for command in ("encode", "reconstruct", "score"):
        samples = ["--num-samples", "30"] if command == "score" else []
        assert (
            main([command, str(tmp_path / "run"), str(file), "--out", str(tmp_path / f"{command}.h5ad"), *samples]) == 0
        )
    with h5py.File(tmp_path / "encode.h5ad") as f:
        q = run.vae.encode(prepared)
        np.testing.assert_allclose(f["obsm/X_vae_z"][:], q.mean.detach(), rtol=1e-5)
    with h5py.File(tmp_path / "reconstruct.h5ad") as f:
        assert f["layers/vae_x"].shape == (50, 6)
    scored = Cells(tmp_path / "score.h5ad")
    assert list(scored.obs)[:5] == ["batch", "type", "age", "gaps", "vae_log_px"]
    assert np.isfinite(scored.obs["vae_log_px"]).all()


def test_batches_and_labels_that_are_floats_are_known_again(adata, tmp_path):
    adata.obs = pd.DataFrame({"batch": np.arange(50) % 2 + 1.0, "type": np.arange(50) % 3 + 0.0})
    data = from_anndata(adata, layer="counts", batch_key="batch", labels_key="type").condition_on_labels()
    fit(build(data, latent_dim=1, seed=0), data, epochs=1, seed=0, progress=False, run=tmp_path / "run")
    prepared = load(tmp_path / "run").prepare(adata)
    assert data.classes == ("0", "1", "2")
    for new, known in zip(prepared.context, data.test.context, strict=True):
        assert torch.equal(new[data.test.index], known)
