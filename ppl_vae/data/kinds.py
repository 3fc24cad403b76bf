"""What a column of a frame holds: decided by its dtype and values, or as it is told."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from ppl_vae.data.coding import as_text
from ppl_vae.data.columns import LIKELIHOODS, Column
from ppl_vae.data.dtypes import as_plain, plain_dtype
from ppl_vae.files import regular
from ppl_vae.libraries import pd
from ppl_vae.strict_yaml import check_keys

__all__ = ["NOTHING", "SKIP", "Kinds", "Told", "decided", "told"]

SKIP = "skip"
"""The kind of a column that is left out."""

Kinds = Mapping[str, str | Sequence[Any]] | Sequence[Column] | str | os.PathLike[str]
"""Kinds by column, a file of them, or the columns of other data."""

_HI_VAE = {"real": "real", "pos": "positive", "count": "counts", "cat": "categories", "ordinal": "levels"}


class Told(NamedTuple):
    """What is said of a column: kind, values in order, that zeros are to be shifted away; or a column like it."""

    kind: str | None = None
    values: tuple[Any, ...] | None = None
    number: int | None = None
    shifted: bool = False
    like: Column | None = None


NOTHING = Told()
_CODED = ("categories", "levels", "binary")


def told(kinds: Kinds | None, names: Sequence[str]) -> dict[str, Told]:
    """What is said of each column, by name.

    Parameters
    ----------
    kinds
        A mapping from columns to kinds; the path of a YAML file of one; that of a types file of HI-VAE, with the
        columns type, dim and nclass and one row for each column; or the columns of other data, beside which all are
        skipped.
    names
        The columns of the frame.

    Raises
    ------
    ValueError
        For columns that the frame does not have, an unknown kind, and a file that is neither.
    """
    if isinstance(kinds, str | os.PathLike):
        said = _of_file(Path(kinds).expanduser(), names)
    elif isinstance(kinds, Sequence):
        columns: Sequence[Any] = kinds
        said = {c.name: Told(c.kind, c.categories, like=c) for c in columns}
        said = dict.fromkeys(names, Told(SKIP)) | said
    else:
        said = {str(name): _of_value(str(name), value) for name, value in (kinds or {}).items()}
    if strange := [name for name in said if name not in names]:
        raise ValueError(
            f"kinds expect columns of the frame, {', '.join(names)}, got {', '.join(strange)}; correct the names"
        )
    return said


def _of_value(name: str, value: Any) -> Told:
    if isinstance(value, list | tuple):
        return Told("levels", tuple(value), len(value))
    if value not in LIKELIHOODS and value != SKIP:
        raise ValueError(
            f"kinds expect one of {', '.join([*LIKELIHOODS, SKIP])}, or a list of levels in their order, got {value!r} "
            f"for column {name!r}; correct it"
        )
    return Told(value)


def _of_file(path: Path, names: Sequence[str]) -> dict[str, Told]:
    text = regular(path, 2**20).read_text(encoding="utf-8")
    if text.lower().startswith("type,"):
        return _of_hi_vae(path, names)
    try:
        check_keys(text)
        found = yaml.safe_load(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"kinds expect a YAML file, got {error} in {path}; write lines 'column: kind'") from error
    if not isinstance(found, dict):
        raise ValueError(
            f"kinds expect a YAML file that maps columns to kinds, got {type(found).__name__} in {path}; write lines "
            "'column: kind', or give a types file of HI-VAE with the header type,dim,nclass"
        )
    if other := [name for name in found if not isinstance(name, str) and str(name) not in names]:
        raise ValueError(
            f"kinds expect columns of the frame, {', '.join(names)}, got {other[0]!r} in {path}, as which YAML reads "
            'names such as yes, no, on, off and 1.50 without quotes; write "yes": kind, say'
        )
    return {str(name): _of_value(str(name), value) for name, value in found.items()}


def _of_hi_vae(path: Path, names: Sequence[str]) -> dict[str, Told]:
    rows = pd.read_csv(path)
    if len(rows) != len(names) or not set(rows["type"]) <= set(_HI_VAE):
        raise ValueError(
            f"a types file expects a row for each of {len(names)} columns, its type one of {', '.join(_HI_VAE)}, got "
            f"{len(rows)} of {', '.join(map(str, rows['type'].unique()))} in {path}; correct it, or give kinds by name"
        )
    numbers = rows["nclass"] if "nclass" in rows else pd.Series(np.nan, rows.index)
    return {
        name: Told(_HI_VAE[kind], None, int(n) if kind in ("cat", "ordinal") and n > 0 else None, kind == "pos")
        for name, kind, n in zip(names, rows["type"], numbers, strict=True)
    }


def decided(values: pd.Series, say: Told = NOTHING) -> Column:
    """What a column holds.

    Booleans are binary, text and pandas' categories are categories, or levels where pandas orders them; two of them
    are binary. Whole numbers are binary where they are 0 and 1, counts from 0 on, else real; so are floats with gaps
    that are all whole, because pandas reads whole numbers with gaps as floats. Other floats are real, and dates are
    days.

    Raises
    ------
    TypeError
        For values that are none of these.
    ValueError
        For no value at all, and for values that the kind that is told does not allow.
    """
    name, dtype, values = str(values.name), str(values.dtype), as_plain(values)
    there = values.dropna()
    if not len(there):
        raise ValueError(
            f"column {name!r} expects at least one observed value, got none; leave it out: kinds={{{name!r}: 'skip'}}"
        )
    read = next(
        (read for fits, read in _READERS if fits(there)), _of_text if say.kind in _CODED and _words(there) else None
    )
    if read is None:
        coded = f"say that it has categories, kinds={{{name!r}: 'categories'}}, " if _words(there) else ""
        by = _BY.get(pd.api.types.infer_dtype(there))
        raise TypeError(
            f"column {name!r} expects numbers, booleans, text, categories or dates, got {_came(there)}; convert it"
            f"{'' if by is None else f' by {by}'}, {coded}or leave it out: kinds={{{name!r}: 'skip'}}"
        )
    found: dict[str, Any] = {"name": name, "dtype": dtype, "missing": float(values.isna().mean())}
    found |= read(values, there, say)
    return Column(**found | ({} if say.like is None else {"origin": say.like.origin, "shift": say.like.shift}))


_BY = {
    "date": "pd.to_datetime",
    "decimal": "astype(float)",
    "period": "dt.to_timestamp()",
    "timedelta64": "dt.total_seconds()",
}
"""What makes numbers or dates of other values."""


def _came(there: pd.Series) -> str:
    return f"{there.dtype} of {pd.api.types.infer_dtype(there)}" if there.dtype == object else str(there.dtype)


def _of_booleans(values: pd.Series, there: pd.Series, say: Told) -> dict[str, Any]:
    return _coded(values, say, (False, True), "categories")


def _of_categories(values: pd.Series, there: pd.Series, say: Told) -> dict[str, Any]:
    ordered = bool(values.dtype.ordered)
    own = tuple(map(_plain, values.cat.categories))
    return {**_coded(values, say, own, "levels" if ordered else "categories"), "ordered": ordered}


def _of_text(values: pd.Series, there: pd.Series, say: Told) -> dict[str, Any]:
    found = tuple(sorted(set(map(as_text, there.unique()))))
    if say.kind not in _CODED:
        _refuse_numbers(str(values.name), found)
    if say.kind is None and len(found) > 20 and len(found) >= len(there) / 2:  # twice all names, if test is train
        raise ValueError(
            f"column {values.name!r} expects text of a few categories, got {len(found)} different ones in {len(there)} "
            f"rows, {found[0]!r} for one; leave it out, kinds={{{str(values.name)!r}: 'skip'}}, or say 'categories'; "
            "dates are read where they are written as 2021-07-31"
        )
    if say.kind == "levels" and say.values is None:
        raise ValueError(
            f"column {values.name!r} expects the order of its levels, got text without one; list them: "
            f"kinds={{{str(values.name)!r}: {list(found[:3])}}}"
        )
    return _coded(values, say, found, "categories")


_THOUSANDS = re.compile(r"[-+]?\d{1,3}(,\d{3})*")
_WITH_COMMA = re.compile(r"[-+]?\d+(,\d+)?")


def _refuse_numbers(name: str, found: tuple[str, ...]) -> None:
    """Refuse text of which most values are numbers: one cell that is none makes pandas read a whole column as text.

    So do decimal commas.
    """
    if all(map(_THOUSANDS.fullmatch, found)) and any("," in value for value in found):
        raise ValueError(
            f"column {name!r} expects numbers without commas, got {found[0]!r}; read the file by pd.read_csv(path, "
            f"thousands=','), or decimal=',', or say that they are categories: kinds={{{name!r}: 'categories'}}"
        )
    if all(map(_WITH_COMMA.fullmatch, found)) and any("," in value for value in found):
        raise ValueError(
            f"column {name!r} expects numbers with decimal points, got {found[0]!r}; read the file by "
            "pd.read_csv(path, decimal=',') with its sep, or say that they are categories: "
            f"kinds={{{name!r}: 'categories'}}"
        )
    numbers = pd.to_numeric(pd.Series(found, dtype=object), errors="coerce").notna()
    others = [value for value, is_number in zip(found, numbers, strict=True) if not is_number]
    if others and 2 * len(others) < len(found):
        raise ValueError(
            f"column {name!r} expects numbers or text, got {len(found) - len(others)} different numbers and "
            f"{', '.join(map(repr, others[:3]))}{', ...' if len(others) > 3 else ''}; empty the cells that hold no "
            f"number, or say that all are categories: kinds={{{name!r}: 'categories'}}"
        )


def _of_dates(values: pd.Series, there: pd.Series, say: Told) -> dict[str, Any]:
    _only(values, say, "real")
    if plain_dtype(str(values.dtype)) is None:
        raise TypeError(
            f"column {values.name!r} expects dates of a zone with a name, got {values.dtype}; convert it: "
            "dt.tz_convert('Europe/Berlin'), say"
        )
    first, clock = there.min(), there.dt.tz_localize(None)  # where summer time begins a midnight may not exist
    days = bool((clock == clock.dt.normalize()).all())
    return {"kind": "real", "origin": str(first.date()) if days else first.isoformat()}


def _of_numbers(values: pd.Series, there: pd.Series, say: Told) -> dict[str, Any]:
    numbers = there.astype(float)
    if not np.isfinite(numbers).all():
        raise ValueError(
            f"column {values.name!r} expects finite numbers, got infinity; replace it, by NaN where it is missing"
        )
    whole = bool((numbers == numbers.round()).all())
    low, high = float(numbers.min()), float(numbers.max())
    discrete = whole and (pd.api.types.is_integer_dtype(values) or len(there) < len(values))
    if say.like is not None and say.values and all(isinstance(value, str) for value in say.values):
        return _coded(values, say, tuple(sorted(set(map(as_text, there)))), "categories")  # as text in the other data
    if say.kind in ("categories", "levels") or say.values or (say.kind == "binary" and not {low, high} <= {0.0, 1.0}):
        exact = there if pd.api.types.is_integer_dtype(there) else numbers  # floats end at 2^53
        found = tuple(sorted(set(map(int, exact) if whole else numbers.tolist())))
        return _coded(values, say, _numbered(found, say.number), "categories")
    kind = say.kind or ("real" if not discrete or low < 0 else "binary" if high <= 1 else "counts")
    shift = -1.0 if say.shifted and low >= 0 and low == 0 else 0.0  # HI-VAE takes the logarithm of 1 + x
    return {"kind": kind, "shift": shift}


def _numbered(found: tuple[Any, ...], number: int | None) -> tuple[Any, ...]:
    """All of 1, ..., number, or from 0, where the values found are some of these."""
    ranges = [] if number is None else [tuple(range(start, start + number)) for start in (1, 0)]
    return next((every for every in ranges if set(found) <= set(every)), found)


def _coded(values: pd.Series, say: Told, found: tuple[Any, ...], usual: str) -> dict[str, Any]:
    """Kind and categories of a column whose values are codes in x."""
    _only(values, say, "binary", "levels", "categories")
    own = say.values or found
    if strange := [value for value in found if value not in own]:
        advice, said = "list all", ", ".join(map(str, own))
        if isinstance(strange[0], str) and any(isinstance(value, bool) for value in own):
            advice = "quote yes and no in YAML, which reads them as true and false"
        elif str(strange[0]) in own:
            advice, said = "list them as numbers, without quotes", ", ".join(map(repr, own))
        raise ValueError(f"column {values.name!r} expects the levels {said}, got {strange[0]!r}; {advice}")
    kind = say.kind or ("binary" if len(own) == 2 and usual == "categories" else usual)
    fewest, most = 2, 2 if kind == "binary" else say.number or len(own)
    if not fewest <= len(own) <= most:
        expected = (
            "two values or more" if most < fewest else "two values" if most == 2 else f"{fewest} to {most} values"
        )
        raise ValueError(
            f"column {values.name!r} expects {expected} as {kind}, got {len(own)}, {own[0]!r} for one; leave it out, "
            f"kinds={{{str(values.name)!r}: 'skip'}}, or give another kind"
        )
    return {"kind": kind, "levels": len(own), "categories": own}


def _only(values: pd.Series, say: Told, *allowed: str) -> None:
    if say.kind is not None and say.kind not in allowed:
        raise ValueError(
            f"column {values.name!r} of {values.dtype} expects to be {' or '.join(allowed)}, got kind {say.kind!r}; "
            "convert it to numbers first, or give another kind"
        )


def _plain(category: Any) -> Any:
    """A category as JSON holds it: others than numbers, booleans and text by their text."""
    value = category.item() if isinstance(category, np.generic) else category
    if isinstance(value, float) and value.is_integer():  # as which pandas reads whole numbers with gaps
        return int(value)
    return value if isinstance(value, str | int | float | bool) else str(value)


def _is_text(there: pd.Series) -> bool:
    return pd.api.types.infer_dtype(there) == "string"


def _words(there: pd.Series) -> bool:
    """Whether these are text and numbers, as where a column is text in only one of two files."""
    return bool(there.map(type).isin([str, int, float]).all())


_NUMBERS = ("integer", "floating", "mixed-integer-float", "integer-na")  # of objects, too
_READERS: list[tuple[Callable[[pd.Series], bool], Callable[[pd.Series, pd.Series, Told], dict[str, Any]]]] = [
    (lambda there: pd.api.types.infer_dtype(there) == "boolean", _of_booleans),
    (lambda there: isinstance(there.dtype, pd.CategoricalDtype), _of_categories),
    (lambda there: pd.api.types.is_datetime64_any_dtype(there), _of_dates),
    (lambda there: pd.api.types.infer_dtype(there) in _NUMBERS, _of_numbers),
    (_is_text, _of_text),
]
