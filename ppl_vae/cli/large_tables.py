"""Missing values of a table that stays on disk, filled and written a row group at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from ppl_vae.cli.new_data import outputs
from ppl_vae.cli.output import tell_rounded
from ppl_vae.data.coding import in_text
from ppl_vae.data.parquet import Table
from ppl_vae.evaluation import Imputation, impute
from ppl_vae.files import written
from ppl_vae.libraries import pd
from ppl_vae.split import Split
from ppl_vae.vae import VAE

__all__ = ["filled", "impute_by_group"]


def filled(before: pd.DataFrame, found: Imputation, draw: int | None) -> tuple[pd.DataFrame, dict[str, str]]:
    """A table as it was read, with its gaps filled, other columns as they were; and what was rounded, by column."""
    made = found.to_frame(draw)
    rounded = {name: said for name, said in made.attrs.get("rounded", {}).items() if before[name].isna().any()}
    made.index = before.index
    return before.assign(**{name: _filled(before[name], made[name]) for name in made}), rounded


def _filled(before: pd.Series, made: pd.Series) -> pd.Series:
    """A column with its gaps filled: of the type of the training data, unless that would change what was there."""
    gaps = before.isna()
    if not gaps.any():
        return before
    there = before.astype(object) if isinstance(before.dtype, pd.CategoricalDtype) else before
    filled = made.where(gaps, there)
    try:
        as_trained = filled.astype(made.dtype)
    except (TypeError, ValueError):  # pandas' own whole numbers take no others
        return filled
    return as_trained if (as_trained == filled).all() else filled


def impute_by_group(options: Namespace, vae: VAE, split: Split, table: Table) -> None:
    """Write the table with its gaps filled; row group i is imputed with the seed of the command plus i."""
    rounded: dict[str, str] = {}
    columns = {column["name"] for column in split.provenance["columns"]}
    rows = good = 0
    with ExitStack() as stack:
        files = {draw: stack.enter_context(_parquet(path)) for draw, path in outputs(options).items()}
        for number, (start, stop) in enumerate(pairwise(table.starts.tolist())):
            found = impute(
                vae,
                split[start:stop],
                num_draws=max(options.num_draws, 1),
                method=options.method,
                num_samples=options.num_samples,
                seed=options.seed + number,
                max_rows=options.max_rows,
                max_bytes=2**62,
            )
            others = table.stored(number, [n for n in table.names if n not in columns])
            before = in_text(table.group(number, table.names).reset_index(drop=True))
            before.index = before.index if (labels := table.labels(number)) is None else labels
            for draw, file in files.items():
                made, said = filled(before, found, draw)
                rounded |= said
                file.append(made, others)
            incomplete = found.incomplete
            rows, good = rows + int(incomplete.sum()), good + int((found.pareto_k[incomplete] <= found.good_k).sum())
    print(f"imputed {rows:,} of {len(table):,} rows, a row group at a time; ", end="")
    print(f"k-hat is good, at most {found.good_k:.2f}, for {good:,} of them; the others may be off")
    tell_rounded(rounded)
    print(f"wrote {', '.join(str(path) for path in outputs(options).values())}")


@contextmanager
def _parquet(path: Path) -> Iterator[_Parts]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with written(path) as temporary:
        parts = _Parts(temporary)
        try:
            yield parts
        finally:
            parts.close()


class _Parts:
    """A file in Parquet, a row group after the other, all of the schema of the first.

    Columns that were not imputed keep values and types of the file they are from: pandas reads one of whole numbers as
    floats in a group with a gap, and one of which a group has no value as of no type.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._arrow: Any = import_module("pyarrow")
        self._writer: Any = None

    def append(self, frame: pd.DataFrame, others: Any) -> None:
        """Write the rows of a frame, columns that are among `others`, a `pyarrow.Table`, as they are there."""
        named = not isinstance(frame.index, pd.RangeIndex)
        rows = self._arrow.Table.from_pandas(frame, preserve_index=named)
        for name in others.column_names:
            rows = rows.set_column(rows.schema.get_field_index(name), others.schema.field(name), others.column(name))
        if self._writer is None:
            self._writer = import_module("pyarrow.parquet").ParquetWriter(self._path, rows.schema)
        self._writer.write_table(rows.cast(self._writer.schema))

    def close(self) -> None:
        """End the file, if it was begun."""
        if self._writer is not None:
            self._writer.close()
