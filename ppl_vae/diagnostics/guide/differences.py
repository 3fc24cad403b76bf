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
AT_ONCE = 8  # units: so few draws stay in the processor's cache, and in memory that is already there
BY_DATUM = {"energy_distance": "reference sd", "energy_distance_null_sd": "reference sd"}


def differences(q: np.ndarray, reference: np.ndarray, max_draws: int) -> dict[str, np.ndarray]:
    """The variables of `BY_UNIT`, (units,), and of `BY_DATUM`, (); NaN for units that never vary in the reference.

    Parameters
    ----------
    q
        Independent draws, (draws, units).
    reference
        Draws, (chain, draw, units).
    max_draws
        Largest number of draws of each for the energy distance and R-hat.
    """
    found = {name: np.full(q.shape[-1], np.nan) for name in BY_UNIT} | dict.fromkeys(BY_DATUM, np.array(np.nan))
    varies = np.flatnonzero(np.ptp(reference, (0, 1)) > 0)
    if not len(varies):
        return found
    mean, sd = np.empty((2, q.shape[-1]))
    for some in np.array_split(varies, -(-len(varies) // AT_ONCE)):
        r = reference[..., some]
        mean[some], sd[some] = r.mean((0, 1)), r.std((0, 1))
        for name, values in _by_unit((q[:, some] - mean[some]) / sd[some], (r - mean[some]) / sd[some]).items():
            found[name][some] = values
    num = min(len(q), len(reference) * reference.shape[1], max_draws)
    few = q[_evenly(len(q), num)], _thinned(reference, num)
    q_few, r_few = ((draws[:, varies] - mean[varies]) / sd[varies] for draws in few)
    found["rhat"][varies] = rhat(np.stack([q_few, r_few]))
    return found | _energy(q_few, r_few)


def _by_unit(q: np.ndarray, reference: np.ndarray) -> dict[str, np.ndarray]:
    """The variables of `BY_UNIT` but R-hat, from draws in standard deviations of the reference from its mean."""
    ess_mean, ess_square = ess_of_mean(reference), ess_of_mean(np.square(reference))
    ess_of_all = 2 / (1 / ess_mean + 1 / ess_square)  # antithetic chains: the ESS of means overstates the rest
    r = reference.reshape(-1, reference.shape[-1])
    return _moments(q, r, ess_mean, ess_square) | _distributions(q, r, ess_of_all)


def _moments(q: np.ndarray, r: np.ndarray, ess_mean: np.ndarray, ess_square: np.ndarray) -> dict[str, np.ndarray]:
    """Mean and standard deviation of q, the reference's being 0 and 1, with their standard errors."""
    mean, sd = q.mean(0), q.std(0)
    of_q, of_r = np.square(q - mean).var(0) / len(q), np.square(r).var(0) / ess_square  # errors of the two variances
    return {
        "mean_error": mean,
        "mean_error_mcse": np.sqrt(sd**2 / len(q) + 1 / ess_mean),
        "sd_ratio": sd,
        "sd_ratio_mcse": np.sqrt(of_q / np.maximum(sd, 1e-150) ** 2 + of_r * sd**2) / 2,
    }


def _distributions(q: np.ndarray, r: np.ndarray, ess_r: np.ndarray) -> dict[str, np.ndarray]:
    """Distances between the empirical distribution functions, and their expectation under an exact q, to first order.

    The difference of two empirical distribution functions of F is a Brownian bridge with variance
    F (1 - F) (1/n + 1/m).
    """
    noise = np.sqrt(1 / len(q) + 1 / ess_r)
    q, r = (np.sort(draws.T, -1) for draws in (q, r))  # (units, draws)
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
    order = both.argsort(-1, kind="stable")  # merges two runs
    of_q = (order < q.shape[-1]).cumsum(-1)
    of_r = np.arange(1, both.shape[-1] + 1) - of_q
    gap = np.abs(of_q / q.shape[-1] - of_r / r.shape[-1])[:, :-1]
    step = np.diff(np.take_along_axis(both, order, -1), axis=-1)
    return np.where(step > 0, gap, 0).max(-1), (gap * step).sum(-1)  # of equal draws only the last counts


def _energy(q: np.ndarray, r: np.ndarray) -> dict[str, np.ndarray]:
    """Unbiased energy distance, and its standard deviation under an exact q.

    The latter is that of a degenerate U-statistic: sqrt(2) (1/n + 1/m) times the root mean square of its kernel, the
    distances within the reference centred by row and column.
    """
    between = _distances(q, r).mean()
    within_q = _within(q - q.mean(0)).sum() / (len(q) * (len(q) - 1))
    apart, pairs = _within(r), len(r) * (len(r) - 1)
    within = apart.sum() / pairs
    of_row = apart.mean(0)
    apart -= of_row
    apart -= (of_row - of_row.mean())[:, None]
    np.fill_diagonal(apart, 0)
    return {
        "energy_distance": 2 * between - within_q - within,
        "energy_distance_null_sd": np.sqrt(2) * (1 / len(q) + 1 / len(r)) * np.sqrt(np.vdot(apart, apart) / pairs),
    }


def _within(draws: np.ndarray) -> np.ndarray:
    """Distances of all pairs, 0 of a draw from itself."""
    apart = _distances(draws, draws)
    np.fill_diagonal(apart, 0)
    return apart


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean distances of all pairs, (len(a), len(b)), by a matrix product."""
    square: np.ndarray = (-2 * a) @ b.T
    square += np.square(a).sum(-1)[:, None]
    square += np.square(b).sum(-1)
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
