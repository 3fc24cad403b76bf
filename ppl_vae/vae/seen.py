"""The input of an encoder: x standardized, 0 where it is missing, and the mask beside it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ppl_vae.corruptions import Corruption
from ppl_vae.likelihoods import Likelihood
from ppl_vae.rows import Rows, dense
from ppl_vae.split import Split
from ppl_vae.vae.data_spec import DataSpec

__all__ = ["encoder_input", "rows_for_statistics", "rows_to_learn_from", "seen_shape", "training_data"]


_MOST = 5000
"""Largest number of training data that statistics and starting values are computed from."""

_STORED = 2**28
"""Elements of rows that are sparse or on disk and are made dense together: a gibibyte in float32."""

_IN_FLOAT64 = 2**24
"""Elements of rows whose statistics are computed in float64: 128 MiB, of which some copies are made."""


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


def training_data(data: DataSpec, likelihood: Likelihood, mask_input: bool) -> Tensor | None:
    """Training data as the encoder sees them; `None` where there are none."""
    rows = rows_to_learn_from(data)
    return None if rows is None else encoder_input(likelihood, *rows, mask_input)


def rows_to_learn_from(data: DataSpec) -> tuple[Tensor, Tensor | bool] | None:
    """The first 5,000 training data x (n, *x_shape) and their mask, drawn once; `None` where there are none.

    Fewer where they are sparse or on disk and would take more than a gibibyte.
    """
    if data.train is None:
        return None
    some = _first(data.train, _STORED if isinstance(data.train.x, Rows) else None)
    return dense(some.x), True if some.mask is None else dense(some.mask)


def rows_for_statistics(train: Split) -> Split:
    """The first 5,000 training data, fewer where these have over 2^24 elements, drawn once."""
    return _first(train, _IN_FLOAT64)


def _first(train: Split, elements: int | None) -> Split:
    """The first training data, drawn once: 5,000, or as many as have so many elements, but one at least."""
    most = _MOST if elements is None else max(1, min(_MOST, elements // math.prod(train.x.shape[1:])))
    return train[:most].fixed()
