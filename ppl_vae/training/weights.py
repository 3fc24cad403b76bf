"""Weights as named tensors on the CPU: copied out of a module, put back into one, and checked to be finite."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ppl_vae.checksums import ADVICE
from ppl_vae.modelled import TorchModule

__all__ = ["check_finite", "load_weights", "part_of", "prefixed", "weights"]


def weights(module: TorchModule) -> dict[str, Tensor]:
    """Copies of all parameters and stored buffers, shared ones once, on the CPU."""
    buffers = {
        f"{prefix}{'.' if prefix else ''}{name}"
        for prefix, child in module.named_modules()
        for name in child._non_persistent_buffers_set
    }
    named = [*module.named_parameters(), *((n, b) for n, b in module.named_buffers() if n not in buffers)]
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in named}


def load_weights(module: TorchModule, stored: Mapping[str, Tensor]) -> None:
    """Copy stored weights into a module of the same structure.

    Raises
    ------
    ValueError
        If names, shapes or precisions differ.
    """
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    expected = {(name, tuple(t.shape), str(t.dtype)) for name, t in weights(module).items()}
    came = {(name, tuple(t.shape), str(t.dtype)) for name, t in stored.items()}
    if expected != came:
        different = sorted(expected ^ came)[:4]
        raise ValueError(
            f"the weights expect the model they were stored from, got one that differs in {different}; "
            "build it with the same arguments, and call a Program once on some data, which makes its "
            "parameters"
        )
    with torch.no_grad():
        for name, tensor in stored.items():
            own[name].copy_(tensor)


def check_finite(module: TorchModule, stored: Mapping[str, Tensor], folder: Path) -> None:
    """Refuse stored weights that no training leaves behind: `fit` stops before a parameter is NaN or infinite.

    A buffer may be infinite, as masks are.

    Raises
    ------
    ValueError
        For a trainable parameter that is not finite, and for a buffer with NaN.
    """
    trained = {name for name, p in module.named_parameters() if p.requires_grad}
    for name, tensor in stored.items():
        bad = ~tensor.isfinite() if name in trained else tensor.isnan()
        if bad.any():
            raise ValueError(
                f"a checkpoint expects finite weights, got {int(bad.sum())} of {bad.numel()} that are not in {name!r} "
                f"of {str(folder)!r}; {ADVICE}"
            )


def prefixed(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by names "part|name", so that several parts go into one file."""
    return {f"{part}|{name}": tensor for name, tensor in tensors.items()}


def part_of(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """The tensors of one part, by their own names."""
    return {name.removeprefix(f"{part}|"): t for name, t in tensors.items() if name.startswith(f"{part}|")}
