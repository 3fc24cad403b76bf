"""The columns of a table in the domain of a likelihood, and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppl_vae.domain import Domain
from ppl_vae.split import Split

__all__ = ["Columns"]


@dataclass(frozen=True, eq=False)
class Columns:
    """x = (X - mean) / span: each column centered and divided by one span for all, which keeps distances, or its own.

    Only real X are transformed; binary, whole or unit-interval X are unchanged. NaN is missing.

    Parameters
    ----------
    likelihood
        Name of the likelihood.
    mean
        Subtracted from each column, (n_features,), in the units of X.
    domain
        The domain of x; X - mean is divided by its `span`.
    """

    likelihood: str
    mean: np.ndarray
    domain: Domain

    @classmethod
    def of(cls, table: np.ndarray, likelihood: Callable[..., Any], *, each: bool = False) -> Columns:
        """Learned from X (n_samples, n_features), for a likelihood class or a partial of one.

        With `each` every column of real X has a span of its own, the standard deviation of its known values.
        """
        made_of = getattr(likelihood, "func", likelihood)
        kind: Any = getattr(made_of, "kinds", ("real",))[0]
        name = getattr(made_of, "__name__", repr(made_of))
        if kind == "real":
            mean = np.nanmean(table, 0)
            columns = (table[:, [j]] for j in range(table.shape[1]))
            spans = tuple(_span(x, m) for x, m in zip(columns, mean, strict=True)) if each else _span(table, mean)
            return cls(name, mean, Domain("real", span=spans))
        top = getattr(likelihood, "keywords", {}).get("levels", int(max(np.nanmax(table), 1)) + 1)
        levels = top if kind in ("levels", "categories") else None
        return cls(name, np.zeros(table.shape[1]), Domain(kind, levels=levels))

    def split(self, table: np.ndarray) -> Split:
        """X (n_samples, n_features) as data x, in float64.

        Raises
        ------
        ValueError
            For X outside the likelihood's support.
        """
        there = ~np.isnan(table)
        x = torch.from_numpy(np.where(there, (table - self.mean) / np.asarray(self.domain.span), 0.0))
        mask = None if there.all() else torch.from_numpy(there)
        if not self.domain.contains(x, mask):
            expected, fix = _SUPPORTS[self.domain.kinds[0]]
            top = f" to {levels - 1}" if isinstance(levels := self.domain.levels, int) else ""
            raise ValueError(
                f"{self.likelihood} expects X {expected}{top}, got values in "
                f"[{np.nanmin(table):g}, {np.nanmax(table):g}] with {len(np.unique(table[there]))} distinct ones; "
                f"{fix.format(self.likelihood)}"
            )
        return Split(x, torch.arange(len(x)), self.domain, mask=mask)

    def raw(self, x: Tensor) -> np.ndarray:
        """Data x (n_samples, n_features) in the units of X."""
        raw: np.ndarray = self.domain.raw(x).cpu().numpy() + self.mean
        return raw


def _span(table: np.ndarray, mean: np.ndarray) -> float:
    """Root of the mean variance of the columns; 1 for columns that are constant but for rounding."""
    largest = np.nanmax(np.abs(table - mean))
    if largest <= 10 * np.finfo(float).eps * np.abs(mean).max():
        return 1.0
    return float(largest * np.sqrt(np.nanmean(((table - mean) / largest) ** 2)))  # squares of at most 1


_SUPPORTS = {
    "binary": ("in {0, 1}", "threshold X (sklearn.preprocessing.Binarizer), or give another likelihood"),
    "unit": ("in [0, 1]", "scale X (sklearn.preprocessing.MinMaxScaler(clip=True)), or give likelihood=Gaussian"),
    "levels": (
        "of whole numbers from 0",
        "give their number, likelihood=partial({0}, levels=...), if there are more than in the data of fit, "
        "round X, or give likelihood=Gaussian",
    ),
    "counts": ("of whole numbers from 0 on", "round X, or give likelihood=Gaussian"),
    "categories": (
        "of the codes of categories, whole numbers from 0",
        "give their number, likelihood=partial({0}, levels=...), if there are more than in the data of fit, "
        "or encode X (sklearn.preprocessing.OrdinalEncoder)",
    ),
    "positive": ("above 0", "leave out or shift what is not, or give likelihood=Gaussian"),
    "real": ("whose distance from the mean is finite", "leave out such values, or scale X"),
}
