"""A table in Parquet that stays on disk, and becomes numbers a row group at a time."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppl_vae.data.coding import encoded
from ppl_vae.data.columns import Columns
from ppl_vae.libraries import pd
from ppl_vae.rows import BUFFER, Rows

__all__ = ["ParquetRows", "Table", "needs_pyarrow"]


class Table:
    """A file in Apache Parquet, of which columns and row groups are read when they are asked for.

    Parameters
    ----------
    path
        The file.

    Attributes
    ----------
    names
        Of its columns.
    starts
        Number of the first row of each row group, and of all rows.

    Warns
    -----
    UserWarning
        Where a row group is so large that memory is not bounded by less than it.
    """

    def __init__(self, path: Path) -> None:
        needs_pyarrow()
        self.path = path
        self._file: Any = import_module("pyarrow.parquet").ParquetFile(path)
        self.names = tuple(map(str, self._file.schema_arrow.empty_table().to_pandas().columns))
        sizes = [self._file.metadata.row_group(i).num_rows for i in range(self._file.metadata.num_row_groups)]
        self.starts = torch.tensor([0, *sizes]).cumsum(0)

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def nbytes(self) -> int:
        """Of all columns as a dense array in float32."""
        return 4 * len(self) * len(self.names)

    def check_groups(self) -> None:
        """Warn of a row group above the memory that the rows of several are to share."""
        largest = int(self.starts.diff().max())
        if 4 * largest * len(self.names) > BUFFER:
            fits = max(1, BUFFER // 4 // (4 * len(self.names)))
            warnings.warn(
                f"{self.path} has row groups of {largest:,} rows, each of which is read as a whole, which takes more "
                f"than {BUFFER / 2**20:.0f} MiB; write it anew with smaller ones: df.to_parquet(path, "
                f"row_group_size={fits:_})",
                stacklevel=4,
            )

    def column(self, name: str) -> pd.Series:
        """One column, of all rows."""
        return self.frame([name])[name]

    def frame(self, names: Sequence[str] | None = None) -> pd.DataFrame:
        """Some columns, by default all, of all rows."""
        frame: pd.DataFrame = self._file.read(columns=None if names is None else list(names)).to_pandas()
        return frame.reset_index(drop=True)

    def group(self, number: int, names: Sequence[str]) -> pd.DataFrame:
        """Some columns of one row group."""
        frame: pd.DataFrame = self.stored(number, names).to_pandas()
        return frame

    def labels(self, number: int) -> pd.Index | None:
        """The names of the rows of one row group, where the file has an index; `None` where it has none."""
        described = (self._file.schema_arrow.pandas_metadata or {}).get("index_columns", [])
        names = [one for one in described if isinstance(one, str)]  # numbers of rows are only described
        return self.group(number, names).index if names else None

    def stored(self, number: int, names: Sequence[str]) -> Any:
        """The same as a `pyarrow.Table`, of the types that the file has."""
        return self._file.read_row_group(number, columns=list(names))


class ParquetRows(Rows):
    """Rows of a table on disk, as the numbers of its columns.

    Row groups that were read last are kept, as many as take twice `rows.BUFFER` bytes, and one at least.

    Parameters
    ----------
    table
        The file.
    columns
        What its columns hold; others are left out.
    """

    def __init__(self, table: Table, columns: Columns) -> None:
        super().__init__(table, (len(table), len(columns)), gaps=any(column.missing for column in columns))
        self._columns = columns
        self._read: dict[int, np.ndarray] = {}  # the one read last is the last one

    @property
    def chunk_starts(self) -> Tensor:
        """Of the row groups."""
        starts: Tensor = self._stored.starts
        return starts

    def gathered(self, positions: Tensor) -> np.ndarray:
        """Rows of the groups that they lie in; NaN where nothing is known."""
        found = np.empty((len(positions), len(self._columns)), dtype=np.float32)
        groups = self.chunks_of(positions)
        for number in groups.unique().tolist():
            here = groups == number
            found[here.numpy()] = self._group(number)[(positions[here] - self._stored.starts[number]).numpy()]
        return found

    def _group(self, number: int) -> np.ndarray:
        read = self._read.pop(number, None)
        if read is None:
            frame = self._stored.group(number, self._columns.names)
            values, _ = encoded(frame.set_axis([str(name) for name in frame], axis=1), self._columns)
            read = values.astype(np.float32)
            while self._read and sum(other.nbytes for other in self._read.values()) + read.nbytes > 2 * BUFFER:
                del self._read[next(iter(self._read))]
        self._read[number] = read
        return read


def needs_pyarrow() -> None:
    """Refuse to go on without it.

    Raises
    ------
    ValueError
        Where it is not installed, or does not fit the other libraries: NumPy is too old for it, say.
    """
    try:
        import_module("pyarrow")
    except ImportError as error:
        raise ValueError(
            f"a .parquet file expects pyarrow, got none that can be imported ({error}); pip install 'ppl_vae[tables]', "
            "or convert it to .csv"
        ) from error
