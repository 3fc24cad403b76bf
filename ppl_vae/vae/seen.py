"""What an encoder sees of x: it standardized, 0 where it is missing, and beside it the mask."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ppl_vae.corruptions import Corruption
from ppl_vae.likelihoods import Likelihood
from ppl_vae.rows import Rows, dense
from ppl_vae.split import Split
from ppl_vae.vae.recipe import Described

__all__ = ["encoder_input", "first_rows", "sampled_rows", "seen_shape", "training_data"]


_MOST_ELEMENTS = 2**28
"""Of rows that are made dense together, a gibibyte."""

_ELEMENTS = 2**24
"""Of rows that statistics are taken of."""


def encoder_input(
    likelihood: Likelihood, x: Tensor, mask: Tensor | bool, mask_input: bool, corruption: Corruption | None = None
) -> Tensor:
    """x (batch, *x_shape) as an encoder is given it: standardized by its likelihood, corrupted, 0 where it is missing.

    With `mask_input` it is followed along its first dimension (along the last, where columns are seen one-hot) by 1
    where x is missing and 0 where it is not: complete data then add nothing.
    """
    observed = torch.as_tensor(mask, device=x.device)
    filled = x if mask is True else torch.where(observed, x, torch.zeros_like(x))
    clean = likelihood.standardize(filled)
    seen = clean if corruption is None else corruption(clean)
    if mask is not True:
        seen = torch.where(likelihood.seen_mask(observed.expand(x.shape)), seen, torch.zeros_like(seen))
    if not mask_input:
        return seen
    along = 1 if seen.shape[2:] == x.shape[2:] else -1  # one-hot columns are more
    return torch.cat([seen, (~observed).expand(x.shape).to(seen.dtype)], along)


def seen_shape(likelihood: Likelihood, mask_input: bool) -> tuple[int, ...]:
    """Shape of a datum as an encoder of x sees it, with or without a mask."""
    shape, x_shape = likelihood.seen_shape, likelihood.x_shape
    if not mask_input:
        return shape
    if shape[1:] == x_shape[1:]:
        return shape[0] + x_shape[0], *shape[1:]
    return *shape[:-1], shape[-1] + x_shape[-1]


def training_data(data: Described, likelihood: Likelihood, mask_input: bool, most: int = 5000) -> Tensor | None:
    """Training data as the encoder sees them; `None` where there are none."""
    rows = first_rows(data, most)
    return None if rows is None else encoder_input(likelihood, *rows, mask_input)


def sampled_rows(train: Split) -> Split:
    """The first 5,000 training data, fewer where these have over 2^24 elements, drawn once.

    In float64 they take 128 MiB, of which some copies are made.
    """
    most: int = max(1, min(5000, _ELEMENTS // math.prod(train.x.shape[1:])))
    return train[:most].fixed()


def first_rows(data: Described, most: int = 5000) -> tuple[Tensor, Tensor | bool] | None:
    """The first training data x (n, *x_shape) and their mask, drawn once; `None` where there are none.

    Fewer than `most` where they are stored, and would take more than a gibibyte.
    """
    train = getattr(data, "train", None)
    if train is None:
        return None
    if isinstance(train.x, Rows):
        most = min(most, max(1, _MOST_ELEMENTS // train.x[:1].numel()))
    some = train[:most].fixed()
    mask = getattr(some, "mask", None)
    return dense(some.x), True if mask is None else dense(mask)
