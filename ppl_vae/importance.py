"""Importance sampling: log p(x) with its standard error, ESS and k-hat."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ppl_vae.arguments import Count, Floats, NonNegative, checked
from ppl_vae.precision import in_float64

__all__ = [
    "FEWEST",
    "MOST",
    "LogMarginal",
    "above",
    "doubtful",
    "few_error",
    "good_k",
    "log_marginal",
    "psis",
    "standard_error",
    "tail_error",
]

FEWEST = 25  # draws, the fewest with a tail to fit
_MANY, _LUCK = 0.1, 0.2
_WIDEST = 100.0  # squared spread, nats, beyond which the error is infinite for all purposes
MOST = 0.5  # share of data with a high k-hat, above which a good one of another datum may be luck


class LogMarginal(NamedTuple):
    """An estimate of log p(x) for each datum, with its standard error and ESS.

    Attributes
    ----------
    estimate
        log of the mean weight, (n,), in nats. A stochastic lower bound: it exceeds log p(x) by more than a nats
        with probability at most exp(-a).
    mcse
        Its Monte Carlo standard error from the variance of the weights, in nats: too small where their tail is heavy,
        see `tail_error`.
    ess
        Effective sample size of the weights, between 1 and the number of draws; optimistic where k-hat is high.
    """

    estimate: Tensor
    mcse: Tensor
    ess: Tensor

    @property
    def bias(self) -> Tensor:
        """Bias of the estimate, to first order: negative, in nats."""
        return -self.mcse.square() / 2


def log_marginal(log_w: Tensor) -> LogMarginal:
    """Importance sampling's estimate of log p(x).

    Parameters
    ----------
    log_w
        log p(x, z) - log q(z | x) for draws z ~ q, (draws, n), in nats.

    Returns
    -------
    LogMarginal
        In float64.

    References
    ----------
    Burda et al. 2016, arXiv:1509.00519.

    Examples
    --------
    >>> log_marginal(torch.full((10, 2), -3.0)).estimate
    tensor([-3., -3.], dtype=torch.float64)
    """
    log_w = in_float64(log_w)
    num_draws = len(log_w)
    log_total = log_w.logsumexp(0)
    ess = torch.exp(2 * log_total - (2 * log_w).logsumexp(0))
    mcse = ((num_draws / ess - 1).clamp_min(0) / num_draws).sqrt()
    return LogMarginal(log_total - math.log(num_draws), mcse, ess)


def standard_error(each: Tensor) -> Tensor:
    """Monte Carlo standard error of the mean over draws (draws, n), (n,); NaN for one draw."""
    if len(each) < 2:
        return torch.full_like(each[0], math.nan)
    error: Tensor = each.std(0) / len(each) ** 0.5
    return error


def tail_error(log_w: Tensor) -> Tensor:
    """The error of log p(x) from the unsampled tail of the weights, t, in nats.

    With heavy-tailed weights both the estimate and its standard error e are too small, most of all where k-hat is low
    by chance: among data with a good k-hat, nominal 95 % intervals from e cover log p(x) in as few as 60 % of cases.
    Report sqrt(e^2 + t^2) for log p(x) and every difference from it, with t = e (k / (1 - 1.65 / log10 S))^(5/2). k is
    an estimate of the tail's shape with less variance than k-hat, 2 h(0.2) - h(0.5), where h(p) is Hill's estimate: the
    mean of log w above its (1 - p)-quantile, minus that quantile; the combination extrapolates h to the tail. k is
    clamped to [0, 1]; at 1 the weights have no mean. The denominator has the form of `good_k`; it is at least 0.2, as
    for 100 draws.

    The exponent and 1.65 are empirical: they were chosen with 1,000 draws, for coverage of 93 to 97 % over all data
    with a good k-hat, for normal q that are too narrow, shifted or without correlations, in 1 to 10 dimensions
    (``experiments/benchmarks/error_bars.py``). With 100 to 4,000 draws the same q have 90 to 98 %, if at least a third
    of the data has a good k-hat. If hardly any has, coverage is lower: 91 % for 1,000 draws in 10 dimensions and q of
    0.6 times the posterior's scale, where 14 % have one, and less for worse q. The draws of those few are good by
    chance, and log p(x) is too low; the k-hat of the same draws cannot say so, and a smaller bound on it chooses more
    such draws.

    Parameters
    ----------
    log_w
        Log weights, (draws, n), in nats.

    Returns
    -------
    Tensor
        (n,), in float64; 0 for fewer than 25 draws, too few to estimate the tail.

    References
    ----------
    Hill 1975, doi:10.1214/aos/1176343247; Vehtari et al. 2024, arXiv:1507.02646, section 3 (error and k-hat);
    Yao et al. 2018, arXiv:1802.02538 (that a good k-hat is no guarantee).
    """
    num_draws = len(log_w)
    mcse = log_marginal(log_w).mcse
    if num_draws < FEWEST:
        return torch.zeros_like(mcse)
    ordered = in_float64(log_w).sort(0).values
    halves, fifths = (ordered[-(num_draws * p // 10) - 1 :] for p in (5, 2))
    k = 2 * _hill(fifths) - _hill(halves)
    k = torch.where(k.isfinite(), k, 0.0).clamp(0, 1)  # not finite where most weights are 0
    return mcse * (k / max(0.2, 1 - 1.65 / math.log10(num_draws))) ** 2.5


def _hill(ordered: Tensor) -> Tensor:
    """Mean of the values above the first row, minus the first row."""
    return (ordered[1:] - ordered[0]).mean(0)


def doubtful(k: Tensor, num_draws: int) -> Tensor:
    """Where k-hat is high, or may be good by luck, given k-hat of all data, (n,) to (n,).

    Where more than 10 % are high, one within 0.2 of the threshold is doubtful, too: one to two standard deviations of
    k-hat at 1,000 draws, for one and the same q. Where more than half are high, all are. NaN is not.
    """
    return above(k, good_k(num_draws), _LUCK)


def above(values: Tensor, most: float, luck: float) -> Tensor:
    """Where values (n,) are above `most`, or may be below it by luck: see `doubtful`."""
    high = values > most
    share = float(high.double().mean()) if len(values) else 0.0
    if share > MOST:
        return ~values.isnan()
    return values > most - luck if share > _MANY else high


def few_error(log_w: Tensor) -> Tensor:
    """Standard error of the log mean of few weights whose logarithms are nearly normal, (draws, n) to (n,), in nats.

    The larger of the delta method's and sqrt((exp(s^2) - 1) / draws), that of weights with normal logarithms of
    standard deviation s, which a few of them need not show; times what makes 1.96 of it the interval of Student's t.
    For annealed chains, 16 of which have delta-method intervals that hold log p(x) in as few as 86 % of cases.

    References
    ----------
    Abramowitz & Stegun 1964, 26.7.5 (the quantile of Student's t).
    """
    num_draws, spread, square = len(log_w), log_w.std(0), 1.96**2
    free = num_draws - 1
    factor = 1 + (square + 1) / (4 * free) + (5 * square**2 + 16 * square + 3) / (96 * free**2)
    by_spread = (spread.square().clamp_max(_WIDEST).expm1() / num_draws).sqrt()
    return factor * torch.maximum(log_marginal(log_w).mcse, by_spread)


@checked
def good_k(num_draws: Count) -> float:
    """The largest k-hat at which an estimate from S draws is believed: min(1 - 1 / log10 S, 0.7).

    Raises
    ------
    ValueError
        For fewer than 25 draws, which have no k-hat.

    References
    ----------
    Vehtari et al. 2024, arXiv:1507.02646, section 3.2.4.
    """
    if num_draws < FEWEST:
        raise ValueError(f"good_k expects at least {FEWEST} draws, got {num_draws}; draw more")
    return min(1 - 1 / math.log10(num_draws), 0.7)


@checked
def psis(log_w: Floats, *, constant: NonNegative = 1e-3, coarse: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Pareto-smoothed importance weights and the shape k-hat of their tail, for all data at once.

    Parameters
    ----------
    log_w
        Log weights (not log likelihoods), (draws, n), in nats; at least 25 draws.
    constant
        Weights with a range below this many nats count as equal up to rounding: k-hat is then 0, since a fit to
        rounding errors would give a high k-hat for an exact posterior.
    coarse
        Where draws coincide as floating-point numbers, (n,): see `draws.Draws`. Equal weights are no sign of an exact q
        there, and may be NaN: they count as equal, with an infinite k-hat.

    Returns
    -------
    log_weights : Tensor
        Smoothed, normalized, (draws, n), in float64.
    k : Tensor
        (n,), in float64; inf where no tail could be fitted. It measures the reliability of the weights, not the
        distance of q from the posterior, and does not detect modes that q never visits.

    Raises
    ------
    ValueError
        For fewer than 25 draws, which leave no tail to fit; for weights that are not (draws, n), or NaN.

    References
    ----------
    Vehtari et al. 2024, arXiv:1507.02646; Zhang & Stephens 2009, doi:10.1198/tech.2009.08017 (the fit).
    """
    if log_w.dim() != 2 or len(log_w) < FEWEST:
        raise ValueError(
            f"psis expects log weights (draws, n) of at least {FEWEST} draws, got shape {tuple(log_w.shape)}; draw "
            "more, and give one column a datum"
        )
    if coarse is not None:
        smoothed, k = psis(torch.where(coarse.to(log_w.device), 0.0, log_w), constant=constant)
        return smoothed, torch.where(coarse.to(k.device), math.inf, k)
    if not log_w.max(0).values.isfinite().all():
        raise ValueError(
            "psis expects log weights that are finite, or -inf for some draws of a datum, got NaN, inf, or -inf for "
            "all; find the data for which the model has no density"
        )
    num_draws = len(log_w)
    log_w = in_float64(log_w)
    log_w = log_w - log_w.max(0).values
    tail_length = math.ceil(min(0.2 * num_draws, 3 * math.sqrt(num_draws)))
    ordered, order = log_w.sort(0)
    cutoff = ordered[-tail_length - 1].clamp_min(math.log(torch.finfo(torch.float64).tiny)).exp()
    excess = (ordered[-tail_length:].exp() - cutoff).clamp_min(0)  # (tail, n), ascending
    quartile = int(tail_length / 4 + 0.5) - 1
    fits = (excess[quartile] > 0) & (excess[-1] > 0)
    k, sigma = _generalized_pareto(torch.where(fits, excess, _ramp(excess)))
    p = (torch.arange(tail_length, dtype=torch.float64, device=log_w.device)[:, None] + 0.5) / tail_length
    smooth = torch.where(k.abs() < 1e-12, -torch.log1p(-p), torch.expm1(-k * torch.log1p(-p)) / k) * sigma
    smoothed = (smooth + cutoff).log().clamp_max(0)
    is_constant = log_w.min(0).values > -constant
    fits &= k.isfinite()
    tail = torch.where(fits & ~is_constant, smoothed, ordered[-tail_length:])
    result = torch.empty_like(log_w).scatter_(0, order, torch.cat([ordered[:-tail_length], tail]))
    k = torch.where(is_constant, 0.0, torch.where(fits, k, math.inf))
    return result - result.logsumexp(0), k


def _ramp(like: Tensor) -> Tensor:
    """A placeholder tail for columns that cannot be fitted; their fit is not used."""
    return torch.arange(1.0, len(like) + 1, dtype=like.dtype, device=like.device)[:, None].expand_as(like)


def _generalized_pareto(x: Tensor) -> tuple[Tensor, Tensor]:
    """Shape and scale for each column of x (n, data), ascending, by Zhang and Stephens' posterior mean."""
    n = len(x)
    grid = 30 + int(math.sqrt(n))
    j = torch.arange(1, grid + 1, dtype=x.dtype, device=x.device)
    quartile = x[int(n / 4 + 0.5) - 1]
    b = (1 - torch.sqrt(grid / (j - 0.5)))[:, None] / (3 * quartile) + 1 / x[-1]  # (grid, data)
    k = torch.stack([torch.log1p(-row * x).mean(0) for row in b])  # a loop, for memory
    weights = torch.softmax(n * (torch.log(-b / k) - k - 1), 0)
    weights = torch.where(weights >= 10 * torch.finfo(x.dtype).eps, weights, 0.0)
    b = (b * weights).sum(0) / weights.sum(0)
    k = torch.log1p(-b * x).mean(0)
    return (n * k + 5) / (n + 10), -k / b  # shrunk towards 0.5 by the weight of ten observations
