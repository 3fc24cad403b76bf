"""New data are prepared as the training data were."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

from ppl_vae import Bernoulli, Domain, Gaussian, build, data, fit, load
from ppl_vae.data import from_arrays, from_frame
from ppl_vae.data.coding import check_values, encoded
from ppl_vae.data.parquet import Table
from ppl_vae.training.run_folder import RunFolder

RNG = np.random.default_rng(0)


def run_of(prepared, folder, **parts):
    vae = build(prepared, latent_dim=2, seed=0, **parts)
    fit(vae, prepared, epochs=1, seed=0, progress=False, run=folder)
    return load(folder)


def without_levels(provenance):
    return {key: value for key, value in provenance.items() if key != "grey_levels"}


def earlier_version(run):
    """A run of a version that did not note how many grey levels were binarized."""
    config = {**run.config, "data": [without_levels(one) for one in run.config["data"]]}
    RunFolder(run.path).write_config(config)
    return load(run.path)


def assert_same(made, split):
    torch.testing.assert_close(made.x, split.x, rtol=1e-6, atol=1e-6)
    assert made.domain == split.domain
    assert (made.mask is None) == (split.mask is None) or torch.equal(made.observed, split.observed)
    assert len(made.context) == len(split.context)
    for a, b in zip(made.context, split.context, strict=True):
        torch.testing.assert_close(a, b)


@pytest.fixture
def frame():
    n = np.arange(60)
    return pd.DataFrame(
        {
            "a": RNG.normal(3, 4, 60),
            "b": np.where(n % 7, RNG.normal(900, 50, 60), np.nan),
            "site": np.where(n % 3, "here", "there"),
            "kind": np.where(n % 2, "odd", "even"),
            "id": n,
        }
    )


def test_a_frame(frame, tmp_path):
    made = from_frame(frame, {"id": "skip"}, label="kind", context=["site"]).standardize().condition_on_labels()
    run = run_of(made, tmp_path / "run")
    rows = frame.iloc[made.test.index.numpy()]
    assert_same(run.prepare(rows), made.test)
    assert_same(run.prepare(rows.drop(columns="id")), made.test)
    labels = rows["kind"]
    assert_same(run.prepare(rows.assign(kind=labels.astype("category"))), made.test)
    with pytest.raises(ValueError, match=r"'site' expects one of here, there, got moon \(row 1\), which the training"):
        run.prepare(rows.assign(site=["moon" if i == 1 else "here" for i in range(len(rows))]))
    with pytest.raises(ValueError, match="labels among even, odd, as in training, got prime"):
        run.prepare(rows.assign(kind="prime"))
    with pytest.raises(ValueError, match="expects a label for each datum, got none"):
        run.prepare(rows.drop(columns="kind"))
    assert_same(run.prepare(rows.drop(columns="kind"), y=labels), made.test)
    with pytest.raises(ValueError, match=r"the labels once, got y= and the column 'kind'; leave one of them out"):
        run.prepare(rows, y=labels)
    with pytest.raises(ValueError, match=r"expects no context beside a frame .* got one; give the columns site in its"):
        run.prepare(rows, context=np.zeros((len(rows), 1)))
    with pytest.raises(ValueError, match=r"expects no mask beside a frame .* got one; make what is missing NaN"):
        run.prepare({"x": rows, "mask": np.ones((len(rows), 2), dtype=bool)})
    with pytest.raises(ValueError, match="the columns a, b, got none for b; add them, of NaN"):
        run.prepare(rows.drop(columns="b"))
    with pytest.raises(ValueError, match=r"context 'site' expects .* got no such column; .* cannot be missing"):
        run.prepare(rows.drop(columns="site"))
    with pytest.raises(ValueError, match=r"got others, Kind; rename them: df.rename\(columns={'Kind': 'kind'}\)"):
        run.prepare(rows.rename(columns={"kind": "Kind"}).assign(more=1))
    with pytest.raises(ValueError, match="columns of the training data, got others, more; leave them out"):
        run.prepare(rows.assign(more=1))
    with pytest.raises(ValueError, match="expects a frame with the columns a, b, got ndarray"):
        run.prepare(rows[["a", "b"]].to_numpy())


def test_labels_and_contexts_beside_a_table_on_disk(frame, tmp_path):
    made = from_frame(frame.drop(columns=["site", "id"]), label="kind").condition_on_labels()
    run = run_of(made, tmp_path / "run")
    frame[["a", "b"]].to_parquet(tmp_path / "new.parquet")
    new = Table(tmp_path / "new.parquet")
    assert torch.equal(run.prepare(new, y=frame["kind"]).context[0].argmax(1), torch.arange(60) % 2)
    with pytest.raises(ValueError, match=r"expects no context beside a frame or cells, .* got one; leave it out"):
        run.prepare(new, y=frame["kind"], context=np.zeros(60))


def test_a_wrong_cell_is_named(tmp_path):
    n = np.arange(60)
    frame = pd.DataFrame({"height": 100.0 + n, "income": 1.0 + n, "visits": n % 7, "share": n / 60, "shifted": n % 3})
    frame.to_csv(tmp_path / "table.csv", index=False)
    (tmp_path / "types.csv").write_text("type,dim,nclass\nreal,1,\npos,1,\ncount,1,\nreal,1,\npos,1,\n")
    made = data.load(tmp_path / "table.csv", kinds=tmp_path / "types.csv").standardize()
    run = run_of(made, tmp_path / "run")
    frame = frame.astype(float)
    for column, value, message in [
        ("visits", -1.0, r"'visits' expects a whole number from 0 on, got -1 \(row 41 and 1 more\); correct it"),
        ("visits", 2.5, r"'visits' expects a whole number from 0 on, got 2.5 \(row 41 and 1 more\)"),
        ("income", 0.0, r"'income' expects a number above 0 that float32 holds, got 0 \(row 41"),
        ("shifted", -1.0, r"'shifted' expects a number above -1 that float32 holds, got -1 \(row 41"),
        ("height", 1e300, r"'height' expects a number that float32 holds, got 1e\+300 \(row 41"),
    ]:
        wrong = frame.copy()
        wrong.loc[[41, 52], column] = value
        with pytest.raises(ValueError, match=message):
            run.prepare(wrong)
        if value < 1e300:
            wrong.to_parquet(tmp_path / "new.parquet", row_group_size=20)
            with pytest.raises(ValueError, match=message):
                run.prepare(Table(tmp_path / "new.parquet"))
    values, _ = encoded(frame.assign(visits=[*[1.0] * 59, -3.0]), made.columns)
    with pytest.raises(ValueError, match=r"got -3 \(row 59\)"):
        check_values(made.columns, [values[:40], values[40:]])


def test_arrays_with_context(tmp_path):
    x, age = RNG.normal(size=(60, 3)), RNG.normal(40, 9, 60)
    x[5, 1] = np.nan
    made = from_arrays(x, context=(age, np.where(x[:, 0] > 0, "up", "down"))).standardize()
    run = run_of(made, tmp_path / "run")
    rows = made.train.index.numpy()
    context = (age[rows], np.where(x[:, 0] > 0, "up", "down")[rows])
    assert_same(run.prepare(x[rows], context=context), made.train)
    assert_same(run.prepare({"x": x[rows], "context": context}), made.train)
    with pytest.raises(ValueError, match="expects 2 contexts, as in training, got 0"):
        run.prepare(x)
    with pytest.raises(ValueError, match=r"expects x of shape \(n, 3\), as in training, got \(60, 2\)"):
        run.prepare(x[:, :2], context=(age, context[1][np.zeros(60, dtype=int)]))


@pytest.mark.parametrize("standardized", [True, False])
def test_what_would_not_be_used_of_arrays_is_refused(tmp_path, standardized):
    x, age, y = RNG.normal(size=(60, 3)), RNG.normal(40, 9, 60), np.arange(60) % 2
    given = from_arrays(x, y, context=age, standardize_context=standardized)
    run = run_of(given.condition_on_labels(), tmp_path / "run")
    assert_same(run.prepare({"x": x, "y": y}, context=age), run.prepare(x, y=y, context=age))
    for context, came, fix in [((age, age), 2, "leave the others out"), ((), 0, "give each by context=")]:
        with pytest.raises(ValueError, match=f"expects 1 context, as in training, got {came}; {fix}"):
            run.prepare(x, y=y, context=context)
    with pytest.raises(ValueError, match="expects y once, got it as an argument and among the arrays; leave one out"):
        run.prepare({"x": x, "y": y}, y=y, context=age)
    with pytest.raises(ValueError, match="expects arrays named x, mask, y, context, got masks; leave them out, or"):
        run.prepare({"x": x, "y": y, "context": age, "masks": x > 0})
    with pytest.raises(ValueError, match="expects 1 context, as in training, got 0; give each by context="):
        run.prepare(x, y=y)
    with pytest.warns(UserWarning, match="of the arrays x, mask, y and context are used; left out: x_test, ids"):
        found = run.prepare({"x": x, "x_test": x, "ids": y, "y": y, "context": age})
    assert_same(found, run.prepare(x, y=y, context=age))
    plain = run_of(from_arrays(x, y), tmp_path / "plain")
    assert_same(plain.prepare({"x": x, "y": y}), plain.prepare(x))  # labels of a file, which the model is not given
    with pytest.raises(ValueError, match="y= for a VAE that was conditioned on labels, got it for one that is not"):
        plain.prepare(x, y=y)
    with pytest.raises(ValueError, match="expects no context, as in training, got 1; leave it out"):
        plain.prepare(x, context=age)


@pytest.mark.parametrize("step", ["threshold", "static", "dequantize"])
def test_pictures(tmp_path, step):
    x = RNG.integers(0, 256, (60, 1, 4, 4)).astype(np.uint8)
    grey = from_arrays(x)
    if step == "dequantize":
        made, likelihood = grey.dequantize(seed=1).standardize(), Gaussian
    else:
        made, likelihood = grey.binarize(step, seed=1), Bernoulli
    run = run_of(made, tmp_path / "run", likelihood=likelihood)
    rows = made.test.index.numpy()
    found = run.prepare(x[rows], seed=3)
    assert found.domain == made.domain
    assert not found.pending
    assert torch.equal(found.x, run.prepare(x[rows], seed=3).x)
    if step == "threshold":
        assert torch.equal(found.x, made.test.x)
    if step == "dequantize":
        assert torch.equal(found.x, run.prepare(x[rows], domain=Domain("levels", 256), seed=3).x)
        with pytest.raises(
            ValueError, match="domain= for data that are binarized, got 17 levels for real data that are"
        ):
            run.prepare(x[rows], domain=Domain("levels", 17))
        assert torch.equal((found.domain.raw(found.x)).floor().byte(), torch.from_numpy(x[rows]))
        return
    as_floats = x[rows].astype(float)
    assert torch.equal(found.x, run.prepare(as_floats, seed=3).x)
    assert torch.equal(found.x, run.prepare(as_floats, domain=Domain("levels", 256), seed=3).x)
    earlier = earlier_version(run)
    with pytest.raises(ValueError, match=r"grey values to binarize in \[0, 1\], or of 8 or 16 bits, got values up to"):
        earlier.prepare(as_floats)
    assert torch.equal(found.x, earlier.prepare(as_floats, domain=Domain("levels", 256), seed=3).x)


@pytest.mark.parametrize("step", ["threshold", "dynamic"])
@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32"])
def test_grey_levels_are_those_of_the_training(tmp_path, step, dtype):
    x = RNG.integers(0, 17, (200, 1, 4, 4)).astype(dtype)
    made = from_arrays(x, x_test=x[:90], domain=Domain("levels", 17)).binarize(step)
    run = run_of(made, tmp_path / "run", likelihood=Bernoulli)
    found = run.prepare(x[:90]).x
    assert torch.equal(found, run.prepare(x[:90], domain=Domain("levels", 17)).x)
    if step == "threshold":
        assert torch.equal(found, made.test.x)
    assert abs(found.mean() - made.test.x.mean()) < 0.05
    np.save(tmp_path / "new.npy", x[:90])
    on_disk = run.prepare(np.load(tmp_path / "new.npy", mmap_mode="r"))
    assert step == "dynamic" or torch.equal(on_disk.x, found)
    with pytest.raises(ValueError, match=r"binarize from 0 to 16, got values up to 17 .*command line --levels 18\)"):
        run.prepare(x[:90] + (x[:90] == 16))
    with pytest.raises(
        ValueError, match=r"up to 216 of others; .*, of 217 levels or more: domain=Domain\('levels', 217"
    ):
        run.prepare(x[:90] + 200, domain=Domain("levels", 17))
    with pytest.raises(ValueError, match=r"got values down to -1; give raw grey values, which are 0 or more"):
        run.prepare(x[:90] / 16 - 1.0)
    earlier = earlier_version(run)
    if dtype == "uint8":
        assert earlier.prepare(x[:90]).x.mean() < 0.1
    made = from_arrays(x, x_test=x[:90], domain=Domain("levels", 17)).binarize(step)
    fit(earlier.vae, made, epochs=2, seed=0, progress=False, run=tmp_path / "run", resume=True)
    assert made.test.identity == replace(made.test, provenance=without_levels(made.test.provenance)).identity


def test_sparse_counts(tmp_path):
    x = RNG.poisson(1.0, (60, 7))
    made = from_arrays(scipy.sparse.csr_matrix(x))
    run = run_of(made, tmp_path / "run")
    assert torch.equal(run.prepare(scipy.sparse.csr_matrix(x[:5])).x.dense(), torch.from_numpy(x[:5]).float())
    assert torch.equal(run.prepare(x[:5]).x, torch.from_numpy(x[:5]).float())
    with pytest.raises(ValueError, match=r"prepare expects counts values .*, got others from 0.5 to 0.5"):
        run.prepare(np.full((3, 7), 0.5))


def test_a_run_of_data_without_steps_is_refused(tmp_path):
    x = torch.from_numpy(RNG.normal(size=(30, 3))).float()
    vae = build(data.from_arrays(x), latent_dim=2, seed=0)
    fit(vae, x, epochs=1, progress=False, run=tmp_path / "run")
    with pytest.raises(ValueError, match=r"prepare expects a run of a VAE that build made, on data of ppl_vae.data"):
        load(tmp_path / "run").prepare(x)
