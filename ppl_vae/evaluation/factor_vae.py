"""The score of FactorVAE: of data that share a factor, which unit varies least."""

from __future__ import annotations

import numpy as np

from ppl_vae.arguments import Count, Numbers, Seed, checked

__all__ = ["factor_vae_score"]


@checked
def factor_vae_score(
    codes: Numbers, factors: Numbers, *, group_size: Count = 64, num_groups: Count = 2000, seed: Seed = 0
) -> float:
    """Share of groups of data with one factor in common whose factor is told by the unit that varies least.

    A group has a factor, drawn at random, at the value of a random datum; its other factors vary as in the data. Each
    unit is divided by its standard deviation over all data, and the one with the smallest variance within the group
    votes for the factor. A unit stands for the factor that most of its votes are for, in half of the groups; the score
    is the share of right votes in the other half: 1 at best, about 1 / F at chance.

    Unlike MIG it does not fall where several units encode one factor; like all such scores it depends on the axes.
    Factors that depend on each other in the data, or that few data share a value of, make it unreliable.

    Parameters
    ----------
    codes
        (n, units); units that never vary are left out.
    factors
        (n, F), two or more, in values that data share.
    group_size
        Data in a group, 2 or more, drawn with replacement from those that share the value.
    num_groups
        Groups, half of them for the votes that are counted first; 4 or more.
    seed
        Of the groups.

    Returns
    -------
    float
        From 0 to 1, with a standard error of about sqrt(score (1 - score) / (num_groups / 2)).

    Raises
    ------
    ValueError
        For other shapes and lengths, values that are not finite, no unit that varies, a factor of one value or of as
        many values as data, and numbers out of range.

    References
    ----------
    Kim and Mnih 2018, arXiv:1802.05983, section 4.

    Examples
    --------
    >>> factors = np.indices((5, 6, 7)).reshape(3, -1).T
    >>> factor_vae_score(factors, factors)
    1.0
    >>> noise = np.random.default_rng(0).normal(size=(210, 3))
    >>> bool(abs(factor_vae_score(noise, factors) - 1 / 3) < 0.1)
    True
    """
    z, v = np.asarray(codes, dtype=np.float64), np.asarray(factors, dtype=np.float64)
    _check(z, v, group_size, num_groups)
    z = z[:, np.ptp(z, axis=0) > 0]
    scale, rng = z.var(0, ddof=1), np.random.default_rng(seed)
    votes = np.zeros((2, v.shape[1], z.shape[1]))
    for group in range(num_groups):
        factor = rng.integers(v.shape[1])
        alike = np.flatnonzero(v[:, factor] == v[rng.integers(len(v)), factor])
        within = z[rng.choice(alike, group_size)].var(0, ddof=1)
        votes[group * 2 // num_groups, factor, np.argmin(within / scale)] += 1
    stands_for = votes[0].argmax(0)
    return float(votes[1][stands_for, np.arange(z.shape[1])].sum() / votes[1].sum())


def _check(z: np.ndarray, v: np.ndarray, group_size: int, num_groups: int) -> None:
    if group_size < 2 or num_groups < 4:
        raise ValueError(
            f"factor_vae_score expects groups of 2 data or more, and 4 groups or more, got group_size={group_size} and "
            f"num_groups={num_groups}; give 64 and 2000, say"
        )
    finite = np.isfinite(z).all() and np.isfinite(v).all()
    if z.ndim != 2 or v.ndim != 2 or len(z) != len(v) or v.shape[1] < 2 or not finite:
        raise ValueError(
            "factor_vae_score expects finite codes (n, units) and factors (n, F) of the same data, F >= 2, got shapes "
            f"{z.shape} and {v.shape}; correct the one that is off"
        )
    values = [len(np.unique(factor)) for factor in v.T]
    if min(values) < 2 or max(values) == len(v):
        raise ValueError(
            f"factor_vae_score expects factors that vary, in values that data share, got {values} values of {len(v)} "
            "data; leave out a constant one, and round one that is continuous"
        )
    if not np.ptp(z, axis=0).any():
        raise ValueError("factor_vae_score expects units that vary, got constant ones; the code has collapsed")
