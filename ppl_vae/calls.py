"""Decorators and checks of every public function that runs a program."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from ppl_vae.arguments import checked
from ppl_vae.isolation import ambient

__all__ = ["method", "query", "verb"]

F = TypeVar("F", bound=Callable[..., Any])


def verb(f: F) -> F:
    """A public function that runs a program: its arguments are `checked`, and it runs in an `ambient` scope.

    The default dtype and device are those of the program, the first argument that is a module. Gradients are recorded
    in it, whatever the caller's mode is.
    """
    return _called(f, _of_program, gradients=True)


def query(f: F) -> F:
    """As `verb`, for what a caller may differentiate: the caller's grad mode holds."""
    return _called(f, _of_program, gradients=False)


def method(f: F) -> F:
    """As `verb`, for an estimator, which makes its own program on the CPU: the default dtype there is float32.

    Its arguments are left to scikit-learn's own checks.
    """
    return _called(f, lambda _: torch.empty(0, dtype=torch.float32, device="cpu"), gradients=True, run=f)


def _called(
    f: F, like: Callable[[Iterable[Any]], Tensor | None], gradients: bool, run: Callable[..., Any] | None = None
) -> F:
    run = run or checked(f)

    @functools.wraps(f)
    def called(*args: Any, **kwargs: Any) -> Any:
        with ambient(like((*args, *kwargs.values())), gradients=gradients):
            return run(*args, **kwargs)

    return cast(F, called)


def _of_program(given: Iterable[Any]) -> Tensor | None:
    module = next((a for a in given if isinstance(a, nn.Module)), None)
    return None if module is None else next((p for p in module.parameters() if p.is_floating_point()), None)
