"""A frame as numbers, column by column, and back."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ppl_vae.data.columns import Column, Columns
from ppl_vae.data.dtypes import as_plain, plain_dtype, plain_name, returned
from ppl_vae.domain import Domain
from ppl_vae.libraries import pd

__all__ = ["as_text", "check_known", "check_values", "decoded", "encoded", "in_text", "shortest"]


def in_text(frame: pd.DataFrame, name: str = "frame") -> pd.DataFrame:
    """A frame whose columns are named by text.

    Raises
    ------
    ValueError
        For columns of one name, and for a frame without rows or columns.
    """
    renamed = frame.set_axis([str(c) for c in frame.columns], axis=1)
    if double := sorted(set(renamed.columns[renamed.columns.duplicated()])):
        raise ValueError(f"{name} expects columns of different names, got {', '.join(double)} twice; rename them")
    if not len(renamed) or not len(renamed.columns):
        raise ValueError(
            f"{name} expects rows and columns, got {len(renamed)} of these and {len(renamed.columns)} of those; give "
            "the data"
        )
    return renamed


def check_known(caller: str, names: Sequence[str], known: Sequence[str]) -> None:
    """Refuse columns that are not among those of the training data.

    Raises
    ------
    ValueError
        Naming them, and those that only differ in capitals or spaces from one that is not there.
    """
    strange = [name for name in names if name not in known]
    absent = {_folded(name): name for name in known if name not in names}
    meant = {name: absent[_folded(name)] for name in strange if _folded(name) in absent}
    if strange:
        advice = (
            f"rename them: df.rename(columns={meant!r})" if meant else f"leave them out: df.drop(columns={strange!r})"
        )
        raise ValueError(
            f"{caller} expects the columns of the training data, got others, {', '.join(meant or strange)}; {advice}"
        )


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold().strip()


def encoded(frame: pd.DataFrame, columns: Sequence[Column]) -> tuple[np.ndarray, np.ndarray]:
    """Values (n, columns) in float64, and where they are observed; what is not is NaN.

    Raises
    ------
    TypeError
        For values of a column that are no numbers, where these were expected.
    ValueError
        For columns that are not there, categories that are not known, and infinite numbers.
    """
    if absent := [c.name for c in columns if c.name not in frame.columns]:
        raise ValueError(
            f"the frame expects the columns {', '.join(c.name for c in columns)}, got none for {', '.join(absent)}; "
            "add them, of NaN where nothing is known"
        )
    values = np.empty((len(frame), len(columns)))
    for i, column in enumerate(columns):
        values[:, i] = _numbers(as_plain(frame[column.name]), column)
    return values, ~np.isnan(values)


_EXPECTED = {
    "binary": "0 or 1",
    "unit": "a value from 0 to 1",
    "real": "a number that float32 holds",
    "positive": "a number above {low:g} that float32 holds",
    "counts": "a whole number from {low:g} on",
    "levels": "a whole number from {low:g} to {high:g}",
    "categories": "a whole number from {low:g} to {high:g}",
}
"""Of the values of a column, by its kind."""


def check_values(columns: Sequence[Column], parts: Iterable[np.ndarray]) -> None:
    """Refuse values that their column does not take, of a table in parts (n, columns) as `encoded` gives them.

    Raises
    ------
    ValueError
        Naming the column, its first such row and the value there.
    """
    start = 0
    for part in parts:
        for column, x in zip(columns, part.T, strict=True):
            there = torch.from_numpy(~np.isnan(x))
            outside = Domain(column.kind, column.levels).outside(torch.from_numpy(x).float(), there)
            if number := int(outside.sum()):
                row = int(outside.int().argmax())
                low, high = column.shift, column.shift + (column.levels or 1) - 1
                raise ValueError(
                    f"column {column.name!r} expects {_EXPECTED[column.kind].format(low=low, high=high)}, got "
                    f"{x[row] + column.shift:g} (row {start + row}{f' and {number - 1} more' if number > 1 else ''}); "
                    "correct it, or replace it by NaN as missing"
                )
        start += len(part)


def _numbers(values: pd.Series, column: Column) -> np.ndarray:
    if column.categories is not None:
        return _codes(values, column)
    if column.origin is not None:
        return _days(values, column)
    try:
        numbers = values.to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"column {column.name!r} expects numbers, got {values.dtype} ({error}); convert it: pd.to_numeric"
        ) from error
    if np.isinf(numbers).any():
        raise ValueError(
            f"column {column.name!r} expects finite numbers, got infinity in row {int(np.isinf(numbers).argmax())}; "
            "replace it, by NaN where it is missing"
        )
    return numbers - column.shift


def _codes(values: pd.Series, column: Column) -> np.ndarray:
    assert column.categories is not None
    known = {value: float(code) for code, value in enumerate(column.categories)}
    text = all(isinstance(value, str) for value in known)
    plain = values.astype(object)
    if text:
        _check_told_apart(plain, column)
    codes = plain.map(lambda v: known.get(_as_known(v, known) if text else v, -1.0), na_action="ignore").to_numpy(
        dtype=float, na_value=np.nan
    )
    if (strange := codes == -1).any():
        unseen = list(dict.fromkeys(map(str, plain[strange])))
        raise ValueError(
            f"column {column.name!r} expects one of {', '.join(map(str, column.categories[:20]))}"
            f"{', ...' if len(known) > 20 else ''}, got {', '.join(unseen[:5])} (row {int(strange.argmax())}"
            f"{f' and {int(strange.sum()) - 1} more' if strange.sum() > 1 else ''}), which the training data do not "
            "have; correct it, train with it or, where it is no context, replace it by NaN as missing"
        )
    return codes


_POINT = re.compile(r"(?<=\d)\.0+$")
"""The end of a whole number that was a float."""


def _check_told_apart(values: pd.Series, column: Column) -> None:
    """Refuse numbers that are two categories of text: 1.1 is "1.1" and "1.10"."""
    several: dict[float, list[str]] = {}
    for category in filter(_is_number, column.categories or ()):
        several.setdefault(float(category), []).append(str(category))
    for value in values.dropna().unique():
        alike = [] if isinstance(value, str | bool) else several.get(value, [])
        if len(alike) > 1:
            raise ValueError(
                f"column {column.name!r} expects text, got the number {value}, which is {' and '.join(alike)} of the "
                f"training data; read the column as text: pd.read_csv(path, dtype={{{column.name!r}: str}})"
            )


def _as_known(value: Any, known: Mapping[Any, float]) -> str:
    """The category that a value is; "1.0" is "1" where that alone is one."""
    text = as_text(value)
    return text if text in known else _POINT.sub("", text)


def _is_number(value: Any) -> bool:
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def as_text(value: Any) -> str:
    """A category as text. Whole numbers have no point: pandas reads a column of them as floats where there are gaps."""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def _days(values: pd.Series, column: Column) -> np.ndarray:
    if values.isna().all():  # of no dtype that says so
        return np.full(len(values), np.nan)
    if not pd.api.types.is_datetime64_any_dtype(values):
        raise TypeError(f"column {column.name!r} expects dates, got {values.dtype}; convert it: pd.to_datetime")
    zone = _zone(column)
    known = values if zone is None or values.dt.tz is None else values.dt.tz_convert(zone)
    return ((known.dt.tz_localize(None) - _start(column)) / pd.Timedelta(days=1)).to_numpy(dtype=float)


def _zone(column: Column) -> Any:
    """The zone by whose clock the dates of a column are counted; `None` for dates without one."""
    return getattr(plain_dtype(column.dtype), "tz", None)


def _start(column: Column) -> pd.Timestamp:
    """What dates are counted from, by the clock of their zone, on which every day has 24 hours."""
    start, zone = pd.Timestamp(column.origin), _zone(column)
    if start.tzinfo is not None and zone is not None:  # of other data, maybe in another zone
        start = start.tz_convert(zone)
    return start.tz_localize(None)


def shortest(values: np.ndarray, tolerance: np.ndarray) -> np.ndarray:
    """The decimals of fewest digits within a tolerance of some values: 0.1 for 0.10000000149."""
    with np.errstate(divide="ignore"):
        first = np.floor(np.log10(np.abs(values)))  # the power of ten of the first digit, -inf for 0
    made, left = values.copy(), np.isfinite(first) & (tolerance > 0)
    for digits in range(-1, 18):  # from 0 to what tells all numbers of 64 bits apart
        if not left.any():
            break
        places = digits - 1 - first[left]
        up, down = 10.0 ** np.maximum(places, 0), 10.0 ** np.maximum(-places, 0)
        rounded = np.rint(values[left] * up / down) / up * down
        near = np.abs(rounded - values[left]) <= tolerance[left]
        made[left] = np.where(near, rounded + 0.0, values[left])  # what is rounded to 0 has no sign
        left[left] = ~near
    return made


def decoded(values: np.ndarray, columns: Columns, index: Any = None) -> tuple[pd.DataFrame, dict[str, str]]:
    """Values (n, columns) in raw units, NaN where missing, as a frame; and what was changed, by column."""
    made, changed = {}, {}
    for column, x in zip(columns, values.T, strict=True):
        plain, rounded = _column(x, replace(column, dtype=plain_name(column.dtype)))
        made[column.name], other = returned(plain, column.dtype)
        if said := " and ".join(filter(None, (rounded, other))):
            changed[column.name] = said
    frame = pd.DataFrame(made)
    return frame if index is None else frame.set_index(pd.Index(index)), changed


def _column(x: np.ndarray, column: Column) -> tuple[pd.Series, str]:
    there = ~np.isnan(x)
    if column.categories is not None:
        codes = np.clip(np.rint(np.where(there, x, 0)), 0, len(column.categories) - 1).astype(int)
        said = "rounded to the nearest code" if (codes != x)[there].any() else ""
        return _of_codes(np.where(there, codes, -1), column), said
    if column.origin is not None:
        return _of_days(x, column)
    dtype = plain_dtype(column.dtype)
    if dtype is None:
        return pd.Series(x), ""
    if not pd.api.types.is_integer_dtype(dtype):
        return pd.Series(x).astype(dtype), ""
    whole = np.rint(x) + 0.0  # 0 has no sign
    limits = np.iinfo(getattr(dtype, "numpy_dtype", dtype))
    top = float(limits.max)  # of 64 bits one more than the largest
    inside = np.clip(whole, limits.min, top if int(top) == limits.max else np.nextafter(top, 0))
    said = "rounded to whole numbers" if (whole != x)[there].any() else ""
    if not said and (inside != whole)[there].any():
        said = f"kept within the range of {dtype}"
    made = pd.Series(inside)  # with gaps it stays a float, as pandas itself would have it
    return (made if not there.all() and isinstance(dtype, np.dtype) else made.astype(dtype)), said


def _of_codes(codes: np.ndarray, column: Column) -> pd.Series:
    assert column.categories is not None
    made = pd.Categorical.from_codes(codes, categories=list(column.categories), ordered=column.ordered)
    if column.dtype == "category":
        return pd.Series(made)
    plain = pd.Series(made).astype(object)
    if column.dtype.startswith("float") and all(type(value) is int for value in column.categories):
        return plain.astype("Int64")  # floats only for their gaps
    dtype = plain_dtype(column.dtype)
    holds_gaps = not isinstance(dtype, np.dtype) or dtype.kind not in "biu"
    return plain.astype(dtype) if dtype is not None and (holds_gaps or bool((codes >= 0).all())) else plain


def _of_days(x: np.ndarray, column: Column) -> tuple[pd.Series, str]:
    """Whole days, or whole seconds where a time was among the training data, by the clock of their zone."""
    days = len(str(column.origin)) == len("2000-01-01")
    unit, number = ("D", x) if days else ("s", x * 86400)
    clock = _start(column) + pd.to_timedelta(pd.Series(np.rint(number)), unit)
    off = np.nan_to_num(np.abs(np.rint(number) - number)) > 1e-6 + 2 * np.finfo(np.float32).eps * np.abs(number)
    said = [f"rounded to whole {'days' if days else 'seconds'}"] if off.any() else []
    zone, dtype = _zone(column), plain_dtype(column.dtype)
    if zone is None:
        return clock.astype(dtype), " and ".join(said)
    moments, later = (
        clock.dt.tz_localize(zone, ambiguous=np.full(len(clock), summer), nonexistent="shift_forward")
        for summer in (True, False)
    )
    there = clock.notna()
    said += (
        ["moved past the hour that summer time skips"] if (moments.dt.tz_localize(None) != clock)[there].any() else []
    )
    said += ["the earlier of two where summer time ends"] if (moments != later)[there].any() else []
    return moments.astype(dtype), " and ".join(said)
