"""The part of a result that `compare` reads."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

from ppl_vae.importance import FEWEST, good_k
from ppl_vae.libraries import pd

__all__ = ["Comparable"]


class Comparable(ABC):
    """log p(x) of each datum under one model, with the data and the base measure: only like results can be ranked.

    Attributes
    ----------
    per_datum
        Indexed by `obs`. Without a column `log_px`, in nats, a result cannot be ranked.
    num_samples, base_measure, data
        As in `Evaluation`.
    """

    per_datum: pd.DataFrame
    num_samples: int
    base_measure: str
    data: dict[str, Any]

    @property
    @abstractmethod
    def estimator(self) -> str:
        """The method that gave log p(x), as `log_marginal_likelihood` names it."""

    @property
    def fitted(self) -> bool:
        """Whether the data are known to be those that the parameters were fitted to."""
        return bool(self.data["provenance"].get("split") == "train")

    @property
    def num_active(self) -> float:
        """Number of active latent units, over all sites; NaN: not known."""
        return math.nan

    @property
    def one_code(self) -> bool:
        """Whether all draws of a datum were equal: q is a code (`VectorQuantized`), and `log_px` is the ELBO."""
        return False

    @property
    def good_k(self) -> float:
        """The largest k-hat at which an estimate of this many samples is believed; NaN for fewer than 25."""
        return good_k(self.num_samples) if self.num_samples >= FEWEST else math.nan

    @property
    def collapsed(self) -> int:
        """Number of data whose q is narrower than the spacing of floating-point numbers, so that its draws coincide."""
        if not {"pareto_k", "elbo_mcse"} <= set(self.per_datum):
            return 0
        errors = self.per_datum[["log_px_mcse", "elbo_mcse"]]
        return int((self.per_datum["pareto_k"].eq(math.inf) & errors.isna().all(axis=1)).sum())

    @property
    def undrawn(self) -> int:
        """Number of data whose error is not known as some states of a discrete latent were not drawn."""
        return int(self.per_datum["log_px_mcse"].isna().sum()) - self.collapsed

    @property
    def unreliable(self) -> float:
        """Share of the data whose log p(x) is not believed; NaN where that is not known.

        Where `per_datum` has a column `believed`, those that are not. Elsewhere those with a k-hat above `good_k`, and
        those whose error is not known: some states of a discrete latent were not drawn, or draws of q coincide.
        """
        if self.one_code:
            return math.nan
        if "believed" in self.per_datum:
            return float(1 - self.per_datum["believed"].mean())
        none = pd.Series(dtype=float)
        k, error = (self.per_datum.get(name, none) for name in ("pareto_k", "log_px_mcse"))
        if math.isnan(self.good_k) or not (k.notna() | error.isna() | error.eq(0)).any():
            return math.nan
        return float((k.gt(self.good_k) | error.isna()).mean())
