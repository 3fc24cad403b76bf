"""encode, reconstruct, impute and score: new data in, results out in the format of the new data."""

import json
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse

from ppl_vae import Categorical, Domain, Gaussian, build, evaluate, fit, impute, load
from ppl_vae.cli.main import main
from ppl_vae.data import from_arrays, from_frame, to_frame
from ppl_vae.data.files import from_file
from ppl_vae.data.parquet import Table
from ppl_vae.evaluation import per_column

RNG = np.random.default_rng(0)


def run_of(data, folder, **parts):
    fit(build(data, **{"latent_dim": 2, "seed": 0} | parts), data, epochs=1, seed=0, progress=False, run=folder)
    return load(folder)


def carry_out(*words):
    assert main([str(word) for word in words]) == 0


@pytest.fixture
def table(tmp_path):
    n = np.arange(50)
    frame = pd.DataFrame({"a": RNG.normal(3, 4, 50), "b": np.where(n % 7, RNG.normal(900, 50, 50), np.nan)})
    frame = frame.assign(day=pd.date_range("2024-02-01", periods=50))
    frame.to_csv(tmp_path / "table.csv", index=False)
    return frame


def test_a_table(tmp_path, table, capsys):
    run = run_of(from_file(tmp_path / "table.csv").standardize(), tmp_path / "run")
    table[:9].to_csv(tmp_path / "new.csv", index=False)
    words = tmp_path / "run", tmp_path / "new.csv", "--out", tmp_path / "out.csv"
    split = run.prepare(table[:9])
    carry_out("encode", *words)
    found = pd.read_csv(tmp_path / "out.csv")
    assert list(found) == ["z_0", "z_1", "z_sd_0", "z_sd_1"]
    q = run.vae.encode(split)
    np.testing.assert_allclose(found.iloc[:, :2], q.mean.detach(), rtol=1e-5)
    np.testing.assert_allclose(found.iloc[:, 2:], q.stddev.detach(), rtol=1e-5)
    carry_out("reconstruct", *words, "--seed", 3)
    found = pd.read_csv(tmp_path / "out.csv")
    expected = run.vae.raw(run.vae.reconstruct(split, seed=3))
    np.testing.assert_allclose(found[["a", "b"]], expected[:, :2], rtol=1e-5)
    days = pd.to_datetime(found["day"]) - pd.Timestamp("2024-02-01")
    np.testing.assert_array_equal(days.dt.days, expected[:, 2].round())
    assert abs(found["b"].mean() - 900) < 100
    carry_out("score", *words, "--num-samples", 30)
    found = pd.read_csv(tmp_path / "out.csv")
    assert list(found)[:2] == ["log_px", "elbo"]
    expected = evaluate(run.vae, split, num_samples=30, seed=0, progress=False).per_datum
    np.testing.assert_allclose(found["log_px"], expected["log_px"])
    carry_out("score", *words, "--num-samples", 30, "--method", "adaptive")
    assert "log p(x): 9 of 9 by importance sampling" in capsys.readouterr().out


def test_scores_of_each_column(tmp_path, table, capsys):
    run = run_of(from_file(tmp_path / "table.csv").standardize(), tmp_path / "run")
    carry_out("evaluate", tmp_path / "run", "--per-column", "--num-samples", 30)
    assert "NLL of each column given the others, nats per datum" in capsys.readouterr().out
    found = pd.read_csv(tmp_path / "run" / "per_column.csv", index_col="column")
    test = from_file(tmp_path / "table.csv").standardize().test
    expected = per_column(run.vae, test, num_samples=30, seed=0, progress=False)
    assert found.index.tolist() == ["a", "b", "day"]
    np.testing.assert_allclose(found["nll"], expected["nll"])
    carry_out("evaluate", tmp_path / "run", "--per-column", "--num-samples", 30, "--json")
    said = json.loads(capsys.readouterr().out)
    assert said["per_column"]["b"]["observed"] == expected["observed"]["b"]
    carry_out("evaluate", tmp_path / "run", "--per-column", "--num-samples", 30, "--method", "adaptive")
    found = pd.read_csv(tmp_path / "run" / "per_column.csv", index_col="column")
    expected = per_column(run.vae, test, method="adaptive", num_samples=30, seed=0, progress=False)
    np.testing.assert_allclose(found["nll"], expected["nll"])
    carry_out("evaluate", tmp_path / "run", "--num-samples", 30)  # the file beside the others is no damage


def test_exposures_in_a_file_of_arrays(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    hours = RNG.gamma(3, 1, 60)
    np.savez("counts.npz", x=RNG.poisson(2 * hours[:, None], (60, 4)), context=hours)
    words = ["--data", "counts.npz", "--likelihood", "Poisson", "--likelihood.exposure", "context", "--epochs", 1]
    assert main([str(word) for word in ["train", *words, "--run", "run"]]) == 1
    assert "--raw-context for a .npz file" in capsys.readouterr().err
    carry_out("train", *words, "--raw-context", "--run", "run")
    carry_out("evaluate", "run", "--num-samples", 30)
    carry_out("score", "run", "counts.npz", "--out", "scores.npz", "--num-samples", 30)
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"raw_context expects a .npz file with contexts, got .*table.csv; say that"):
        from_file(tmp_path / "table.csv", raw_context=True)
    np.save(tmp_path / "alone.npy", RNG.poisson(3.0, (20, 4)))
    with pytest.raises(ValueError, match=r"raw_context expects a .npz file with contexts, got none in .*alone.npy"):
        from_file(tmp_path / "alone.npy", raw_context=True)


@pytest.mark.parametrize("ending", [".npy", ".npz"])
def test_arrays(tmp_path, ending, capsys):
    x = RNG.integers(0, 256, (40, 1, 4, 4)).astype(np.uint8)
    run_of(from_arrays(x).binarize("threshold"), tmp_path / "run")
    file, out = tmp_path / f"new{ending}", tmp_path / f"out{ending}"
    np.save(file, x[:7]) if ending == ".npy" else np.savez(file, x=x[:7])
    carry_out("encode", tmp_path / "run", file, "--out", out)
    found = np.load(out)
    if ending == ".npy":
        assert found.shape == (7, 2)
        assert "holds z alone, without z_sd: a .npz file would hold all" in capsys.readouterr().out
    else:
        assert {name: found[name].shape for name in found} == {"z": (7, 2), "z_sd": (7, 2)}
    carry_out("reconstruct", tmp_path / "run", file, "--out", out)
    found = np.load(out)
    assert (found if ending == ".npy" else found["x"]).shape == (7, 1, 4, 4)


@pytest.mark.parametrize("command", ["encode", "reconstruct", "impute", "score"])
def test_what_is_made_of_an_array_is_whole_in_arrays(command, tmp_path, capsys):
    x = RNG.normal(size=(40, 3)).astype(np.float32)
    run_of(from_arrays(x), tmp_path / "run")
    x[0, 0] = np.nan
    np.save(tmp_path / "new.npy", x[:7])
    np.savez(tmp_path / "new.npz", x=x[:7])
    words = ["--num-samples", 30] if command in ("impute", "score") else []
    for source, out in (("new.npy", "a.npz"), ("new.npz", "b.npz")):
        carry_out(command, tmp_path / "run", tmp_path / source, "--out", tmp_path / out, *words)
    found, expected = np.load(tmp_path / "a.npz"), np.load(tmp_path / "b.npz")
    assert found.files == expected.files
    assert all(np.array_equal(found[name], expected[name], equal_nan=True) for name in expected)
    assert "a .npz file would" not in capsys.readouterr().out
    words = [str(tmp_path / "run"), str(tmp_path / "new.npy"), "--out", str(tmp_path / "c.csv"), *map(str, words)]
    assert main([command, *words]) == 1
    assert "--out expects a file that ends in .npy or .npz, for new data in new.npy, got " in capsys.readouterr().err


def test_levels_are_for_what_is_binarized(tmp_path, capsys):
    x = RNG.integers(0, 17, (40, 1, 4, 4)).astype(np.uint8)
    grey = from_arrays(x, domain=Domain("levels", 17))
    run_of(grey.binarize("threshold"), tmp_path / "binary")
    run_of(grey.dequantize(), tmp_path / "grey", likelihood=Gaussian)
    run_of(from_arrays(RNG.normal(size=(40, 3))), tmp_path / "real")
    np.save(tmp_path / "new.npy", x[:7])
    np.save(tmp_path / "real.npy", RNG.normal(size=(7, 3)))
    carry_out("encode", tmp_path / "binary", tmp_path / "new.npy", "--out", tmp_path / "a.npy")
    carry_out("encode", tmp_path / "binary", tmp_path / "new.npy", "--levels", 17, "--out", tmp_path / "b.npy")
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    carry_out("encode", tmp_path / "grey", tmp_path / "new.npy", "--levels", 17, "--out", tmp_path / "b.npy")
    for name, new, levels, message in [
        ("grey", "new", 9, "got 9 for one that is not, of 17 grey levels; leave it out, and give pictures"),
        ("real", "real", 9, "got 9 for one that is not, of values that are no grey levels; leave it out"),
        ("binary", "new", 9, "binarize from 0 to 8, got values up to 16 of others; give their domain"),
    ]:
        words = "encode", tmp_path / name, tmp_path / f"{new}.npy", "--levels", levels, "--out", tmp_path / "c.npy"
        assert main([str(word) for word in words]) == 1
        said = capsys.readouterr().err
        assert message in said
        assert "--levels" in said


def test_a_hierarchy_and_sparse_counts(tmp_path, capsys):
    x = RNG.poisson(1.0, (40, 7))
    run_of(from_arrays(x), tmp_path / "run", latent_dim=[2, 3])
    scipy.sparse.save_npz(tmp_path / "new.npz", scipy.sparse.csr_matrix(x[:5]))
    carry_out("encode", tmp_path / "run", tmp_path / "new.npz", "--out", tmp_path / "out.npz", "--num-samples", 30)
    assert "mean and sd are those of 30 draws from q a datum" in capsys.readouterr().out
    found = np.load(tmp_path / "out.npz")
    assert {name: found[name].shape for name in found} == {
        "z2": (5, 2),
        "z1": (5, 3),
        "z2_sd": (5, 2),
        "z1_sd": (5, 3),
    }


def test_what_is_written_is_what_was_read(tmp_path, table, capsys):
    run_of(from_file(tmp_path / "table.csv", kinds={"day": "skip"}).standardize(), tmp_path / "run")
    with pytest.raises(AssertionError):
        carry_out("encode", tmp_path / "run", tmp_path / "table.csv", "--out", tmp_path / "out.npz")
    assert "--out expects a file that ends in .csv, for new data in table.csv" in capsys.readouterr().err
    with pytest.raises(AssertionError):
        carry_out("encode", tmp_path / "run", tmp_path / "table.csv", "--out", tmp_path / "table.csv")
    assert "another file than that of the new data" in capsys.readouterr().err
    (tmp_path / "new.csv").write_bytes((tmp_path / "table.csv").read_bytes())
    with pytest.raises(AssertionError):
        carry_out("encode", tmp_path / "run", tmp_path / "new.csv", "--out", tmp_path / "table.csv")
    assert "another file than the training data of" in capsys.readouterr().err
    with pytest.raises(AssertionError):
        carry_out("encode", tmp_path / "run", tmp_path / "new.csv", "--levels", "7", "--out", tmp_path / "out.csv")
    assert "--levels expects pictures of grey levels, got it for a table" in capsys.readouterr().err


def test_no_command_writes_over_data_or_files_of_a_run(tmp_path, table, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    table[:9].to_csv("new_1.csv", index=False)
    table[:9].to_csv("test_2.csv", index=False)
    run_of(from_file("table.csv", test="test_2.csv").standardize(), tmp_path / "run")
    carry_out("evaluate", "run", "--num-samples", 30)
    carry_out("sample", "run", "--num", 4)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    for words, named in [
        ("impute run new_1.csv --num-draws 2 --out new.csv", "that of the new data, got new_1.csv"),
        ("impute run new_1.csv --num-draws 2 --out test.csv", "the training data of"),
        ("encode run new_1.csv --out test_2.csv", "the training data of"),
        ("encode run new_1.csv --out run/samples.csv", "those that the run"),
        ("sample run --out table.csv", "the training data of"),
        ("sample run --data new_1.csv --out new_1.csv", "the data, got new_1.csv"),
        ("export run --out run/config.json", "those that the run"),
        ("export run --out run/evaluation.json", "those that the run"),
        ("report run --out run/history.jsonl", "those that the run"),
        ("report run --out table.csv", "the training data of"),
        ("compare run --figure run/checkpoint.json", "those that the run"),
        ("manifold --data manifold.csv --out .", "the data, got manifold.csv"),
        ("table table.yaml --out .", "the data of a cell, got results.csv"),
    ]:
        (tmp_path / "manifold.csv").write_text("a\n1\n")
        (tmp_path / "results.csv").write_text("a\n1\n")
        (tmp_path / "table.yaml").write_text("data: results.csv")
        assert main(words.split()) == 1
        said = capsys.readouterr().err
        assert f"expects another file than {named}" in said, said
    assert {file: file.read_bytes() for file in before} == before
    carry_out("sample", "run", "--num", 9, "--out", "run/samples.csv")  # its own file, whose checksum is noted
    load("run")
    assert len(pd.read_csv("run/samples.csv")) == 9
    for num in (2, 3):  # of another name, it may be written again
        carry_out("sample", "run", "--num", num, "--out", "run/mine.csv")
    assert len(pd.read_csv("run/mine.csv")) == 3
    load("run")


def test_gaps_of_a_table_are_filled_and_nothing_else_changes(tmp_path, table, capsys):
    frame = table.assign(note=[f"row {i}" for i in range(50)])
    frame.loc[1::9, "day"] = pd.NaT
    frame.to_csv(tmp_path / "table.csv", index=False)
    run = run_of(from_file(tmp_path / "table.csv", kinds={"note": "skip"}).standardize(), tmp_path / "run")
    words = tmp_path / "run", tmp_path / "table.csv", "--out", tmp_path / "out.csv", "--num-samples", 30
    carry_out("impute", *words, "--num-draws", 2, "--seed", 1)
    said = capsys.readouterr().out
    assert "12 of them" in said or "13 of them" in said
    before = pd.read_csv(tmp_path / "table.csv", parse_dates=["day"])
    found, first, second = (
        pd.read_csv(tmp_path / f"out{number}.csv", parse_dates=["day"]) for number in ("", "_1", "_2")
    )
    imputed = impute(run.vae, run.prepare(before), num_draws=2, num_samples=30, seed=1, progress=False)
    for made, expected in [(found, imputed.raw.mean), (first, imputed.raw.draws[0]), (second, imputed.raw.draws[1])]:
        assert list(made) == list(before)
        assert made.notna().all(axis=None)
        there = before.notna()
        pd.testing.assert_frame_equal(made.where(there), before.where(there))
        np.testing.assert_allclose(made["b"][~there["b"]], expected[:, 1][~there["b"].to_numpy()], rtol=1e-6)
    assert not first.equals(second)


def test_a_table_too_large_for_memory_is_imputed_by_row_group(tmp_path, table, monkeypatch, capsys):
    n = np.arange(50)
    frame = table.assign(
        note=[f"row {i}" for i in n], job=pd.Categorical(np.where(n % 5, "cook", "clerk")), rooms=n % 4
    )
    frame.loc[1::9, ["day", "rooms"]] = None
    frame.loc[2::9, "job"] = None
    frame = frame.astype({"rooms": "Int64"})
    file, out = tmp_path / "table.parquet", tmp_path / "out.parquet"
    frame.to_parquet(file, row_group_size=20)
    run = run_of(from_file(file, kinds={"note": "skip"}).standardize(), tmp_path / "run")
    words = "impute", tmp_path / "run", file, "--out", out, "--num-samples", 30, "--num-draws", 2, "--seed", 1
    carry_out(*words)
    whole = pd.read_parquet(out)
    monkeypatch.setattr("ppl_vae.data.formats.MOST_IN_MEMORY", 100)
    read = Table.frame

    def some(table, names=None):
        assert names is not None, "the whole table was read"
        return read(table, names)

    monkeypatch.setattr(Table, "frame", some)
    capsys.readouterr()
    carry_out(*words)
    said = capsys.readouterr().out
    gaps = int(frame.isna().any(axis=1).sum())
    assert f"imputed {gaps} of 50 rows, a row group at a time; k-hat is good, at most" in said
    assert all(f"out{number}.parquet" in said for number in ("", "_1", "_2"))
    monkeypatch.undo()
    assert pq.ParquetFile(out).num_row_groups == 3
    there = frame.notna()
    many = [*words[:5], "--num-samples", 60]
    for where in ("memory", "row groups"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ppl_vae.data.formats.MOST_IN_MEMORY", 100 if where == "row groups" else 2**30)
            assert main([str(word) for word in (*words[:5], "--num-samples", 9, "--method", "adaptive")]) == 1
            assert "impute(method='adaptive') expects num_samples of 25 or more, got 9" in capsys.readouterr().err
            by = []
            for method in ("importance", "adaptive"):
                carry_out(*many[:4], tmp_path / f"{method}.parquet", *many[5:], "--method", method)
                by.append(pd.read_parquet(tmp_path / f"{method}.parquet"))
            assert not by[0].equals(by[1]), where
    capsys.readouterr()
    for number in ("", "_1", "_2"):
        made = pd.read_parquet(tmp_path / f"out{number}.parquet")
        assert made.dtypes.equals(whole.dtypes)
        assert made.notna().all(axis=None)
        pd.testing.assert_frame_equal(made.where(there), frame.where(there), check_dtype=False)
    part = impute(run.vae, run.prepare(frame[20:40]), num_draws=2, num_samples=30, seed=2, progress=False)
    made = pd.read_parquet(out)["b"].to_numpy()[20:40]
    gap = ~there["b"].to_numpy()[20:40]
    np.testing.assert_allclose(made[gap], part.raw.mean[:, 1][gap], rtol=1e-6)


def test_columns_beside_those_of_the_model_keep_values_and_types(tmp_path, table, monkeypatch):
    """Of whole numbers that no float holds, missing in one row group alone, and without any value in the first."""
    others = {"id": pd.array(2**53 + np.arange(50), dtype="Int64"), "note": [None] * 20 + ["late"] * 30}
    frame = table.assign(**others, flag=pd.array([True, None] * 25, dtype="boolean"))
    frame.loc[25, "id"] = None
    file, out = tmp_path / "table.parquet", tmp_path / "out.parquet"
    skipped = dict.fromkeys(("id", "note", "flag"), "skip")
    run_of(from_frame(frame, kinds=skipped).standardize(), tmp_path / "run")
    schema = pa.Table.from_pandas(frame).schema.remove_metadata()
    pq.write_table(pa.Table.from_pandas(frame).cast(schema), file, row_group_size=20)
    monkeypatch.setattr("ppl_vae.data.formats.MOST_IN_MEMORY", 100)
    carry_out("impute", tmp_path / "run", file, "--out", out, "--num-samples", 30)
    read, made = pq.read_table(file), pq.read_table(out)
    for name in ("id", "note", "flag"):
        assert made[name].equals(read[name])
    assert made["b"].null_count == 0 < read["b"].null_count


@pytest.mark.parametrize("most", [2**30, 100])
@pytest.mark.parametrize("names", [["patient"], [None], ["clinic", "patient"]])
def test_names_of_rows_stay(tmp_path, table, monkeypatch, most, names):
    parts = [[f"id{i % 40}" for i in range(50)], RNG.integers(0, 9, 50)][: len(names)]
    frame = table.set_index(pd.MultiIndex.from_arrays(parts, names=names) if len(names) > 1 else pd.Index(*parts))
    frame.index.names = names
    file, out = tmp_path / "table.parquet", tmp_path / "out.parquet"
    frame.to_parquet(file, row_group_size=20)
    run_of(from_file(file).standardize(), tmp_path / "run")
    monkeypatch.setattr("ppl_vae.data.formats.MOST_IN_MEMORY", most)
    carry_out("impute", tmp_path / "run", file, "--out", out, "--num-samples", 30, "--num-draws", 1)
    for made in (pd.read_parquet(out), pd.read_parquet(tmp_path / "out_1.parquet")):
        pd.testing.assert_index_equal(made.index, frame.index)
        pd.testing.assert_frame_equal(made.where(frame.notna()), frame, check_dtype=False)
        assert made.notna().all(axis=None)
    carry_out("score", tmp_path / "run", file, "--out", tmp_path / "scores.parquet", "--num-samples", 30)
    assert list(pd.read_parquet(tmp_path / "scores.parquet"))[:2] == ["log_px", "elbo"]
    assert "obs" not in pq.read_table(tmp_path / "scores.parquet").column_names
    for command in ("encode", "reconstruct"):
        carry_out(command, tmp_path / "run", file, "--out", tmp_path / f"{command}.parquet")
    for made in ("scores", "encode", "reconstruct"):
        pd.testing.assert_index_equal(pd.read_parquet(tmp_path / f"{made}.parquet").index, frame.index)


def test_codes_that_look_like_numbers_are_text_whatever_rows_a_file_has(tmp_path):
    codes = RNG.choice(["1.1", "1.10", "02", "beta", "rc", "old"], 80)
    pd.DataFrame({"a": RNG.normal(size=80), "code": codes}).to_csv(tmp_path / "table.csv", index=False)
    pd.DataFrame({"a": [0.3, 0.2], "code": ["1.10", "02"]}).to_csv(tmp_path / "few.csv", index=False)
    pd.DataFrame({"a": [0.3, None, 0.1], "code": ["1.10", "02", "beta"]}).to_csv(tmp_path / "more.csv", index=False)
    data = from_file(tmp_path / "table.csv", test=tmp_path / "few.csv")
    assert data.columns[1].categories == ("02", "1.1", "1.10", "beta", "old", "rc")
    assert data.test.x[:, 1].tolist() == [2, 0]
    run_of(data, tmp_path / "run")
    for name in ("few", "more"):
        words = tmp_path / "run", tmp_path / f"{name}.csv", "--out", tmp_path / f"{name}_out.csv", "--num-samples", 30
        carry_out("score", *words)
    few, more = (pd.read_csv(tmp_path / f"{name}_out.csv") for name in ("few", "more"))
    assert few.elbo[0] == pytest.approx(more.elbo[0], abs=5 * np.hypot(few.elbo_mcse[0], more.elbo_mcse[0]))
    carry_out("impute", *words[:4], "--num-samples", 30)
    assert pd.read_csv(words[3], dtype=str).code.tolist() == ["1.10", "02", "beta"]
    run = load(tmp_path / "run")
    with pytest.raises(
        ValueError, match=r"'code' expects text, got the number 1.1, which is 1.1 and 1.10 of the .*str"
    ):
        run.prepare(pd.read_csv(tmp_path / "few.csv", dtype={"code": float}))


def test_observed_values_stay_whatever_the_types_of_the_training_data(tmp_path, capsys):
    cells = {"a": RNG.normal(size=80), "v": RNG.poisson(20, 80).astype("int8"), "n": RNG.integers(-5, 6, 80)}
    frame = pd.DataFrame(cells | {"c": pd.Categorical(RNG.choice(list("xyz"), 80))})
    frame.to_parquet(tmp_path / "table.parquet")
    run_of(from_frame(frame, kinds={"n": "real", "v": "counts"}), tmp_path / "run")
    some = pd.DataFrame({"a": [np.nan, 0.1, 0.2], "v": [300, np.nan, 5], "n": [-3.5, 4.5, -2.5]})
    some["c"] = pd.Categorical(["x", "y", None], categories=["x", "y"])
    for ending, read in ((".csv", pd.read_csv), (".parquet", pd.read_parquet)):
        file, out = tmp_path / f"new{ending}", tmp_path / f"out{ending}"
        some.to_csv(file, index=False) if ending == ".csv" else some.to_parquet(file)
        carry_out("impute", tmp_path / "run", file, "--out", out, "--num-samples", 30)
        made = read(out)
        assert made.notna().all(axis=None)
        pd.testing.assert_frame_equal(
            made.astype(object).where(some.notna(), None),
            some.astype(object).where(some.notna(), None),
            check_dtype=False,
        )
        assert "column n is" not in capsys.readouterr().out  # nothing of it was imputed


@pytest.mark.parametrize("ending", [".npy", ".npz"])
@pytest.mark.parametrize("standardized", [True, False])
def test_observed_values_of_arrays_stay_to_the_bit(tmp_path, ending, standardized):
    x = RNG.normal(size=(60, 3))
    x[::5, 0], x[1::7, 1], x[2::9, 2], x[::10, 2] = -0.0, np.nan, np.nan, 0.0
    data = from_arrays(x)
    run_of(data.standardize() if standardized else data, tmp_path / "run")
    file, out = tmp_path / f"new{ending}", tmp_path / f"out{ending}"
    np.save(file, x) if ending == ".npy" else np.savez(file, x=x)
    carry_out("impute", tmp_path / "run", file, "--out", out, "--num-samples", 30, "--num-draws", 2)
    made = np.load(out) if ending == ".npy" else np.load(out)["x"]
    there = ~np.isnan(x)
    assert made[there].tobytes() == x[there].tobytes()
    assert np.isfinite(made).all()
    if ending == ".npz":
        assert all(draw[there].tobytes() == x[there].tobytes() for draw in np.load(out)["draws"])


def test_gaps_of_arrays_and_of_categories(tmp_path, capsys):
    x = RNG.integers(0, 2, (40, 1, 4, 4)).astype(np.float32)
    x[RNG.random(x.shape) < 0.2] = np.nan
    run_of(from_arrays(x), tmp_path / "run")
    np.savez(tmp_path / "new.npz", x=x[:7])
    words = tmp_path / "run", tmp_path / "new.npz", "--out", tmp_path / "out.npz", "--num-samples", 30
    carry_out("impute", *words, "--num-draws", 3)
    found = np.load(tmp_path / "out.npz")
    shapes = {"x": (7, 1, 4, 4), "pareto_k": (7,), "ess": (7,), "draws": (3, 7, 1, 4, 4)}
    assert {name: found[name].shape for name in found} == shapes
    there = ~np.isnan(x[:7])
    np.testing.assert_array_equal(found["x"][there], x[:7][there])
    assert np.isfinite(found["x"]).all()
    assert set(np.unique(found["draws"])) == {0, 1}
    frame = pd.DataFrame({c: RNG.choice(["a", "b", "c"], 40) for c in ("one", "two")}).mask(RNG.random((40, 2)) < 0.2)
    frame.to_csv(tmp_path / "table.csv", index=False)
    data = from_file(tmp_path / "table.csv")
    run_of(data, tmp_path / "codes", likelihood=partial(Categorical, levels=3))
    carry_out("impute", tmp_path / "codes", tmp_path / "table.csv", "--out", tmp_path / "out.csv", "--num-samples", 30)
    made = pd.read_csv(tmp_path / "out.csv")
    assert set(made.to_numpy().ravel()) == {"a", "b", "c"}
    assert made.where(frame.notna()).equals(frame)


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet", ".npz", ".npy", ".CSV", ".TSV", ".NPZ"])
def test_draws_of_a_table_have_its_columns_and_categories(tmp_path, ending, capsys):
    n = np.arange(50)
    frame = pd.DataFrame({"a": n / 7, "job": np.where(n % 3, "cook", "clerk"), "rooms": n % 5})
    frame = frame.assign(day=pd.date_range("2024-02-01", periods=50))
    frame.to_csv(tmp_path / "table.csv", index=False)
    run = run_of(from_file(tmp_path / "table.csv").standardize(), tmp_path / "run")
    out = tmp_path / f"made{ending}"
    carry_out("sample", tmp_path / "run", "--num", 9, "--out", out, "--seed", 3)
    expected = to_frame(run.vae.sample(9, seed=3), from_file(tmp_path / "table.csv").standardize())
    ending = ending.lower()
    if ending == ".npy":
        assert np.allclose(np.load(out), run.vae.raw(run.vae.sample(9, seed=3)))
        return
    if ending == ".npz":
        found = pd.DataFrame(dict(np.load(out)))
    elif ending == ".parquet":
        found = pd.read_parquet(out)
    else:
        found = pd.read_csv(out, sep="\t" if ending == ".tsv" else ",", parse_dates=["day"])
    assert list(found) == list(frame)
    assert set(found["job"]) <= {"cook", "clerk"}
    assert found["job"].tolist() == expected["job"].tolist()
    assert found["rooms"].tolist() == expected["rooms"].tolist()
    assert (pd.to_datetime(found["day"]) == pd.to_datetime(expected["day"])).all()
    assert np.allclose(found["a"], expected["a"])


def test_draws_of_a_table_are_csv_where_no_file_is_named(tmp_path, table, capsys):
    run_of(from_file(tmp_path / "table.csv").standardize(), tmp_path / "run")
    carry_out("sample", tmp_path / "run", "--num", 4)
    assert pd.read_csv(tmp_path / "run" / "samples.csv").shape == (4, 3)
    assert main(["sample", str(tmp_path / "run"), "--out", str(tmp_path / "x.png")]) == 1
    assert "--out expects a file that ends in .csv, .tsv, .parquet, .npz, .npy, got" in capsys.readouterr().err
    assert main(["sample", str(tmp_path / "run"), "--total", "3"]) == 1
    assert "sample expects total= with a likelihood given the total of a row" in capsys.readouterr().err
