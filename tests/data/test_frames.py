"""Frames of pandas: what is decided about columns, numbers of them, and back."""

import json
from datetime import date

import numpy as np
import pandas as pd
import pytest
import torch
from dateutil.tz import tzoffset

from ppl_vae.data import Domain, again, from_arrays, from_file, from_frame, load, to_frame
from ppl_vae.data.coding import encoded
from ppl_vae.data.columns import Column, Columns
from ppl_vae.data.dtypes import as_plain
from ppl_vae.data.formats import Parquet, Text


@pytest.fixture
def mixed():
    """Every dtype that is read, 40 rows."""
    n = np.arange(40)
    days = pd.date_range("2020-02-03", periods=40)
    return pd.DataFrame(
        {
            "whole": n - 3,
            "count": (n % 7).astype("int8"),
            "nullable": pd.array([1, 2, None, 4] * 10, dtype="Int64"),
            "real": np.sin(n),
            "single": np.cos(n).astype("float32"),
            "flag": n % 2 == 0,
            "maybe": pd.array([True, None] * 20, dtype="boolean"),
            "object flag": pd.Series([True, None, False, True] * 10, dtype=object),
            "text": ["x", "y", "z", None] * 10,
            "category": pd.Categorical(list("abcd") * 10, categories=list("dcbae")),
            "ordered": pd.Categorical(["S", "M", "L", "M"] * 10, categories=["S", "M", "L"], ordered=True),
            "numbered": pd.Categorical([10, 20, 30, 10] * 10),
            "day": days,
            "moment": pd.date_range("2020-02-03 03:04:05", periods=40, freq="37min", tz="Europe/Berlin"),
            "gap day": days.where(n % 5 > 0),
        }
    )


KINDS = {
    "whole": "real",
    "count": "counts",
    "nullable": "counts",
    "real": "real",
    "single": "real",
    "flag": "binary",
    "maybe": "binary",
    "object flag": "binary",
    "text": "categories",
    "category": "categories",
    "ordered": "levels",
    "numbered": "categories",
    "day": "real",
    "moment": "real",
    "gap day": "real",
}


def test_every_dtype_is_read_and_comes_back(mixed):
    data = from_frame(mixed, seed=3)
    assert {c.name: c.kind for c in data.columns} == KINDS
    assert {c.name: c.dtype for c in data.columns} == {name: str(d) for name, d in mixed.dtypes.items()}
    for split in data.splits.values():
        was = mixed.iloc[split.index.numpy()]
        back = to_frame(split, data, index=was.index)
        assert "rounded" not in back.attrs
        for name in mixed:
            exact = name != "real"
            pd.testing.assert_series_equal(back[name], was[name], check_freq=False, check_exact=exact, rtol=1e-6)


def stored():
    """Sparse columns, and those that Arrow holds."""
    arrow, n = pytest.importorskip("pyarrow"), np.arange(40)
    days = pd.Series(pd.date_range("2021-03-20", periods=40))
    gaps, zoned = days.where(n % 5 > 0), days.dt.tz_localize("Europe/Berlin")
    return pd.DataFrame(
        {
            "sparse": pd.arrays.SparseArray(np.where(n % 3, n * 1.5, np.nan)),
            "sparse zeros": pd.arrays.SparseArray(
                np.where(n % 3, np.where(n % 7, n * 1.5, np.nan), 0.0), fill_value=0.0
            ),
            "sparse count": pd.arrays.SparseArray(n % 5),
            "sparse flag": pd.arrays.SparseArray(n % 3 == 0),
            "sparse text": pd.arrays.SparseArray(np.array(["a", "b", None, "b"] * 10, dtype=object)),
            "day": gaps.dt.date.astype("date32[pyarrow]"),
            "other day": days.astype(pd.ArrowDtype(arrow.date64())),
            "moment": (gaps + pd.to_timedelta(n, "s")).astype("timestamp[us][pyarrow]"),
            "zoned": zoned.astype(pd.ArrowDtype(arrow.timestamp("us", "Europe/Berlin"))),
            "maybe": pd.Series([True, None] * 20, dtype="bool[pyarrow]"),
            "code": pd.Series([1, 2, None, 4] * 10, dtype="int8[pyarrow]"),
        }
    )


def test_columns_that_are_sparse_or_of_arrow_come_back(tmp_path):
    frame, n = stored(), np.arange(40)
    data = from_frame(frame, {"code": "categories"})
    values, there = encoded(frame, data.columns)
    assert np.array_equal(there, np.stack([np.asarray(frame[name].notna()) for name in frame], 1))
    days, gaps = n.astype(float), np.where(n % 5, n - 1.0, np.nan)
    expected = [np.where(n % 3, n * 1.5, np.nan), n % 5, n % 3 == 0, gaps, days, gaps + (n - 1) / 86400, days]
    for name, known in zip([0, 2, 3, 5, 6, 7, 8], expected, strict=True):
        np.testing.assert_array_equal(values[:, name], known)
    back = to_frame(data.train, data, index=data.train.index.numpy())
    assert (back.dtypes == frame.dtypes).all()
    assert "rounded" not in back.attrs
    for name in frame:
        pd.testing.assert_series_equal(as_plain(back[name]), as_plain(frame[name]).loc[back.index])
    Parquet().write(tmp_path / "made.parquet", back, tmp_path / "made.parquet")
    assert pd.read_parquet(tmp_path / "made.parquet")["day"].dtype == frame["day"].dtype


def test_a_sparse_column_that_does_not_hold_gaps_is_told():
    frame = pd.DataFrame({name: pd.arrays.SparseArray(np.arange(40) % 3 == 0) for name in "ab"})
    frame["b"] = frame["b"].astype("Sparse[int8]")
    data = from_frame(frame)
    made = to_frame(torch.tensor([[1.0, torch.nan], [torch.nan, 1.0]]), data)
    assert made["a"].tolist()[0] is True
    assert [made[name].isna().tolist() for name in made] == [[False, True], [True, False]]
    assert made.attrs["rounded"] == {
        "a": "object in the place of Sparse[bool, False]",
        "b": "float64 in the place of Sparse[int8, 0]",
    }


def test_decisions_follow_the_values():
    frame = pd.DataFrame(
        {
            "bit": [0, 1] * 20,
            "gaps": [3.0, None] * 20,
            "whole floats": [3.0, 4.0] * 20,
            "two": ["no", "yes"] * 20,
        }
    )
    data = from_frame(frame)
    assert [c.kind for c in data.columns] == ["binary", "counts", "real", "binary"]
    assert data.columns[3].categories == ("no", "yes")
    assert data.domain == Domain(("binary", "counts", "real", "binary"))
    assert "12.5 % missing" in repr(data)
    said = str(data.columns).splitlines()
    assert said[0].split() == ["column", "kind", "levels", "dtype", "missing", "likelihood", "in", "x"]
    assert "50.0%" in said[2]
    assert "Bernoulli         codes of no, yes" in said[4]


def test_columns_of_one_kind_have_one_domain():
    data = from_frame(pd.DataFrame({"a": np.linspace(-1, 1, 30), "b": np.linspace(5, 9, 30)}))
    assert data.domain == Domain("real")


def test_kinds_are_told(tmp_path):
    frame = pd.DataFrame({"size": ["S", "L", "M", "S"] * 10, "n": [1, 2, 3, 4] * 10, "id": range(40), "p": [0.5] * 40})
    kinds = {"size": ["S", "M", "L"], "n": "levels", "id": "skip", "p": "unit"}
    data = from_frame(frame, kinds)
    assert data.columns.names == ("size", "n", "p")
    assert [c.categories for c in data.columns] == [("S", "M", "L"), (1, 2, 3, 4), None]
    assert data.domain == Domain(("levels", "levels", "unit"), levels=(3, 4, None))
    rows = data.train.index
    assert torch.equal(data.train.x[:, 0], torch.tensor([0.0, 2, 1, 0] * 10)[rows])
    (tmp_path / "kinds.yaml").write_text("size: [S, M, L]\nn: levels\nid: skip\np: unit\n")
    assert from_frame(frame, tmp_path / "kinds.yaml").columns == data.columns
    assert from_frame(frame, data.columns).columns == data.columns


@pytest.mark.parametrize("name", ["yes", "NO", "on", "1.50"])
def test_names_that_yaml_reads_otherwise_are_to_be_quoted(tmp_path, name):
    frame, file = (
        pd.DataFrame({name: np.arange(30), "b": np.arange(30) / 7, "2021": np.arange(30)}),
        tmp_path / "k.yaml",
    )
    file.write_text(f"{name}: real\n2021: real\n")
    with pytest.raises(ValueError, match=rf"columns of the frame, {name}, b, 2021, got .*k.yaml, .* without quotes"):
        from_frame(frame, file)
    file.write_text(f'"{name}": real\n2021: real\n')
    assert [column.kind for column in from_frame(frame, file).columns] == ["real"] * 3
    file.write_text("c: [no, yes]\n")
    with pytest.raises(ValueError, match=r"levels False, True, got 'no'; quote yes and no in YAML"):
        from_frame(frame.assign(c=["no", "yes"] * 15), file)


def test_a_types_file_of_hi_vae(tmp_path):
    (tmp_path / "types.csv").write_text("type,dim,nclass\ncount,1,\ncat,4,4\nordinal,3,3\npos,1,\npos,1,\nreal,1,\n")
    n = np.arange(40)
    frame = pd.DataFrame({0: n, 1: n % 3 + 1, 2: n % 3 + 1, 3: n, 4: n + 0.5, 5: n - 0.5})
    data = from_frame(frame, tmp_path / "types.csv")
    assert data.columns.names == tuple("012345")
    assert [c.kind for c in data.columns] == ["counts", "categories", "levels", "positive", "positive", "real"]
    assert [c.levels for c in data.columns] == [None, 4, 3, None, None, None]  # four classes, of which three are here
    assert data.domain.shift == (0, 0, 0, -1, 0, 0)
    assert torch.equal(data.train.x[:, 3], data.train.index + 1.0)
    pd.testing.assert_series_equal(to_frame(data.train, data)["3"], pd.Series(data.train.index.numpy(), name="3"))


def test_labels_context_and_a_split_by_column():
    n = np.arange(40)
    frame = pd.DataFrame(
        {
            "x": n * 0.5,
            "z": -n * 1.5,
            "y": np.where(n % 2, "b", "a"),
            "site": np.where(n % 4, "here", "there"),
            "age": n,
            "size": n + 1.0,
            "fold": np.where(n < 30, "train", np.where(n < 35, "valid", "TEST")),
        }
    )
    data = from_frame(frame, {"size": "positive"}, label="y", context=["site", "age", "size"], split="fold")
    assert [len(split) for split in data.splits.values()] == [30, 5, 5]
    assert data.classes == ("a", "b")
    assert data.context_shapes == ((2,), (1,), (1,))
    site, age, size = data.test.context
    assert torch.equal(site, torch.tensor([[1.0, 0], [0, 1], [1, 0], [1, 0], [1, 0]]))
    torch.testing.assert_close(age[:, 0], torch.from_numpy((n[35:] - 14.5) / n[:30].std()).float())
    torch.testing.assert_close(size[:, 0].log().double(), torch.from_numpy(np.log(n[35:] + 1) - np.log(n[1:31]).mean()))
    assert repr(data).endswith(", given site (one-hot), age (standardized), size (over its geometric mean))")
    assert repr(data.test) == "Split(5 data, x_shape=(2,), real, with labels, context, a mask)"
    named = frame.assign(fold=frame["fold"].replace({"valid": "dev", "TEST": "testing"}))
    assert [len(split) for split in from_frame(named, split="fold").splits.values()] == [30, 5, 5]
    held = from_frame(frame[:35].drop(columns="fold"), {"age": "skip"}, test=frame[35:].drop(columns="fold"))
    assert len(held.test) == 5


@pytest.mark.parametrize(
    ("frame", "arguments", "message"),
    [
        ({"a": [None] * 9}, {}, "column 'a' expects at least one observed value, got none; leave it out"),
        ({"a": [1, "b", 2.5]}, {}, "column 'a' expects numbers, .* got object of mixed"),
        ({"a": pd.to_timedelta(range(9), "D")}, {}, "column 'a' expects numbers, .* got timedelta64"),
        (
            {"a": [date(2020, 1, 1)] * 9},
            {},
            "column 'a' expects .* got object of date; convert it by pd.to_datetime, or",
        ),
        (
            {"a": pd.date_range("2020", periods=9, tz=tzoffset(None, 3600))},
            {},
            "column 'a' expects dates of a zone with a name, got .*; convert it: dt.tz_convert",
        ),
        ({"a": [1.0, np.inf] * 5}, {}, "column 'a' expects finite numbers, got infinity"),
        ({"name": [f"n{i}" for i in range(90)]}, {}, "text of a few categories, got 90 different ones in 90"),
        ({"a": ["b"] * 9}, {}, "column 'a' expects two values or more as categories, got 1, 'b'"),
        ({"a": range(9)}, {"kinds": {"b": "real"}}, "kinds expect columns of the frame, a, got b"),
        ({"a": range(9)}, {"kinds": {"a": "ordinal"}}, "kinds expect one of binary, .* got 'ordinal' for column 'a'"),
        ({"a": list("xyz") * 3}, {"kinds": {"a": "levels"}}, "expects the order of its levels, got text without one"),
        ({"a": list("xyz") * 3}, {"kinds": {"a": ["x", "y"]}}, "expects the levels x, y, got 'z'"),
        ({"a": list("xyz") * 3}, {"kinds": {"a": "real"}}, "column 'a' of .* expects to be .* got kind 'real'"),
        ({"a": range(9)}, {"kinds": {"a": "binary"}}, "column 'a' expects two values as binary, got 9"),
        (
            {"a": range(9)},
            {"kinds": {"a": "positive"}},
            "column 'a' expects a number above 0 that float32 holds, got 0 \\(row 0\\)",
        ),
        ({"a": range(9)}, {"label": "b"}, "label expects columns of the frame, a, got b"),
        ({"a": range(9), "b": [None] + [1.0] * 8}, {"context": ["b"]}, "context 'b' expects a value .* got 1 missing"),
        ({"a": range(9), "b": [1.0] * 9}, {"context": ["b"]}, "context 'b' expects training data that vary"),
        ({"a": range(9), "b": ["x"] * 9}, {"split": "b"}, "column that says train, validation or test, got x in 'b'"),
        ({"a": range(9)}, {"split": "b"}, "split expects one frame with a column 'b', got the columns a"),
        ({}, {}, "expects rows and columns, got 0"),
    ],
)
def test_a_frame_that_cannot_be_read_is_refused(frame, arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        from_frame(pd.DataFrame(frame), **arguments)


def test_rows_without_any_value_are_kept_and_said():
    frame = pd.DataFrame({"a": [1.5, None] * 20, "b": [None, None, 2.5, 3.5] * 10})
    data = from_frame(frame)
    assert "62.5 % missing, 10 data without an observed element" not in repr(data)
    assert ", 50.0 % missing, 10 data without an observed element" in repr(data)
    empty = pd.concat([frame[:20].assign(a=None, b=1.0), frame[20:]])
    with pytest.raises(ValueError, match="column 'b' expects at least one observed value in the training data"):
        from_frame(frame[["a"]].assign(b=None).astype(float)[:20], test=empty[20:])


def test_what_is_no_code_or_whole_number_is_rounded_and_said(mixed):
    data = from_frame(mixed[["count", "ordered", "real", "day"]])
    made = to_frame(torch.tensor([[2.6, 7.0, 0.25, 1.4], [-300.0, 0.4, 1.0, 0.0]]), data)
    assert made["count"].tolist() == [3, -128]
    assert made["ordered"].tolist() == ["L", "S"]
    assert made["day"].tolist() == [pd.Timestamp("2020-02-04"), pd.Timestamp("2020-02-03")]
    assert made.attrs["rounded"] == {
        "count": "rounded to whole numbers",
        "ordered": "rounded to the nearest code",
        "day": "rounded to whole days",
    }


def test_a_frame_comes_back_from_standardized_data(mixed):
    data = from_frame(mixed[["whole", "real", "count"]])
    back = to_frame(data.standardize().test, data.standardize())
    pd.testing.assert_frame_equal(back, to_frame(data.test, data), rtol=1e-5)


@pytest.mark.parametrize("steps", ["plain", "standardized"])
def test_numbers_come_back_as_the_decimals_they_were(steps):
    rng = np.random.default_rng(0)
    was = pd.DataFrame(
        {
            "tenths": rng.integers(-50, 50, 60) / 10,
            "small": rng.integers(1, 999, 60) / 1e9,
            "large": rng.integers(1, 999, 60) * 1e6 + 0.0,
            "year": 1950 + rng.integers(0, 280, 60) / 4,
            "money": (rng.integers(100, 99_999, 60) / 100),
            "gaps": np.where(rng.random(60) < 0.5, np.nan, rng.integers(0, 99, 60) / 100),
            "time": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 86_400, 60), unit="s"),
        }
    )
    data = from_frame(was, kinds={"gaps": "real", "large": "real"})
    data = data if steps == "plain" else data.standardize()
    for split in data.splits.values():
        rows = split.index.numpy()
        back = to_frame(split, data, index=rows)
        pd.testing.assert_frame_equal(back.drop(columns="time"), was.loc[rows].drop(columns="time"), rtol=0, atol=0)
        assert (back["time"] - was.loc[rows, "time"]).abs().max() <= pd.Timedelta(seconds=1)


def test_zeros_keep_their_sign():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(3, 1, 60), "b": rng.normal(-900, 200, 60), "c": rng.normal(0, 1e-3, 60)})
    frame.iloc[::4] = 0.0
    data = from_frame(frame)
    for split in (data.train, data.standardize().train):
        back = to_frame(split, data if split is data.train else data.standardize())
        assert not np.signbit(back.to_numpy()[back == 0]).any()
    negative = from_frame(frame.where(frame != 0, -0.0))
    back = to_frame(negative.train, negative).to_numpy()
    assert np.signbit(back[back == 0]).all()


def test_the_shortest_decimal_is_within_the_precision():
    rng = np.random.default_rng(0)
    x = torch.tensor(np.exp(rng.normal(0, 9, (300, 1))) * rng.choice([-1, 1], (300, 1)), dtype=torch.float32)
    data = from_frame(pd.DataFrame({"a": [0.5, -1.25, 3.75] * 10}))
    made = to_frame(x, data)["a"]
    assert (np.float32(made) == x.numpy()[:, 0]).all()
    assert [float(f"{v:.9g}") for v in made] == made.tolist()  # which are enough for float32
    assert to_frame(torch.tensor([[0.1], [-0.7], [0.0]]), data)["a"].tolist() == [0.1, -0.7, 0.0]


def test_to_frame_needs_columns_that_fit(mixed):
    with pytest.raises(ValueError, match="expects data of from_frame, got others"):
        to_frame(torch.zeros(3, 2), from_arrays(np.random.default_rng(0).normal(size=(30, 2))))
    with pytest.raises(ValueError, match=r"expects x of shape \(n, 15\), got \(3, 2\)"):
        to_frame(torch.zeros(3, 2), from_frame(mixed))


def test_columns_are_plain_values(mixed):
    columns = from_frame(mixed).columns
    assert Columns.of(json.loads(json.dumps(columns.plain()))) == columns
    assert isinstance(columns[0], Column)


# files


@pytest.fixture
def table(tmp_path, mixed):
    mixed[["whole", "real", "text", "flag", "nullable"]].to_csv(tmp_path / "table.csv", index=False)
    return tmp_path / "table.csv"


def test_a_table_of_text(table, mixed):
    data = from_file(table, context=["flag"])
    assert data.columns.names == ("whole", "real", "text", "nullable")
    assert [c.kind for c in data.columns] == ["real", "real", "categories", "counts"]
    assert data.context_shapes == ((2,),)
    stored = json.loads(json.dumps(data.standardize().provenance))
    assert again(stored).checksum == data.standardize().checksum


@pytest.mark.parametrize(("text", "names"), [("a;b\n1,5;2\n", "a b"), ("1\t2\n", "0 1"), ("1,2\n", "0 1")])
def test_separators_and_names_are_found(tmp_path, text, names):
    file = tmp_path / "table.csv"
    lines = text.splitlines(keepends=True)
    file.write_text(text + "".join(lines[-1].replace("1", str(i)) for i in range(2, 30)))
    frame = pd.read_csv(file, sep=None, engine="python")  # of pandas' own search
    assert len(frame.columns) == 2
    data = from_file(file, kinds={"a": "skip"} if names == "a b" else None)
    assert data.columns.names == tuple(names.split())[-len(data.columns) :]


MISSING = [
    "",
    "NA",
    "N/A",
    "n/a",
    "NaN",
    "nan",
    "-nan",
    "-NaN",
    "null",
    "NULL",
    "None",
    "<NA>",
    "#NA",
    "#N/A",
    "#N/A N/A",
]


@pytest.mark.parametrize("gap", [*MISSING, "-1.#IND", "1.#QNAN", '"NA"'])
def test_a_first_row_of_numbers_and_gaps_is_data(tmp_path, gap):
    (tmp_path / "t.csv").write_text(f"{gap},1.5,-2e3\n" + "4,2.5,1\n" * 29)
    frame = Text().read(tmp_path / "t.csv")
    assert list(frame) == [0, 1, 2]
    assert frame.iloc[0].isna().tolist() == [True, False, False]
    assert len(frame) == 30


@pytest.mark.parametrize("names", ["NA,None,null", "NA,1.5,year", "NA,,null", '"1","NA","3"'])
def test_words_for_gaps_may_be_names(tmp_path, names):
    (tmp_path / "t.csv").write_text(f"{names}\n" + "4,2.5,1\n" * 29)
    assert len(Text().read(tmp_path / "t.csv")) == 29


def test_cells_of_spaces_are_gaps(tmp_path):
    (tmp_path / "table.csv").write_text("n, town\n" + '1, "Ås, Viken"\n ,Oslo\n3, \n4,Oslo\n' * 10)
    data = from_file(tmp_path / "table.csv")
    assert [(c.name, c.kind, c.missing) for c in data.columns] == [("n", "counts", 0.25), ("town", "binary", 0.25)]
    assert data.columns[1].categories == ("Oslo", "Ås, Viken")


def test_columns_that_are_left_out_are_recorded_in_the_order_of_the_file(tmp_path):
    frame = pd.DataFrame({"first": range(40), "x": np.linspace(-1, 1, 40), "second": range(40)})
    frame.to_csv(tmp_path / "table.csv", index=False)
    data = load(tmp_path / "table.csv", kinds={"second": "skip", "first": "skip"})
    assert data.provenance["apart"] == ["first", "second"]
    assert again(json.loads(json.dumps(data.provenance))).checksum == data.checksum


@pytest.mark.parametrize("kinds", [None, {"age": "counts"}])
def test_text_that_is_mostly_numbers_is_refused(kinds):
    frame = pd.DataFrame({"age": ["31", "44", "?", "27", "27"] * 10, "x": np.linspace(-1, 1, 50)})
    with pytest.raises(ValueError, match=r"'age' expects numbers or text, got 3 different numbers and '\?'; empty the"):
        from_frame(frame, kinds)
    assert from_frame(frame, {"age": "categories"}).columns[0].categories == ("27", "31", "44", "?")


def test_a_name_of_each_row_is_refused_where_the_rows_are_also_the_test_data():
    frame = pd.DataFrame({"name": [f"C-{i}" for i in range(50)], "x": np.linspace(-1, 1, 50)})
    with pytest.raises(ValueError, match="expects text of a few categories, got 50 different ones"):
        from_frame(frame, test=frame)


def test_test_data_of_a_file_of_their_own(table, tmp_path, mixed):
    mixed[["whole", "real", "text", "flag", "nullable"]][:7].to_csv(tmp_path / "test.csv", index=False)
    data = load(table, test=tmp_path / "test.csv", kinds={"flag": "skip"})
    assert len(data.test) == 7
    assert set(data.provenance["md5"]) == {"table.csv", "test.csv"}
    assert again(json.loads(json.dumps(data.provenance))).checksum == data.checksum
    np.savez(tmp_path / "x.npz", x=np.eye(9), y=np.arange(9))
    np.savez(tmp_path / "y.npz", x=np.eye(9)[:2], y=np.arange(2))
    assert len(load(tmp_path / "x.npz", test=tmp_path / "y.npz").test) == 2


@pytest.mark.parametrize("role", ["test", "validation"])
def test_further_frames_of_other_columns_are_refused(tmp_path, role):
    frame = pd.DataFrame({"a": np.arange(60) / 7, "b": np.arange(60) / 3, "c": np.arange(60)})
    for other, message in [
        (frame.drop(columns="b"), f"the {role} frame expects the columns of the training data, got none for b; add"),
        (frame.assign(d=1, e=2), f"the {role} frame expects .* got others, d, e; leave them out: df.drop"),
        (frame.rename(columns={"c": " C"}), r"got others,  C; rename them: df.rename\(columns={' C': 'c'}\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            from_frame(frame, **{role: other[:20]})
    made = from_frame(frame, {"b": "skip", "d": "skip"}, **{role: frame.drop(columns="b").assign(d=1)[:20]})
    assert made.columns.names == ("a", "c")
    assert len(made.splits[role]) == 20


def test_parquet(tmp_path, mixed):
    pytest.importorskip("pyarrow")
    mixed.drop(columns="numbered").to_parquet(tmp_path / "table.parquet")  # Arrow knows no categories of numbers
    data = from_file(tmp_path / "table.parquet")
    assert {c.name: c.kind for c in data.columns} == {n: k for n, k in KINDS.items() if n != "numbered"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.xlsx", "", r"expected a file that ends in .csv, .* convert it: pd.read_excel\(path\).to_csv"),
        ("a.mtx", "", r"convert it: scipy.sparse.save_npz\('data.npz', scipy.io.mmread"),
        ("a.csv", "", "expected .*a.csv to hold a table, a row a line, got EmptyDataError"),
        ("a.csv", "a,b\n1\n2,3,4\n", "expected .*a.csv to hold a table, a row a line, got ParserError"),
    ],
)
def test_other_files_are_refused_with_the_line_that_converts_them(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        from_file(tmp_path / name)


def test_options_of_tables_are_for_tables(tmp_path, table):
    np.save(tmp_path / "x.npy", np.eye(9))
    with pytest.raises(ValueError, match=r"label: expected another file for this, .csv, .tsv or .parquet .*x.npy"):
        from_file(tmp_path / "x.npy", label="y")
    with pytest.raises(ValueError, match="load expects label for a file alone, got 'digits'"):
        load("digits", label="y")
    with pytest.raises(TypeError, match=r"load expects kinds, label, .* got nonsense"):
        load("digits", nonsense=3)
    with pytest.raises(ValueError, match="domain: expected another file for this"):
        from_file(table, domain=Domain("real"))


def test_other_data_are_read_alike(tmp_path):
    """Dates count from the same day, and zeros that were shifted away are so too, where none of them are left."""
    (tmp_path / "types.csv").write_text("type,dim,nclass\nreal,1,\npos,1,\n")
    one = pd.DataFrame({"day": pd.date_range("2020-01-01", periods=20), "size": np.arange(20.0)})
    columns = from_frame(one, kinds=tmp_path / "types.csv").columns
    later = pd.DataFrame({"day": pd.date_range("2020-03-01", periods=20), "size": np.arange(1.0, 21.0)})
    data = from_frame(later, kinds=columns)
    assert [(c.kind, c.origin, c.shift) for c in data.columns] == [(c.kind, c.origin, c.shift) for c in columns]
    x = data.train.x[data.train.index.argsort()]
    rows = data.train.index.sort().values
    assert x.equal(torch.stack([rows + 60.0, rows + 2.0], 1))


def test_whole_numbers_beyond_float32_are_warned_of():
    frame = pd.DataFrame({"id": 2**24 + 1 + 1001 * np.arange(30), "count": np.arange(30)})
    with pytest.warns(UserWarning, match=r"'id' is rounded .* 15 whole numbers become others, 16777217 16777216 for"):
        from_frame(frame)
    from_frame(frame.assign(id=frame["id"] // 2 * 2))  # all of them are held


def test_new_data_may_lack_dates(mixed):
    columns = Columns.of(from_frame(mixed).provenance["columns"])
    rows = mixed.head(2).assign(**{c.name: None for c in columns if c.origin})
    _, there = encoded(rows, columns)
    assert not there[:, [bool(c.origin) for c in columns]].any()


def test_whole_categories_with_gaps_are_read_and_written_as_whole_numbers(tmp_path):
    """pandas reads whole numbers with gaps as floats: a category 1 is no 1.0."""
    n = np.arange(40)
    gaps = pd.Series(np.where(n % 5, n % 3 + 1.0, np.nan))
    data = from_frame(pd.DataFrame({"told": gaps, "category": gaps.astype("category")}), {"told": "categories"})
    assert [c.categories for c in data.columns] == [(1, 2, 3)] * 2
    assert "1.0" not in str(data.columns)
    made = to_frame(torch.tensor([[0.0, 2.0], [torch.nan, 1.0]]), data)
    made.to_csv(tmp_path / "made.csv", index=False)
    assert (tmp_path / "made.csv").read_text() == "told,category\n1,3\n,2\n"
    text = from_frame(pd.DataFrame({"code": ["1", "2", "3", None] * 10}))
    again = from_frame(pd.DataFrame({"code": [1.0, 2.0, np.nan, 3.0] * 10}), text.columns)
    assert again.columns[0].categories == ("1", "2", "3")
    assert set(again.train.x[again.train.observed].tolist()) == {0.0, 1.0, 2.0}


def test_shares_beside_other_columns_stay_shares():
    n = np.arange(60)
    frame = pd.DataFrame({"share": (n + 1) / 62, "income": 1e4 + n**2, "rooms": n % 4})
    plain = from_frame(frame, {"share": "unit"})
    table = plain.standardize()
    assert table.domain.kind == ("unit", "real", "counts")
    assert torch.equal(table.train.x[:, 0], plain.train.x[:, 0])
    assert "; column 2 discrete, as before; column 0 of shares, as before" in repr(table)
    assert "shares" not in repr(from_frame(frame).standardize())
    without = from_frame(frame[["share", "rooms"]], {"share": "unit"})  # nothing is left to standardize
    assert torch.equal(without.standardize().train.x, without.train.x)
    assert from_frame(frame[["share"]], {"share": "unit"}).standardize().domain.kind == "real"


LONG = "".join(f"{i},{i % 3},{i / 7:.3f}\n" for i in range(30))
HALVES = "".join(f"{i % 4}.5;{i % 3}\n" for i in range(60))
TEXTS = {
    "a row longer than the names": ("a,b\n" + LONG, "to hold 2 values in each row, as in its first line, got 3"),
    "a separator at the end of rows": ("a,b,c\n" + LONG.replace("\n", ",\n"), "to hold 3 values"),
    "a line of Excel": ("sep=;\na;b\n" + HALVES, "a first line 'sep=;', of Excel, which names no columns"),
    "thousands": ("a,b\n" + '"1,100",2\n"12,000",3\n' * 15, "'a' expects numbers without commas, got '1,100'"),
    "decimal commas": ("a;b\n" + HALVES.replace(".", ","), "'a' expects numbers with decimal points, got '0,5'"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_text_that_would_be_read_otherwise_is_refused(case, tmp_path):
    text, message = TEXTS[case]
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        from_file(tmp_path / "t.csv")


@pytest.mark.parametrize("names", ['"weight, kg";h', '"weight, kg";"height, cm, x"', "\n\na;b"])
def test_a_separator_within_quotes_or_below_empty_lines_is_found(names, tmp_path):
    (tmp_path / "t.csv").write_text(f"{names}\n{HALVES}")
    data = from_file(tmp_path / "t.csv")
    assert list(data.columns.names) == [name.strip('"') for name in names.strip().split(";")]
    assert data.train.x[:, 0].frac().unique().tolist() == [0.5]


def test_a_name_with_a_line_break_and_a_vertical_bar_are_read(tmp_path):
    (tmp_path / "t.csv").write_text('"a\nb",c\n' + HALVES.replace(";", ","))
    assert list(from_file(tmp_path / "t.csv").columns.names) == ["a\nb", "c"]
    (tmp_path / "t.csv").write_text("a|c\n" + HALVES.replace(";", "|"))
    assert list(from_file(tmp_path / "t.csv").columns.names) == ["a", "c"]
    (tmp_path / "t.csv").write_text("p(a|b),p(c|d)\n" + HALVES.replace(";", ","))
    assert list(from_file(tmp_path / "t.csv").columns.names) == ["p(a|b)", "p(c|d)"]
    (tmp_path / "t.csv").write_text('a,5" pipe\n' + HALVES.replace(";", ","))  # which nothing closes
    assert list(from_file(tmp_path / "t.csv").columns.names) == ["a", '5" pipe']


def test_codes_that_are_mostly_numbers_are_categories_where_told_whatever_the_other_file_has(tmp_path):
    frame = pd.DataFrame({"a": np.linspace(-1, 1, 60), "c": ["1", "2", "A"] * 20})
    frame.to_csv(tmp_path / "train.csv", index=False)
    frame[frame.c != "A"].to_csv(tmp_path / "test.csv", index=False)
    data = from_file(tmp_path / "train.csv", test=tmp_path / "test.csv", kinds={"c": "categories"})
    assert data.columns[1].categories == ("1", "2", "A")
    assert sorted(data.test.x[:, 1].unique().tolist()) == [0.0, 1.0]
    with pytest.raises(
        ValueError,
        match=r"got 2 different numbers and 'A'; .* say that all are categories: kinds=\{'c': 'categories'\}$",
    ):
        from_file(tmp_path / "train.csv", test=tmp_path / "test.csv")


@pytest.mark.parametrize(
    ("times", "dtype"),
    [
        (pd.date_range("2021-03-20", periods=30, freq="D", tz="Europe/Berlin"), "UTC"),  # summer time begins
        (pd.date_range("2021-01-20", periods=30, freq="D", tz="Europe/Berlin"), "UTC+01:00"),
        (pd.date_range("2021-03-20", periods=30, freq="D"), None),
    ],
)
def test_times_of_a_zone_with_summer_time_are_dates(times, dtype, tmp_path):
    pd.DataFrame({"a": np.linspace(-1, 1, 30), "t": times}).to_csv(tmp_path / "t.csv", index=False)
    column = from_file(tmp_path / "t.csv").columns[1]
    assert column.kind == "real"
    assert str(getattr(pd.api.types.pandas_dtype(column.dtype), "tz", None)) == str(dtype)


@pytest.mark.parametrize(("zone", "start"), [("Europe/Berlin", "2021-03-10"), ("America/New_York", "2021-10-20")])
def test_days_are_whole_by_the_clock_of_their_zone(zone, start):
    frame = pd.DataFrame({"t": pd.date_range(start, periods=40, tz=zone), "v": np.linspace(-1, 1, 40)})
    data = from_frame(frame)
    assert torch.equal(data.train.x[:, 0], data.train.index.float())
    back = to_frame(data.train, data, index=data.train.index.numpy())
    pd.testing.assert_series_equal(back["t"], frame["t"].loc[back.index])
    assert "rounded" not in back.attrs
    there = np.ones(40, dtype=bool)
    for other in [frame["t"].dt.tz_convert("Asia/Tokyo"), frame["t"].dt.tz_localize(None)]:
        values, there = encoded(frame.assign(t=other), data.columns)
        assert values[:, 0].tolist() == list(range(40))
    assert there.all()


def test_clock_times_that_come_twice_or_never_are_told():
    zone = "Europe/Berlin"
    times = pd.date_range("2021-03-27 02:30", periods=20, freq="12h", tz=zone).append(
        pd.date_range("2021-10-31 00:30", periods=20, freq="30min", tz=zone)
    )
    frame = pd.DataFrame({"t": times, "v": np.linspace(-1, 1, 40)})
    data = from_frame(frame)
    x, _ = encoded(frame, data.columns)
    back = to_frame(torch.from_numpy(x), data)
    clock = frame["t"].dt.tz_localize(None)
    pd.testing.assert_series_equal(back["t"].dt.tz_localize(None), clock)
    assert (frame["t"] - back["t"]).value_counts().to_dict() == {pd.Timedelta(0): 38, pd.Timedelta(hours=1): 2}
    assert back.attrs["rounded"] == {"t": "the earlier of two where summer time ends"}
    never = torch.tensor([[1.0, 0.0], [torch.nan, 0.0]])
    made = to_frame(never, data)
    assert str(made["t"][0]) == "2021-03-28 03:00:00+02:00"
    assert made["t"].isna()[1]
    assert made.attrs["rounded"] == {"t": "moved past the hour that summer time skips"}


def test_midnights_that_do_not_exist_are_read():
    frame = pd.DataFrame(
        {"t": pd.date_range("2018-10-20 12:00", periods=40, tz="America/Sao_Paulo"), "v": np.arange(40.0)}
    )
    frame.loc[15, "t"] = pd.Timestamp("2018-11-04 01:00", tz="America/Sao_Paulo")  # the first moment of that day
    data = from_frame(frame)
    back = to_frame(data.train, data, index=data.train.index.numpy())
    pd.testing.assert_series_equal(back["t"], frame["t"].loc[back.index])


def test_times_that_become_whole_seconds_are_told():
    times = pd.to_datetime("2021-01-01") + pd.to_timedelta(np.arange(60) * 10, "ms")
    data = from_frame(pd.DataFrame({"a": np.linspace(-1, 1, 60), "t": times}))
    assert to_frame(data.train, data).attrs["rounded"] == {"t": "rounded to whole seconds"}
    whole = from_frame(
        pd.DataFrame({"a": np.linspace(-1, 1, 60), "t": times.ceil("s") + pd.to_timedelta(range(60), "h")})
    )
    assert "rounded" not in to_frame(whole.train, whole).attrs


def test_categories_of_whole_numbers_beyond_those_of_floats():
    frame = pd.DataFrame({"id": [2**53 + 1, 2**53 + 3] * 20, "v": np.arange(40.0)})
    data = from_frame(frame, {"id": "categories"})
    assert data.columns[0].categories == (2**53 + 1, 2**53 + 3)
    assert to_frame(data.train, data)["id"].isin(frame["id"]).all()


def test_time_stamps_that_float32_moves_are_told():
    seconds = np.r_[0, 20_000 * 86_400 + 60 * np.arange(59)]
    frame = pd.DataFrame({"t": pd.Timestamp("1970-01-01") + pd.to_timedelta(seconds, "s"), "v": np.arange(60.0)})
    with pytest.warns(UserWarning, match=r"'t' is rounded to float32, in which \d+ time stamps move, by up to \d+ s"):
        from_frame(frame)
    from_frame(frame.iloc[1:])


def test_a_long_cell_is_read(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n" + f"{'x' * 140_000},2\n" + "y,3\n" * 20)
    assert from_file(tmp_path / "t.csv").columns.names == ("a", "b")


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "Int8", "UInt16"])
def test_the_largest_whole_number_of_a_type_comes_back(dtype):
    top = np.iinfo(dtype.lower()).max
    frame = pd.DataFrame({"c": pd.Series(np.r_[np.arange(40) % 5, [top] * 40]).astype(dtype), "a": np.arange(80.0)})
    data = from_frame(frame, kinds={"c": "counts"})
    back = to_frame(data.train, data)
    assert back.c.max() == top
    assert "rounded" not in back.attrs
    beyond = data.train.x[:2].clone()
    beyond[:, 0] = 2.0**40
    drawn = to_frame(beyond, data)
    assert (drawn.c == top).all()
    assert drawn.attrs["rounded"] == {"c": f"kept within the range of {dtype}"}


def test_booleans_of_a_memory_map_are_those_in_memory(tmp_path):
    x = np.random.default_rng(0).random((100, 4)) > 0.5
    np.save(tmp_path / "x.npy", x)
    mapped, held = from_arrays(np.load(tmp_path / "x.npy", mmap_mode="r")), from_arrays(x)
    assert mapped.domain == held.domain
    assert torch.equal(torch.as_tensor(np.asarray(mapped.train.x)), held.train.x)


@pytest.mark.parametrize("gaps", [False, True])
def test_a_table_on_disk_comes_back_as_a_frame(tmp_path, monkeypatch, gaps):
    monkeypatch.setattr("ppl_vae.data.formats.MOST_IN_MEMORY", 1)
    a = np.where(np.arange(90) % 7, np.arange(90.0), np.nan) if gaps else np.arange(90.0)
    frame = pd.DataFrame({"a": a, "b": np.arange(90.0) ** 0.5})
    frame.to_parquet(tmp_path / "table.parquet")
    data = from_file(tmp_path / "table.parquet")
    back = to_frame(data.test, data)
    expected = frame.iloc[data.test.index.tolist()].reset_index(drop=True)
    pd.testing.assert_frame_equal(back.reset_index(drop=True), expected, check_dtype=False, rtol=1e-6)


@pytest.mark.parametrize("roles", [["train", "train", "test"], ["train", "validation", "test"]])
def test_indices_are_positions_in_the_frame_where_a_column_says_the_split(roles, tmp_path):
    frame = pd.DataFrame({"a": np.linspace(0, 1, 60) ** 2, "b": np.arange(60) + 0.5, "part": roles * 20})
    frame.to_parquet(tmp_path / "t.parquet")
    for made in (from_frame(frame, split="part"), from_file(tmp_path / "t.parquet", split="part")):
        for split in made.splits.values():
            np.testing.assert_allclose(split.x[:][:, 1].numpy(), frame["b"].to_numpy()[split.index.numpy()])
        assert set(frame["part"].iloc[made.test.index]) == {"test"}
        together = torch.cat([split.index for split in made.splits.values()])
        assert together.sort().values.tolist() == list(range(60))


def test_row_names_of_a_text_file_are_told(tmp_path):
    frame = pd.DataFrame({"a": np.linspace(0, 1, 30), "b": np.arange(30) / 7})
    frame.sample(frac=1.0, random_state=0).to_csv(tmp_path / "t.csv")
    with pytest.warns(UserWarning, match="the first column has no name and another whole number in each row, as an in"):
        data = from_file(tmp_path / "t.csv")
    assert [column.name for column in data.columns] == ["Unnamed: 0", "a", "b"]
    with pytest.warns(UserWarning, match="leave it out by kinds="):
        data = from_file(tmp_path / "t.csv", kinds={"Unnamed: 0": "skip"})
    assert [column.name for column in data.columns] == ["a", "b"]


def test_values_and_levels_are_refused_by_the_name_of_their_column():
    frame = pd.DataFrame({"a": [0, 1, 2] * 20, "b": np.linspace(0, 1, 60)})
    with pytest.raises(ValueError, match="column 'a' expects a number above 0 that float32 holds, got 0 "):
        from_frame(frame, kinds={"a": "positive"})
    with pytest.raises(ValueError, match="expects the levels '0', '1', '2', got 0; list them as numbers, without quo"):
        from_frame(frame, kinds={"a": ["0", "1", "2"]})
