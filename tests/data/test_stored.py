"""Data that stay sparse or on disk: the numbers of dense data, a few rows at a time."""

import json
import math

import numpy as np
import pytest
import scipy.sparse
import torch

from ppl_vae import Domain, build, evaluate, fit
from ppl_vae.data import Split, again, from_arrays, load
from ppl_vae.rows import MappedRows, Rows, SparseRows

KINDS = ["csr_matrix", "csc_matrix", "coo_matrix", "csr_array", "lil_matrix"]


@pytest.fixture
def counts():
    rng = np.random.default_rng(0)
    return np.where(rng.random((120, 9)) < 0.3, rng.poisson(3.0, (120, 9)), 0)


@pytest.mark.parametrize("kind", KINDS)
def test_sparse_data_are_the_dense_data(counts, kind):
    sparse = from_arrays(getattr(scipy.sparse, kind)(counts.astype(float)), seed=1)
    dense = from_arrays(counts, seed=1)
    assert sparse.domain == dense.domain == Domain("counts")
    for role, split in sparse.splits.items():
        assert isinstance(split.x, SparseRows)
        assert torch.equal(split.x.dense(), dense.splits[role].x)
        assert torch.equal(split[3:5].x.dense(), dense.splits[role][3:5].x)


def test_training_and_evaluation_are_those_of_dense_data(counts):
    found = []
    for x in (scipy.sparse.csr_array(counts), counts):
        data = from_arrays(x)
        vae = build(data, latent_dim=2, start=None, seed=0)  # moments of sparse rows are rounded otherwise
        history = fit(vae, data, epochs=2, batch_size=32, seed=0, progress=False).history
        table = evaluate(vae, data.test, num_samples=30, seed=0, progress=False).per_datum
        found.append(
            (history.filter(like="elbo").to_numpy(), table.to_numpy(), vae.encode(data.test.x).mean.detach().numpy())
        )
    for sparse, dense in zip(*found, strict=True):
        assert np.array_equal(sparse, dense, equal_nan=True)


def test_rows_are_used_as_a_tensor(counts):
    rows, x = SparseRows(scipy.sparse.csr_matrix(counts), counts.shape), torch.from_numpy(counts).float()
    assert rows.shape == x.shape
    assert (rows.numel(), rows.dim(), rows.nbytes, len(rows)) == (x.numel(), 2, x.nbytes, 120)
    assert torch.equal(rows.log1p(), x.log1p())
    assert torch.equal(torch.cat([rows[:3], rows[x[:, 0] > 0]]), torch.cat([x[:3], x[x[:, 0] > 0]]))
    assert np.array_equal(np.asarray(rows, dtype=int), counts)
    with pytest.raises(AttributeError):
        rows.nonsense  # noqa: B018
    with pytest.raises(IndexError, match="rows expect a slice, positions or booleans"):
        rows[3]


def test_what_needs_all_of_large_data_is_refused():
    rows = SparseRows(scipy.sparse.csr_matrix((60_000, 50_000), dtype=np.float32), (60_000, 50_000))
    assert torch.equal(rows[5:7].dense(), torch.zeros(2, 50_000))
    with pytest.raises(ValueError, match=r"expects to be used a few rows at a time, got a call that needs 11.2 GiB"):
        rows.mean()


def test_checksums_depend_on_values_and_places(counts):
    a = from_arrays(scipy.sparse.csr_matrix(counts))
    b = from_arrays(scipy.sparse.csc_matrix(counts))
    moved = counts.copy()
    moved[:, [0, 1]] = moved[:, [1, 0]]
    c = from_arrays(scipy.sparse.csr_matrix(moved))
    assert a.checksum == b.checksum != c.checksum
    assert Split(a.train.x, a.train.index).checksum == a.train.checksum


@pytest.mark.parametrize(
    ("x", "arguments", "message"),
    [
        (scipy.sparse.csr_matrix((0, 3)), {}, "at least one datum"),
        (scipy.sparse.csr_matrix([[1.0, np.nan], [0, 1]]), {}, "expects finite values where it is sparse or on disk"),
        (scipy.sparse.eye(9).tocsr(), {"mask": np.ones((9, 9), dtype=bool)}, "no mask where it is sparse"),
        (scipy.sparse.csr_matrix(-np.eye(9)), {"domain": Domain("counts")}, "expect counts values, the same in"),
    ],
)
def test_sparse_data_that_are_refused(x, arguments, message):
    with pytest.raises(ValueError, match=message):
        from_arrays(x, **arguments)


def test_files_of_sparse_and_mapped_arrays(tmp_path, counts):
    scipy.sparse.save_npz(tmp_path / "sparse.npz", scipy.sparse.csr_matrix(counts))
    data = load(tmp_path / "sparse.npz")
    assert isinstance(data.train.x, SparseRows)
    assert again(json.loads(json.dumps(data.provenance))).checksum == data.checksum
    np.save(tmp_path / "x.npy", counts.reshape(120, 3, 3).astype(np.uint8))
    mapped = from_arrays(np.load(tmp_path / "x.npy", mmap_mode="r"), domain=Domain("counts"))
    assert isinstance(mapped.train.x, MappedRows)
    assert mapped.x_shape == (3, 3)
    assert torch.equal(mapped.train.x.dense().flatten(1), data.train.x.dense())
    assert isinstance(mapped.test[2:].x, Rows)


def test_pending_preprocessing_is_applied_batch_by_batch(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (90, 1, 4, 4)).astype(np.uint8)
    np.save(tmp_path / "x.npy", x)
    mapped = from_arrays(np.load(tmp_path / "x.npy", mmap_mode="r")).dequantize()
    dense = from_arrays(x).dequantize()
    assert isinstance(mapped.train.x, MappedRows)
    vaes = [build(data, latent_dim=2, seed=0) for data in (mapped, dense)]
    losses = [
        fit(vae, data, epochs=1, seed=0, progress=False).history["train_elbo"].iloc[0]
        for vae, data in zip(vaes, (mapped, dense), strict=True)
    ]
    assert losses[0] == losses[1]
    assert math.isfinite(losses[0])
