"""Words of a command line, and the values of options that are words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin

__all__ = ["apart", "is_number", "named"]


def named(hint: Any) -> list[str]:
    """The values that have names, of a union of types."""
    if get_origin(hint) is Literal:
        return [name for name in get_args(hint) if isinstance(name, str)]
    return [name for one in get_args(hint) for name in (["true", "false"] if one is bool else named(one))]


def apart(words: Sequence[str]) -> list[str]:
    """Words of a command line, each value apart from its option."""
    return [part for word in words for part in (word.split("=", 1) if word.startswith("--") else [word])]


def is_number(word: str) -> bool:
    """Whether a word is a number."""
    try:
        return bool(float(word) == float(word))
    except ValueError:
        return False
