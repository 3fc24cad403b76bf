"""Differences between draws from q(z | x) and from a reference, for one datum, with their Monte Carlo errors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ppl_vae.diagnostics.results import ess, rhat
from ppl_vae.libraries import distance, stats, xr

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
    varies = np.ptp(reference, (0, 1)) > 0
    if not varies.any():
        return found
    mean, sd = (getattr(reference[..., varies], moment)((0, 1)) for moment in ("mean", "std"))
    q, reference = (q[:, varies] - mean) / sd, (reference[..., varies] - mean) / sd
    r = reference.reshape(-1, len(sd))
    ess_mean, ess_square = _of_chains(ess, reference), _of_chains(ess, np.square(reference))
    ess_of_all = 2 / (1 / ess_mean + 1 / ess_square)  # antithetic chains: the ESS of means overstates the rest
    for name, values in (_moments(q, r, ess_mean, ess_square) | _distributions(q, r, ess_of_all)).items():
        found[name][varies] = values
    num = min(len(q), len(r), max_draws)
    q_few, r_few = q[_evenly(len(q), num)], _thinned(reference, num)
    found["rhat"][varies] = _of_chains(rhat, np.stack([q_few, r_few]))
    return found | _energy(q_few, r_few)


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
    level = np.arange(1, len(r))[:, None] / len(r)
    spread = (np.diff(np.sort(r, 0), axis=0) * np.sqrt(level * (1 - level))).sum(0)
    pairs = list(zip(q.T, r.T, strict=True))
    return {
        "ks": np.array([stats.ks_2samp(a, b, method="asymp").statistic for a, b in pairs]),
        "ks_null": stats.kstwobign.median() * noise,
        "wasserstein": np.array([stats.wasserstein_distance(a, b) for a, b in pairs]),
        "wasserstein_null": np.sqrt(2 / np.pi) * spread * noise,
    }


def _energy(q: np.ndarray, r: np.ndarray) -> dict[str, np.ndarray]:
    """Unbiased energy distance, and its standard deviation under an exact q.

    The latter is that of a degenerate U-statistic: sqrt(2) (1/n + 1/m) times the root mean square of its kernel, the
    distances within the reference centred by row and column.
    """
    within = distance.pdist(r)
    apart = distance.squareform(within)
    centred = apart - apart.mean(0) - apart.mean(1, keepdims=True) + apart.mean()
    np.fill_diagonal(centred, 0)
    rms = np.sqrt(np.square(centred).sum() / (len(r) * (len(r) - 1)))
    return {
        "energy_distance": 2 * distance.cdist(q, r).mean() - distance.pdist(q).mean() - within.mean(),
        "energy_distance_null_sd": np.sqrt(2) * (1 / len(q) + 1 / len(r)) * rms,
    }


def _of_chains(f: Callable[[xr.Dataset], xr.Dataset], draws: np.ndarray) -> np.ndarray:
    return f(xr.Dataset({"z": (("chain", "draw", "unit"), draws)}))["z"].values


def _evenly(size: int, num: int) -> np.ndarray:
    return np.linspace(0, size - 1, num).round().astype(int)


def _thinned(draws: np.ndarray, num: int) -> np.ndarray:
    """Draws evenly spaced over the chains, in order of the iteration, (num, units)."""
    chain, draw = np.divmod(_evenly(draws.shape[0] * draws.shape[1], num), draws.shape[1])
    order = draw.argsort(kind="stable")
    return draws[chain[order], draw[order]]
