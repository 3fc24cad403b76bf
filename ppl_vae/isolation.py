"""Scopes that restore global state: random generators, modes, default dtype, threads, Pyro's handlers and store."""

from __future__ import annotations

import os
import random
import secrets
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pyro
import torch
from pyro.poutine import runtime
from torch import Tensor
from torch.distributions import Distribution

from ppl_vae.assumed import in_vmap
from ppl_vae.memory import keep_freed
from ppl_vae.modelled import TorchModule

__all__ = [
    "alone",
    "ambient",
    "empty_store",
    "eval_mode",
    "evaluating",
    "frozen",
    "gpus",
    "gpus_of",
    "isolated",
    "random_states",
    "recorded",
    "reseeded",
    "seed_in_use",
    "set_random_states",
    "using_threads",
    "without_store",
]

_LOCK = threading.RLock()


def _unlocked() -> None:
    """A new lock for a forked child: the thread that held the old one does not exist there."""
    global _LOCK
    _LOCK = threading.RLock()


os.register_at_fork(after_in_child=_unlocked)


@contextmanager
def alone() -> Iterator[None]:
    """A scope for one thread of the process at a time, which may enter it again.

    Pyro's handlers and parameter store, the random generators, the default dtype and the modes of a module belong to
    the process: two trainings in two threads would write into each other. The second one waits.
    """
    with _LOCK:
        yield


@contextmanager
def ambient(like: Tensor | None = None, *, gradients: bool = True) -> Iterator[None]:
    """A scope in which a call does not depend on the context of the caller, for one thread at a time.

    Inside no Pyro handler of the caller is active, `torch.autocast` is off, and the default dtype and device are those
    of a tensor; with `gradients` they are recorded, even inside `torch.no_grad` or `torch.inference_mode`. Torch
    validates distributions where Pyro does (`pyro.enable_validation`), but not inside `torch.vmap`: the user's `import
    zuko` turns off torch's own switch for the whole process. On leaving the scope the caller's state is restored.

    Parameters
    ----------
    like
        Whose dtype and device become the default ones; without a tensor they stay as they are.
    gradients
        Whether the caller's grad mode is replaced; `torch.inference_mode` becomes `torch.no_grad` otherwise.
    """
    with alone(), ExitStack() as scopes:  # the state to restore is read under the lock
        dtype, handlers = torch.get_default_dtype(), list(runtime._PYRO_STACK)
        validates = Distribution._validate_args
        plates = list(runtime._DIM_ALLOCATOR._stack)
        if gradients or torch.is_inference_mode_enabled():  # under which q may need gradients of its own
            scopes.enter_context(torch.inference_mode(False))
            scopes.enter_context(torch.set_grad_enabled(gradients))
        if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
            warnings.warn("computed in the precision of the parameters: torch.autocast is not used here", stacklevel=4)
            scopes.enter_context(torch.autocast("cpu", enabled=False))
            scopes.enter_context(torch.autocast("cuda", enabled=False))
        # before torch 2.8 `get_default_device` sees no `with torch.device`: a new tensor does
        if like is not None and torch.empty(0).device.type not in ("cpu", like.device.type):
            scopes.enter_context(torch.device(like.device))  # only then: such a scope slows every call of torch
        runtime._PYRO_STACK.clear()
        runtime._DIM_ALLOCATOR._stack.clear()
        if like is not None:
            torch.set_default_dtype(like.dtype)
        Distribution.set_default_validate_args(pyro.distributions.is_validation_enabled() and not in_vmap())
        try:
            yield
        finally:
            Distribution.set_default_validate_args(validates)
            torch.set_default_dtype(dtype)
            runtime._PYRO_STACK[:] = handlers
            runtime._DIM_ALLOCATOR._stack[:] = plates


@contextmanager
def using_threads(number: int | None) -> Iterator[None]:
    """A scope in which torch computes with so many threads; with `None` as many as before."""
    before = torch.get_num_threads()
    if number is not None:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        if number is not None:
            torch.set_num_threads(before)


def recorded(tensor: Tensor) -> Tensor:
    """A tensor that a gradient can be taken through: one of `torch.inference_mode` is copied."""
    return tensor.clone() if tensor.is_inference() and not torch.is_inference_mode_enabled() else tensor


@contextmanager
def isolated(module: TorchModule, seed: int | None = None) -> Iterator[int]:
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
    seed = seed_in_use(seed)
    states = np.random.get_state(), random.getstate()  # noqa: NPY002, users' transforms may draw from it
    devices = gpus(module)
    try:
        with _modes_kept(module), torch.random.fork_rng(devices=devices), pyro.get_param_store().scope():
            reseeded(module, seed)
            yield seed
    finally:
        np.random.set_state(states[0])  # noqa: NPY002
        random.setstate(states[1])


def seed_in_use(seed: int | None) -> int:
    """The seed, or one of fresh entropy where there is none."""
    return secrets.randbits(31) if seed is None else seed


def reseeded(module: TorchModule, seed: int) -> None:
    """Begin the random numbers of torch, numpy and Python anew; call it inside `isolated`."""
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed every GPU
    for device in gpus(module):
        torch.cuda.default_generators[device].manual_seed(seed)
    if any(p.device.type == "mps" for p in module.parameters()):
        torch.mps.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)


@contextmanager
def evaluating(module: TorchModule, seed: int | None = None) -> Iterator[int]:
    """An isolated scope in eval mode, without gradients: weights, batch statistics and modes stay as they are."""
    keep_freed()
    with isolated(module, seed) as seed_used, torch.no_grad():
        module.eval()
        yield seed_used


@contextmanager
def frozen(module: TorchModule) -> Iterator[None]:
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
def eval_mode(module: TorchModule) -> Iterator[None]:
    """A scope in eval mode; gradients flow, and every submodule's mode is as before when it ends."""
    with _modes_kept(module):
        module.eval()
        yield


@contextmanager
def _modes_kept(module: TorchModule) -> Iterator[None]:
    modes = [(child, child.training) for child in module.modules()]
    try:
        yield
    finally:
        for child, mode in modes:
            child.training = mode


def gpus(module: TorchModule) -> list[int]:
    """Numbers of the GPUs that a module's parameters are on."""
    return gpus_of(module.parameters())


def gpus_of(tensors: Iterable[Tensor]) -> list[int]:
    """Numbers of the GPUs that tensors are on."""
    return sorted({t.device.index or 0 for t in tensors if t.is_cuda})


@contextmanager
def empty_store() -> Iterator[None]:
    """A scope in which Pyro's parameter store is empty; its parameters keep the references that it hung on them."""
    store = pyro.get_param_store()
    kept = [(p, vars(p)["unconstrained"]) for _, p in store.named_parameters() if "unconstrained" in vars(p)]
    try:
        with store.scope():
            yield
    finally:
        for parameter, reference in kept:
            vars(parameter)["unconstrained"] = reference


def without_store(module: TorchModule) -> dict[str, Any]:
    """A module's state for pickling, without the references that Pyro's store hung on its parameters."""
    for parameter in module.parameters():
        vars(parameter).pop("unconstrained", None)
    return vars(module)


def random_states(tensors: Sequence[Tensor]) -> list[Tensor]:
    """States of torch's generators of the CPU and of the tensors' GPUs."""
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state(number) for number in gpus_of(tensors))]


def set_random_states(states: Sequence[Tensor], tensors: Sequence[Tensor]) -> None:
    """Restore what `random_states` gave."""
    torch.set_rng_state(states[0])
    for state, number in zip(states[1:], gpus_of(tensors), strict=True):
        torch.cuda.set_rng_state(state, number)
