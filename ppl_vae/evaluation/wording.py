"""Numbers that agree with their nouns."""

from __future__ import annotations

__all__ = ["data", "plural"]


def plural(num: int, one: str, many: str | None = None) -> str:
    """A count with its noun: `1 unit`, `2 units`.

    Examples
    --------
    >>> plural(1, "unit"), plural(0, "unit"), plural(3, "datum", "data")
    ('1 unit', '0 units', '3 data')
    """
    return f"{num} {one if num == 1 else many or one + 's'}"


def data(num: int) -> str:
    """`1 datum`, `2 data`."""
    return plural(num, "datum", "data")
