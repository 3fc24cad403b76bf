"""Columns of a table: what each holds, and what was decided about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from ppl_vae.arguments import Count, checked
from ppl_vae.domain import Domain, Kind
from ppl_vae.libraries import pd

__all__ = ["LIKELIHOODS", "Column", "Columns"]

LIKELIHOODS = {
    "binary": "Bernoulli",
    "levels": "OrderedLogistic",
    "unit": "ContinuousBernoulli",
    "real": "Gaussian",
    "positive": "LogNormal",
    "counts": "NegativeBinomial",
    "categories": "Categorical",
}
"""The usual likelihood of a column, by its kind."""


@checked
@dataclass(frozen=True)
class Column:
    """One column of a table, as one column of x; all of it is plain values, for JSON.

    Parameters
    ----------
    name
        As the frame has it, as text.
    kind
        See `Domain`.
    dtype
        Of the frame, by its name in pandas.
    levels
        Number of categories or levels; `None` for numbers.
    categories
        Their values in the frame, by code 0, 1, ...; `None` where x holds the values themselves.
    ordered
        Whether pandas' categories of the frame are ordered.
    origin
        For dates: what x counts days from, in ISO 8601. A date alone where the frame has no times of day.
    shift
        x + shift are the values of the frame.
    missing
        Share of the values that are missing.
    """

    name: str
    kind: Kind
    dtype: str
    levels: Count | None = None
    categories: tuple[str | float | bool, ...] | None = None
    ordered: bool = False
    origin: str | None = None
    shift: float = 0.0
    missing: float = 0.0

    @property
    def units(self) -> str:
        """What a number of x means, in words; empty where it is the value of the frame."""
        if self.origin:
            return f"days from {self.origin}"
        return f"x = value - {self.shift:g}".replace("- -", "+ ") if self.shift else ""


class Columns(tuple[Column, ...]):
    """The columns of a table in order; printed, what was decided about each."""

    __slots__ = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(column.name for column in self)

    @property
    def text(self) -> tuple[str, ...]:
        """Names of those that were text in the frame."""
        coded = [one for one in self if one.categories and one.dtype.startswith(("object", "str", "category"))]
        return tuple(one.name for one in coded if all(isinstance(value, str) for value in one.categories or ()))

    @property
    def domain(self) -> Domain:
        """The domain of x, (n, columns)."""
        kinds, levels = tuple(c.kind for c in self), tuple(c.levels if c.kind != "binary" else None for c in self)
        return Domain(kinds, levels=levels, shift=tuple(c.shift for c in self), span=(1.0,) * len(self))

    @property
    def table(self) -> pd.DataFrame:
        """One row a column: kind, number of levels, dtype of the frame, share missing, the usual likelihood."""
        rows = {
            "column": list(self.names),
            "kind": [c.kind for c in self],
            "levels": ["" if c.levels is None else str(c.levels) for c in self],
            "dtype": [c.dtype for c in self],
            "missing": [f"{c.missing:.1%}" if c.missing else "" for c in self],
            "likelihood": [LIKELIHOODS[c.kind] for c in self],
            "in x": [c.units or (f"codes of {_few(c.categories)}" if c.categories else "") for c in self],
        }
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        cells = [list(self.table.columns), *self.table.to_numpy().tolist()]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)

    def plain(self) -> list[dict[str, Any]]:
        """As JSON holds them: each by its fields that are not the default."""
        default = {f.name: f.default for f in fields(Column)}
        return [
            {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(c).items() if v != default[k]} for c in self
        ]

    @classmethod
    def of(cls, plain: Iterable[Mapping[str, Any]]) -> Columns:
        """From `plain`, or what JSON made of it."""
        made: list[dict[str, Any]] = [{k: tuple(v) if isinstance(v, list) else v for k, v in o.items()} for o in plain]
        return cls(Column(**one) for one in made)


def _few(values: Sequence[Any], most: int = 3) -> str:
    return ", ".join(map(str, values[:most]))[:60] + (", ..." if len(values) > most else "")
