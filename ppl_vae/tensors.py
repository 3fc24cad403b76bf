"""Arrays and tables as tensors: conversions that change values are refused or warned about."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppl_vae.assumed import in_vmap

__all__ = [
    "LEAVE",
    "as_mask",
    "as_tensor",
    "check_finite",
    "check_parts",
    "check_precision",
    "is_array",
    "missing_in",
    "whole_mask",
]

_SIGNED = {torch.uint16: torch.int32, torch.uint32: torch.int64, torch.uint64: torch.int64}
_FIX = "convert it: array.astype('float32')"


def is_array(values: Any) -> bool:
    """Whether a value is an array of a library: numpy, torch or pandas."""
    return isinstance(values, Tensor) or (hasattr(values, "__array__") and not isinstance(values, type))


def as_tensor(name: str, values: Any) -> Tensor:
    """Numbers as a tensor of the same values: of an array, a table, or lists; a tensor is returned unchanged.

    Memory is shared where it can be. Of a masked array these are all the values; see `missing_in`.

    Raises
    ------
    TypeError
        For values that are no real numbers: text, dates, objects, complex numbers; and for sparse tensors.
    ValueError
        For rows of different lengths, and for whole numbers from 2^63 on.
    """
    tensor = values if isinstance(values, Tensor) else _of_array(name, _array(name, values))
    if tensor.is_complex() or tensor.is_quantized or tensor.layout != torch.strided:
        came = f"dtype {str(tensor.dtype).removeprefix('torch.')}, {str(tensor.layout).removeprefix('torch.')}"
        raise TypeError(
            f"{name} expects numbers, real and dense, got {came}; convert it: its real part, its modulus, .to_dense()"
        )
    if tensor.dtype == torch.uint64 and bool((tensor.view(torch.int64) < 0).any()):
        raise ValueError(f"{name} expects numbers below 2^63, got larger ones of dtype uint64; {_FIX}")
    return tensor.to(_SIGNED.get(tensor.dtype, tensor.dtype))


def missing_in(values: Any) -> np.ndarray | None:
    """The mask of a numpy masked array, True where missing; `None` if nothing is missing."""
    return np.ma.getmaskarray(values) if np.ma.is_masked(values) else None


LEAVE = "fill them, or leave such data out"
"""What to do about a value that cannot be missing."""


def as_mask(name: str, mask: Any, x: Tensor) -> Tensor | None:
    """A mask of x, True where an element was observed; `None` where all were.

    Parameters
    ----------
    name
        What the mask is of, for messages.
    mask
        Booleans of the shape of x; True or `None` for all.
    x
        The data.

    Raises
    ------
    ValueError
        For a mask of anything but booleans, or of another shape.
    """
    if mask is None or mask is True:
        return None
    array = mask if isinstance(mask, Tensor) else np.asarray(mask)
    if array.dtype not in (torch.bool, np.dtype(bool)) or missing_in(mask) is not None:
        came = "a masked array" if missing_in(mask) is not None else array.dtype
        raise ValueError(
            f"{name} expects booleans, True where an element was observed, got {came}; convert it: mask > 0"
        )
    observed = array if isinstance(array, Tensor) else torch.from_numpy(array.copy())
    if observed.dim() == 0:  # of an array's own: np.True_
        return None if observed else whole_mask(x, False)
    if observed.shape != x.shape:
        raise ValueError(
            f"{name} expects the shape of its data, got {tuple(observed.shape)} for {tuple(x.shape)}; give True or "
            "False for each element, for whole data: mask.reshape(-1, *[1] * (x.dim() - 1)).expand_as(x)"
        )
    return observed


def whole_mask(x: Tensor, value: bool = True) -> Tensor:
    """A mask of x with one value everywhere."""
    return torch.full(x.shape, value, dtype=torch.bool, device=x.device)


def check_finite(
    name: str,
    values: Tensor,
    mask: Tensor | None = None,
    fix: str = "fill them, or mark them missing with mask=",
) -> None:
    """Refuse NaN and infinity where something was observed; inside `torch.vmap` nothing is looked at.

    Raises
    ------
    ValueError
        With their number and the position of the first.
    """
    if in_vmap():
        return
    bad = ~values.isfinite()
    bad = bad if mask is None else bad & mask.to(bad.device)
    if bad.any():
        first = tuple(bad.nonzero()[0].tolist())
        verb = "expect" if name == "data" else "expects"
        raise ValueError(
            f"{name} {verb} finite values, got {int(bad.sum())} of {bad.numel()} that are NaN or infinite; {fix} "
            f"(the first is at {first})"
        )


def check_precision(name: str, values: Tensor, dtype: torch.dtype, mask: Tensor | None = None) -> None:
    """`check_parts` of values that are all in memory."""
    if not in_vmap() and _can_lose(values, dtype):
        check_parts(name, [(values, mask)], dtype, stacklevel=4)


def check_parts(
    name: str, parts: Iterable[tuple[Tensor, Tensor | None]], dtype: torch.dtype, *, stacklevel: int = 3
) -> None:
    """Warn once if conversion to another precision changes values, each part with its mask, by more than rounding.

    Raises
    ------
    ValueError
        Where finite values would become infinite.

    Warns
    -----
    UserWarning
        Where nonzero values become 0, whole numbers change, or a column varies by no more than a hundred times its
        rounding error.
    """
    kind, said = str(dtype).removeprefix("torch."), ""
    for values, mask in parts:
        if not _can_lose(values, dtype):
            continue
        if mask is not None:
            values = torch.where(mask.to(values.device), values, torch.zeros_like(values))
        rounded = values.to(dtype)
        if bool((too_large := values.isfinite() & ~rounded.isfinite()).any()):
            raise ValueError(
                f"{name} expects finite values in {kind}, got {values[too_large][0]:g}, which is infinite there; "
                "divide x by its scale, or train in float64: vae.double()"
            )
        said = said or _lost(values, rounded)
    if said:
        warnings.warn(
            f"{name} is rounded to {kind}, in which {said}; subtract the mean and divide by the scale beforehand, or "
            "train in float64: vae.double(), with tensors of float64",
            stacklevel=stacklevel,
        )


def _can_lose(values: Tensor, dtype: torch.dtype) -> bool:
    if not dtype.is_floating_point or values.dtype in (torch.bool, dtype) or not values.numel():
        return False
    if values.is_floating_point():
        return torch.finfo(values.dtype).bits > torch.finfo(dtype).bits
    exact = round(2 / torch.finfo(dtype).eps)  # whole numbers up to here are exact in that precision
    return max(abs(int(values.min())), abs(int(values.max()))) > exact


def _lost(values: Tensor, rounded: Tensor) -> str:
    """A sentence on the values changed by more than rounding; empty if there are none."""
    if not values.is_floating_point():
        altered = rounded.to(values.dtype) != values
        if not altered.any():
            return ""
        first = values[altered][0]
        return (
            f"{int(altered.sum())} whole numbers become others, {int(first)} {float(rounded[altered][0]):.0f} for one"
        )
    if bool((gone := (values != 0) & (rounded == 0)).any()):
        return f"{int(gone.sum())} values become 0, {values[gone][0]:g} for one"
    if len(values) < 2:
        return ""
    centred = values - values.nanmean(0)
    sd = centred.square().nanmean(0).sqrt()
    error = (rounded.to(values.dtype) - values).abs().nan_to_num().amax(0)
    own = torch.finfo(values.dtype).eps * 1e3 * values.abs().nan_to_num().amax(0)  # what varies by less is constant
    coarse = (error > sd / 100) & (sd > own)
    if not coarse.any():
        return ""
    worst = torch.where(coarse, error / sd.clamp_min(torch.finfo(sd.dtype).tiny), 0).flatten().argmax()
    return (
        f"{int(coarse.sum())} of {coarse.numel()} elements of x vary by little more than rounding does: a standard "
        f"deviation of {sd.flatten()[worst]:.3g}, a rounding error of {error.flatten()[worst]:.3g}"
    )


def _array(name: str, values: Any) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{name} expects rows of one length, got {error}; give one array") from error
    if array.dtype.kind not in "buif":
        found: Any = next((v for v in array.ravel().tolist() if not isinstance(v, Real)), None)
        example = "" if found is None else f" (it holds {found!r})"
        raise TypeError(f"{name} expects numbers, got dtype {array.dtype}; {_FIX}{example}")
    return array


def _of_array(name: str, array: np.ndarray) -> Tensor:
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:  # torch has no wider numbers
        with np.errstate(over="ignore"):
            array = array.astype(np.float64)
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    return torch.from_numpy(np.require(native, requirements=["C", "W"]))
