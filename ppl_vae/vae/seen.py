"""What an encoder sees of x: it standardized, 0 where it is missing, and beside it the mask."""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_vae.corruptions import Corruption
from ppl_vae.likelihoods import Likelihood

__all__ = ["encoder_input", "seen_shape"]


def encoder_input(
    likelihood: Likelihood, x: Tensor, mask: Tensor | bool, mask_input: bool, corruption: Corruption | None = None
) -> Tensor:
    """x (batch, *x_shape) as an encoder is given it.

    Standardized by its likelihood, corrupted, and 0 where it is missing; with `mask_input` followed along its first
    dimension by 1 where x was observed and 0 where it was not.
    """
    observed = torch.as_tensor(mask, device=x.device)
    filled = x if mask is True else torch.where(observed, x, torch.zeros_like(x))
    clean = likelihood.standardize(filled)
    seen = clean if corruption is None else corruption(clean)
    if mask is not True:
        seen = torch.where(likelihood.seen_mask(observed.expand(x.shape)), seen, torch.zeros_like(seen))
    return torch.cat([seen, observed.expand(x.shape).to(seen.dtype)], 1) if mask_input else seen


def seen_shape(likelihood: Likelihood, mask_input: bool) -> tuple[int, ...]:
    """Shape of a datum as an encoder of x sees it, with or without a mask."""
    first, *rest = likelihood.seen_shape or (1,)
    return (first + likelihood.x_shape[0], *rest) if mask_input else likelihood.seen_shape
