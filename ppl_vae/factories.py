"""Factories of components: classes, partials of classes, and functions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

__all__ = ["Factory", "made_by", "name_of", "settings_of"]

Factory = Callable[..., Any]


def made_by(factory: Factory) -> Any:
    """The class or function that a factory calls: the function of a partial, else the factory itself."""
    return factory.func if isinstance(factory, partial) else factory


def settings_of(factory: Factory) -> dict[str, Any]:
    """The keyword arguments of a partial; none of another factory."""
    return factory.keywords if isinstance(factory, partial) else {}


def name_of(factory: Factory) -> str:
    """The name of the class or function that a factory calls."""
    made_of = made_by(factory)
    return str(getattr(made_of, "__name__", repr(made_of)))  # a callable object has none
