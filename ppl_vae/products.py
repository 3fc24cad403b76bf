"""Matrix products and convolutions of networks in bfloat16."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["InBfloat16", "check_bfloat16", "why_slow"]

_PRODUCTS = {
    *(torch.nn.functional.linear, torch.nn.functional.conv1d, torch.nn.functional.conv2d, torch.nn.functional.conv3d),
    *(torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d),
    *(torch.nn.functional.conv_transpose1d, torch.nn.functional.conv_transpose2d),
    *(torch.nn.functional.conv_transpose3d, torch.conv1d, torch.conv2d, torch.conv3d),
}


class InBfloat16(TorchFunctionMode):
    """A scope in which linear maps and convolutions of float32 are computed in bfloat16, their results in float32.

    All else, log densities and their sums among it, stays in float32; so do parameters and gradients.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [*args, *(kwargs or {}).values()]
        if func not in _PRODUCTS or any(isinstance(a, Tensor) and a.dtype != torch.float32 for a in given):
            return func(*args, **(kwargs or {}))
        found = func(*map(_cast, args), **{name: _cast(value) for name, value in (kwargs or {}).items()})
        return found.float()


def _cast(value: Any) -> Any:
    return value.bfloat16() if isinstance(value, Tensor) else value


def why_slow(device: torch.device) -> str | None:
    """Why products in bfloat16 are slow on a device; `None` where they are not."""
    if device.type == "cpu" and not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return "this CPU has neither AVX512-BF16 nor AMX"
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return "this GPU has no bfloat16"
    return None


def check_bfloat16(
    parameters: Iterable[Tensor], precision: str | None, device: torch.device, stacklevel: int = 5
) -> None:
    """Refuse products in bfloat16 where not all parameters are in float32, and warn where it is slow.

    Raises
    ------
    ValueError
        For parameters in another dtype.
    """
    if precision is None:
        return
    others = {str(p.dtype).removeprefix("torch.") for p in parameters} - {"float32"}
    if others:
        raise ValueError(
            f"precision='bf16' expects parameters in float32, got {', '.join(sorted(others))}; call program.float(), "
            "or leave precision=None"
        )
    if slow := why_slow(device):
        warnings.warn(f"precision='bf16' does not make this faster, as {slow}", stacklevel=stacklevel)
