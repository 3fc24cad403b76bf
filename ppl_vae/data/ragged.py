"""Sequences of different lengths as one array: NaN, a missing value, after the end of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ppl_vae.tensors import as_tensor

__all__ = ["aligned", "is_ragged", "padded"]


def is_ragged(x: Any) -> bool:
    """Whether x is a list, tuple or array of arrays that differ in their first dimension, (t_i, ...)."""
    if not isinstance(x, list | tuple) and not (isinstance(x, np.ndarray) and x.dtype == object and x.ndim == 1):
        return False
    lengths = {len(one) if np.ndim(one) else -1 for one in map(_as_numbers, x)}
    return len(lengths) > 1 and -1 not in lengths


def aligned(arrays: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arrays by name, padded to the longest sequence where some are ragged, and what to say of that; `None` stays.

    Returns
    -------
    arrays
        The same where none is ragged.
    said
        ``padded``, the number of steps; empty where none is ragged.
    """
    given = {name: x for name, x in arrays.items() if x is not None}
    if not any(map(is_ragged, given.values())):
        return dict(arrays), {}
    steps = max(max(len(one) for one in x) for x in given.values())
    return {**arrays, **{name: padded(name, x, steps) for name, x in given.items()}}, {"padded": steps}


def padded(name: str, x: Any, steps: int) -> np.ndarray:
    """Sequences as one array (n, steps, ...), NaN after the end of each.

    Raises
    ------
    TypeError
        For sequences that are not of numbers.
    ValueError
        For sequences that differ in more than their length, or are longer.
    """
    each = [as_tensor(f"{name}[{i}]", _as_numbers(one)).detach().cpu() for i, one in enumerate(x)]
    if len({one.shape[1:] for one in each}) > 1 or max(len(one) for one in each) > steps:
        shapes = ", ".join(str(tuple(shape)) for shape in sorted({one.shape for one in each})[:5])
        raise ValueError(
            f"{name} expects sequences (t, ...) of at most {steps} steps that differ in their length alone, got shapes "
            f"{shapes}; cut or reshape them"
        )
    found = np.full((len(each), steps, *each[0].shape[1:]), np.nan)
    for row, one in zip(found, each, strict=True):
        row[: len(one)] = one.numpy()
    return found


def _as_numbers(one: Any) -> Any:
    return one if isinstance(one, torch.Tensor) else np.asarray(one)
