"""R-hat and effective sample sizes of many variables at once, as ArviZ computes them one by one."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from ppl_vae.libraries import stats

__all__ = ["ess", "ess_of_mean", "rhat"]

_LARGE = 1e300
_MANY = 20  # draws from which on fewer lags take less time
_NONE = 1e-29  # the variance of values that differ by less than the resolution of numbers near 1 is below


def rhat(draws: np.ndarray) -> np.ndarray:
    """Rank-normalized split R-hat of draws (chain, draw, ...), (...), the larger of the plain and the folded one.

    NaN for draws that are constant or not all finite, for a single chain and for fewer than four draws.

    References
    ----------
    Vehtari et al. 2021, arXiv:1903.08008.
    """
    return np.full(draws.shape[2:], np.nan) if len(draws) < 2 else _where_known(_rank_rhat, draws)


def ess(draws: np.ndarray) -> np.ndarray:
    """Bulk effective sample size of draws (chain, draw, ...) over all chains, (...).

    As many as there are for constant draws; NaN for draws that are not all finite and for fewer than four.

    References
    ----------
    Vehtari et al. 2021, arXiv:1903.08008; Geyer 1992, doi:10.1214/ss/1177011137 (the truncation).
    """
    return _where_known(_bulk_ess, draws)


def ess_of_mean(draws: np.ndarray) -> np.ndarray:
    """Effective sample size of the mean of draws (chain, draw, ...) over all chains, (...): `ess` without ranks.

    It gives the standard error of the mean, sd / sqrt(ESS), where the variance is finite. The rest as in `ess`.

    References
    ----------
    Vehtari et al. 2021, arXiv:1903.08008, section 4.
    """
    return _where_known(_ess, draws)


def _where_known(f: Callable[[np.ndarray], np.ndarray], draws: np.ndarray) -> np.ndarray:
    """f of the halves of every chain as chains of their own, (..., 2 chains, draws // 2); NaN where docstrings say."""
    z = np.moveaxis(np.asarray(draws, float), (0, 1), (-2, -1))
    half = z.shape[-1] // 2
    if half < 2:
        return np.full(z.shape[:-2], np.nan)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        finite = np.isfinite(z.sum((-2, -1)))  # of all draws: the middle one of an odd number is in no half
        if not finite.all():
            finite = np.isfinite(z).all((-2, -1))  # a sum may overflow
        if z.shape[-1] % 2:
            z = np.delete(z, half, -1)
        found: np.ndarray = np.where(finite, f(np.ascontiguousarray(z).reshape(*z.shape[:-2], -1, half)), np.nan)
    return found


def _rank_rhat(z: np.ndarray) -> np.ndarray:
    largest = np.abs(z).max((-2, -1), keepdims=True)
    if (largest > _LARGE).any():
        z = np.where(largest > _LARGE, z / 8, z)  # R-hat is one of ranks; distances from the median must not overflow
    order, ordered = _ordered(z)
    of_all = _rhat(_rank_scores(order, ordered).reshape(z.shape))
    half = ordered.shape[-1] // 2  # distances from the median ascend from there to both sides
    folded = np.abs(ordered - ordered[:, (ordered.shape[-1] - 1) // 2 : half + 1].mean(-1, keepdims=True))
    order, folded = (np.concatenate([one[:, :half][:, ::-1], one[:, half:]], -1) for one in (order, folded))
    merged = folded.argsort(-1, kind="stable")
    of_folded = _rank_scores(*(np.take_along_axis(one, merged, -1) for one in (order, folded)))
    # the folded one is NaN where all draws are equally far from the median, as a balanced pair of values is
    found: np.ndarray = np.fmax(of_all, _rhat(of_folded.reshape(z.shape)))
    return found


def _ordered(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The order of all draws (..., chains, draws), and the draws in it, each (variables, chains * draws)."""
    flat = z.reshape(-1, z.shape[-2] * z.shape[-1])
    order = flat.argsort(-1)
    return order, np.take_along_axis(flat, order, -1)


def _rank_scores(order: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Normal scores of the ranks (variables, draws), from what `_ordered` gives; ties share their mean rank."""
    scores = np.empty(ordered.shape)
    np.put_along_axis(scores, order, _scores(ordered.shape[-1]).take(_twice_ranks(ordered)), -1)
    return scores


def _twice_ranks(ordered: np.ndarray) -> np.ndarray:
    """Twice the mean rank, counted from 0, of ascending values (variables, n)."""
    n = ordered.shape[-1]
    place = np.broadcast_to(np.arange(n, dtype=np.int32), ordered.shape)
    same = ordered[:, 1:] == ordered[:, :-1]
    if not same.any():
        return 2 * place
    first, last = place.copy(), place.copy()
    first[:, 1:][same] = 0
    last[:, :-1][same] = n
    np.maximum.accumulate(first, -1, out=first)
    last = np.minimum.accumulate(last[:, ::-1], -1)[:, ::-1]
    return first + last


@functools.lru_cache(maxsize=8)
def _scores(n: int) -> np.ndarray:
    """The normal scores of the ranks 0, 1/2, 1, ..., n - 1 of n values (Blom 1958)."""
    scores: np.ndarray = stats.norm.ppf((np.arange(2 * n - 1) / 2 + 1 - 3 / 8) / (n + 1 / 4))
    return scores


def _rhat(z: np.ndarray) -> np.ndarray:
    """R-hat of chains (..., chains, draws)."""
    n = z.shape[-1]
    between, within = n * z.mean(-1).var(-1, ddof=1), z.var(-1, ddof=1).mean(-1)
    found: np.ndarray = np.sqrt((between / within + n - 1) / n)
    return found


def _bulk_ess(z: np.ndarray) -> np.ndarray:
    return _ess(_rank_scores(*_ordered(z)).reshape(z.shape))


def _ess(z: np.ndarray) -> np.ndarray:
    """From autocorrelations up to where Geyer truncates them."""
    chains, n = z.shape[-2:]
    total = chains * n
    mean = z.mean(-1, keepdims=True)
    off = z - mean
    within = np.einsum("...cd,...cd->...", off, off) / (chains * (n - 1))
    variance = within * (n - 1) / n + (mean[..., 0].var(-1, ddof=1) if chains > 1 else 0)
    tried = (n // 4, n) if n >= _MANY else (n,)  # the first lags take a shorter transform; most chains need no more
    for lags in tried:
        covariance = _autocovariances(off, lags)
        rho = 1 - (within[..., None] - covariance) / variance[..., None]
        rho[..., 0] = 1
        pairs = rho[..., : 2 * max(1, (lags - 1) // 2)].reshape(*rho.shape[:-1], -1, 2)
        if not (pairs.sum(-1) > 0).all(-1).any():
            break
    found: np.ndarray = total / np.maximum(_geyer(pairs), 1 / np.log10(total))
    constant = ~(variance > _NONE)
    if constant.any():
        found = np.where(constant & (np.ptp(z, (-2, -1)) < np.finfo(float).resolution), total, found)
    return found


def _autocovariances(off: np.ndarray, lags: int) -> np.ndarray:
    """The first autocovariances, mean over chains, of deviations from the mean of each (..., chains, draws)."""
    chains, n = off.shape[-2:]
    size = _fast(n + lags)  # further lags wrap around
    spectrum = np.fft.rfft(off, size).view(float)  # real and imaginary parts in turns
    power = np.einsum("...cf,...cf->...f", spectrum, spectrum).reshape(*off.shape[:-2], -1, 2).sum(-1)
    found: np.ndarray = np.fft.irfft(power, size)[..., :lags] / (n * chains)  # one inverse for all chains
    return found


def _fast(size: int) -> int:
    """The smallest number from `size` on without a prime factor above 5, for which Fourier transforms are fast."""
    while True:
        rest = size
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 1


def _geyer(pairs: np.ndarray) -> np.ndarray:
    """Autocorrelation time from pairs of autocorrelations (..., pairs, 2): the initial monotone positive sequence."""
    sums = pairs.sum(-1)
    ended = ~(sums > 0)
    ended[..., -1] = True
    last = ended.argmax(-1)[..., None]
    before = np.arange(sums.shape[-1]) < last
    kept = np.where(before, np.minimum.accumulate(sums, -1), 0).sum(-1)
    even = np.take_along_axis(pairs[..., 0], last, -1)[..., 0]
    of_last = np.take_along_axis(sums, last, -1)[..., 0]
    tau: np.ndarray = -1 + 2 * kept + np.where((even > 0) | (of_last >= 0), even, 0)
    return np.where(np.isnan(of_last), np.nan, tau)
