"""Components on the command line: a class by its short name, and its arguments."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace

from ppl_vae import objectives

__all__ = ["add_component", "classes_named", "import_file", "made", "part", "refuse_imports"]

LINKED = {"x_shape", "latent_dim", "net", "context", "posterior", "pseudo_inputs", "site", "num_params"}
LINKED |= {"in_shape", "out_shape"}
"""What `build` gives the components; nobody types it."""


def add_component(parser: ArgumentParser, base: type, name: str, skip: Sequence[str] = ()) -> None:
    """An option `--name Class` with `--name.argument value`; `--name.help Class` explains."""
    concrete = {c.__name__: c for c in _subclasses(base) if not inspect.isabstract(c) and c.__name__[0] != "_"}
    ours = [n for n, c in concrete.items() if c.__module__.startswith("ppl_vae") or n in objectives.__all__]
    choices = ", ".join(ours)
    parser.add_subclass_arguments(
        base, name, skip={*LINKED, *skip}, instantiate=False, required=False, metavar="NAME", help=f"One of {choices}."
    )


def part(chosen: Namespace | None, base: type) -> Any:
    """The chosen class with its chosen arguments filled in, as a `functools.partial`; `None` for no choice."""
    if chosen is None:
        return None
    cls = _by_name(base, chosen.class_path)
    defaults = {n: p.default for n, p in inspect.signature(cls).parameters.items()}
    given = vars(chosen.init_args) if "init_args" in chosen else {}
    fixed = {n: v for n, v in given.items() if n in defaults and v != defaults[n]}
    return partial(cls, **fixed) if fixed else cls


def made(chosen: Namespace | None, base: type) -> Any:
    """An instance of the chosen class."""
    factory = part(chosen, base)
    return None if factory is None else factory()


def import_file(path: str) -> list[type]:
    """Run a Python file that the user names on the command line, and give the classes it defines."""
    file = Path(path)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None or not file.exists():
        raise FileNotFoundError(f"--import expects a Python file, got {path!r}; give the path of one")
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    return [c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == file.stem]


def refuse_imports(argv: Sequence[str], names: Sequence[str], trusted: Sequence[str]) -> None:
    """Refuse a class that would have to be imported: a configuration names classes, it does not run code.

    Raises
    ------
    ValueError
        For a dotted name outside `trusted` modules, on the command line or in a configuration file.
    """
    for _, name in classes_named(argv, names):
        if "." in name and not name.startswith(tuple(f"{module}." for module in trusted)):
            raise ValueError(
                f"a component expects the short name of a class, got {name!r}, which would have to be imported; "
                f"name its file with --import and write {name.rpartition('.')[2]!r}"
            )


def classes_named(argv: Sequence[str], names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each component that a class is chosen for, on the command line or in a configuration file, and the class."""
    for here, following in zip(argv, [*argv[1:], ""], strict=True):
        option, equals, value = here.partition("=")
        value = value if equals else following
        if option == "--config":
            content = yaml.safe_load(Path(value).read_text()) if Path(value).exists() else {}
            for name in names:
                chosen = (content or {}).get(name)
                if chosen is not None:
                    yield name, str(chosen.get("class_path", "") if isinstance(chosen, dict) else chosen)
        elif option.startswith("--"):
            name = option.removeprefix("--").removesuffix(".class_path").removesuffix(".help")
            if name in names:
                yield name, value


def _by_name(base: type, path: str) -> type:
    name = path.rpartition(".")[2]
    return next(cls for cls in _subclasses(base) if cls.__name__ == name)


def _subclasses(base: Any) -> Iterator[Any]:
    yield base
    for cls in base.__subclasses__():
        yield from _subclasses(cls)
