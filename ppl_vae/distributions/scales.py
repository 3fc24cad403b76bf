"""Positive scales from unconstrained numbers, and back."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["positive", "unconstrained"]


def positive(raw: Tensor) -> Tensor:
    """A positive scale from an unconstrained number: a shifted softplus, 1 at 0, bounded below, with nonzero gradient.

    >>> positive(torch.tensor([-100.0, 0.0, 100.0]))
    tensor([1.0000e-04, 1.0001e+00, 1.0054e+02])
    """
    return F.softplus(raw + math.log(math.e - 1)) + 1e-4


def unconstrained(scale: Tensor) -> Tensor:
    """The inverse of `positive`; scales below 1.01e-4 are clamped to it.

    >>> unconstrained(positive(torch.tensor([-3.0, 1.0, 50.0]))).round(decimals=3).tolist()
    [-3.0, 1.0, 50.0]
    """
    y = (scale - 1e-4).clamp_min(1e-6)
    return y + (-torch.expm1(-y)).log() - math.log(math.e - 1)
