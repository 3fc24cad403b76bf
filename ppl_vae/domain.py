"""The domain of the data: which values they take, and their affine map from the raw units."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ppl_vae.arguments import Count, Positive, Rule, checked

__all__ = ["Domain", "Kind"]

Kind = Literal["binary", "levels", "unit", "real", "positive", "counts", "categories"]
Values = Annotated[Tensor, Rule("of real numbers", lambda v: torch.is_tensor(v) and not v.is_complex())]
_DISCRETE = frozenset({"binary", "levels", "counts", "categories"})
_FEWEST = {"levels": 2, "categories": 1}


class _One(NamedTuple):
    """The fields of a `Domain` for one column."""

    kind: Any
    levels: Any
    shift: Any
    span: Any


@checked
@dataclass(frozen=True)
class Domain:
    """The values an element of x may take: x = (raw - shift) / span.

    Each field is one value for all elements, or a tuple with a value for each column of x, its last dimension. A tuple
    of equal values is kept as that one value, and lists, as JSON gives them back, become tuples.

    Parameters
    ----------
    kind
        ``"binary"`` {0, 1}, ``"levels"`` {0, ..., levels - 1} in their order, ``"unit"`` [0, 1], ``"real"``,
        ``"positive"`` (0, inf), ``"counts"`` {0, 1, 2, ...}, or ``"categories"`` {0, ..., levels - 1} without order.
    levels
        Number of grey levels of the raw values: 256 for 8-bit images, 17 for scikit-learn's digits; number of
        categories. Kept when the levels are dequantized, so that densities can be reported in bits per dimension.
    shift, span
        The affine map from raw values to x, in raw units.

    Raises
    ------
    ValueError
        For another kind, for levels or categories without their number, and for tuples of different lengths.

    Examples
    --------
    >>> Domain("levels", levels=256).rescaled(0.0, 256.0, kind="unit").log_volume
    5.545...
    >>> table = Domain(("real", "categories", "counts"), levels=(None, 5, None), span=(10.0, 1.0, 1.0))
    >>> table.described, table.contains(torch.tensor([[-0.3, 4.0, 12.0]]))
    ('real, 5 categories and counts', True)
    """

    kind: Kind | tuple[Kind, ...]
    levels: Count | tuple[Count | None, ...] | None = None
    shift: float | tuple[float, ...] = 0.0
    span: Positive | tuple[Positive, ...] = 1.0

    def __post_init__(self) -> None:
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        columns = {name: value for name, value in given.items() if isinstance(value, list | tuple | np.ndarray)}
        lengths = {name: len(value) for name, value in columns.items()}
        if len(set(lengths.values())) > 1 or 0 in lengths.values():
            raise ValueError(
                f"Domain expects tuples of one length, a value for each column, got lengths {lengths}; give one value "
                "for each column, or one for all that is no tuple"
            )
        for name, value in columns.items():
            values = tuple(v.item() if isinstance(v, np.generic) else v for v in value)
            object.__setattr__(self, name, _as_one(values))
        for j, (kind, levels, *_) in enumerate(self._each):
            if kind in _FEWEST and (levels is None or levels < _FEWEST[kind]):
                where = "" if self.num_columns is None else f" in column {j}"
                raise ValueError(
                    f"Domain({kind!r}) expects at least {_FEWEST[kind]} levels, got {levels}{where}; "
                    "give their number, 256 for 8-bit images"
                )

    @property
    def num_columns(self) -> int | None:
        """Number of columns, where these differ; `None` where all elements have one domain."""
        return next((len(v) for f in fields(self) if isinstance(v := getattr(self, f.name), tuple)), None)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds that occur, in order of the columns: more than one in a table of mixed columns."""
        return tuple(dict.fromkeys(one.kind for one in self._each))

    @property
    def described(self) -> str:
        """The kinds in words: ``"real"``, ``"256 levels"``, ``"real and counts"``."""
        numbers = {kind: {one.levels for one in self._each if one.kind == kind} for kind in self.kinds}
        *first, last = (
            f"{number} {kind}" if kind in _FEWEST and isinstance(number := _as_one(tuple(found)), int) else kind
            for kind, found in numbers.items()
        )
        return " and ".join(filter(None, [", ".join(first), last]))

    @property
    def log_volume(self) -> float | tuple[float, ...]:
        """Volume log |d raw / d x| of an element, in nats: log p(raw) = log p(x) - log_volume.

        One value for each column where they differ; 0 where x is discrete, as a mass has no units.
        """
        volumes: Any = _as_one(tuple(0.0 if one.kind in _DISCRETE else math.log(one.span) for one in self._each))
        return volumes

    @property
    def discrete(self) -> bool:
        """Whether x, as it stands, takes countably many values in every column."""
        return all(one.kind in _DISCRETE for one in self._each)

    @property
    def countable(self) -> bool:
        """Whether the raw values are countable in every column: discrete, or levels that were dequantized."""
        return all(one.kind in _DISCRETE or one.levels for one in self._each)

    def columns(self, num: int) -> tuple[Domain, ...]:
        """The domains of `num` columns, one each.

        Raises
        ------
        ValueError
            For a domain of another number of columns.
        """
        return tuple(Domain(*one) for one in self._of(num))

    @checked
    def contains(self, x: Values, mask: Tensor | None = None) -> bool:
        """Whether every element of x is a value of this domain; NaN and infinity never are.

        Elements where `mask` is False do not count.
        """
        return not bool(self.outside(x, mask).any())

    @checked
    def outside(self, x: Values, mask: Tensor | None = None) -> Tensor:
        """Where elements of x are no values of this domain, booleans of the shape of x; False where `mask` is."""
        x = x.to(torch.uint8) if x.dtype == torch.bool else x  # booleans cannot be rounded
        tops = {"binary": 1, "unit": 1}
        top = [one.levels - 1 if one.kind in _FEWEST else tops.get(one.kind, math.inf) for one in self._each]
        inside = torch.isfinite(x) & (x <= self._along(x, top))
        if self.kinds != ("real",):
            inside &= (x >= 0) | self._along(x, [one.kind == "real" for one in self._each])
        if "positive" in self.kinds:
            inside &= (x != 0) | self._along(x, [one.kind != "positive" for one in self._each])
        if not _DISCRETE.isdisjoint(self.kinds):
            inside &= (x == x.round()) | self._along(x, [one.kind not in _DISCRETE for one in self._each])
        return ~inside if mask is None else ~inside & mask.to(x.device)

    @checked
    def raw(self, x: Values) -> Tensor:
        """Values x in the units of the file it came from."""
        first, *others = self._each
        if not others:
            return x * first.span + first.shift
        x = x if x.is_floating_point() else x.to(torch.get_default_dtype())
        span, shift = (self._along(x, [getattr(one, n) for one in self._each], x.dtype) for n in ("span", "shift"))
        return x * span + shift

    @checked
    def scaled(self, raw: Values) -> Tensor:
        """Raw values as x, in the units of this domain: the inverse of `raw`."""
        first, *others = self._each
        if not others:
            return raw if (first.shift, first.span) == (0.0, 1.0) else (raw - first.shift) / first.span
        raw = raw if raw.is_floating_point() else raw.to(torch.get_default_dtype())
        span, shift = (self._along(raw, [getattr(one, n) for one in self._each], raw.dtype) for n in ("span", "shift"))
        return (raw - shift) / span

    @checked
    def rescaled(
        self, shift: float | tuple[float, ...], span: Positive | tuple[Positive, ...], *, kind: Kind | tuple[Kind, ...]
    ) -> Domain:
        """The domain of (x - shift) / span; each argument is one value, or one for each column."""
        num = next((len(v) for v in (shift, span, kind) if isinstance(v, tuple)), self.num_columns or 1)
        steps = zip(self._of(num), *(_repeated(v, num) for v in (shift, span, kind)), strict=True)
        made = [(to, one.levels, one.shift + one.span * by, one.span * s) for one, by, s, to in steps]
        return Domain(*(tuple(values) for values in zip(*made, strict=True)))

    @property
    def _each(self) -> tuple[_One, ...]:
        """The fields of each column, of one for all where they do not differ."""
        values = (_repeated(getattr(self, f.name), self.num_columns or 1) for f in fields(self))
        return tuple(map(_One._make, zip(*values, strict=True)))

    def _of(self, num: int) -> tuple[_One, ...]:
        """The fields of `num` columns."""
        if self.num_columns not in (None, num):
            raise ValueError(
                f"a domain of {self.num_columns} columns expects x with as many in its last dimension, got {num}; give "
                "one kind, levels, shift and span for each column"
            )
        return self._each if self.num_columns else self._each * num

    def _along(self, x: Tensor, values: list[Any], dtype: torch.dtype | None = None) -> Tensor:
        """A value for each column as a tensor that broadcasts against x."""
        if self.num_columns is not None:
            self._of(x.shape[-1] if x.dim() else 1)
        found = torch.tensor(values, dtype=dtype, device=x.device)
        return found if self.num_columns else found[0]


def _as_one(values: tuple[Any, ...]) -> Any:
    """The value that all of some values are; the values where they differ."""
    return values[0] if len(set(values)) == 1 else values


def _repeated(value: Any, num: int) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,) * num
