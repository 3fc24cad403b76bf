"""Nothing global changes: what every public call restores when it is done."""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyro
import torch
from torch import nn

__all__ = ["eval_mode", "evaluating", "frozen", "gpus", "isolated", "without_store"]


@contextmanager
def isolated(module: nn.Module, seed: int | None = None) -> Iterator[int]:
    """A scope with its own random numbers and its own parameter store.

    On leaving it the random states of torch, numpy and Python, the train/eval mode of every submodule and Pyro's
    parameter store are as they were.

    Parameters
    ----------
    module
        Whose modes are restored, and whose GPU's random state is.
    seed
        Seed of torch, numpy and Python inside the scope; fresh entropy if `None`.

    Yields
    ------
    int
        The seed in use.
    """
    seed = secrets.randbits(31) if seed is None else seed
    states = np.random.get_state(), random.getstate()  # noqa: NPY002, users' transforms may draw from it
    devices = gpus(module)
    try:
        with _modes_kept(module), torch.random.fork_rng(devices=devices), pyro.get_param_store().scope():
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed every GPU
            for device in devices:
                torch.cuda.default_generators[device].manual_seed(seed)
            if any(p.device.type == "mps" for p in module.parameters()):
                torch.mps.manual_seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            random.seed(seed)
            yield seed
    finally:
        np.random.set_state(states[0])  # noqa: NPY002
        random.setstate(states[1])


@contextmanager
def evaluating(module: nn.Module, seed: int | None = None) -> Iterator[int]:
    """An isolated scope in eval mode, without gradients: weights, batch statistics and modes stay as they are."""
    with isolated(module, seed) as seed_used, torch.no_grad():
        module.eval()
        yield seed_used


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """A scope in which no parameter asks for a gradient: those of latents or of data alone are computed."""
    wanting = [p for p in module.parameters() if p.requires_grad]
    try:
        for parameter in wanting:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in wanting:
            parameter.requires_grad_(True)


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """A scope in eval mode; gradients flow, and every submodule's mode is as before when it ends."""
    with _modes_kept(module):
        module.eval()
        yield


@contextmanager
def _modes_kept(module: nn.Module) -> Iterator[None]:
    modes = [(child, child.training) for child in module.modules()]
    try:
        yield
    finally:
        for child, mode in modes:
            child.training = mode


def gpus(module: nn.Module) -> list[int]:
    """Numbers of the GPUs that a module's parameters are on."""
    return sorted({p.device.index or 0 for p in module.parameters() if p.is_cuda})


def without_store(module: nn.Module) -> dict[str, Any]:
    """A module's state for pickling, without the references that Pyro's store hung on its parameters."""
    for parameter in module.parameters():
        vars(parameter).pop("unconstrained", None)
    return vars(module)
