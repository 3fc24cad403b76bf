"""Frames with text, categories and dates as tables of numbers."""

# ruff: noqa: N803, X is scikit-learn's name
from __future__ import annotations

from typing import Any

import pandas as pd

from ppl_vae.data.coding import encoded, in_text
from ppl_vae.data.columns import Column, Columns
from ppl_vae.data.dtypes import as_plain
from ppl_vae.data.kinds import decided

__all__ = ["as_numbers", "records_of"]

_MOST = 20
"""Text with at most this many different values is a category; with more it is one if each occurs twice on average."""


def records_of(X: Any) -> Columns:
    """What each column of a frame with text, categories or dates holds; none for any other X.

    Columns of numbers and booleans are numbers, as in any X.

    Raises
    ------
    TypeError
        For a column that mixes numbers and text.
    ValueError
        For text or categories of a single value, and for text with too many different values to be categories.
    """
    if not isinstance(X, pd.DataFrame):
        return Columns()
    coded = [_is_coded(as_plain(values)) for _, values in X.items()]
    for (_, values), is_coded in zip(X.items(), coded, strict=True):
        if not is_coded:
            _check_numbers(values, "numbers, or text alone")
    if not any(coded):
        return Columns()
    return Columns(
        _decided(values) if is_coded else Column(str(name), "real", "float64")
        for is_coded, (name, values) in zip(coded, in_text(X, "X").items(), strict=True)
    )


def as_numbers(X: Any, records: Columns) -> Any:
    """X with codes 0, 1, ... for text and categories, and days for dates; unchanged if `records` is empty.

    Raises
    ------
    TypeError
        For an X that is no frame, and for text or dates where fit has seen numbers.
    ValueError
        For categories that fit has not seen.
    """
    if not records:
        for _, values in X.items() if isinstance(X, pd.DataFrame) else ():
            _check_numbers(values, "numbers")
        return X
    coded = [record for record in records if record.categories is not None or record.origin is not None]
    if not isinstance(X, pd.DataFrame):
        raise TypeError(
            f"X expects a frame as in fit, where {', '.join(c.name for c in coded[:5])} "
            f"{'was' if len(coded) == 1 else 'were'} text, categories or dates, got {type(X).__name__}; give a frame "
            "with these columns"
        )
    frame = in_text(X, "X")
    for record in records:
        if record not in coded and record.name in frame:
            _check_numbers(frame[record.name], "numbers as in fit")
    there = [record for record in coded if record.name in frame]  # scikit-learn names missing columns
    values, _ = encoded(frame, there)
    return frame.assign(**{record.name: column for record, column in zip(there, values.T, strict=True)})


def _check_numbers(values: pd.Series, expected: str) -> None:
    """Refuse a column with a value that is no number. Numbers written as text pass."""
    if pd.api.types.is_numeric_dtype(values):
        return
    for value in values.dropna():
        if _is_number(value):
            continue
        raise TypeError(
            f"column {str(values.name)!r} expects {expected}, got {value!r} for one; convert it: "
            "pd.to_numeric(..., errors='coerce') for numbers, .astype(str) for text"
        )


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _is_coded(values: pd.Series) -> bool:
    return (
        isinstance(values.dtype, pd.CategoricalDtype)
        or pd.api.types.is_datetime64_any_dtype(values)
        or pd.api.types.infer_dtype(values.dropna()) == "string"
    )


def _decided(values: pd.Series) -> Column:
    there = as_plain(values).dropna()
    if pd.api.types.is_datetime64_any_dtype(there) and len(there):
        return decided(values)
    category = isinstance(values.dtype, pd.CategoricalDtype)
    found = list(values.cat.categories) if category else sorted(there.unique())
    if not 2 <= len(found) <= (len(found) if category else max(_MOST, len(there) / 2)) or not len(there):
        example = f", {found[0]!r} for one" if found else ""
        raise ValueError(
            f"column {values.name!r} expects text or categories of two or a few different values, got {len(found)} in "
            f"{len(there)} rows{example}; leave it out: X.drop(columns={values.name!r})"
        )
    return decided(values)
