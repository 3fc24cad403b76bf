"""The result of an imputation."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ppl_vae.arguments import Fraction, Whole, checked
from ppl_vae.data import to_frame
from ppl_vae.domain import Domain
from ppl_vae.evaluation.wording import data, plural
from ppl_vae.importance import FEWEST, good_k
from ppl_vae.libraries import pd
from ppl_vae.split import Split

__all__ = ["Imputation", "is_category"]


@checked
@dataclass(frozen=True, eq=False)
class Imputation:
    """Data whose missing elements were imputed, once by their means and several times by draws.

    Attributes
    ----------
    mean
        Where an element is missing, E[x_missing | x_observed], for categories the most probable one; elsewhere the
        observed value. (n, *x_shape), on the CPU, in the floating type of the data (float64 for whole numbers).
    draws
        Imputations, independent given x_observed, (num_draws, n, *x_shape); observed elements are unchanged. To
        propagate the uncertainty, analyse each as if it were complete, and pool the results.
    observed
        True where an element was observed, (n, *x_shape).
    pareto_k
        k-hat of the weights of each datum, (n,): mean and draws are not believed where it is above `good_k`. 0 where
        all of x is missing; NaN where nothing is missing, for fewer than 25 draws, and for a discrete q.
    ess
        Effective number of draws of z, (n,); NaN where nothing is missing, too large where k-hat is high.
    index
        Position of each datum in its data set, (n,).
    num_samples, seed
        Number of draws of z for each datum, and their seed.
    domain
        What values x takes, and the map to raw units; `None` if unknown.
    provenance
        Of the data.
    formula
        The program that imputed.
    probabilities
        P(x_missing = k | x_observed) of categories without an order, (n, *x_shape, levels), NaN where an element was
        observed or is no category, 0 above its own levels. The mean of numbers v_k that stand for the categories is
        sum_k v_k P(k). `None` unless `impute` was asked for them.
    """

    mean: Tensor
    draws: Tensor
    observed: Tensor
    pareto_k: Tensor
    ess: Tensor
    index: Tensor
    num_samples: int
    seed: int
    domain: Domain | None
    provenance: dict[str, Any]
    formula: str
    probabilities: Tensor | None = None

    @property
    def good_k(self) -> float:
        """The largest k-hat at which an estimate from this many draws is believed; NaN for fewer than 25."""
        return good_k(self.num_samples) if self.num_samples >= FEWEST else math.nan

    @property
    def incomplete(self) -> Tensor:
        """Which data have a missing element, (n,)."""
        return (~self.observed).reshape(len(self.observed), -1).any(1)

    @property
    def unreliable(self) -> float:
        """Share of the data with a missing element whose k-hat is above `good_k`; NaN where that is not known."""
        k = self.pareto_k[self.incomplete]
        return float((k > self.good_k).double().mean()) if len(k) and not k.isnan().all() else math.nan

    @property
    def raw(self) -> Imputation:
        """The same in raw units, those of the file that the data came from."""
        if self.domain is None:
            return self
        columns = self.domain.columns(self.mean.shape[-1] if self.mean.dim() > 1 else 1)
        kept: Any = [(c.kind, c.levels) if c.kind in _AS_THEY_ARE else ("real", None) for c in columns]
        kinds, levels = zip(*kept, strict=True)
        domain = Domain(kinds, levels)
        return replace(self, mean=self.domain.raw(self.mean), draws=self.domain.raw(self.draws), domain=domain)

    @checked
    def intervals(self, prob: Fraction = 0.95) -> tuple[Tensor, Tensor]:
        """Central intervals of missing elements, from quantiles of the draws: lower and upper, (n, *x_shape) each.

        The bounds are the order statistics at (1 - prob) / 2 and (1 + prob) / 2 of num_draws + 1: another draw lies
        between them with probability `prob`, for any number of draws. Both bounds of an observed element are its value;
        those of categories without an order are NaN.

        Raises
        ------
        ValueError
            For fewer than 2 / (1 - prob) - 1 draws: 39 for 0.95.
        """
        needed = math.ceil(2 / (1 - prob) - 1 - 1e-9)
        if len(self.draws) < needed:
            raise ValueError(
                f"intervals({prob:g}) expects at least {needed} draws, got {len(self.draws)}; impute again with "
                f"num_draws={needed}, or give a smaller prob"
            )
        ordered = self.draws.sort(0).values
        bounds = tuple(_order_statistic(ordered, p) for p in ((1 - prob) / 2, (1 + prob) / 2))
        if self.domain is not None and "categories" in self.domain.kinds:
            without = is_category(self.domain, self.mean) & ~self.observed
            bounds = tuple(bound.masked_fill(without, math.nan) for bound in bounds)
        return bounds[0], bounds[1]

    @checked
    def completed(self, draw: Whole | None = None) -> Split:
        """The data with their missing elements imputed, in the units of x: by means, or by imputation number `draw`.

        Raises
        ------
        ValueError
            For a number of a draw that does not exist.
        """
        return Split(self._chosen(draw), self.index, self.domain, provenance=self.provenance)

    @checked
    def to_frame(self, draw: Whole | None = None) -> pd.DataFrame:
        """A table in raw units: by the means, or imputation number `draw`, indexed by `index`.

        Of data from a frame it has their columns, dtypes and categories (`data.to_frame`); other tables have columns
        0, 1, ...

        Raises
        ------
        ValueError
            For data that are no table, and for a number of a draw that does not exist.
        """
        x = self._chosen(draw)
        if x.dim() != 2:
            raise ValueError(
                f"to_frame expects a table, x of shape (n, columns), got {tuple(x.shape)}; use the tensors, mean or "
                "draws, instead"
            )
        index = pd.Index(self.index.tolist(), name="obs")
        if "columns" in self.provenance:
            return to_frame(x, self.completed(draw), index=index)
        raw = x if self.domain is None else self.domain.raw(x)
        return pd.DataFrame(raw.numpy(), index=index)

    def __repr__(self) -> str:
        how = f"the mean and by {plural(len(self.draws), 'draw')}"
        return self.told(how, "in the units of x; `.raw` has those of the data")

    def told(self, how: str, units: str) -> str:
        """What was imputed, by what and in which units, and for which data q is good enough, in a few lines."""
        missing = ~self.observed
        head = f"{self.formula.splitlines()[0]}: {data(len(self.mean))}, {missing.double().mean():.1%} of x missing"
        if not missing.any():
            return f"{head}; nothing to impute"
        where = f"in {int(self.incomplete.sum())} of them" if not self.incomplete.all() else "in each of them something"
        empty = int(missing.reshape(len(missing), -1).all(1).sum())
        lines = [
            f"{head}, {where}",
            f"  imputed by {how}, from {self.num_samples} draws of q(z | x) a datum by importance weights (seed "
            f"{self.seed}), {units}",
            f"  {self._judged()}",
        ]
        if empty:
            lines.append(f"  all of x is missing in {data(empty)}: they are draws from the prior")
        return "\n".join(lines)

    def _judged(self) -> str:
        k = self.pareto_k[self.incomplete]
        if math.isnan(self.good_k):
            return f"no k-hat: that needs {FEWEST} draws of z, num_samples"
        if k.isnan().all():
            return "no k-hat: the weights of a discrete q have no tail"
        good = int((k <= self.good_k).sum())
        said = f"k-hat is good, at most {self.good_k:.2f}, for {good} of {data(len(k))} with something missing"
        unseen = "modes that q never visits are not seen"
        return f"{said}; {unseen}" if good == len(k) else f"{said}; the others may be off, {unseen}"

    def _chosen(self, draw: int | None) -> Tensor:
        if draw is not None and draw >= len(self.draws):
            raise ValueError(
                f"draw expects a number from 0 to {len(self.draws) - 1}, got {draw}; impute again with more num_draws"
            )
        return self.mean if draw is None else self.draws[draw]


def is_category(domain: Domain, x: Tensor) -> Tensor:
    """Which elements of the last dimension of x are categories without an order."""
    columns = domain.columns(x.shape[-1] if x.dim() > 1 else 1)
    return torch.tensor([one.kind == "categories" for one in columns])


_AS_THEY_ARE = ("binary", "levels", "counts", "categories")
"""Kinds that a domain's raw values have too: others may have been shifted or scaled."""


def _order_statistic(ordered: Tensor, p: float) -> Tensor:
    """The p-quantile at position p (num + 1) of sorted values (num, ...), interpolated between neighbours."""
    position = min(max(p * (len(ordered) + 1) - 1, 0.0), len(ordered) - 1.0)
    low = min(int(position), len(ordered) - 1)
    high, share = min(low + 1, len(ordered) - 1), position - low
    return ordered[low] if share == 0 else torch.lerp(ordered[low], ordered[high], share)
