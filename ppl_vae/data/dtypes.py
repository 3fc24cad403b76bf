"""Dtypes of pandas that columns come in, and the plain ones that they are read and made in."""

from __future__ import annotations

import ast
import re
from typing import Any

import numpy as np

from ppl_vae.libraries import pd

__all__ = ["as_plain", "plain_dtype", "plain_name", "returned"]

_SPARSE = re.compile(r"Sparse\[([^,]+), (.*)\]")
_TIMES = re.compile(r"timestamp\[(\w+)(, tz=.+)?\]\[pyarrow\]")
_DATES = {"date32[day][pyarrow]": "datetime64[s]", "date64[ms][pyarrow]": "datetime64[ms]"}


def plain_name(name: str) -> str:
    """The name of the plain dtype: a dense one for sparse columns, NumPy's for dates of Arrow; others are plain.

    >>> plain_name("Sparse[int64, 0]"), plain_name("timestamp[us, tz=Europe/Berlin][pyarrow]"), plain_name("Int64")
    ('int64', 'datetime64[us, Europe/Berlin]', 'Int64')
    """
    if sparse := _SPARSE.fullmatch(name):
        return sparse[1]
    if times := _TIMES.fullmatch(name):
        return f"datetime64[{times[1]}{(times[2] or '').replace('tz=', '')}]"
    return _DATES.get(name, name)


def plain_dtype(name: str) -> Any:
    """The plain dtype of a name; `None` where pandas does not know it, as one of a library that is not there."""
    return _known(plain_name(name))


def as_plain(values: pd.Series) -> pd.Series:
    """A column in its plain dtype."""
    name = str(values.dtype)
    plain = plain_name(name)
    return values if plain == name else values.astype(plain)


def returned(made: pd.Series, name: str) -> tuple[pd.Series, str]:
    """A column in the dtype of a name where that holds its values; else as it is, and what it then is, in words."""
    sparse = _SPARSE.fullmatch(name)
    dtype = _known(name) if sparse is None else pd.SparseDtype(sparse[1], _filling(sparse[2]))
    if dtype is not None and plain_name(name) == name:
        return made, ""
    try:
        found = made if dtype is None else made.astype(dtype)
    except (TypeError, ValueError):  # whole numbers with gaps are floats
        found = made
    if found is made or not np.array_equal(found.isna(), made.isna()):  # a sparse boolean makes True of a gap
        return made, f"{made.dtype} in the place of {name}"
    return found, ""


def _filling(text: str) -> Any:
    """What a sparse column does not store, as the name of its dtype has it."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):  # nan, NaT, <NA>
        return np.nan


def _known(name: str) -> Any:
    try:
        return pd.api.types.pandas_dtype(name)
    except (NotImplementedError, TypeError, ValueError):
        return None
