"""Conversion to float64 on any device."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["has_float64", "in_float64", "precise"]


def has_float64(device: torch.device) -> bool:
    """Whether a device has float64; Apple's MPS has not."""
    return device.type != "mps"


def in_float64(values: Tensor) -> Tensor:
    """Values in float64, on the CPU where their device has none."""
    here = values if has_float64(values.device) else values.cpu()
    return here.to(torch.float64)


def precise(values: Tensor) -> Tensor:
    """Values in float64 where their device has it, as they are elsewhere."""
    return values.to(torch.float64) if has_float64(values.device) else values
