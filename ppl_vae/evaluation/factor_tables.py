"""Tables of units by factors for MIG, SAP and DCI, and the scores computed from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ppl_vae.libraries import metrics, pd, stats

__all__ = ["FactorTables", "Given"]


@dataclass(frozen=True, eq=False)
class Given:
    """Codes (n, units) and factors (n, F) of the same data, in float64; which factors are categorical, (F,)."""

    codes: np.ndarray
    factors: np.ndarray
    categorical: np.ndarray


@dataclass(frozen=True, eq=False)
class FactorTables:
    """Tables (units, F) of I(z_j; v_k) / H(v_k), SAP's S_jk and DCI's R_jk, and the informativeness (F,)."""

    mutual_information: np.ndarray
    predictability: np.ndarray
    importance: np.ndarray
    informativeness: np.ndarray

    @classmethod
    def of(
        cls, given: Given, train: np.ndarray, test: np.ndarray, *, num_bins: int, num_trees: int, seed: int
    ) -> FactorTables:
        """The tables, from rows for training and rows for testing."""
        rows = np.concatenate([train, test])
        codes, z = [_binned(unit, num_bins) for unit in given.codes[rows].T], _standardized(given.codes, train)
        shares, singly, importance, together = [], [], [], []
        for factor, categorical in zip(given.factors.T, given.categorical, strict=True):
            values = _binned(factor[rows], num_bins)
            entropy, *shared = [metrics.mutual_info_score(values, code) for code in [values, *codes]]
            shares.append([information / entropy for information in shared])
            singly.append(
                [_accuracy_by_unit(unit, factor, train, test) for unit in z.T]
                if categorical
                else [_squared_correlation(unit, factor[rows]) for unit in given.codes[rows].T]
            )
            v = factor if categorical else _standardized(factor, train)
            forest = _forest(categorical, num_trees, seed).fit(z[train], v[train])
            importance.append(forest.feature_importances_)
            measure = _above_chance if categorical else metrics.r2_score
            together.append(measure(v[test], forest.predict(z[test])))
        return cls(np.array(shares).T, np.array(singly).T, np.array(importance).T, np.array(together))

    @property
    def per_factor(self) -> pd.DataFrame:
        """The scores that each factor has, (F rows)."""
        return pd.DataFrame(
            {
                "mig": _gap(self.mutual_information),
                "sap": _gap(self.predictability),
                "completeness": _concentration(self.importance.T),
                "informativeness": self.informativeness,
            }
        )

    @property
    def scores(self) -> pd.Series:
        """The five scores: means over the factors; of disentanglement over the units, by their importance."""
        weights = self.importance.sum(1) / max(self.importance.sum(), np.finfo(float).tiny)
        means = self.per_factor.mean()
        means["disentanglement"] = weights @ _concentration(self.importance)
        return means[["mig", "sap", "disentanglement", "completeness", "informativeness"]]


def _standardized(values: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Values (n,) or (n, units) less their means over the rows for training, over their standard deviations there.

    So that no score depends on units: of a support vector machine the penalty would, and forests take codes in float32,
    as equal within 1e-7, and stop at a variance of 2e-16.
    """
    varies = np.ptp(values[train], 0) > 0
    found: np.ndarray = (values - values[train].mean(0)) / np.where(varies, values[train].std(0), 1.0)
    return found


def _binned(values: np.ndarray, num_bins: int) -> np.ndarray:
    """Index of each value among the different ones, (n,); where these are more than the bins, of its bin."""
    distinct, which = np.unique(values, return_inverse=True)
    if len(distinct) <= num_bins:
        return which
    found: np.ndarray = np.digitize(values, np.linspace(distinct[0], distinct[-1], num_bins + 1)[1:-1])
    return found


def _squared_correlation(unit: np.ndarray, factor: np.ndarray) -> float:
    # a constant has no correlation, but rounding of its mean may leave it a variance
    return float(np.corrcoef(unit, factor)[0, 1] ** 2) if np.ptp(unit) > 0 else 0.0


def _accuracy_by_unit(unit: np.ndarray, factor: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    from sklearn.svm import LinearSVC

    machine = LinearSVC(C=0.01, class_weight="balanced", dual=False).fit(unit[train, None], factor[train])
    return _accuracy(factor[test], machine.predict(unit[test, None]))


def _accuracy(v: np.ndarray, guess: np.ndarray) -> float:
    """Balanced accuracy over the values that occur, without scikit-learn's warning about others."""
    return float(metrics.recall_score(v, guess, labels=np.unique(v), average="macro"))


def _above_chance(v: np.ndarray, guess: np.ndarray) -> float:
    chance = 1 / len(np.unique(v))
    return (_accuracy(v, guess) - chance) / (1 - chance)


def _forest(categorical: bool, num_trees: int, seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    kind = RandomForestClassifier if categorical else RandomForestRegressor
    # every split may use every unit: a forest that may not use the best unit splits by irrelevant ones
    return kind(num_trees, max_features=None, random_state=seed)


def _gap(table: np.ndarray) -> np.ndarray:
    """Of each column, the largest value less the second largest."""
    second, first = np.sort(table, axis=0)[-2:]
    gap: np.ndarray = first - second
    return gap


def _concentration(weights: np.ndarray) -> np.ndarray:
    """Of each row, one less its entropy, as a share of the largest there can be; 0 for a row of zeros."""
    total = weights.sum(1, keepdims=True)
    share = np.divide(weights, total, out=np.full_like(weights, 1 / weights.shape[1]), where=total > 0)
    uneven: np.ndarray = 1 - stats.entropy(share, base=weights.shape[1], axis=1)
    return uneven
