"""The pages of the reference, from the public names: one page a name, and of a class its own methods.

What torch, Pyro or scikit-learn lend to a class is left out: some 55 methods of each module.
"""

import dataclasses
import inspect
from collections.abc import Iterator
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import Any

import ppl_vae

__all__ = ["public", "texts", "write_reference"]

MODULES = {
    "priors": "Priors",
    "likelihoods": "Likelihoods",
    "posteriors": "Posteriors",
    "nets": "Networks",
    "corruptions": "Corruptions",
    "objectives": "Objectives",
    "data": "Data",
    "evaluation": "Evaluation",
    "diagnostics": "Diagnostics",
    "plots": "Plots",
    "manifold": "Manifold learning",
    "sklearn": "Estimators of scikit-learn",
    "callbacks": "Loggers",
}
VERBS = "verbs"  # the page of what is in no module


def public() -> dict[str, Any]:
    """What `dir(ppl_vae)` lists, without its modules."""
    names = [name for name in dir(ppl_vae) if not name.startswith("_")]
    return {name: found for name in names if not inspect.ismodule(found := getattr(ppl_vae, name))}


def pages() -> dict[str, dict[str, Any]]:
    """The classes and functions with a page, by module and name; an object has one page, whatever its names."""
    modules = {name: import_module(f"ppl_vae.{name}") for name in MODULES}
    found = {
        name: {part: value for part in module.__all__ if is_shown(value := getattr(module, part))}
        for name, module in modules.items()
    }
    shown = [value for parts in found.values() for value in parts.values()]
    rest = {name: value for name, value in public().items() if not any(value is other for other in shown)}
    return {VERBS: rest, **found}


def is_shown(value: Any) -> bool:
    """Whether it is a class or a function."""
    return inspect.isclass(value) or inspect.isfunction(value)


def members(cls: type, classes: dict[type, str]) -> tuple[dict[str, str], list[str]]:
    """The directive of each method and property of a class, and the full names of those on the pages of its bases.

    Parameters
    ----------
    cls
        The class.
    classes
        The full names of the classes with a page; what a base without a page defines is on the page of the class.
    """
    own: dict[str, str] = {}
    elsewhere: list[str] = []
    for name in sorted({name for base in cls.__mro__ for name in vars(base) if not name.startswith("_")}):
        owner = next(base for base in cls.__mro__ if name in vars(base))
        directive = directive_of(owner, name)
        if directive and (owner is cls or owner not in classes):
            own[name] = directive
        elif directive:
            elsewhere.append(f"{classes[owner]}.{name}")
    return own, elsewhere


def directive_of(owner: type, name: str) -> str:
    """How Sphinx documents it; empty for a field, for what has no docstring, and for what other libraries define."""
    value = vars(owner)[name]
    if isinstance(value, property | cached_property):
        kind, documented = "autoproperty", value
    elif isinstance(value, classmethod | staticmethod | FunctionType):
        kind, documented = "automethod", getattr(value, "__func__", value)
    else:
        return ""
    fields = {field.name for field in dataclasses.fields(owner)} if dataclasses.is_dataclass(owner) else set()
    ours = owner.__module__.partition(".")[0] == "ppl_vae"
    return kind if ours and documented.__doc__ and name not in fields else ""


def page(name: str, value: Any, module: str, classes: dict[type, str]) -> str:
    """The page of a name."""
    kind = "class" if inspect.isclass(value) else "function"
    lines = [*heading(f"{module}.{name}"), f".. currentmodule:: {module}", "", f".. auto{kind}:: {name}", ""]
    if inspect.isclass(value):
        own, elsewhere = members(value, classes)
        lines += [line for part, directive in own.items() for line in (f"   .. {directive}:: {name}.{part}", "")]
        if elsewhere:
            lines += [f"   Inherited: {', '.join(f':py:obj:`{full}`' for full in elsewhere)}.", ""]
    return "\n".join(lines)


def heading(title: str) -> Iterator[str]:
    """The lines of a heading, and an empty one."""
    yield from (title, "=" * len(title), "")


def overview(title: str, module: str, names: list[str]) -> str:
    """A page of a module: one line a name."""
    lines = [*heading(title), f".. currentmodule:: {module}", "", ".. autosummary::", f"   :toctree: {module}", ""]
    return "\n".join([*lines, *(f"   {name}" for name in sorted(names, key=str.lower)), ""])


def texts() -> dict[str, str]:
    """The text of each file, by its path below the folder of the reference."""
    found = pages()
    modules = {name: "ppl_vae" if name == VERBS else f"ppl_vae.{name}" for name in found}
    parts = [(modules[name], part, value) for name, of in found.items() for part, value in of.items()]
    classes = {value: f"{module}.{part}" for module, part, value in parts if inspect.isclass(value)}
    titles = {VERBS: "Models and verbs", **MODULES}
    listed = "".join(f"   {name}\n" for name in found)
    return {
        "index.rst": "\n".join([*heading("Every public name"), ".. toctree::", "   :maxdepth: 1", "", listed]),
        **{f"{name}.rst": overview(titles[name], modules[name], list(of)) for name, of in found.items()},
        **{f"{module}/{module}.{part}.rst": page(part, value, module, classes) for module, part, value in parts},
    }


def write_reference(folder: Path) -> None:
    """Write all pages, and remove others; a page that is as it was keeps its time."""
    written = {folder / path: text for path, text in texts().items()}
    for old in set(folder.rglob("*.rst")) - set(written):
        old.unlink()
    for file, text in written.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists() or file.read_text() != text:
            file.write_text(text)
