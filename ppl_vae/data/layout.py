"""How pictures lie in an array: channels before height and width, and grey levels known as such."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["ask_about_levels", "channels_first", "mapped_channels_first"]


def channels_first(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Pictures as (n, channels, height, width): of 8-bit (n, height, width), and of (n, height, width, 3).

    Arrays of other shapes are returned unchanged.

    Parameters
    ----------
    values
        An array of pictures, or a mask of one.
    dtype
        Of the pictures as they were given.
    """
    if values.dim() == 3 and dtype == torch.uint8:
        return values[:, None]
    return values.movedim(-1, 1) if _channels_last(values.shape) else values


def mapped_channels_first(values: np.ndarray) -> np.ndarray:
    """The same of an array on disk, as a view of it."""
    if values.ndim == 3 and values.dtype == np.uint8:
        return values[:, None]
    return np.moveaxis(values, -1, 1) if _channels_last(values.shape) else values


def _channels_last(shape: Sequence[int]) -> bool:
    return len(shape) == 4 and shape[-1] == 3 and shape[1] > 4


def ask_about_levels(name: str, dtype: torch.dtype, values: Tensor) -> None:
    """Refuse whole numbers up to 255 in the shape of pictures that are not of 8 bits: grey levels or counts.

    The rows of a table are in the shape of pictures if their length is that of a square, of one channel or three, from
    8 x 8 on, and their largest number is 255 itself.

    Raises
    ------
    ValueError
        For such an array.
    """
    if dtype == torch.uint8 or not _pictures(values.shape):
        return
    low, high = float(values.min()), float(values.max())
    if values.dim() == 2 and high != 255:
        return
    if low >= 0 and 1 < high <= 255 and bool((values == values.round()).all()):
        kind = str(dtype).removeprefix("torch.")
        raise ValueError(
            f"{name} expects to know what whole numbers in the shape of pictures are, got 0 to {high:g} in {kind}; "
            "give domain=Domain('levels', levels=256) for grey levels, domain=Domain('counts') for counts, or 'real'"
        )


def _pictures(shape: torch.Size) -> bool:
    if len(shape) == 2:
        return (
            any(shape[1] == channels * math.isqrt(shape[1] // channels) ** 2 for channels in (1, 3)) and shape[1] >= 64
        )
    return len(shape) == 3 or (len(shape) == 4 and shape[1] in (1, 3))
