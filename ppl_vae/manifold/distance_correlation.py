"""Szekely's distance correlation: dependence of any kind between two sets of vectors."""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial.distance import cdist

from ppl_vae.arguments import Count, Numbers, as_array, checked

__all__ = ["distance_correlation"]


@checked
def distance_correlation(x: Numbers, y: Numbers, *, max_rows: Count = 1000) -> float:
    """Distance correlation dCor(x, y) in [0, 1]: 0 in the limit only if independent, 1 only if y is a similarity of x.

    A similarity is a rotation, reflection, translation and one change of scale: an embedding has distance correlation
    1 with the true coordinates if all distances in it are proportional to the true ones. This is the estimate from
    the V-statistic, which is biased upwards for few data: compare values at one n.

    Parameters
    ----------
    x, y
        Paired vectors, (n, p) and (n, q).
    max_rows
        Rows of the distance matrices in memory at once; memory is max_rows x n, time n^2.

    Returns
    -------
    float
        0 where one side is constant.

    Raises
    ------
    ValueError
        For fewer than two data, and for data that are unpaired or not finite.

    References
    ----------
    Szekely, Rizzo and Bakirov 2007, doi:10.1214/009053607000000505.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(200, 2))
    >>> round(distance_correlation(x, 3 * x[:, ::-1] + 1), 6)
    1.0
    >>> round(distance_correlation(x[:, 0], np.abs(x[:, 0])), 2)  # the correlation is zero
    0.55
    """
    a, b = (_vectors(v) for v in (x, y))
    if len(a) != len(b) or len(a) < 2 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError(
            f"distance_correlation expects two or more finite pairs of vectors, got shapes {a.shape} and {b.shape}; "
            "give one row of each a datum"
        )
    parts = [slice(i, i + max_rows) for i in range(0, len(a), max_rows)]
    means = [np.concatenate([cdist(v[rows], v).mean(1) for rows in parts]) for v in (a, b)]
    products = np.zeros((2, 2))  # of the doubly centred distances: variances, and the covariance beside them
    for rows in parts:
        A, B = (cdist(v[rows], v) - m[rows, None] - m + m.mean() for v, m in zip((a, b), means, strict=True))
        products += np.array([[np.vdot(A, A), np.vdot(A, B)], [np.vdot(A, B), np.vdot(B, B)]])
    scale = np.sqrt(products[0, 0] * products[1, 1])
    return float(np.sqrt(max(products[0, 1], 0.0) / scale)) if scale > 0 else 0.0


def _vectors(v: Numbers) -> np.ndarray:
    array = as_array(v).astype(float)
    return array.reshape(len(array), math.prod(array.shape[1:]))
