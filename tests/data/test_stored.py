"""Data that stay sparse or on disk: the numbers of dense data, a few rows at a time."""

import json
import math

import numpy as np
import pytest
import scipy.sparse
import torch

from ppl_vae import Domain, VampPrior, build, evaluate, fit
from ppl_vae.casting import arguments
from ppl_vae.data import Split, again, from_arrays, load
from ppl_vae.diagnostics import to_arviz
from ppl_vae.rows import MappedRows, Observed, Rows, SparseRows
from ppl_vae.training import load as load_run
from ppl_vae.vae.seen import rows_to_learn_from

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
        vae = build(data, latent_dim=2, seed=0)
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
        (scipy.sparse.csr_matrix([[1.0, np.inf], [0, 1]]), {}, "expects finite values where it is sparse or on disk"),
        (scipy.sparse.csr_matrix([[1.0, np.nan], [0, np.nan]]), {}, "an observed value in every column, got none in"),
        (scipy.sparse.csr_matrix([[1.0, 1e39], [0, 1]]), {}, "expects finite values in float32, got 1e.39"),
        (scipy.sparse.eye(9).tocsr(), {"domain": Domain("positive")}, "expect positive values, the same in every"),
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
    assert mapped.x_shape == (1, 3, 3)  # as in memory
    assert torch.equal(mapped.train.x.dense().flatten(1), data.train.x.dense())
    assert isinstance(mapped.test[2:].x, Rows)


def test_a_large_file_stays_on_disk(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(50, 3)))
    in_memory = load(tmp_path / "x.npy")
    monkeypatch.setattr("ppl_vae.data.formats.MOST_IN_MEMORY", 100)
    mapped = load(tmp_path / "x.npy")
    assert isinstance(mapped.train.x, MappedRows)
    assert torch.equal(mapped.train.x.dense(), in_memory.train.x)
    assert again(json.loads(json.dumps(mapped.provenance))).checksum == mapped.checksum


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


def test_a_prior_of_pseudo_inputs_starts_at_sparse_data(counts):
    vae = build(from_arrays(scipy.sparse.csr_matrix(counts)), latent_dim=2, prior=VampPrior, seed=0)
    dense = build(from_arrays(counts), latent_dim=2, prior=VampPrior, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(vae.parameters(), dense.parameters(), strict=True))


def with_gaps():
    x = np.random.default_rng(0).normal(3.0, [1.0, 20.0, 5.0], (200, 3))
    x[np.random.default_rng(1).random(x.shape) < 0.2] = np.nan
    return x


def mapped_file(path, x):
    np.save(path, x)
    return np.load(path, mmap_mode="r")


def test_nan_on_disk_is_missing(tmp_path):
    x = with_gaps()
    stored, dense = (from_arrays(a, seed=1) for a in (mapped_file(tmp_path / "x.npy", x), x))
    assert isinstance(stored.train.mask, Observed)
    assert stored.masked
    assert repr(stored) == repr(dense)
    for a, b in ((stored.test, dense.test), (stored.standardize().test, dense.standardize().test)):
        assert torch.equal(a.observed, b.observed)
        assert torch.equal(a.elements, b.elements)
        torch.testing.assert_close(a.x.dense(), b.x, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(a.log_volume, b.log_volume)
    found = []
    for data in (stored.standardize(), dense.standardize()):
        vae = build(data, latent_dim=2, seed=0)
        fit(vae, data, epochs=2, batch_size=32, seed=0, progress=False)
        found.append(torch.tensor(evaluate(vae, data.test, num_samples=30, seed=0, progress=False).per_datum.values))
        assert vae.recipe["mask_input"]
        tree = to_arviz(vae, data.test, num_samples=30, seed=0, progress=False)
        assert np.array_equal(tree.constant_data["mask"].values, dense.test.mask.numpy())
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-3, equal_nan=True)


def test_a_stored_nan_of_a_sparse_matrix_is_missing_and_what_is_not_stored_is_0(counts):
    x = counts.astype(float)
    x[x > 5] = np.nan
    stored, dense = from_arrays(scipy.sparse.csr_array(x)), from_arrays(np.where(np.isnan(x), np.nan, x))
    assert stored.domain == Domain("counts")
    assert torch.equal(stored.test.x.dense(), dense.test.x)
    assert torch.equal(stored.test.observed, dense.test.observed)
    assert bool((stored.test.x.dense() == 0)[stored.test.observed].any())


@pytest.mark.parametrize("kind", ["real", "unit", "positive"])
@pytest.mark.parametrize("per", ["column", "all"])
def test_standardized_data_stay_where_they_are(tmp_path, kind, per):
    x = np.random.default_rng(0).uniform(0.1, [0.5, 0.9], (300, 2))
    stored, dense = (
        from_arrays(a, domain=Domain(kind)).standardize(per=per) for a in (mapped_file(tmp_path / "x.npy", x), x)
    )
    assert isinstance(stored.train.x, MappedRows)
    assert stored.domain.kind == dense.domain.kind
    torch.testing.assert_close(stored.test.x.dense(), dense.test.x, rtol=1e-5, atol=1e-5)
    assert stored.checksum != from_arrays(mapped_file(tmp_path / "x.npy", x), domain=Domain(kind)).checksum
    binary = from_arrays(mapped_file(tmp_path / "x.npy", x)).binarize("threshold")
    assert torch.equal(binary.test.x.dense(), from_arrays(x).binarize("threshold").test.x)


def test_float32_is_said_to_lose_what_it_loses(tmp_path):
    with pytest.warns(UserWarning, match="x is rounded to float32, in which 40 whole numbers become others"):
        from_arrays(mapped_file(tmp_path / "x.npy", np.full((20, 2), 2**24 + 1)), domain=Domain("counts"))
    with pytest.raises(ValueError, match=r"finite values in float32, got 1e\+39"):
        from_arrays(mapped_file(tmp_path / "y.npy", np.full((20, 2), 1e39)))


def test_rows_on_disk_are_shuffled_by_chunk(tmp_path, monkeypatch):
    rows = MappedRows(mapped_file(tmp_path / "x.npy", np.zeros((1000, 4), dtype=np.float32)), (1000, 4))
    kept = rows[torch.randperm(1000, generator=torch.Generator().manual_seed(0))[:900]]
    torch.manual_seed(0)
    whole = kept.shuffled()
    torch.manual_seed(0)
    assert torch.equal(whole, torch.randperm(900))  # all of them fit into the buffer
    monkeypatch.setattr("ppl_vae.rows._CHUNK_BYTES", 16 * 100)
    monkeypatch.setattr("ppl_vae.rows.BUFFER", 16 * 200)
    orders = [kept.shuffled() for _ in range(2)]
    for order in orders:
        assert torch.equal(order.sort().values, torch.arange(900))
        chunks = kept._positions[order] // 100
        first = [int(chunks[start : start + 150].unique().numel()) for start in range(0, 900, 150)]
        assert max(first) <= 4
        assert (chunks[:150].diff() != 0).sum() > 20  # rows of several chunks are mixed
    assert not torch.equal(*orders)
    in_memory = SparseRows(scipy.sparse.csr_matrix((900, 9)), (900, 9)).shuffled()
    assert torch.equal(in_memory.sort().values, torch.arange(900))


def test_a_resumed_training_on_disk_is_bit_for_bit_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("ppl_vae.rows._CHUNK_BYTES", 24 * 20)
    monkeypatch.setattr("ppl_vae.rows.BUFFER", 12 * 60)
    data = from_arrays(mapped_file(tmp_path / "x.npy", with_gaps())).standardize()
    weights = []
    for number, stops in enumerate(([4], [2, 4])):
        for epochs in stops:
            vae = build(data, latent_dim=2, seed=0)
            how = {"batch_size": 32, "seed": 0, "progress": False, "run": tmp_path / f"run{number}", "resume": True}
            fit(vae, data, epochs=epochs, **how)
        weights.append(vae.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    raw = np.random.default_rng(2).normal(size=(5, 3))
    prepared = load_run(tmp_path / "run1").prepare(mapped_file(tmp_path / "new.npy", raw))
    assert prepared.x.dtype == data.train.x.dtype == torch.float32  # as the loaders have it
    assert load_run(tmp_path / "run1").prepare(raw).x.dtype == torch.float32
    torch.testing.assert_close(prepared.x.dense(), load_run(tmp_path / "run1").prepare(raw).x)


def test_the_mask_goes_where_the_program_is():
    x = scipy.sparse.csr_matrix([[1.0, 0.0], [np.nan, 2.0]])
    program = torch.nn.Linear(2, 1, device="meta")
    (x, *_), mask = arguments(program, from_arrays(x, x_validation=x, x_test=x).train)
    assert x.device == mask.device == program.weight.device


def test_as_many_rows_are_looked_at_first_as_fit_into_memory(counts, monkeypatch):
    stored = from_arrays(scipy.sparse.csr_array(counts))
    assert len(rows_to_learn_from(stored)[0]) == len(stored.train)
    monkeypatch.setattr("ppl_vae.vae.seen._STORED", 100)
    assert len(rows_to_learn_from(stored)[0]) == 11
    assert len(rows_to_learn_from(from_arrays(counts))[0]) == len(stored.train)


@pytest.mark.parametrize("shape", [(40, 8, 8, 3), (40, 8, 8), (40, 3, 8, 8)])
def test_pictures_on_disk_have_their_channels_first(shape, tmp_path):
    x = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.save(tmp_path / "x.npy", x)
    mapped, dense = from_arrays(np.load(tmp_path / "x.npy", mmap_mode="r"), seed=1), from_arrays(x, seed=1)
    assert mapped.x_shape == dense.x_shape
    for role, split in mapped.splits.items():
        assert torch.equal(split.x.dense(), dense.splits[role].x)
