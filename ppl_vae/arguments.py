"""What a public function is given, checked against its annotations: in one place, with one sentence.

An annotation says the type, and by `Annotated` the range: `Count` is a whole number from 1 on. Numbers of numpy are
taken as Python's, True is no number, NaN and infinity are none either, and whole numbers fit into 64 bits. An array
has a dimension at least, `Numbers` holds real ones. What holds data is checked where it is read.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import numpy as np
import torch
from numpy.typing import ArrayLike

__all__ = [
    "Count",
    "Floats",
    "Fraction",
    "Name",
    "NonNegative",
    "Numbers",
    "Positive",
    "Range",
    "Rate",
    "Rule",
    "Seed",
    "Share",
    "Whole",
    "as_array",
    "checked",
]

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Range:
    """What a number may be, as the metadata of an `Annotated`.

    Parameters
    ----------
    low, high
        The bounds. Infinity is no value, unless `high` is infinite and included.
    above, below
        Whether the lower and the upper bound are left out.
    words
        The range in words, where its bounds are no short numbers.
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = True
    words: str = ""

    def __contains__(self, value: float) -> bool:
        low = value > self.low if self.above or math.isinf(self.low) else value >= self.low
        return low and (value < self.high if self.below else value <= self.high)

    def __str__(self) -> str:
        if self.words:
            return self.words
        low = f"above {self.low:g}" if self.above else f"from {self.low:g}"
        if math.isinf(self.high):
            return low if self.above else f"{low} on"
        return f"{low} and below {self.high:g}" if self.below else f"{low} to {self.high:g}"


@dataclass(frozen=True)
class Rule:
    """What else a value must be, as the metadata of an `Annotated`: in words, and as a function that says so."""

    words: str
    holds: Callable[[Any], bool]

    def __contains__(self, value: Any) -> bool:
        return self.holds(value)

    def __str__(self) -> str:
        return self.words


Count = Annotated[int, Range(1)]
"""A whole number, 1 or more."""
Whole = Annotated[int, Range(0)]
"""A whole number, 0 or more."""
Seed = Annotated[int, Range(0, 2**63, words="from 0 to 2^63 - 1")]
"""What torch takes for a seed."""
Positive = Annotated[float, Range(0, above=True)]
"""A finite number above 0."""
NonNegative = Annotated[float, Range(0)]
"""A finite number, 0 or more."""
Share = Annotated[float, Range(0, 1, below=False)]
"""A number from 0 to 1."""
Rate = Annotated[float, Range(0, 1, above=True, below=False, words="above 0 and at most 1")]
"""A number above 0 and at most 1."""
Fraction = Annotated[float, Range(0, 1, above=True)]
"""A number between 0 and 1, both left out."""
Name = Annotated[str, Rule("that is not empty", bool)]
"""Text of one letter or more."""
Numbers = Annotated[ArrayLike, Rule("of real numbers", lambda v: as_array(v).dtype.kind in "biuf")]
"""An array, or what NumPy makes one of, of whole or real numbers."""
Floats = Annotated[torch.Tensor, Rule("of floats", lambda v: torch.is_tensor(v) and v.is_floating_point())]
"""A tensor of floats."""


def as_array(values: ArrayLike | torch.Tensor) -> np.ndarray:
    """What NumPy makes of values; of a tensor, wherever it is, its numbers."""
    return np.asarray(values.detach().cpu() if isinstance(values, torch.Tensor) else values)


def checked(f: F) -> F:
    """A function, or a class, that refuses arguments which its annotations do not allow.

    Raises
    ------
    TypeError
        On a call with a value of another type, and for a missing or unknown argument.
    ValueError
        On a call with a value of the right type outside its range.

    Examples
    --------
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
    def expected() -> dict[str, Expected]:  # at the first call, when the names in the annotations are there
        hints = typing.get_type_hints(f, include_extras=True)
        return {name: _expected(hints[name]) for name in signature.parameters if hints.get(name, Any) is not Any}

    @functools.wraps(f)
    def called(*args: Any, **kwargs: Any) -> Any:
        name = type(args[0]).__name__ if f.__name__ == "__init__" else f.__name__
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(_of_call(name, signature, error, kwargs)) from None
        for argument, hint in expected().items():
            if argument in given and (wrong := _first_wrong(signature.parameters[argument], hint, given[argument])):
                error_class, value = wrong
                raise error_class(_sentence(name, signature.parameters[argument], hint, value))
        return f(*args, **kwargs)

    return called


class Expected(NamedTuple):
    """What a hint allows: in words, and as the error that a value is, `None` where it fits."""

    words: str
    wrong: Callable[[Any], type[Exception] | None]
    choices: tuple[Any, ...] = ()


def _first_wrong(parameter: inspect.Parameter, hint: Expected, value: Any) -> tuple[type[Exception], Any] | None:
    of_kind: dict[Any, Callable[[Any], Iterable[Any]]] = {
        parameter.VAR_POSITIONAL: tuple,
        parameter.VAR_KEYWORD: dict.values,
    }
    values = of_kind[parameter.kind](value) if parameter.kind in of_kind else (value,)
    return next(((wrong, v) for v in values if (wrong := hint.wrong(v))), None)


def _expected(hint: Any) -> Expected:
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
    parts = [_expected(h) for h in hints]

    def wrong(value: Any) -> type[Exception] | None:
        errors = [part.wrong(value) for part in parts]
        return None if None in errors else ValueError if ValueError in errors else TypeError

    *first, last = (part.words for part in parts)
    return Expected(f"{', '.join(first)} or {last}", wrong, sum((part.choices for part in parts), ()))


def _annotated(hint: Any, *metadata: Any) -> Expected:
    base, ranges = _expected(hint), [r for r in metadata if isinstance(r, Range | Rule)]

    def wrong(value: Any) -> type[Exception] | None:
        return base.wrong(value) or (None if all(value in r for r in ranges) else ValueError)

    return Expected(" ".join([base.words, *map(str, ranges)]), wrong)


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
    one = _expected(each)

    def wrong(values: Any) -> type[Exception] | None:
        if isinstance(values, str | bytes) or not isinstance(values, Sequence | np.ndarray):
            return TypeError
        return next((error for v in values if (error := one.wrong(v))), None)

    return Expected(f"a sequence, each {one.words}", wrong)


def _tuple(*hints: Any) -> Expected:
    if hints[-1] is Ellipsis:
        return _sequence(*hints)
    parts = [_expected(h) for h in hints]

    def wrong(values: Any) -> type[Exception] | None:
        if not isinstance(values, tuple | list):
            return TypeError
        if len(values) != len(parts):
            return ValueError
        return next((error for v, part in zip(values, parts, strict=True) if (error := part.wrong(v))), None)

    return Expected(f"({', '.join(part.words for part in parts)})", wrong)


def _mapping(key: Any, value: Any) -> Expected:
    keys, values = _expected(key), _expected(value)

    def wrong(given: Any) -> type[Exception] | None:
        if not isinstance(given, Mapping):
            return TypeError
        errors = (keys.wrong(k) or values.wrong(v) for k, v in given.items())
        return next(filter(None, errors), None)

    return Expected(f"a mapping from {keys.words} to {values.words}", wrong)


_JUDGED_WHERE_USED = ("torch", "pyro")  # data and components: what is wrong with them is no matter of their class
_PLAIN: dict[Any, Expected] = {
    Any: Expected("anything", lambda _: None),
    int: Expected("a whole number", _number(Integral)),
    float: Expected("a number", _number(Real)),
    bool: Expected("True or False", lambda v: None if isinstance(v, bool | np.bool_) else TypeError),
    str: Expected("text", lambda v: None if isinstance(v, str) else TypeError),
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


def _sentence(caller: str, parameter: inspect.Parameter, hint: Expected, value: Any) -> str:
    default = parameter.default
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
