"""Differences between draws from q(z | x) and from a reference, for one datum, with their Monte Carlo errors."""

from __future__ import annotations

import functools

import numpy as np

from ppl_vae.diagnostics.results import ess_of_mean, rhat
from ppl_vae.libraries import stats

__all__ = ["BY_DATUM", "BY_UNIT", "differences"]

BY_UNIT = {
    "mean_error": "reference sd",
    "mean_error_mcse": "reference sd",
    "sd_ratio": "1",
    "sd_ratio_mcse": "1",
    "ks": "1",
    "ks_null": "1",
    "wasserstein": "reference sd",
    "wasserstein_null": "reference sd",
    "rhat": "1",
}
AT_ONCE = 20  # units: so few draws stay in the processor's cache, and in memory that is already there
ROWS = 128  # of distances, likewise
BY_DATUM = {"energy_distance": "reference sd", "energy_distance_null_sd": "reference sd"}


def differences(q: np.ndarray, reference: np.ndarray, max_draws: int) -> dict[str, np.ndarray]:
    """The variables of `BY_UNIT`, (units,), and of `BY_DATUM`, (); NaN for units that never vary in the reference.

    Parameters
    ----------
    q
        Independent draws, (draws, units); sorted in their own precision, all else is in float64.
    reference
        Draws, (chain, draw, units).
    max_draws
        Largest number of draws of each for the energy distance and R-hat.
    """
    found = {name: np.full(q.shape[-1], np.nan) for name in BY_UNIT} | dict.fromkeys(BY_DATUM, np.array(np.nan))
    of_q, of_r = np.ascontiguousarray(q.T), np.ascontiguousarray(np.moveaxis(reference, -1, 0))
    varies = np.flatnonzero(np.ptp(of_r, (1, 2)) > 0)
    if not len(varies):
        return found
    mean, sd = np.empty((2, q.shape[-1]))
    for some in np.array_split(varies, -(-len(varies) // AT_ONCE)):
        values, mean[some], sd[some] = _by_unit(of_q[some], of_r[some])
        for name, value in values.items():
            found[name][some] = value
    num = min(len(q), len(reference) * reference.shape[1], max_draws)
    few = q[_evenly(len(q), num)], _thinned(reference, num)
    q_few, r_few = ((draws[:, varies] - mean[varies]) / sd[varies] for draws in few)
    found["rhat"][varies] = rhat(np.stack([q_few, r_few]))
    return found | _energy(q_few, r_few)


def _by_unit(q: np.ndarray, reference: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """The variables of `BY_UNIT` but R-hat, and the mean and the standard deviation of the reference, each (units,).

    Draws are (units, draws) and (units, chain, draw).
    """
    r = reference.reshape(len(q), -1)
    mean = r.mean(-1, keepdims=True, dtype=float)
    both = np.empty((2, *r.shape))
    np.subtract(r, mean, out=both[0])
    sd = np.sqrt(np.einsum("ij,ij->i", both[0], both[0])[:, None] / r.shape[-1])
    both[0] /= sd
    np.square(both[0], out=both[1])
    ess_mean, ess_square = ess_of_mean(np.moveaxis(both.reshape(2, *reference.shape), (-2, -1), (0, 1)))
    ess_of_all = 2 / (1 / ess_mean + 1 / ess_square)  # antithetic chains: the ESS of means overstates the rest
    q_sorted, r_sorted = ((np.sort(draws, -1) - mean) / sd for draws in (q, r))  # their order stays the same
    of_square = (np.einsum("ij,ij->i", both[1], both[1]) / r.shape[-1] - 1) / ess_square  # the mean square is 1
    found = _moments(q_sorted, of_square, ess_mean) | _distributions(q_sorted, r_sorted, ess_of_all)
    return found, mean[:, 0], sd[:, 0]


def _moments(q: np.ndarray, of_r: np.ndarray, ess_mean: np.ndarray) -> dict[str, np.ndarray]:
    """Mean and standard deviation of q (units, draws), the reference's being 0 and 1, with their standard errors.

    `of_r` is the squared error of the reference's variance.
    """
    num, mean = q.shape[-1], q.mean(-1)
    square = np.square(q - mean[:, None])
    sd = np.sqrt(square.mean(-1))
    of_q = square.var(-1) / num
    return {
        "mean_error": mean,
        "mean_error_mcse": np.sqrt(sd**2 / num + 1 / ess_mean),
        "sd_ratio": sd,
        "sd_ratio_mcse": np.sqrt(of_q / np.maximum(sd, 1e-150) ** 2 + of_r * sd**2) / 2,
    }


def _distributions(q: np.ndarray, r: np.ndarray, ess_r: np.ndarray) -> dict[str, np.ndarray]:
    """Distances between two empirical distribution functions, and their expectation under an exact q, to first order.

    Draws are (units, draws), in ascending order. The difference of two empirical distribution functions of F is a
    Brownian bridge with variance F (1 - F) (1/n + 1/m).
    """
    noise = np.sqrt(1 / q.shape[-1] + 1 / ess_r)
    level = np.arange(1, r.shape[-1]) / r.shape[-1]
    spread = np.diff(r, axis=-1) @ np.sqrt(level * (1 - level))
    ks, wasserstein = _apart(q, r)
    return {
        "ks": ks,
        "ks_null": _median_ks() * noise,
        "wasserstein": wasserstein,
        "wasserstein_null": np.sqrt(2 / np.pi) * spread * noise,
    }


@functools.cache
def _median_ks() -> float:
    return float(stats.kstwobign.median())


def _apart(q: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kolmogorov-Smirnov and 1-Wasserstein distance of ascending draws (units, draws), each (units,)."""
    both = np.concatenate([q, r], -1)
    n, m = q.shape[-1], r.shape[-1]
    order = both.argsort(-1, kind="stable")  # merges two runs
    gap = (order < n).cumsum(-1, dtype=np.int32)[:, :-1] * (1 / n + 1 / m)  # k / n - (all - k) / m, of k draws of q
    gap -= np.arange(1, n + m) / m
    np.abs(gap, out=gap)
    order += np.arange(len(both))[:, None] * (n + m)
    step = np.diff(both.ravel().take(order), axis=-1)
    wasserstein = np.einsum("ij,ij->i", gap, step)
    gap *= step > 0  # of equal draws only the last counts
    return gap.max(-1), wasserstein


def _energy(q: np.ndarray, r: np.ndarray) -> dict[str, np.ndarray]:
    """Unbiased energy distance, and its standard deviation under an exact q.

    The latter is that of a degenerate U-statistic: sqrt(2) (1/n + 1/m) times the root mean square of its kernel, the
    distances d_ij within the reference centred by row and column, d_ij - d_i - d_j + d. Their squares sum to
    sum_ij d_ij^2 - 2 m sum_i d_i^2 + m^2 d^2, of which those of the diagonal are no pairs; sum_ij d_ij^2 is 2 m times
    the sum of squares of the centred draws.
    """
    m, pairs = len(r), len(r) * (len(r) - 1)
    of_row = _within(r) / m
    square = 2 * m * np.square(r - r.mean(0)).sum() - 2 * m * np.vdot(of_row, of_row) + (m * of_row.mean()) ** 2
    square -= np.square(of_row.mean() - 2 * of_row).sum()
    within_q = _within(q).sum() / (len(q) * (len(q) - 1))
    return {
        "energy_distance": 2 * _between(q, r) - within_q - of_row.sum() * m / pairs,
        "energy_distance_null_sd": np.sqrt(2) * (1 / len(q) + 1 / m) * np.sqrt(max(square, 0) / pairs),
    }


def _between(a: np.ndarray, b: np.ndarray) -> float:
    """Mean distance of all pairs of rows."""
    left, right = _as_factors(a, b)
    total = sum(_root(left[start : start + ROWS] @ right).sum() for start in range(0, len(a), ROWS))
    return float(total) / (len(a) * len(b))


def _within(a: np.ndarray) -> np.ndarray:
    """Sum of the distances of each row to all others, (len(a),); those of two blocks of rows are computed once."""
    left, right = _as_factors(a - a.mean(0), a - a.mean(0))
    found = np.zeros(len(a))
    for start in range(0, len(a), ROWS):
        apart = _root(left[start : start + ROWS] @ right[:, start:])
        rows = len(apart)
        np.fill_diagonal(apart, 0)  # a row's distance to itself
        found[start : start + rows] += apart.sum(1)
        found[start + rows :] += apart[:, rows:].sum(0)
    return found


def _as_factors(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matrices whose product holds |a_i - b_j|^2."""
    of_a, of_b = (np.square(draws).sum(-1)[:, None] for draws in (a, b))
    left = np.concatenate([-2 * a, of_a, np.ones_like(of_a)], -1)
    return left, np.concatenate([b, np.ones_like(of_b), of_b], -1).T


def _root(square: np.ndarray) -> np.ndarray:
    """Square roots in place, 0 of what is below it by rounding."""
    np.maximum(square, 0, out=square)
    np.sqrt(square, out=square)
    return square


def _evenly(size: int, num: int) -> np.ndarray:
    return np.linspace(0, size - 1, num).round().astype(int)


def _thinned(draws: np.ndarray, num: int) -> np.ndarray:
    """Draws evenly spaced over the chains, in order of the iteration, (num, units)."""
    chain, draw = np.divmod(_evenly(draws.shape[0] * draws.shape[1], num), draws.shape[1])
    order = draw.argsort(kind="stable")
    return draws[chain[order], draw[order]]
