"""The decorator that checks arguments against annotations, with one format of error messages."""

from __future__ import annotations

import difflib
import functools
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from ppl_vae.arguments.expected import Expected, expected

__all__ = ["checked"]

F = TypeVar("F", bound=Callable[..., Any])


def checked(f: F) -> F:
    """Decorate a function or class to refuse arguments that its annotations do not allow.

    Raises
    ------
    TypeError
        On a call with a value of another type, and for a missing or unknown argument.
    ValueError
        On a call with a value of the right type outside its range.

    Examples
    --------
    >>> from ppl_vae.arguments import Count
    >>> @checked
    ... def draw(num_samples: Count = 100) -> int:
    ...     return num_samples
    >>> draw(0)
    Traceback (most recent call last):
    ValueError: draw expects num_samples to be a whole number from 1 on, got 0; the default is 100
    """
    if inspect.isclass(f):
        f.__init__ = _checked(f.__init__)  # type: ignore[method-assign]
        return f
    return typing.cast(F, _checked(f))


def _checked(f: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(f)

    @functools.cache
    def hints() -> dict[str, Expected]:  # at the first call, when the names in the annotations are there
        found = typing.get_type_hints(f, include_extras=True)
        return {name: expected(found[name]) for name in signature.parameters if found.get(name, Any) is not Any}

    @functools.wraps(f)
    def called(*args: Any, **kwargs: Any) -> Any:
        name = type(args[0]).__name__ if f.__name__ == "__init__" else f.__name__
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(_of_call(name, signature, error, kwargs)) from None
        given = bound.arguments
        for argument, hint in hints().items():
            if argument in given:
                given[argument] = _plain(name, signature.parameters[argument], hint, given[argument])
        return f(*bound.args, **bound.kwargs)

    return called


def _plain(caller: str, parameter: inspect.Parameter, hint: Expected, value: Any) -> Any:
    """An argument, or all of a `*` or `**` parameter, as the function is given it."""

    def plain(v: Any) -> Any:
        if error_class := hint.wrong(v):
            raise error_class(_sentence(caller, parameter, hint, v))
        return hint.plain(v)

    if parameter.kind is parameter.VAR_POSITIONAL:
        return tuple(map(plain, value))
    return {k: plain(v) for k, v in value.items()} if parameter.kind is parameter.VAR_KEYWORD else plain(value)


def _sentence(caller: str, parameter: inspect.Parameter, hint: Expected, value: Any) -> str:
    default = parameter.default
    if hint.fix:
        return f"{caller} expects {hint.words}, got {type(value).__name__}; {hint.fix}"
    if near := _nearest(value, hint.choices):
        fix = f"did you mean {near!r}?"
    elif isinstance(default, bool | int | float | str | tuple) and default != ():
        fix = f"the default is {default!r}"
    elif hint.choices:
        fix = "choose one"
    elif default is None:
        fix = "leave it out, or give one"
    else:
        fix = f"give {parameter.name}= {hint.words}"
    return f"{caller} expects {parameter.name} to be {hint.words}, got {_shown(value)}; {fix}"


def _shown(value: Any) -> str:
    """A value for a message, cut short."""
    if getattr(value, "shape", ()):
        return f"{type(value).__name__} of shape {tuple(value.shape)}"
    text = repr(value)
    if "\n" in text:
        return type(value).__name__
    text = text if len(text) <= 80 else f"{text[:77]}..."
    return text if isinstance(value, bool | int | float | str | list | tuple | dict | None) else _named(value, text)


def _named(value: Any, text: str) -> str:
    name = type(value).__name__
    return text if name in text or name == "type" else f"{name} {text}"


def _of_call(name: str, signature: inspect.Signature, error: TypeError, kwargs: Mapping[str, Any]) -> str:
    known = [p for p in signature.parameters if p != "self"]
    strange = [k for k in kwargs if k not in known]
    near = _nearest(strange[0], known) if strange else None
    named = [n for n, p in signature.parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY]
    fix = f"did you mean {near!r}?" if near else f"give {', '.join(known)}"
    if "too many positional" in str(error) and named:
        fix += f", of which {', '.join(named)} by name"
    return f"{name} expects a call that fits its signature, got one with {str(error).removeprefix('got ')}; {fix}"


def _nearest(word: Any, known: Iterable[Any]) -> str | None:
    words = [k for k in known if isinstance(k, str)]
    return next(iter(difflib.get_close_matches(word, words, 1)), None) if isinstance(word, str) else None
