"""Components on the command line: a class by its short name, and its arguments."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

from ppl_vae import objectives

__all__ = ["Parser", "add_component", "allow_imports", "import_file", "made", "part"]

LINKED = {"x_shape", "latent_dim", "net", "context", "posterior", "pseudo_inputs", "site", "num_params"}
LINKED |= {"in_shape", "out_shape"}
"""What `build` gives the components; nobody types it."""


def add_component(parser: ArgumentParser, base: type, name: str, skip: Sequence[str] = (), usual: str = "") -> None:
    """An option `--name Class` with `--name.argument value`; `--name.help Class` explains."""
    concrete = {c.__name__: c for c in _subclasses(base) if not inspect.isabstract(c) and c.__name__[0] != "_"}
    ours = [n for n, c in concrete.items() if c.__module__.startswith("ppl_vae") or n in objectives.__all__]
    choices = ", ".join(ours)
    parser.add_subclass_arguments(
        base,
        name,
        skip={*LINKED, *skip},
        instantiate=False,
        required=False,
        metavar="NAME",
        help=f"one of {choices}{usual}",
    )


def part(chosen: Namespace | None) -> Any:
    """The chosen class with its chosen arguments filled in, as a `functools.partial`; `None` for no choice."""
    if chosen is None:
        return None
    module, _, name = chosen.class_path.rpartition(".")
    cls = getattr(sys.modules[module], name)
    defaults = {n: p.default for n, p in inspect.signature(cls).parameters.items()}
    given = vars(chosen.init_args) if "init_args" in chosen else {}
    fixed = {n: v for n, v in given.items() if n in defaults and v != defaults[n]}
    return partial(cls, **fixed) if fixed else cls


def made(chosen: Namespace | None) -> Any:
    """An instance of the chosen class."""
    factory = part(chosen)
    return None if factory is None else factory()


def import_file(path: str) -> list[type]:
    """Run a Python file that the user names on the command line, and give the classes it defines."""
    file = Path(path)
    name = "_imported_" + re.sub(r"\W", "_", file.stem)  # a name of its own: json.py must not replace json
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise FileNotFoundError(f"--import expects a Python file, got {path!r}; give the path of one")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    allow_imports(name)
    return [c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == name]


def allow_imports(*modules: str) -> None:
    """Let values name classes of these modules; jsonargparse imports nothing else for a value, wherever it stands.

    The setting is jsonargparse's own and holds for the process, because values reach its importer by many ways:
    nested or dotted keys, files that include files, inline text, `--prior.help`.
    """
    set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=list(modules))


class Parser(ArgumentParser):
    """A parser that says in the user's words what is wrong with the choice of a component."""

    def error(self, message: str, ex: Exception | None = None) -> Any:  # never returns
        """Exit with 2, or raise where the caller asked for it.

        Raises
        ------
        RuntimeError
            For a class that would have to be imported.
        """
        if not self.exit_on_error:  # the parser of one component, whose error becomes part of the outer one
            super().error(message, ex)
        if denied := re.search(r"Importing '(.+?)' is not allowed", message):
            name = denied[1]
            raise RuntimeError(  # jsonargparse would wrap a ValueError in words of its own
                f"a component expects the short name of a class, got {name!r}, which would have to be imported; "
                f"name its file with --import and write {name.rpartition('.')[2]!r}"
            )
        if readable := self._mended(message):
            self.exit(2, f"{self.prog}: {readable}\n")
        super().error(message, ex)

    def _mended(self, message: str) -> str | None:
        key = re.search(r'Parser key "(.+?)"', message)
        action = next((a for a in self._actions if key and a.dest == key[1]), None)
        if key is None or action is None:
            return None
        option = f"--{key[1]}"
        if found := re.search(r"class_path '(.+?)':\s+Option '(.+?)' is not accepted", message):
            cls, argument = found[1].rpartition(".")[2], found[2]
            return (
                f"{option}.{argument} expects a class with this argument, got {cls}, which has none; choose another "
                f"with {option} NAME, or see {option}.help {cls}"
            )
        if found := re.search(r"(?s)(?:Expected a dot|does not correspond).*Given value: (.+)", message):
            return (
                f"{option} expects {str(action.help).removesuffix('.')}, got {found[1].strip()!r}; name one of "
                f"them, and give its arguments by {option}.ARGUMENT VALUE ({option}.help NAME lists them)"
            )
        return None


def _subclasses(base: Any) -> Iterator[Any]:
    yield base
    for cls in base.__subclasses__():
        yield from _subclasses(cls)
