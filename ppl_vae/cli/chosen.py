"""What a command line chose for a component: a class, and its arguments."""

from __future__ import annotations

import inspect
import sys
from functools import partial
from typing import Any

from jsonargparse import Namespace

__all__ = ["functions", "made", "parameters", "part"]


def parameters(cls: Any) -> list[str]:
    """Names of the parameters of a class's constructor."""
    return list(inspect.signature(cls).parameters)


def functions(cls: Any) -> list[str]:
    """Of these the parameters that are functions or classes: no word of a command line stands for one."""
    return [n for n, p in inspect.signature(cls).parameters.items() if "Callable[" in str(p.annotation)]


def part(chosen: Namespace | None) -> Any:
    """The chosen class with its chosen arguments filled in, as a `functools.partial`; `None` for no choice."""
    if chosen is None:
        return None
    module, _, name = chosen.class_path.rpartition(".")
    cls = getattr(sys.modules[module], name)
    defaults = {n: p.default for n, p in inspect.signature(cls).parameters.items()}
    given = vars(chosen.init_args) if "init_args" in chosen else {}
    fixed = {n: v for n, v in given.items() if n in defaults and v != defaults[n]}
    return partial(cls, **fixed) if fixed else cls


def made(chosen: Namespace | None) -> Any:
    """An instance of the chosen class."""
    factory = part(chosen)
    return None if factory is None else factory()
