"""Settings, code and data as plain values that are the same in every process."""

from __future__ import annotations

import hashlib
import inspect
import math
import re
import sys
import sysconfig
from collections.abc import Mapping
from functools import partial, singledispatch
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from pyro.infer import ELBO
from torch import Tensor, nn
from torch.utils.data import Dataset

from ppl_vae.modelled import Modelled
from ppl_vae.vae.program import Program

__all__ = ["code_of_program", "of_loader", "plain", "without_addresses"]

_ITEMS = 64
_MOST_BYTES = 2**30
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def without_addresses(value: Any) -> str:
    """The repr of a value without addresses in memory, which differ between processes."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


@singledispatch
def plain(value: Any, depth: int = 4) -> Any:
    """A value as JSON holds it: an object by its class and attributes, a function by its code, a tensor by SHA-256.

    Closures and objects are followed `depth` levels down, to values that cannot be changed; lists, dictionaries and
    networks that a function refers to are left out, as they may be its state.
    """
    if depth == 0 or not hasattr(value, "__dict__"):
        return without_addresses(value)
    kept = {name: plain(v, depth - 1) for name, v in vars(value).items() if not name.startswith("__")}
    return {"class": plain(type(value), depth - 1), **kept}


@plain.register(type(None))
@plain.register(bool)
@plain.register(int)
@plain.register(str)
def _(value: Any, depth: int = 4) -> Any:
    return value


@plain.register
def _(value: float, depth: int = 4) -> float | str:
    return value if math.isfinite(value) else str(value)


@plain.register(list)
@plain.register(tuple)
def _(value: Any, depth: int = 4) -> Any:
    if len(value) > 1000:  # indices of a sampler
        return f"{len(value)} values {_digest(repr(value))}"
    return [plain(v, depth - 1) if depth else without_addresses(v) for v in value]


@plain.register(Mapping)
def _(value: Mapping[Any, Any], depth: int = 4) -> Any:
    return {str(name): plain(v, max(depth - 1, 0)) for name, v in value.items()}


@plain.register
def _(value: Tensor, depth: int = 4) -> str:
    return f"tensor {tuple(value.shape)} {value.dtype} {_digest(_bytes(value))}"


@plain.register
def _(value: np.ndarray, depth: int = 4) -> str:
    return f"array {value.shape} {value.dtype} {_digest(np.ascontiguousarray(value).tobytes())}"


@plain.register
def _(value: nn.Module, depth: int = 4) -> Any:
    return {"class": plain(type(value)), "weights": [plain(t) for t in value.state_dict().values()]}


@plain.register
def _(value: torch.Generator, depth: int = 4) -> str:
    return "generator"  # its state is stored


@plain.register(partial)
def _(value: partial[Any], depth: int = 4) -> Any:
    given = {str(i): v for i, v in enumerate(value.args)} | value.keywords
    return {"partial": plain(value.func, depth), **{name: plain(v, max(depth - 1, 0)) for name, v in given.items()}}


@plain.register
def _(value: MethodType, depth: int = 4) -> Any:
    return [plain(value.__func__, depth), type(value.__self__).__name__]


@plain.register
def _(value: BuiltinFunctionType, depth: int = 4) -> str:
    return value.__qualname__


@plain.register
def _(value: type, depth: int = 4) -> str:
    if not _own(value):
        return value.__name__
    return f"{value.__name__}, code {_digest(repr(_class_code(value, set(), 2)))}"


@plain.register
def _(value: FunctionType, depth: int = 4) -> str:
    if not _own(value):
        return value.__qualname__
    return f"{value.__name__}, code {_digest(repr(_function_code(value, set(), depth)))}"


@plain.register
def _(value: torch.device, depth: int = 4) -> str:
    return str(value)


@plain.register
def _(value: ELBO, depth: int = 4) -> dict[str, Any]:
    """An objective by its class and the arguments of its constructor, as its attributes hold them.

    Raises
    ------
    ValueError
        If it does not keep one of them as an attribute of the same name.
    """
    cls = type(value)
    names = _parameters(value)
    if lost := [name for name in names if not hasattr(value, name)]:
        raise ValueError(
            f"a stored training expects an objective that keeps what it was made with, got {cls.__name__} without an "
            f"attribute {lost[0]!r}; write self.{lost[0]} = {lost[0]} in its __init__, or train without run="
        )
    return {"class": plain(cls), **{name: plain(getattr(value, name)) for name in names}}


def code_of_program(program: Modelled) -> dict[str, Any]:
    """The user's classes and functions that a program is made of, and the plain settings of its modules."""
    classes = {type(module) for module in program.modules() if _own(type(module))}
    functions = program.functions if isinstance(program, Program) else ()
    return {
        "classes": {cls.__qualname__: plain(cls) for cls in classes},
        "functions": [plain(f) for f in functions],
        "settings": {name: kept for name, module in program.named_modules() if (kept := _settings(module))},
    }


def of_loader(loader: Any) -> dict[str, Any]:
    """The data and the settings of a `DataLoader` over a map-style data set.

    Its data are known by their number, by the SHA-256 of `_ITEMS` of them, spread evenly, as its `collate_fn` makes
    batches of one, and by that of every tensor and array of at most a gigabyte that the data set has as an attribute.
    Items that are random use the global generators of torch, numpy and Python.
    """
    data, number = loader.dataset, len(loader.dataset)
    rows = sorted({round(i * (number - 1) / (_ITEMS - 1)) for i in range(_ITEMS)}) if number else []
    return {
        **{name: getattr(loader, name) for name in ("batch_size", "drop_last", "num_workers")},
        "sampler": _sampler(loader.sampler),
        "batch_sampler": _sampler(loader.batch_sampler),
        "collate_fn": plain(loader.collate_fn),
        "worker_init_fn": plain(loader.worker_init_fn),
        "number": number,
        "attributes": _arrays(data, 4),
        "items": _digest(repr([_item(loader, row) for row in rows])),
    }


def _item(loader: Any, row: int) -> Any:
    try:
        item = loader.dataset[row]
        return plain(loader.collate_fn([item] if loader.batch_sampler is not None else item))
    except Exception as error:  # a data set or collate_fn that takes no single rows: not known by its items
        return type(error).__name__


def _arrays(data: Any, depth: int) -> Any:
    """Tensors and arrays of a data set, and of those within it."""
    found: dict[str, Any] = {"class": plain(type(data))}
    for name, value in getattr(data, "__dict__", {}).items():
        if isinstance(value, Dataset) and depth:
            found[name] = _arrays(value, depth - 1)
        parts = value if isinstance(value, tuple) else (value,)
        if all(isinstance(part, Tensor | np.ndarray) and part.nbytes <= _MOST_BYTES for part in parts):
            found[name] = plain(parts)
    return found


def _sampler(sampler: Any) -> Any:
    if sampler is None:
        return None
    kept = {n: v for n, v in vars(sampler).items() if n not in ("data_source", "generator", "sampler")}
    return {"class": type(sampler).__name__, **{name: plain(value) for name, value in kept.items()}}


def _parameters(objective: ELBO) -> list[str]:
    """The parameters of a constructor; where it passes others on by `**`, also those of the next class.

    Those that Pyro's own classes take and do not keep are deprecated ones, and left out.
    """
    names: list[str] = []
    for owner in (c for c in type(objective).__mro__ if "__init__" in vars(c)):
        taken = list(inspect.signature(vars(owner)["__init__"]).parameters.values())[1:]
        fixed = [p.name for p in taken if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        pyros = owner.__module__.partition(".")[0] == "pyro"
        names += [name for name in fixed if name not in names and (hasattr(objective, name) or not pyros)]
        if not any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in taken):
            break
    return names


def _settings(module: nn.Module) -> dict[str, Any]:
    return {
        name: plain(value)
        for name, value in vars(module).items()
        if isinstance(value, bool | int | float | str | tuple) and name != "training" and not name.startswith("_")
    }


def _own(value: Any) -> bool:
    """Whether a class or function is the user's: no part of Python, of an installed package, or of this one."""
    name = getattr(value, "__module__", None) or ""
    if name.partition(".")[0] in {"ppl_vae", "builtins", *sys.builtin_module_names}:
        return False
    file = getattr(sys.modules.get(name), "__file__", None)
    return file is None or not file.startswith(_LIBRARIES)


def _class_code(cls: type, seen: set[Any], depth: int) -> list[Any]:
    """The functions and plain values of a class, and of the user's classes that it derives from."""
    found: list[Any] = [cls.__qualname__]
    for own in (c for c in cls.__mro__ if _own(c) and c not in seen):
        seen.add(own)
        members = {name: getattr(v, "__func__", getattr(v, "fget", v)) for name, v in vars(own).items()}
        code = {n: _function_code(f, seen, depth) for n, f in members.items() if isinstance(f, FunctionType)}
        plains = {n: plain(v) for n, v in members.items() if n[:2] != "__" and isinstance(v, bool | int | float | str)}
        found.append([own.__qualname__, sorted(code.items()), sorted(plains.items())])
    return found


def _function_code(function: Any, seen: set[Any], depth: int) -> list[Any]:
    """Bytecode, defaults, and the constants and the user's functions that a function refers to."""
    if function in seen or depth == 0:
        return [function.__qualname__]
    seen.add(function)
    code = function.__code__
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    referred = {name: function.__globals__[name] for name in code.co_names if name in function.__globals__}
    for name, cell in cells:
        try:
            referred[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            referred[name] = None
    defaults = {str(i): v for i, v in enumerate(function.__defaults__ or ())} | (function.__kwdefaults__ or {})
    values = [(name, _constant(v, seen, depth)) for name, v in {**referred, **defaults}.items()]
    return [_bytecode(code, function.__doc__), values]


def _constant(value: Any, seen: set[Any], depth: int) -> Any:
    if isinstance(value, FunctionType | type) and not (_own(value) and depth):
        return value.__qualname__
    if isinstance(value, FunctionType):
        return _function_code(value, seen, depth - 1)
    if isinstance(value, type):
        return _class_code(value, seen, depth - 1)
    if isinstance(value, partial):
        given = {str(i): v for i, v in enumerate(value.args)} | value.keywords
        return [_constant(value.func, seen, depth), [(n, _constant(v, seen, depth)) for n, v in given.items()]]
    if isinstance(value, tuple):
        return [_constant(v, seen, depth) for v in value]
    if isinstance(value, bool | int | float | str | complex | None):
        return repr(value)
    if isinstance(value, Tensor | np.ndarray) and not getattr(value, "requires_grad", False):
        return plain(value)
    return type(value).__name__


def _bytecode(code: CodeType, doc: str | None = None) -> list[Any]:
    constants = [_bytecode(c) if isinstance(c, CodeType) else _text(c) for c in code.co_consts if c != doc or c is None]
    return [code.co_code.hex(), constants, code.co_names, code.co_varnames[: code.co_argcount]]


def _text(constant: Any) -> str:
    return repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant)


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def _digest(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:16]
