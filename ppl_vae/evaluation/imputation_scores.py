"""How far imputations are from values that were hidden on purpose."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ppl_vae.arguments import Fraction, checked
from ppl_vae.domain import Domain
from ppl_vae.evaluation.imputation import Imputation
from ppl_vae.libraries import pd
from ppl_vae.rows import dense
from ppl_vae.split import Split
from ppl_vae.tensors import as_tensor

__all__ = ["imputation_scores"]


@checked
def imputation_scores(imputed: Imputation, truth: Tensor | Split, *, prob: Fraction = 0.95) -> pd.DataFrame:
    """Errors of imputed elements whose true values are known, and the coverage of their intervals, for each column.

    How well the observed elements are modelled is `evaluate`'s log p(x_observed).

    Parameters
    ----------
    imputed
        What `impute` returned, in the units of x, with 2 / (1 - prob) - 1 draws or more: 39 for intervals of 95 %.
    truth
        The data before elements were hidden, in the units of x, (n, *x_shape). Elements that are missing there, too, by
        the mask of a `Split` or as NaN, do not count.
    prob
        Probability of the intervals, see `Imputation.intervals`.

    Returns
    -------
    DataFrame
        One row for each column of a table, named as in the data's frame, and a last one, ``"all"``, for all of them;
        data that are no table have that row alone. Columns: `elements`, the number of imputed elements with a known
        value; `rmse` of the means, in raw units (NaN for ``"all"`` where the columns have units of their own);
        `rmse_standardized`, the same over the standard deviation of the column's known values in `truth`: 0.0 for a
        perfect imputation and about 1.0 for a constant one; `accuracy`, the share of binary values, levels and
        categories that equal the imputed one (a rounded mean, or the most probable category); `coverage`, the share of
        values inside their interval, to be compared with `prob`, for all elements but categories without an order;
        `coverage_randomized`, the same for randomized intervals, see Notes. NaN where a score does not apply.

    Raises
    ------
    ValueError
        For a truth of another shape or without a known value among the imputed ones; for fewer draws than intervals of
        that probability need.

    Notes
    -----
    An interval of a discrete variable covers a value as a whole or not at all, so that its coverage is above `prob`
    even for perfect imputations: in a column that is 0 in 98 rows of 100 a 95 % interval covers 98 %. Where the true
    value equals some draws, its rank among them is not one number, but a range from (draws below it) / (num_draws + 1)
    to (draws up to it + 1) / (num_draws + 1). `coverage_randomized` is the share of this range between (1 - prob) / 2
    and (1 + prob) / 2, the average score of a rank drawn from it. Its expectation is `prob` if truth and draws have one
    distribution, discrete or continuous, for any number of draws. A draw that is close to a value but not equal does
    not tie with it; round such draws first.

    References
    ----------
    Czado, Gneiting and Held 2009, doi:10.1111/j.1541-0420.2009.01191.x, section 2.1 (the rank of counts).

    Examples
    --------
    >>> from ppl_vae import build, data, impute
    >>> digits = data.load("digits").binarize("threshold")
    >>> imputed = impute(build(digits, latent_dim=2, seed=0), digits.hide(0.3).test[:50], num_samples=50, seed=0)
    >>> list(imputation_scores(imputed, digits.test[:50]).columns)
    ['elements', 'rmse', 'rmse_standardized', 'accuracy', 'coverage', 'coverage_randomized']
    """
    true, known = _known(truth, imputed)
    counted = ~imputed.observed & known
    if not counted.any():
        raise ValueError(
            "imputation_scores expects true values of imputed elements, got none; hide some of the data before they "
            "are imputed: data.hide(0.2)"
        )
    lower, upper = imputed.intervals(prob)
    inside = ((true >= lower) & (true <= upper)).double().masked_fill(lower.isnan(), math.nan)
    share = _share_inside(true, imputed.draws, prob)
    table = true.dim() == 2
    width = true.shape[1] if table else 1
    true, mean, inside, share, counted, known = (
        v.reshape(-1, width).double() for v in (true, imputed.mean, inside, share, counted, known)
    )
    columns = (imputed.domain or Domain("real")).columns(width)
    ordered = torch.tensor([math.nan if c.kind == "categories" else 1.0 for c in columns])
    discrete = torch.tensor([1.0 if c.kind in _HIT else math.nan for c in columns])
    square, scale = (mean - true).square() * ordered, _sd(true, known)
    each = {
        "rmse": square * torch.tensor([float(c.span) for c in columns]).square(),  # type: ignore[arg-type]
        "rmse_standardized": square / scale.square(),
        "accuracy": (mean.round() == true).double() * discrete,
        "coverage": inside * ordered,
        "coverage_randomized": share * ordered,
    }
    found = {"elements": counted.sum(0).int(), **{name: _mean(values, counted, 0) for name, values in each.items()}}
    overall = {"elements": counted.sum().int(), **{n: _mean(v, counted, None) for n, v in each.items()}}
    if len({(c.span, c.kind) for c in columns}) > 1 or "columns" in imputed.provenance:
        overall["rmse"] = torch.tensor(math.nan)
    rows = pd.DataFrame({name: values.numpy() for name, values in found.items()}, index=_names(imputed, width))
    total = pd.DataFrame({name: [value.item()] for name, value in overall.items()}, index=["all"])
    made = pd.concat([rows, total]) if table else total
    made[["rmse", "rmse_standardized"]] **= 0.5
    made.attrs["prob"] = prob
    return made.rename_axis("column")


_HIT = ("binary", "levels", "categories")
"""Kinds of values that have an accuracy."""


def _share_inside(true: Tensor, draws: Tensor, prob: float) -> Tensor:
    """Share of the ranks of true values (n, *x_shape) among draws (num_draws, n, *x_shape) that lies inside."""
    num = len(draws) + 1
    below, up_to = torch.zeros(2, *true.shape, dtype=torch.float64)
    for draw in draws:
        below += draw < true
        up_to += draw <= true
    low, high = below / num, (up_to + 1) / num
    inside: Tensor = high.clamp_max((1 + prob) / 2) - low.clamp_min((1 - prob) / 2)
    return inside.clamp_min(0).div(high - low)


def _known(truth: Tensor | Split, imputed: Imputation) -> tuple[Tensor, Tensor]:
    """True values and where they are known, (n, *x_shape)."""
    split = truth.fixed() if isinstance(truth, Split) else None
    x = as_tensor("truth", truth if split is None else dense(split.x)).cpu()
    if x.shape != imputed.mean.shape:
        raise ValueError(
            f"imputation_scores expects a truth of shape {tuple(imputed.mean.shape)}, as what was imputed, got "
            f"{tuple(x.shape)}; give the same data, before elements were hidden"
        )
    known = x.isfinite() if split is None else split.observed.cpu()
    return torch.where(known, x, 0), known


def _sd(x: Tensor, known: Tensor) -> Tensor:
    """Standard deviation of the known values of each column, (columns,); NaN where it is 0."""
    mean = (x * known).sum(0) / known.sum(0)
    sd = (((x - mean) * known).square().sum(0) / known.sum(0)).sqrt()
    return torch.where(sd > 0, sd, math.nan)


def _mean(values: Tensor, counted: Tensor, dim: int | None) -> Tensor:
    """Mean of the elements that count, without NaN."""
    there = torch.where(counted.bool(), values, math.nan)
    return there.nanmean() if dim is None else there.nanmean(dim)


def _names(imputed: Imputation, width: int) -> list[str]:
    """Those of the data's frame, else 0, 1, ..."""
    columns = imputed.provenance.get("columns")
    return [str(c["name"]) for c in columns] if columns else list(map(str, range(width)))
