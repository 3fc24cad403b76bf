"""What every public function that runs a program has in common."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from torch import nn

from ppl_vae.arguments import checked
from ppl_vae.isolation import ambient

__all__ = ["query", "verb"]

F = TypeVar("F", bound=Callable[..., Any])


def verb(f: F) -> F:
    """A public function that runs a program: its arguments are `checked`, and it runs in an `ambient` scope.

    The program is the first argument that is a module. Gradients are recorded in it, whatever the caller's mode is.
    """
    return _called(f, gradients=True)


def query(f: F) -> F:
    """As `verb`, for what a caller may differentiate: the caller's grad mode holds."""
    return _called(f, gradients=False)


def _called(f: F, gradients: bool) -> F:
    run = checked(f)

    @functools.wraps(f)
    def called(*args: Any, **kwargs: Any) -> Any:
        module = next((a for a in (*args, *kwargs.values()) if isinstance(a, nn.Module)), None)
        with ambient(module, gradients=gradients):
            return run(*args, **kwargs)

    return cast(F, called)
