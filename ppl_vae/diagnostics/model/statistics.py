"""Test statistics of one datum, for predictive checks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppl_vae.domain import Domain
from ppl_vae.precision import in_float64
from ppl_vae.rows import dense
from ppl_vae.split import Split

__all__ = [
    "Discrepancy",
    "Measure",
    "Statistic",
    "by_column",
    "dispersion",
    "edges",
    "euler",
    "largest",
    "mean",
    "sd",
    "skewness",
    "smallest",
    "suited",
    "zeros",
]

MOST = 5  # values of a category that are counted
AT_ONCE = 500  # data per batch, few enough for the processor's cache

Statistic = Callable[[Tensor, Tensor], Tensor]
"""Function of data (n, *x_shape) in float64 and a mask of that shape, True where observed; gives (n,), with NaN."""


class Discrepancy(NamedTuple):
    """A statistic and its units."""

    of: Statistic
    units: str


def mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over the observed elements: the amount of ink in an image."""
    return _mean(x, mask)


def sd(x: Tensor, mask: Tensor) -> Tensor:
    """Standard deviation over the observed elements: the contrast of an image."""
    return _moment(x, mask, 2).sqrt()


def smallest(x: Tensor, mask: Tensor) -> Tensor:
    """The smallest observed element."""
    return -largest(-x, mask)


def largest(x: Tensor, mask: Tensor) -> Tensor:
    """The largest observed element."""
    top = _rows(x.masked_fill(~mask, -math.inf)).amax(1)
    return torch.where(top == -math.inf, math.nan, top)


def skewness(x: Tensor, mask: Tensor) -> Tensor:
    """Third central moment over the cube of the standard deviation; NaN for constant data."""
    return _moment(x, mask, 3) / _moment(x, mask, 2) ** 1.5


def zeros(x: Tensor, mask: Tensor) -> Tensor:
    """Share of the observed elements that are zero."""
    return _mean((x == 0).to(x.dtype), mask)


def dispersion(x: Tensor, mask: Tensor) -> Tensor:
    """Variance over mean of the observed elements; about 1 for Poisson counts of one rate, NaN if all are zero."""
    count = _rows(mask).sum(1)
    return _moment(x, mask, 2) * count / (count - 1) / _mean(x, mask)


def edges(x: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute difference of horizontal and vertical neighbours: the roughness of images (n, c, h, w)."""
    pairs = [(x[..., 1:, :] - x[..., :-1, :], mask[..., 1:, :] & mask[..., :-1, :])]
    pairs += [(x[..., 1:] - x[..., :-1], mask[..., 1:] & mask[..., :-1])]
    size = torch.cat([d.abs().flatten(1) for d, _ in pairs], 1)
    return _mean(size, torch.cat([seen.flatten(1) for _, seen in pairs], 1))


def euler(x: Tensor, mask: Tensor) -> Tensor:
    """Euler characteristic of binary images (n, c, h, w), summed over channels: components minus holes.

    Isolated pixels and broken strokes increase it. With 4-connectivity it is pixels - adjacent pairs + 2 x 2 blocks.
    """
    lit = (x > 0) & mask
    down = lit[..., 1:, :] & lit[..., :-1, :]
    across = lit[..., 1:] & lit[..., :-1]
    blocks = across[..., 1:, :] & across[..., :-1, :]
    pixels, *pairs, faces = (part.flatten(1).sum(1) for part in (lit, down, across, blocks))
    return (pixels - sum(pairs) + faces).to(x.dtype)


def suited(
    x: Tensor, domain: Domain | None, columns: Sequence[Mapping[str, Any]] = (), mask: Tensor | None = None
) -> dict[str, Discrepancy]:
    """Default statistics of data (n, *x_shape), by name.

    Parameters
    ----------
    x
        Data; images are (n, c, h, w).
    domain
        The domain of x; if not known, it is inferred from the values: binary, counts unless x are images, else real.
        Where columns differ in their kinds, levels or units, statistics are of each column by itself: its value, whose
        mean and standard deviation over the data are compared; of a category the share of its most frequent values.
    columns
        Of the frame that x came from, as its provenance has them, for their names.
    mask
        True where an element of x was observed; all if `None`.

    Examples
    --------
    >>> list(suited(torch.zeros(2, 1, 8, 8), Domain("binary")))
    ['ink', 'edges', 'pieces_less_holes']
    """
    known = domain or next(d for k in ("binary", "counts", "real") if (d := Domain(k)).contains(x))
    if known.num_columns is not None and x.dim() == 2:
        return by_column(x, known, columns, mask)
    kind = known.kinds[0] if len(known.kinds) == 1 else "real"
    binary, image = kind == "binary", x.dim() == 4
    units = {"binary": "1", "counts": "counts"}.get(kind, "units of x")
    if domain and isinstance(domain.levels, int):
        units = "grey levels"
    if image:
        more = {"pieces_less_holes": Discrepancy(euler, "1")} if binary else {"contrast": Discrepancy(sd, units)}
        return {"ink": Discrepancy(mean, units), "edges": Discrepancy(edges, units), **more}
    if binary:
        return {"mean": Discrepancy(mean, units)}
    if kind == "counts":
        counts = {"mean": mean, "largest": largest, "dispersion": dispersion}
        return {**{name: Discrepancy(f, units) for name, f in counts.items()}, "zeros": Discrepancy(zeros, "1")}
    table = {"mean": mean, "sd": sd, "smallest": smallest, "largest": largest}
    return {**{name: Discrepancy(f, units) for name, f in table.items()}, "skewness": Discrepancy(skewness, "1")}


def by_column(
    x: Tensor, domain: Domain, columns: Sequence[Mapping[str, Any]] = (), mask: Tensor | None = None
) -> dict[str, Discrepancy]:
    """Statistics of the columns of a table (n, columns), each by itself: see `suited`."""
    seen = torch.ones_like(x, dtype=torch.bool) if mask is None else mask
    found: dict[str, Discrepancy] = {}
    each = domain.columns(x.shape[1])
    for j, one in enumerate(each):
        about = columns[j] if len(columns) == len(each) else {}
        name = str(about.get("name", f"column {j}"))
        if one.kind != "categories":
            unit = {"binary": "1", "counts": "counts", "levels": "levels"}.get(one.kinds[0], "raw units")
            found[name] = Discrepancy(partial(_value, j), "days" if about.get("origin") else unit)
            continue
        levels, counts = x[seen[:, j], j].unique(return_counts=True)
        for level in levels[counts.argsort(descending=True)][:MOST].sort().values.tolist():
            called = about["categories"][int(level)] if about.get("categories") else int(level)
            found[f"{name} = {called}"] = Discrepancy(partial(_is, j, level), "1")
    return found


def _value(column: int, x: Tensor, mask: Tensor) -> Tensor:
    return x[:, column].masked_fill(~mask[:, column], math.nan)


def _is(column: int, level: float, x: Tensor, mask: Tensor) -> Tensor:
    return (x[:, column] == level).to(x.dtype).masked_fill(~mask[:, column], math.nan)


class Measure:
    """Evaluates statistics of data that replace those of a split: in raw units, with the masks of the split.

    Parameters
    ----------
    split
        The data.
    statistics
        Functions by name; if `None`, the defaults for the data.

    Raises
    ------
    ValueError
        For no statistics, and where one does not return one number per datum.
    """

    def __init__(self, split: Split, statistics: Mapping[str, Statistic] | None) -> None:
        self.split = split
        if statistics is None:
            x = dense(split.x).masked_fill(~split.observed, 0)
            self.chosen = suited(x, split.domain, split.provenance.get("columns", ()), split.observed)
        elif not statistics:
            raise ValueError("a predictive check expects one statistic or more, got none; leave out statistics=")
        else:
            self.chosen = {name: Discrepancy(f, "as returned") for name, f in statistics.items()}

    def __call__(self, x: Tensor, rows: slice) -> Tensor:
        """Statistics of data (R, n, *x_shape): (statistics, R, n)."""
        seen = self.split[rows].observed.to(x.device).expand(x.shape).flatten(0, 1)
        parts = zip(x.flatten(0, 1).split(AT_ONCE), seen.split(AT_ONCE), strict=True)
        return torch.cat([self._few(*part) for part in parts], -1).reshape(-1, *x.shape[:2])

    def _few(self, x: Tensor, seen: Tensor) -> Tensor:
        """Statistics of data (n, *x_shape): (statistics, n)."""
        x = self.split.domain.raw(in_float64(x)) if self.split.domain else in_float64(x)
        seen = seen.to(x.device)
        return torch.stack([self._one(name, x, seen) for name in self.chosen])

    @property
    def units(self) -> dict[str, str]:
        """Units by name."""
        return {name: discrepancy.units for name, discrepancy in self.chosen.items()}

    def of_data(self, rows: slice, device: torch.device) -> Tensor:
        """Statistics of the observed data, (statistics, 1, n)."""
        return self(dense(self.split.x[rows])[None].to(device), rows)

    def _one(self, name: str, x: Tensor, seen: Tensor) -> Tensor:
        values = self.chosen[name].of(x, seen)
        if not isinstance(values, Tensor) or values.shape != (len(x),):
            came = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise ValueError(
                f"a predictive check expects one number a datum of the statistic {name!r}, ({len(x)},), got "
                f"{came}; sum over everything but the first dimension"
            )
        return in_float64(values)


def _rows(x: Tensor) -> Tensor:
    """All elements of each datum, (n, -1); a datum may be a scalar."""
    return x.reshape(len(x), -1)


def _mean(x: Tensor, mask: Tensor) -> Tensor:
    return _rows(x.masked_fill(~mask, 0.0)).sum(1) / _rows(mask).sum(1)


def _moment(x: Tensor, mask: Tensor, order: int) -> Tensor:
    centre = _mean(x, mask).reshape(-1, *[1] * (x.dim() - 1))
    return _mean((x - centre) ** order, mask)
