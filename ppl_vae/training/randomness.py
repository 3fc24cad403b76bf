"""The states of all random number generators that a training uses, as tensors and plain numbers."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["restore_generators", "stored_generators"]


def stored_generators(gpus: Sequence[int]) -> tuple[dict[str, Tensor], list[Any]]:
    """Tensors by name for torch, numpy and the GPUs, and Python's as a plain list."""
    numpy: Any = np.random.get_state()  # noqa: NPY002
    _, keys, position, has_gauss, cached = numpy
    states = {
        "torch": torch.get_rng_state(),
        "numpy": torch.from_numpy(keys.astype(np.int64)),
        "numpy_rest": torch.tensor([position, has_gauss, cached], dtype=torch.float64),
        **{f"cuda{number}": torch.cuda.get_rng_state(number) for number in gpus},
    }
    _, words, gauss = random.getstate()
    return states, [*words, gauss]


def restore_generators(states: Mapping[str, Tensor], python: Sequence[Any], gpus: Sequence[int]) -> None:
    """Restore what `stored_generators` gave."""
    torch.set_rng_state(states["torch"])
    position, has_gauss, cached = states["numpy_rest"].tolist()
    keys = states["numpy"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, int(position), int(has_gauss), cached))  # noqa: NPY002
    random.setstate((3, tuple(python[:-1]), python[-1]))
    for number in gpus:
        torch.cuda.set_rng_state(states[f"cuda{number}"], number)
