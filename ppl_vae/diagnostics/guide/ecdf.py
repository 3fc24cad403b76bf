"""Simultaneous confidence band of the ECDF of uniform values."""

from __future__ import annotations

import numpy as np

from ppl_vae.arguments import Count, Fraction, Seed, checked
from ppl_vae.libraries import stats

__all__ = ["simultaneous_band"]

_REPEATS = 10_000  # the level of a 95 % band is then off by 0.2 %


@checked
def simultaneous_band(
    num_values: Count, num_points: Count = 100, prob: Fraction = 0.95, seed: Seed = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Simultaneous confidence band of the ECDF of independent uniform values.

    Pointwise binomial intervals whose level is calibrated by simulation, so that the whole ECDF stays inside with
    probability `prob`. Too narrow for dependent values, such as several draws for one datum.

    Parameters
    ----------
    num_values
        Number of values in the ECDF.
    num_points
        Number of evaluation points, evenly spaced in (0, 1).
    prob
        Probability that the whole ECDF lies inside, in (0, 1).
    seed
        Seed of the simulated samples.

    Returns
    -------
    points, lower, upper : numpy.ndarray
        Each (num_points,). Subtract `points` from both for the band of an ECDF difference plot.

    Raises
    ------
    ValueError
        For no values or points, and for a probability outside (0, 1).

    References
    ----------
    Säilynoja, Bürkner & Vehtari 2022, arXiv:2103.10522, section 2.2.

    Examples
    --------
    >>> points, lower, upper = simultaneous_band(100, num_points=3)
    >>> points, lower, upper
    (array([0.25, 0.5 , 0.75]), array([0.15, 0.39, 0.65]), array([0.35, 0.61, 0.85]))
    """
    points = np.arange(1, num_points + 1) / (num_points + 1)
    in_each = np.full(num_points + 1, 1 / (num_points + 1))
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(num_values, in_each, size=_REPEATS).cumsum(1)[:, :-1]
    every = np.arange(num_values + 1)[:, None]
    below, above = stats.binom.cdf(every, num_values, points), stats.binom.sf(every - 1, num_values, points)
    extremity = 2 * np.minimum(below, above)  # (num_values + 1, num_points)
    level = np.quantile(extremity[counts, np.arange(num_points)].min(1), 1 - prob, method="lower")
    inside = extremity >= level
    lower = inside.argmax(0) / num_values
    upper = (num_values - inside[::-1].argmax(0)) / num_values
    return points, lower, upper
