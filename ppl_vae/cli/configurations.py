"""Files of options: components in one line, as a table's file and the command line have them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import NoneType
from typing import Any

import yaml
from jsonargparse import get_loader

__all__ = ["written_out"]


def written_out(text: str, source: str, components: Mapping[str, bool], numbers: Mapping[str, str]) -> str:
    """A configuration in which each component is a `class_path` with its `init_args`, as jsonargparse reads it.

    Parameters
    ----------
    text, source
        YAML, and where it is from.
    components
        The options that choose a class, and whether one is chosen by default.
    numbers
        "Class.argument" that a number in the place of a class stands for, by option.

    Raises
    ------
    RuntimeError
        For what is no YAML, or has no options, or a component that is neither a class nor one with its arguments;
        jsonargparse would wrap a ValueError in words of its own.
    """
    try:
        said = get_loader("yaml")(text)
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        where = f"in line {mark.line + 1}: {problem}" if mark else str(error).partition("\n")[0]
        raise RuntimeError(f"{source} expects YAML, but {where}; correct it") from error
    if not isinstance(said, dict):
        raise RuntimeError(
            f"{source} expects lines 'option: value', got {' '.join(text.split())[:40]!r}; --print-config writes one"
        )
    found = _joined(said, components)
    chosen = {name: _component(name, found[name], components, numbers) for name in components if name in found}
    return text if found | chosen == said else yaml.safe_dump(found | chosen)


def _joined(said: dict[str, Any], components: Mapping[str, bool]) -> dict[str, Any]:
    """The options, with `prior.argument: value` beside the class of `prior: Class`, as a command line has them."""
    found = dict(said)
    for key in map(str, said):
        name, _, argument = key.partition(".")
        if name in components and isinstance(said.get(name), str) and not re.match(r"$|class_path|init_args", argument):
            chosen = found[name] if isinstance(found[name], dict) else {"class_path": said[name], "init_args": {}}
            chosen["init_args"][argument] = found.pop(key)
            found[name] = chosen
    return found


def _component(name: str, value: Any, components: Mapping[str, bool], numbers: Mapping[str, str]) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool) and name in numbers:
        cls, _, argument = numbers[name].partition(".")
        return {"class_path": cls, "init_args": {argument: value}}
    said = value if isinstance(value, dict) else {}
    if value is None or isinstance(value, str) or "class_path" in said:
        return value
    named = [key for key in said if re.match(r"[A-Z]", str(key).rpartition(".")[2])]
    if len(said) == len(named) == 1 and isinstance(said[named[0]], dict | NoneType):
        return {"class_path": named[0], "init_args": said[named[0]] or {}}
    if said and not named and components[name]:  # arguments of the class by default
        return value
    shown = yaml.safe_dump(value, default_flow_style=True).partition("\n")[0]
    raise RuntimeError(
        f"{name} expects a class, or one with its arguments, got {shown}; write '{name}: {{NAME: {{argument: value}}}}'"
    )
