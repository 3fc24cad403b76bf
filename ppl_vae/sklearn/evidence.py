"""log p(x) of each row, with k-hat and an upper limit, by draws from q and around the mode."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ppl_vae.importance import log_marginal, psis
from ppl_vae.sklearn.at_the_mode import log_weights
from ppl_vae.split import Split
from ppl_vae.vae import VAE

__all__ = ["Evidence", "evidence"]

_LARGE = 1e300

_LEAST = 1e3
"""Nats: rows whose estimate is nearer to a threshold are judged by k-hat alone."""

_ROUNDED = 16 * torch.finfo(torch.float64).eps
"""Relative rounding error of a log weight, a sum over columns."""


class Evidence(NamedTuple):
    """log p(x) in nats, in the raw data's units, k-hat, and what log p(x) is taken to be below; (n,)."""

    log_px: np.ndarray
    k: np.ndarray
    most: np.ndarray


def evidence(vae: VAE, data: Split, num_samples: int, seed: int) -> Evidence:
    """log p(x) of each row, by the draws of `at_the_mode.log_weights`."""
    log_w = log_weights(vae, data, num_samples, seed).cpu()
    # of rows so far away that squares overflow
    log_w = log_w.nan_to_num(-_LARGE, -_LARGE, -_LARGE).clamp_min(-_LARGE)
    log_px = log_marginal(log_w).estimate - data.log_volume
    return Evidence(log_px.numpy(), psis(log_w)[1].numpy(), (log_px + _shortfall(log_w)).numpy())


def _shortfall(log_w: Tensor) -> Tensor:
    """Nats that log p(x) is taken to exceed its estimate by at most, whatever its k-hat, (n,).

    Normal log weights of standard deviation s have a log mean s^2 / 2 above their mean. In the place of s is the
    distance from the largest of the draws to their upper quartile, about 2.6 s for 1,000, less what is due to rounding:
    far away log weights are so large that those around the mode differ by rounding alone, and k-hat says nothing. This
    is no bound: as with a good k-hat, a mode that no draw comes near is not seen.
    """
    best, quartile = log_w.max(0).values, log_w.kthvalue(math.ceil(0.75 * len(log_w)), 0).values
    spread = (best - quartile - _ROUNDED * best.abs()).clamp_min(0)
    return _LEAST + spread.square() / 2
