"""Data from tables that stay on disk: `from_frame` for files larger than memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ppl_vae.data.arrays import from_arrays
from ppl_vae.data.coding import check_values, encoded, in_text
from ppl_vae.data.columns import Column, Columns
from ppl_vae.data.context import conditions, tensors
from ppl_vae.data.data import Data
from ppl_vae.data.frames import all_seen, by_role, check_names, in_places, labels_of, recorded, roles_of, warn_of_large
from ppl_vae.data.kinds import NOTHING, SKIP, Kinds, Told, decided, told
from ppl_vae.data.parquet import ParquetRows, Table
from ppl_vae.libraries import pd
from ppl_vae.tensors import check_parts

__all__ = ["from_tables"]


def from_tables(
    tables: Mapping[str, Table],
    kinds: Kinds | None = None,
    *,
    split: str | None = None,
    label: str | None = None,
    context: Sequence[str] = (),
    seed: int = 0,
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
    name: str = "table",
) -> Data:
    """Data of tables on disk, by role; the rest as in `from_frame`.

    Columns are decided about one after the other, each of which is read as a whole; x is read a row group at a time.
    The data of each split are in the order of the file, where a split that is drawn at random from a frame is in random
    order: so that a pass over it reads every row group once.

    Raises
    ------
    TypeError, ValueError
        As `from_frame`; and for tables of different columns.
    """
    for table in tables.values():
        table.check_groups()
        in_text(table.frame(table.names[:1]), "the table")
    _check_alike(tables)
    roles = np.repeat(list(tables), [len(table) for table in tables.values()])
    if split is not None:
        roles = roles_of(tables["train"].column(split), list(tables)).to_numpy()
    names = [one for one in tables["train"].names if one != split]
    say = told(kinds, names)
    check_names(names, label=[] if label is None else [label], context=context)
    skipped = [one for one in names if say.get(one, NOTHING).kind == SKIP and one not in (*context, label)]
    kept = [one for one in names if one not in (*context, *skipped, label)]
    columns = Columns(_decided(_read(tables, one), roles == "train", say.get(one, NOTHING)) for one in kept)
    records = [conditions(_read(tables, one).to_frame(), roles == "train", say=say) for one in context]
    given: dict[str, Any] = dict(_rows(tables, roles, columns))
    for record, one in zip(records, context, strict=True):
        for key, values in by_role(roles, context=tensors(_read(tables, one).to_frame(), [record])[0]).items():
            given[key] = (*given.get(key, ()), values)
    given |= {} if label is None else by_role(roles, y=labels_of(_read(tables, label)))
    made = from_arrays(
        **given, domain=columns.domain, standardize_context=False, seed=seed, fractions=fractions, name=name
    )
    made = made if split is None else in_places(made, roles)
    in_order: dict[str, Any] = {role: one[one.index.argsort()] for role, one in made.splits.items()}
    return recorded(replace(made, **in_order), columns, records, label, [*skipped, *([split] if split else [])])


def _rows(tables: Mapping[str, Table], roles: np.ndarray, columns: Columns) -> Iterator[tuple[str, Any]]:
    """The arguments x, x_validation and x_test of `from_arrays`."""
    if len(tables) > 1:
        for role, table in tables.items():
            yield ("x" if role == "train" else f"x_{role}"), ParquetRows(table, columns)
        return
    positions = by_role(roles, x=torch.arange(len(roles)))
    rows = ParquetRows(tables["train"], columns)
    yield from ((key, rows[where]) for key, where in positions.items())


def _decided(values: pd.Series, train: np.ndarray, say: Told) -> Column:
    """What a column holds, after the checks of its values."""
    column = decided(values, say)
    numbers, there = encoded(values.to_frame(), [column])
    all_seen([column], there[train])
    warn_of_large([column], numbers)
    check_values([column], [numbers])
    parts = [(torch.from_numpy(numbers), torch.from_numpy(there))]
    check_parts(f"column {column.name!r}", parts, torch.float32, stacklevel=5)
    return column


def _read(tables: Mapping[str, Table], name: str) -> pd.Series:
    parts = [table.column(name).rename(name) for table in tables.values()]
    return pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]


def _check_alike(tables: Mapping[str, Table]) -> None:
    first = tables["train"]
    for table in tables.values():
        if set(table.names) != set(first.names):
            different = sorted(set(table.names) ^ set(first.names))
            raise ValueError(
                f"tables expect the same columns, got {', '.join(different)} in one of {first.path} and {table.path}; "
                "leave them out of both, or add them"
            )
