"""The device of a name."""

from __future__ import annotations

import torch

__all__ = ["chosen_device"]


def chosen_device(name: str | torch.device) -> torch.device:
    """The device of a name; of ``"auto"``, a GPU where there is one.

    Raises
    ------
    ValueError
        For a device that this machine does not have.
    """
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if count[kind]))
    kind, colon, number = str(name).partition(":")
    if not (number.isdecimal() if colon else True) or int(number or 0) >= count.get(kind, 0):
        there = [kind for kind, num in count.items() if num]
        raise ValueError(f"device expects 'auto' or one of this machine's, {there}, got {name!r}; choose one of them")
    return torch.device(name)
