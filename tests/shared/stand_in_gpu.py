"""A stand-in for a GPU: tensors that are on one by name, computed on the CPU; mixed with others they are an error."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

__all__ = ["NAME", "known_to_torch", "stand_in_gpu"]

NAME = "standin"
_ATEN = torch.ops.aten
_COPIES = {_ATEN._to_copy.default, _ATEN.copy_.default}
_INDEXED = {_ATEN.index.Tensor, _ATEN.index_put_.default, _ATEN.index_put.default}
"""A GPU takes indices from the CPU, too."""


class OnGpu(torch.Tensor):
    """A tensor of the stand-in, with its values on the CPU."""

    values: torch.Tensor

    @staticmethod
    def __new__(cls, values: torch.Tensor) -> "OnGpu":
        own = torch.Tensor._make_wrapper_subclass(
            cls, values.shape, values.stride(), values.storage_offset(), dtype=values.dtype, device=f"{NAME}:0"
        )
        own.values = values
        return own

    def __repr__(self) -> str:
        return f"OnGpu({self.values})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _computed(func, args, kwargs or {})


def _computed(func, args, kwargs):
    """What torch computes of the values; on the stand-in where an argument is, or where the call asks for it."""
    tensors = [a for a in tree_flatten((args, kwargs))[0] if isinstance(a, torch.Tensor)]
    here = [t for t in tensors if isinstance(t, OnGpu)]
    elsewhere = [t for t in tensors if not isinstance(t, OnGpu) and t.dim() > 0]
    indexed = func in _INDEXED and isinstance(args[0], OnGpu)
    if here and elsewhere and func not in _COPIES and not indexed:
        raise RuntimeError(f"Expected all tensors to be on the same device: {func} was given some on a GPU")
    asked = kwargs.get("device")
    on_gpu = bool(here) if asked is None else torch.device(asked).type == NAME
    if func is torch.ops.aten.copy_.default:
        on_gpu = isinstance(args[0], OnGpu)
    plain = {
        name: torch.device("cpu") if name == "device" and value is not None else value for name, value in kwargs.items()
    }
    plain.pop("pin_memory", None)
    found = func(*tree_map(_values, args), **tree_map(_values, plain))
    given = {id(t.values): t for t in here}

    def wrapped(value):
        if not isinstance(value, torch.Tensor) or isinstance(value, OnGpu) or not on_gpu:
            return value
        return given.get(id(value)) if id(value) in given else OnGpu(value)

    return tree_map(wrapped, found)


def _values(value):
    return value.values if isinstance(value, OnGpu) else value


class _Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _computed(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """Makes tensors of Python's numbers on the CPU, and moves them then."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        given = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor, torch.scalar_tensor) and given.get("device") is not None:
            device = given.pop("device")
            given.pop("pin_memory", None)
            made = func(*args, **given)
            return made.to(device) if torch.device(device).type == NAME else made
        if func is torch.Tensor.tolist and isinstance(args[0], OnGpu):
            return args[0].values.tolist()
        return func(*args, **given)


def known_to_torch() -> None:
    """Make the device known to torch for the rest of the process; torch asks for devices at the first gradient."""
    if torch._C._get_privateuse1_backend_name() != NAME:
        backend_registration._setup_privateuseone_for_python_backend(NAME)


@contextmanager
def stand_in_gpu() -> Iterator[None]:
    """A scope in which `.to(NAME)` gives tensors of the stand-in; random numbers are those of the CPU."""
    with _Functions(), _Dispatch():
        yield
