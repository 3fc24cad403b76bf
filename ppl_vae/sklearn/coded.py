"""Frames with text, categories and dates as tables of numbers."""

# ruff: noqa: N803, X is scikit-learn's name
from __future__ import annotations

from typing import Any

import pandas as pd

from ppl_vae.data.coding import encoded, in_text
from ppl_vae.data.columns import Column, Columns
from ppl_vae.data.kinds import decided

__all__ = ["as_numbers", "records_of"]

_MOST = 20
"""Different values of text that are categories in any case; more are where each occurs twice on average."""


def records_of(X: Any) -> Columns:
    """What each column of a frame with text, categories or dates holds; none for any other X.

    Columns of numbers and booleans are numbers, as in any X.

    Raises
    ------
    ValueError
        For text or categories of one value, and for text of too many to be categories.
    """
    if not isinstance(X, pd.DataFrame) or not any(_is_coded(values) for _, values in X.items()):
        return Columns()
    return Columns(
        _decided(values) if _is_coded(values) else Column(str(name), "real", "float64")
        for name, values in in_text(X, "X").items()
    )


def as_numbers(X: Any, records: Columns) -> Any:
    """X with codes 0, 1, ... for text and categories, and days for dates; unchanged without `records` of such.

    Raises
    ------
    TypeError
        For an X that is no frame, and for text or dates where fit has seen numbers.
    ValueError
        For categories that fit has not seen.
    """
    if not records:
        return X
    coded = [record for record in records if record.categories is not None or record.origin is not None]
    if not isinstance(X, pd.DataFrame):
        raise TypeError(
            f"X expects a frame as in fit, where {', '.join(c.name for c in coded[:5])} "
            f"{'was' if len(coded) == 1 else 'were'} text, categories or dates, got {type(X).__name__}; give a frame "
            "with these columns"
        )
    frame = in_text(X, "X")
    _check_numbers(frame, records)
    there = [record for record in coded if record.name in frame]  # scikit-learn says which are not
    values, _ = encoded(frame, there)
    return frame.assign(**{record.name: column for record, column in zip(there, values.T, strict=True)})


def _check_numbers(frame: pd.DataFrame, records: Columns) -> None:
    for record in records:
        if record.categories is not None or record.origin is not None or record.name not in frame:
            continue
        known = frame[record.name].dropna()
        if len(known) and _is_coded(known):
            raise TypeError(
                f"column {record.name!r} expects numbers as in fit, got {known.iloc[0]!r} for one; "
                "convert it: pd.to_numeric, or train with it as it is"
            )


def _is_coded(values: pd.Series) -> bool:
    return (
        isinstance(values.dtype, pd.CategoricalDtype)
        or pd.api.types.is_datetime64_any_dtype(values)
        or pd.api.types.infer_dtype(values.dropna()) == "string"
    )


def _decided(values: pd.Series) -> Column:
    there = values.dropna()
    if pd.api.types.is_datetime64_any_dtype(values) and len(there):
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
