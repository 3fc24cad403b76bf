"""What each datum is conditioned on, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppl_vae.data.coding import as_text, decoded
from ppl_vae.data.columns import Columns
from ppl_vae.split import Split

__all__ = ["classes_of", "conditions_told"]

_MOST_NUMBERS = 3


def conditions_told(split: Split) -> list[str]:
    """The condition of each datum: names of classes, and other values in raw units; none without a condition.

    Parameters
    ----------
    split
        Data with a context of n rows.

    Returns
    -------
    list[str]
        n texts: a class by its name, or its number where it has none; a column by its name and value; of numbers
        without names the first three.
    """
    records = split.provenance.get("conditions") or []
    parts = [
        _of_columns(c, records[i]) if i < len(records) else _of_array(c, classes_of(split, i))
        for i, c in enumerate(split.context)
    ]
    return [", ".join(one) for one in zip(*parts, strict=True)]


def classes_of(split: Split, i: int = -1) -> list[str] | None:
    """The names of the classes that a context is one-hot over, by default the last one; `None` for numbers.

    A class without a name has its number.
    """
    context, records = split.context[i], split.provenance.get("conditions") or []
    place = range(len(split.context))[i]
    if place < len(records):
        categories = records[place][0]["column"].get("categories") if len(records[place]) == 1 else None
        return None if categories is None else [as_text(value) for value in categories]
    one_hot = context.dim() == 2 and bool(((context == 0) | (context == 1)).all() and (context.sum(1) == 1).all())
    if not one_hot or context.shape[1] < 2:
        return None
    classes, size = split.classes or (), context.shape[1]
    return [str(name) for name in classes] if len(classes) == size else [str(code) for code in range(size)]


def _of_columns(context: Tensor, records: Sequence[Mapping[str, Any]]) -> list[str]:
    """A context (n, c) that was made of columns, each by its name and value."""
    columns = Columns.of(record["column"] for record in records)
    sizes = [1 if column.categories is None else len(column.categories) for column in columns]
    values = [
        part[:, 0] * record.get("scale", 1.0) + record.get("loc", 0.0) if size == 1 else part.argmax(1)
        for part, size, record in zip(context.cpu().double().split(sizes, 1), sizes, records, strict=True)
    ]
    frame, _ = decoded(torch.stack([v.double() for v in values], 1).numpy(), columns)
    rows = zip(*(frame[name] for name in columns.names), strict=True)
    return [", ".join(f"{name} {_short(v)}" for name, v in zip(columns.names, row, strict=True)) for row in rows]


def _of_array(context: Tensor, classes: Sequence[str] | None) -> list[str]:
    """A context (n, ...) of which no more is known than the classes."""
    if classes is not None:
        return [classes[code] for code in context.argmax(1).tolist()]
    rows = context.reshape(len(context), -1).tolist()
    return [", ".join(map(_short, row[:_MOST_NUMBERS])) + ", ..." * (len(row) > _MOST_NUMBERS) for row in rows]


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float | np.floating) else as_text(value).removesuffix(" 00:00:00")
