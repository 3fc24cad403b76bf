"""log p(x) of each row, with k-hat, by draws from q and, where they fail, around the mode."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ppl_vae.importance import good_k, log_marginal, psis
from ppl_vae.sklearn import rowwise
from ppl_vae.sklearn.at_the_mode import log_weights_at_the_mode
from ppl_vae.split import Split
from ppl_vae.vae import VAE

__all__ = ["evidence"]

_LARGE = 1e300


def evidence(vae: VAE, data: Split, num_samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """log p(x) in nats, in the raw data's units, and k-hat, (n,).

    By draws from q; for rows whose k-hat is not good also by as many draws around the mode of p(z | x). The estimate
    with the lower k-hat counts, whatever its value: the larger of two would be no stochastic lower bound.
    """
    log_px, k = _of(rowwise.log_weights(vae, data, num_samples, seed))
    bad = (k > good_k(num_samples)).nonzero().flatten()
    again = log_weights_at_the_mode(vae, data[bad], num_samples, seed) if len(bad) else None
    if again is not None:
        second, second_k = _of(again)
        better = second_k < k[bad]
        log_px[bad[better]], k[bad[better]] = second[better], second_k[better]
    return (log_px - data.log_volume).numpy(), k.numpy()


def _of(log_w: Tensor) -> tuple[Tensor, Tensor]:
    """log p(x), in the units of x, and k-hat, (n,), of weights (num_samples, n)."""
    log_w = log_w.cpu().nan_to_num(-_LARGE, -_LARGE, -_LARGE)  # of rows so far away that squares overflow
    return log_marginal(log_w).estimate, psis(log_w)[1]
