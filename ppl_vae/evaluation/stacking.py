"""Weights of a mixture of models."""

from __future__ import annotations

import numpy as np

__all__ = ["stacking_weights"]


def stacking_weights(log_px: np.ndarray) -> np.ndarray:
    """Weights w of models that maximize sum_i log sum_k w_k p_k(x_i), from log p_k(x_i), (models, n).

    NaN where a datum has log p(x) = -inf, or NaN, for all models.

    References
    ----------
    Yao et al. 2018, arXiv:1704.02030, equation 4.

    Examples
    --------
    >>> stacking_weights(np.log([[0.6, 0.6, 0.1], [0.2, 0.2, 0.8]])).round(2)
    array([0.6, 0.4])
    """
    from scipy.optimize import minimize

    num = len(log_px)
    best = log_px.max(0)
    if not np.isfinite(best).all():
        return np.full(num, np.nan)
    p = np.exp(log_px - best)  # a factor common to all models does not change the weights

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        total = np.maximum(p.T @ w, np.finfo(float).tiny)
        return -float(np.log(total).mean()), -(p / total).mean(1)

    sums_to_one = {"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like}
    start = np.full(num, 1 / num)
    found = minimize(
        loss, start, jac=True, method="SLSQP", bounds=[(0, 1)] * num, constraints=sums_to_one, options={"ftol": 1e-12}
    )
    weights: np.ndarray = found.x.clip(0) / found.x.clip(0).sum()
    return weights
