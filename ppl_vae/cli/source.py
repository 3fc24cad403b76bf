"""What the package offers, read from its source: help and refusals do not wait for torch."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import ppl_vae

__all__ = ["choices", "imported", "listed", "literal", "networks"]


def listed(module: str, name: str = "__all__") -> tuple[str, ...]:
    """The names in `__all__` of a module, by its dotted name, or in another of its tuples."""
    return tuple(ast.literal_eval(_assigned(module, name)))


def literal(module: str, name: str) -> tuple[str, ...]:
    """The values of a `Literal` type that a module names."""
    assigned = _assigned(module, name)
    assert isinstance(assigned, ast.Subscript)
    return tuple(ast.literal_eval(assigned.slice))


def choices(base: str, among: str) -> list[str]:
    """Names of the concrete subclasses of a class in the `__all__` of a module, in the order of their definition.

    Parameters
    ----------
    base
        Name of the class. Of classes that the module imports from elsewhere, those whose names end in it count.
    among
        Dotted name of the module.
    """
    found, defined, offered = {base}, dict(_classes(among)), listed(among)
    found |= {name for name in offered if name not in defined and name.endswith(base)}
    for _ in defined:  # as deep as subclasses of subclasses can go
        found |= {name for name, node in defined.items() if found & set(map(_last, node.bases))}
    concrete = [name for name, node in defined.items() if not _is_abstract(node)]
    imported = [name for name in offered if name not in defined]
    return [name for name in (*imported, *concrete) if name in found & set(offered) - {base}]


def imported(module: str) -> set[str]:
    """Of the names in `__all__` of a module those that it imports from another library or package."""
    return set(listed(module)) - {name for name, _ in _classes(module)}


def networks(role: str) -> list[str]:
    """Names of the networks of `ppl_vae.nets` that can be an encoder or a decoder."""
    defined = dict(_classes("ppl_vae.nets"))

    def roles(name: str) -> tuple[str, ...]:
        node = defined[name]
        for line in node.body:
            if isinstance(line, ast.Assign) and _last(line.targets[0]) == "roles":
                return tuple(ast.literal_eval(line.value))
        return next((roles(base) for base in map(_last, node.bases) if base != "Network"), ("encoder", "decoder"))

    return [name for name in choices("Network", "ppl_vae.nets") if role in roles(name)]


def _assigned(module: str, name: str) -> Any:
    for node in _trees(module)[0].body:
        if isinstance(node, ast.Assign) and _last(node.targets[0]) == name:
            return node.value
    raise LookupError(f"{module} expects an assignment to {name}, got none; correct the name")


def _classes(module: str) -> Iterator[tuple[str, ast.ClassDef]]:
    for tree in _trees(module):
        yield from ((node.name, node) for node in tree.body if isinstance(node, ast.ClassDef))


def _is_abstract(node: ast.ClassDef) -> bool:
    methods = (found for found in node.body if isinstance(found, ast.FunctionDef))
    return any(_last(decorator) == "abstractmethod" for method in methods for decorator in method.decorator_list)


def _last(node: ast.expr) -> str:
    """The last part of a dotted name."""
    return ast.unparse(node).rpartition(".")[2]


@cache
def _trees(module: str) -> list[ast.Module]:
    """A module; of a package `__init__` and then its modules."""
    path = Path(*Path(ppl_vae.__file__).parent.parts[:-1], *module.split("."))
    files = sorted(path.glob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
    return [ast.parse(file.read_text(encoding="utf-8")) for file in files]
