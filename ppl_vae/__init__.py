"""Variational autoencoders as Pyro `model` and `guide`: any prior, likelihood and posterior, one contract.

Names are imported at their first use: `import ppl_vae` does not wait for torch. Which module each comes from is read
from `__init__.pyi`, the stub that type checkers read.
"""

import ast
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

_STUB = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
_MODULES = {alias.name: node.module for node in _STUB.body if isinstance(node, ast.ImportFrom) for alias in node.names}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    """A public name, or a module of the package, imported at its first use."""
    if _MODULES.get(name, "ppl_vae") != "ppl_vae":
        found = getattr(import_module(_MODULES[name]), name)
    elif name.isidentifier() and not name.startswith("__") and find_spec(f"ppl_vae.{name}"):
        found = import_module(f"ppl_vae.{name}")
    else:
        raise AttributeError(f"module 'ppl_vae' has no attribute {name!r}")
    return globals().setdefault(name, found)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
