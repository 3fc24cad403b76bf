"""log p(x) of each row, with k-hat, by draws from q and around the mode."""

from __future__ import annotations

import numpy as np

from ppl_vae.importance import log_marginal, psis
from ppl_vae.sklearn.at_the_mode import log_weights
from ppl_vae.split import Split
from ppl_vae.vae import VAE

__all__ = ["evidence"]

_LARGE = 1e300


def evidence(vae: VAE, data: Split, num_samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """log p(x) in nats, in the raw data's units, and k-hat, (n,), by the draws of `at_the_mode.log_weights`."""
    log_w = log_weights(vae, data, num_samples, seed).cpu()
    log_w = log_w.nan_to_num(-_LARGE, -_LARGE, -_LARGE)  # of rows so far away that squares overflow
    return (log_marginal(log_w).estimate - data.log_volume).numpy(), psis(log_w)[1].numpy()
