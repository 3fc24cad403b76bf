"""Bounds of what is read as configuration: no pipes or devices, no references that expand without limit."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

from ppl_vae.files import regular
from ppl_vae.strict_yaml import check_keys

__all__ = ["bound_values", "refuse_endless"]

_MOST_BYTES = 2**20
_MOST_VALUES = 10_000

_load = get_loader("yaml")


def refuse_endless(words: Sequence[str], configurations: Sequence[str]) -> None:
    """Refuse a path on the command line that leads to a pipe, device or socket, and a huge configuration file.

    Raises
    ------
    ValueError
        For such a path.
    """
    for before, word in zip(["", *words], words, strict=False):
        option, equals, value = word.partition("=") if word.startswith("--") else (before, "=", word)
        if equals and _there(value) and not Path(value).is_dir():
            regular(Path(value), _MOST_BYTES if option.lstrip("-") in configurations else None)


def bound_values() -> None:
    """Let jsonargparse read no value, from wherever it comes, that is not bounded.

    The setting is jsonargparse's own and holds for the process, as every value goes by its loader.
    """
    set_loader("yaml", _bounded)


def _bounded(text: str) -> Any:
    if len(text) > _MOST_BYTES:
        raise RuntimeError(  # jsonargparse would wrap a ValueError in a message of its own
            f"a configuration expects at most {_MOST_BYTES} characters, got {len(text)}; leave out what is no option"
        )
    if "&" in text and "*" in text and _size(yaml.compose(text, Loader=yaml.SafeLoader), {}) > _MOST_VALUES:
        raise RuntimeError(
            f"a configuration expects at most {_MOST_VALUES} values, got more by references to references (*name); "
            "write the values out"
        )
    if "\n" in text:
        try:
            check_keys(text)
        except ValueError as error:
            raise RuntimeError(str(error)) from error
    value = _load(text)
    for string in _strings(value):
        if _there(string) and not Path(string).is_dir():
            try:
                regular(Path(string))
            except (FileNotFoundError, ValueError) as error:
                raise RuntimeError(str(error)) from error
    return value


def _size(node: Any, known: dict[int, float]) -> float:
    """Number of values below a YAML node when every reference is followed; infinite for one that contains itself."""
    if id(node) not in known:
        known[id(node)] = float("inf")
        children = [child for item in getattr(node, "value", None) or () for child in _pair(item)]
        known[id(node)] = 1 + sum(_size(child, known) for child in children)
    return known[id(node)]


def _pair(item: Any) -> Sequence[Any]:
    return item if isinstance(item, tuple) else [item] if isinstance(item, yaml.Node) else []


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


def _there(value: str) -> bool:
    try:
        return os.path.lexists(value) and Path(value).exists()
    except (OSError, ValueError):
        return False
