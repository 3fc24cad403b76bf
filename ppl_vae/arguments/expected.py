"""The values that an annotation allows."""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import numpy as np
from numpy.typing import ArrayLike

from ppl_vae.arguments.kinds import Range, Rule, as_array
from ppl_vae.arguments.unboxed import unboxed
from ppl_vae.modelled import Modelled, is_modelled

__all__ = ["Expected", "expected"]


class Expected(NamedTuple):
    """The values that a hint allows: in words, as a function from a value to an error or `None`, and how to fix it.

    `plain` gives a value that is allowed as the function sees it, with Python's numbers in the place of NumPy's.
    """

    words: str
    wrong: Callable[[Any], type[Exception] | None]
    choices: tuple[Any, ...] = ()
    fix: str = ""
    plain: Callable[[Any], Any] = lambda value: value


def expected(hint: Any) -> Expected:
    """The values that a type hint allows; classes of torch and Pyro are not checked here."""
    origin = get_origin(hint)
    if hint == ArrayLike:
        return Expected("an array", _no_array)
    if hint in _PLAIN:
        return _PLAIN[hint]
    if origin in _BUILT:
        return _BUILT[origin](*get_args(hint))
    name, home = getattr(hint, "__name__", str(hint)), getattr(hint, "__module__", "").partition(".")[0]
    if getattr(hint, "_is_protocol", False):
        return _protocol(hint)
    hint = origin if inspect.isclass(origin) else hint  # os.PathLike[str]
    if not inspect.isclass(hint) or home in _JUDGED_WHERE_USED:
        return Expected(f"a {name}", lambda _: None)
    return Expected(f"a {name}", lambda v: None if isinstance(v, hint) else TypeError)


def _protocol(hint: type) -> Expected:
    names = [name for name in vars(hint) if not name.startswith("_")]

    def wrong(value: Any) -> type[Exception] | None:
        fits = all(hasattr(value, name) for name in names) and not inspect.isclass(value)
        return None if fits or not names else TypeError

    return Expected(f"an object with {', '.join(names)}" if names else f"a {hint.__name__}", wrong)


def _number(kind: Any) -> Callable[[Any], type[Exception] | None]:
    def wrong(value: Any) -> type[Exception] | None:
        if isinstance(value, bool) or not isinstance(value, kind):
            return TypeError
        return None if (abs(value) < 2**63 if kind is Integral else math.isfinite(value)) else ValueError

    return wrong


def _no_array(value: Any) -> type[Exception] | None:
    try:
        return None if as_array(value).ndim else TypeError
    except (ValueError, TypeError, RuntimeError):  # a ragged list, a number type that NumPy lacks
        return ValueError


def _union(*hints: Any) -> Expected:
    parts = [expected(h) for h in hints]

    def wrong(value: Any) -> type[Exception] | None:
        errors = [part.wrong(value) for part in parts]
        return None if None in errors else ValueError if ValueError in errors else TypeError

    def plain(value: Any) -> Any:
        for part in parts:  # all that fit: what torch's classes are is not checked here
            value = part.plain(value) if part.wrong(value) is None else value
        return value

    *first, last = (part.words for part in parts)
    return Expected(f"{', '.join(first)} or {last}", wrong, sum((part.choices for part in parts), ()), plain=plain)


def _annotated(hint: Any, *metadata: Any) -> Expected:
    base, ranges = expected(hint), [r for r in metadata if isinstance(r, Range | Rule)]

    def wrong(value: Any) -> type[Exception] | None:
        return base.wrong(value) or (None if all(value in r for r in ranges) else ValueError)

    return Expected(" ".join([base.words, *map(str, ranges)]), wrong, plain=base.plain)


def _literal(*choices: Any) -> Expected:
    def wrong(value: Any) -> type[Exception] | None:
        same = [choice for choice in choices if type(choice) is type(value)]
        return None if value in same else ValueError if same else TypeError

    return Expected(" or ".join(map(repr, choices)), wrong, choices)


def _class_of(base: Any) -> Expected:
    def wrong(value: Any) -> type[Exception] | None:
        fits = inspect.isclass(value) and (not inspect.isclass(base) or issubclass(value, base))
        return None if fits else TypeError

    return Expected(f"a class of {getattr(base, '__name__', base)}", wrong)


def _callable(*_: Any) -> Expected:
    return Expected("a class or function", lambda v: None if callable(v) else TypeError)


def _sequence(each: Any, *_: Any) -> Expected:
    one = expected(each)

    def wrong(values: Any) -> type[Exception] | None:
        if isinstance(values, str | bytes) or not isinstance(values, Sequence | np.ndarray):
            return TypeError
        return next((error for v in values if (error := one.wrong(v))), None)

    return Expected(f"a sequence, each {one.words}", wrong, plain=lambda values: _each(values, map(one.plain, values)))


def _tuple(*hints: Any) -> Expected:
    if hints[-1] is Ellipsis:
        return _sequence(*hints)
    parts = [expected(h) for h in hints]

    def wrong(values: Any) -> type[Exception] | None:
        if not isinstance(values, tuple | list):
            return TypeError
        if len(values) != len(parts):
            return ValueError
        return next((error for v, part in zip(values, parts, strict=True) if (error := part.wrong(v))), None)

    def plain(values: Any) -> Any:
        return _each(values, (part.plain(v) for v, part in zip(values, parts, strict=True)))

    return Expected(f"({', '.join(part.words for part in parts)})", wrong, plain=plain)


def _each(values: Any, plain: Iterable[Any]) -> Any:
    """Values that are plain already as they are, else a list or a tuple of those that are."""
    found, of_array = list(plain), isinstance(values, np.ndarray)  # which makes its scalars anew at every look
    if all(new is old or (of_array and type(new) is type(old)) for new, old in zip(found, values, strict=True)):
        return values
    return found if isinstance(values, list) else tuple(found)


def _mapping(key: Any, value: Any) -> Expected:
    keys, values = expected(key), expected(value)

    def wrong(given: Any) -> type[Exception] | None:
        if not isinstance(given, Mapping):
            return TypeError
        errors = (keys.wrong(k) or values.wrong(v) for k, v in given.items())
        return next(filter(None, errors), None)

    def plain(given: Any) -> Any:
        found = {k: values.plain(v) for k, v in given.items()}
        return found if any(found[k] is not v for k, v in given.items()) else given

    return Expected(f"a mapping from {keys.words} to {values.words}", wrong, plain=plain)


_JUDGED_WHERE_USED = ("torch", "pyro")  # data and components, checked by their values where they are used
_PLAIN: dict[Any, Expected] = {
    Any: Expected("anything", lambda _: None),
    int: Expected("a whole number", _number(Integral), plain=unboxed),
    float: Expected("a number", _number(Real), plain=unboxed),
    bool: Expected("True or False", lambda v: None if isinstance(v, bool | np.bool_) else TypeError, plain=unboxed),
    str: Expected("text", lambda v: None if isinstance(v, str) else TypeError),
    Modelled: Expected(
        "a module with .model and .guide",
        lambda v: None if is_modelled(v) else TypeError,
        fix="make one of two Pyro functions: Program(model, guide)",
    ),
    type(None): Expected("None", lambda v: None if v is None else TypeError),
}
_BUILT: dict[Any, Callable[..., Expected]] = {
    Union: _union,
    types.UnionType: _union,
    Annotated: _annotated,
    Literal: _literal,
    type: _class_of,
    Callable: _callable,
    Sequence: _sequence,
    list: _sequence,
    tuple: _tuple,
    Mapping: _mapping,
    dict: _mapping,
}
