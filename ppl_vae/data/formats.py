"""File formats of tables and arrays: read, and written as they were read."""

from __future__ import annotations

import abc
import csv
import math
import re
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ppl_vae.data.parquet import Table, needs_pyarrow
from ppl_vae.files import regular, written
from ppl_vae.libraries import pd

__all__ = ["Arrays", "Format", "Made", "OneArray", "Parquet", "Text", "damaged"]

MOST_IN_MEMORY = 2**30
"""Bytes of an array above which it is not read at once."""

_QUOTED = re.compile(r'"(?:[^"]|"")*"')

Made: TypeAlias = "pd.DataFrame | Mapping[str, np.ndarray]"
"""What is written: a frame, or arrays (n, ...) by name, the most important one first."""


class Format(abc.ABC):
    """One file format.

    Attributes
    ----------
    endings
        Of its files.
    made_as
        Endings of the files that can hold what was made of such a file; its own if there are none.
    """

    endings: tuple[str, ...] = ()
    made_as: tuple[str, ...] = ()

    @abc.abstractmethod
    def read(self, path: Path) -> pd.DataFrame | Table | dict[str, Any]:
        """A frame, a table that stays on disk, or arrays by name.

        Raises
        ------
        ValueError
            For a file of another format, or a damaged one.
        """

    def read_like(self, path: Path, text: Collection[str]) -> Any:
        """As `read`, with columns of these names as text, where a file does not say what is text and what a number."""
        return self.read(path)

    @abc.abstractmethod
    def write(self, path: Path, made: Made, source: Path) -> str:
        """Write to a path what was made of a file `source`, or of none, then the path; what was left out, in words."""

    def alike_read(self, paths: Sequence[Path]) -> list[Any]:
        """What is read of several files that belong together."""
        return self.alike([self.read(path) for path in paths])

    def alike(self, found: Sequence[Any], width: int = 0) -> list[Any]:
        """What was read of several files that belong together, and to data of some `width`; by default as it is."""
        return list(found)


class Text(Format):
    """A table of text, a row a line, its values apart by comma, semicolon, tab or vertical bar."""

    endings = (".csv", ".tsv")

    def read(self, path: Path) -> pd.DataFrame:
        """`read_like`, with no columns that are known to be text."""
        return self.read_like(path, ())

    def read_like(self, path: Path, text: Collection[str]) -> pd.DataFrame:
        """A frame; without a first line of names its columns are 0, 1, ...

        A first line of numbers alone, or of numbers and missing values, is no line of names.

        Text in which all values are dates, as ISO 8601 writes them, are dates, and of several offsets dates in UTC.
        Spaces after a separator are no part of a value, so a cell of spaces alone is a gap.

        Raises
        ------
        ValueError
            For no table, columns of one name, and rows longer than the line of names.
        """
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                lines = [line for line in islice(file, 1000) if line.strip()]
            first, second = [*islice(_records(lines), 2), "", ""][:2]
            if first.lower().startswith("sep="):
                raise ValueError(f"a first line {first.strip()!r}, of Excel, which names no columns")
            apart = _separator(first, second)
            cells, after = (_cells(record, apart) for record in (first, second))
            quoted = first.count('"') == 2 * len(cells)  # as R writes names, and no numbers
            named = not _is_data(cells) or (quoted and not all(map(_is_number, cells)))
            header = 0 if named else None
            how = {"encoding": "utf-8-sig", "skipinitialspace": True, "low_memory": False}  # else a dtype for each part
            as_text = {name: str for name in text if name in cells} if named else {}
            frame = pd.read_csv(path, sep=apart, header=header, dtype=as_text, **how)
        except (OSError, ValueError, pd.errors.ParserError) as error:
            raise damaged(
                path, "a table, a row a line", error, "write it anew with df.to_csv(path, index=False)"
            ) from error
        if named and (twice := [name for name in dict.fromkeys(cells) if name and cells.count(name) > 1]):
            raise ValueError(  # pandas would rename it
                f"expected {path} to hold columns of different names, got {twice[0]!r} twice; rename one"
            )
        if len(after) > len(cells):  # pandas would take the first values of all rows for their names
            raise ValueError(
                f"expected {path} to hold {len(cells)} values in each row, as in its first line, got {len(after)} in "
                "the next; name every column (in R: row.names=FALSE), and end no row with a separator"
            )
        return frame.apply(lambda column: column if column.name in as_text else _with_dates(column))

    def alike_read(self, paths: Sequence[Path]) -> list[Any]:
        """The files after the first with its columns of text as text, whatever their own rows look like."""
        first = self.read(paths[0])
        _warn_of_row_names(first, paths[0])
        text = [str(name) for name in first if pd.api.types.is_string_dtype(first[name].dropna())]
        return self.alike([first, *(self.read_like(path, text) for path in paths[1:])])

    def write(self, path: Path, made: Made, source: Path) -> str:
        """With the separator of the ending."""
        with written(path) as temporary:
            _frame(made).to_csv(temporary, index=False, sep="\t" if path.suffix.lower() == ".tsv" else ",")
        return ""


class Parquet(Format):
    """A table in Apache Parquet, by pyarrow."""

    endings = (".parquet",)

    def read(self, path: Path) -> pd.DataFrame | Table:
        """A frame; a table of more than a gibibyte in float32 stays on disk, and is read a row group at a time."""
        needs_pyarrow()
        try:
            table = Table(path)
            return table if table.nbytes > MOST_IN_MEMORY else pd.read_parquet(path)
        except Exception as error:  # of Arrow, whose classes are its own
            raise damaged(path, "a table in Parquet", error, "write it anew with df.to_parquet(path)") from error

    def write(self, path: Path, made: Made, source: Path) -> str:
        """The same columns and dtypes, sparse ones dense, and the names of rows, an index, that the source has."""
        needs_pyarrow()
        frame = _frame(made)
        sparse = [name for name, values in frame.items() if isinstance(values.dtype, pd.SparseDtype)]
        frame = frame.assign(**{str(name): frame[name].sparse.to_dense() for name in sparse})
        if source != path:
            frame = frame.set_axis(pd.read_parquet(source, columns=[]).index)
        with written(path) as temporary:
            frame.to_parquet(temporary)
        return ""


class OneArray(Format):
    """An array of numpy."""

    endings = (".npy",)
    made_as = (".npy", ".npz")

    def read(self, path: Path) -> dict[str, Any]:
        """The array as x; one of more than a gibibyte stays on disk, and is read a batch at a time."""
        return {"x": _loaded(path, mapped=path.stat().st_size > MOST_IN_MEMORY)}

    def write(self, path: Path, made: Made, source: Path) -> str:
        """The first array alone."""
        (name, first), *others = _arrays(made).items()
        with written(path) as temporary, temporary.open("wb") as file:
            np.save(file, first, allow_pickle=False)
        left = ", ".join(other for other, _ in others)
        return f"holds {name} alone, without {left}: a .npz file would hold all" if left else ""


class Arrays(Format):
    """Arrays of numpy by name, or one sparse matrix of scipy."""

    endings = (".npz",)

    def read(self, path: Path) -> dict[str, Any]:
        """The arrays; one alone is x, and so is a sparse matrix."""
        arrays = _loaded(path)
        if {"format", "shape", "data"} <= arrays.keys():
            import scipy.sparse

            return {"x": scipy.sparse.load_npz(path)}
        return {"x": next(iter(arrays.values()))} if len(arrays) == 1 else arrays

    def write(self, path: Path, made: Made, source: Path) -> str:
        """All of them."""
        with written(path) as temporary, temporary.open("wb") as file:
            arrays: dict[str, Any] = _arrays(made)
            np.savez(file, **arrays)
        return ""


_MISSING = {"#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "1.#IND", "1.#QNAN", "<NA>"}
_MISSING |= {"N/A", "n/a", "NA", "NULL", "null", "None"}
"""What pandas takes for missing, beside an empty cell and NaN, which `float` reads."""

_OFFSET = re.compile(r":\d{2}.*(Z|[+-]\d{2}(:?\d{2})?)$")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?$")


def _loaded(path: Path, mapped: bool = False) -> Any:
    try:
        if mapped:
            return np.load(regular(path), mmap_mode="r", allow_pickle=False)
        with regular(path).open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            return dict(loaded) if path.suffix.lower() == ".npz" else loaded
    except Exception as error:  # a damaged header may raise any exception, such as MemoryError for an arbitrary shape
        raise damaged(path, "arrays of numbers", error, "write it anew with np.savez(path, x=x)") from error


def damaged(path: Path, what: str, error: Exception, fix: str) -> ValueError:
    """The error for a file that does not hold what it should."""
    return ValueError(f"expected {path} to hold {what}, got {type(error).__name__}: {error}; {fix}")


def _with_dates(values: pd.Series) -> pd.Series:
    there = values.dropna()
    if (
        pd.api.types.is_numeric_dtype(values)
        or not len(there)
        or not there.map(lambda v: bool(_DATE.match(str(v)))).all()
    ):
        return values
    offsets = {found[1] if (found := _OFFSET.search(str(v))) else None for v in there}
    try:  # with summer time the offsets of a zone are several, which pandas takes as UTC alone
        return pd.to_datetime(values, format="ISO8601", utc=len(offsets) > 1 and None not in offsets)
    except ValueError:  # text that looks like dates, such as 2024-99-99
        return values


def _separator(first: str, second: str) -> str:
    """What is between the values of a table whose first rows these are."""
    first, second = (_QUOTED.sub("", row) for row in (first, second))
    found = max(",;\t", key=first.count)
    return "|" if not first.count(found) and first.count("|") == second.count("|") > 0 else found


def _records(lines: Sequence[str]) -> Iterator[str]:
    """The rows of a table: a line, or several where a quoted value has line breaks."""
    begun = ""
    for line in lines:
        begun += line
        if begun.count('"') % 2 == 0:
            yield begun
            begun = ""
    yield from begun.splitlines(keepends=True)  # a quotation mark that nothing closes is one of the text


def _cells(line: str, apart: str) -> list[str]:
    """The cells of a line; none of one with a cell that is too long for `csv`, which is no line of names."""
    try:
        return next(csv.reader([line], delimiter=apart, skipinitialspace=True), [])
    except csv.Error:
        return []


def _is_data(cells: Sequence[str]) -> bool:
    """Whether a first row is one of numbers, or of numbers and of words for what is missing."""
    numbers = {cell for cell in cells if _is_number(cell)}
    known = any(not math.isnan(float(cell or "nan")) for cell in numbers)
    return set(cells) <= numbers | (_MISSING if known else set())


def _warn_of_row_names(frame: pd.DataFrame, path: Path) -> None:
    """Warn of a first column without a name that is the index that pandas writes, or the row names of R."""
    first = frame.iloc[:, 0]
    if frame.columns[0] == "Unnamed: 0" and pd.api.types.is_integer_dtype(first) and first.is_unique:
        warnings.warn(
            f"{path}: the first column has no name and another whole number in each row, as an index that was written "
            "with the table, and is a column of x; leave it out by kinds={'Unnamed: 0': 'skip'}, or write the file by "
            "df.to_csv(path, index=False)",
            stacklevel=5,
        )


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return True


def _frame(made: Made) -> pd.DataFrame:
    """Arrays (n,) as columns of their name, (n, k) as columns name_0, name_1, ..."""
    if isinstance(made, pd.DataFrame):
        return made
    columns: dict[str, np.ndarray] = {}
    for name, array in made.items():
        flat = array.reshape(len(array), -1).T
        columns |= {name: array} if array.ndim == 1 else {f"{name}_{i}": column for i, column in enumerate(flat)}
    return pd.DataFrame(columns)


def _arrays(made: Made) -> dict[str, np.ndarray]:
    return {str(c): made[c].to_numpy() for c in made} if isinstance(made, pd.DataFrame) else dict(made)
