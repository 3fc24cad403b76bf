"""The map from the columns of a table to the domain of a likelihood, and back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ppl_vae.data.coding import decoded
from ppl_vae.data.columns import Columns as Records
from ppl_vae.domain import Domain
from ppl_vae.factories import Factory, made_by, name_of, settings_of
from ppl_vae.likelihoods import Heterogeneous
from ppl_vae.likelihoods.likelihood import kinds_of
from ppl_vae.split import Split

__all__ = ["Columns"]


_NONE = Records()


@dataclass(frozen=True, eq=False)
class Columns:
    """x = (X - mean) / span: columns centered, and divided by a common span, which keeps distances, or each by its own.

    Only real X are transformed; binary, whole or unit-interval X are unchanged. NaN is a missing value.

    Parameters
    ----------
    likelihood
        Name of the likelihood; for a frame with categories, of the likelihood of its numbers.
    mean
        Subtracted from each column, (n_features,), in the units of X.
    domain
        The domain of x; X - mean is divided by its `span`.
    records
        What the columns of a frame with text, categories or dates hold; empty for other X. Such columns enter as codes
        0, 1, ... and as days.
    """

    likelihood: str
    mean: np.ndarray
    domain: Domain
    records: Records = _NONE

    @classmethod
    def of(cls, table: np.ndarray, likelihood: Factory, *, each: bool = False, records: Records = _NONE) -> Columns:
        """The map learned from X (n_samples, n_features), for a likelihood class or a partial of one.

        With `each` every column of real X has a span of its own, the standard deviation of its known values.
        """
        name = name_of(likelihood)
        numbers = _numbers(records, table.shape[1])
        mean, domains = np.zeros(table.shape[1]), [Records([record]).domain for record in records]
        if not records:
            return cls(name, *_centred(table, likelihood, each))
        if numbers.any():
            mean[numbers], domain = _centred(table[:, numbers], likelihood, each)
            for j, own in zip(numbers.nonzero()[0], domain.columns(int(numbers.sum())), strict=True):
                domains[j] = own
        fields = zip(*((own.kind, own.levels, own.span) for own in domains), strict=True)
        kinds, levels, spans = map(tuple, fields)
        return cls(name, mean, Domain(kinds, levels, span=spans), records)

    def likelihood_of(self, likelihood: Factory) -> Factory:
        """The likelihood of all columns, where `likelihood` is that of numbers."""
        if not self.records:
            return likelihood
        names = self.records.names
        if made_by(likelihood) is Heterogeneous:
            return partial(likelihood, names=names)
        numbers = _numbers(self.records, len(names))
        ours = {name: likelihood for name, number in zip(names, numbers, strict=True) if number}
        return partial(Heterogeneous, columns=ours, names=names)

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
            self._refuse(table)
        return Split(x, torch.arange(len(x)), self.domain, mask=mask)

    def raw(self, x: Tensor) -> np.ndarray:
        """Data x (n_samples, n_features) in the units of X; categories as codes, dates as days."""
        raw: np.ndarray = self.domain.raw(x).cpu().numpy() + self.mean
        return raw

    def returned(self, table: np.ndarray, index: Any = None) -> np.ndarray | pd.DataFrame:
        """X (n_samples, n_features) as the user gave it: a frame if it had categories or dates, else the array."""
        return decoded(table, self.records, index)[0] if self.records else table

    def _refuse(self, table: np.ndarray) -> None:
        numbers = _numbers(self.records, table.shape[1])
        domain, found = self.domain.columns(table.shape[1])[numbers.argmax()], table[:, numbers]
        expected, fix = _SUPPORTS[domain.kinds[0]]
        top = f" to {levels - 1}" if isinstance(levels := domain.levels, int) else ""
        raise ValueError(
            f"{self.likelihood} expects X {expected}{top}, got values in [{np.nanmin(found):g}, {np.nanmax(found):g}] "
            f"with {len(np.unique(found[~np.isnan(found)]))} distinct ones; {fix.format(self.likelihood)}"
        )


def _numbers(records: Records, num: int) -> np.ndarray:
    """Which of the columns hold numbers, or dates, (num,)."""
    return np.array([record.categories is None for record in records] or [True] * num)


def _centred(table: np.ndarray, likelihood: Factory, each: bool) -> tuple[np.ndarray, Domain]:
    """Means of the columns of numbers, which are subtracted, and the domain of the differences."""
    kind: Any = (kinds_of(likelihood) or ("real",))[0]
    if kind == "real":
        mean = np.nanmean(table, 0)
        columns = (table[:, [j]] for j in range(table.shape[1]))
        spans = tuple(_span(x, m) for x, m in zip(columns, mean, strict=True)) if each else _span(table, mean)
        return mean, Domain("real", span=spans)
    top = settings_of(likelihood).get("levels", int(max(np.nanmax(table), 1)) + 1)
    levels = top if kind in ("levels", "categories") else None
    return np.zeros(table.shape[1]), Domain(kind, levels=levels)


def _span(table: np.ndarray, mean: np.ndarray) -> float:
    """Root of the mean variance of the columns; 1 for columns that are constant up to rounding."""
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
