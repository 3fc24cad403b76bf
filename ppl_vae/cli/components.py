"""Components on the command line: a class by its short name, and its arguments."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, ClassVar, Literal

from jsonargparse import ActionYesNo, ArgumentParser, Namespace, set_parsing_settings

from ppl_vae.cli.chosen import functions, parameters
from ppl_vae.cli.configurations import written_out
from ppl_vae.cli.failures import did_you_mean, expected, plainly
from ppl_vae.cli.source import choices, imported
from ppl_vae.cli.words import apart, is_number, named

__all__ = ["Parser", "allow_imports", "import_file"]


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
    """A parser whose errors are one line, in the terms of the command line.

    Parameters
    ----------
    outline
        Whether it takes any value for a component: for help and for mistakes in other options, which then import no
        class.

    Attributes
    ----------
    components
        Its options that choose a component, each with the parameters of constructors that are no options.
    takes
        Of a component by argument the first of the classes offered that takes it.
    numbers, elsewhere
        See `component`, by option.
    offered
        The names to choose from, of classes and of other values, by option.
    known
        Of a component all names of classes that its module has.
    paths
        Options whose value is one of those offered, or a path.
    least
        The smallest whole number, by option.
    of_run
        Whether its first argument is a stored run.
    command
        The usage of the command, for the parser that jsonargparse makes to print the help of a class.
    """

    command: ClassVar[str] = "ppl-vae"

    def __init__(self, *args: Any, outline: bool = False, **kwargs: Any) -> None:
        if of_class := re.match(r"Help for (--\S+)\.help=\S*?(\w+)$", kwargs.get("description") or ""):
            kwargs["usage"] = f"{self.command} {of_class[1]} {of_class[2]} [options]"
        super().__init__(*args, **kwargs)
        self.outline = outline
        self.components: dict[str, frozenset[str]] = {}
        self.takes: dict[str, dict[str, str]] = {}
        self.numbers: dict[str, str] = {}
        self.elsewhere: dict[str, Mapping[str, str]] = {}
        self.offered: dict[str, list[str]] = {}
        self.paths: list[str] = []
        self.known: dict[str, list[str]] = {}
        self.least: dict[str, int] = {}
        self.of_run = False
        self._within: Any = self

    def section(self, title: str) -> None:
        """The heading of the options that follow."""
        self._within = self.add_argument_group(title)

    def numbers_named(self, words: Sequence[str]) -> list[str]:
        """The words of a command line, with a number in the place of a component as an argument of its class."""
        found: list[str] = []
        for word in words:
            option, equals, value = word.partition("=")
            if not equals and found and found[-1].removeprefix("--") in self.numbers and is_number(word):
                option, value = found.pop(), word
            if option.removeprefix("--") in self.numbers and is_number(value):
                cls, _, argument = self.numbers[option.removeprefix("--")].partition(".")
                found += [f"{option}={cls}", f"{option}.{argument}={value}"]
            else:
                found.append(word)
        return found

    def _load_config_parser_mode(self, content: str, path: Any = "", *args: Any, **kwargs: Any) -> Any:
        """Jsonargparse's reader of a configuration, whose components are as on a command line or in a table's file."""
        by_default = {a.dest: a.default is not None for a in self._actions if a.dest in self.components}
        content = written_out(content, str(path) or "a configuration", by_default, self.numbers)
        return super()._load_config_parser_mode(content, path, *args, **kwargs)

    def option(
        self,
        name: str,
        *,
        names: Sequence[str] = (),
        offered: Sequence[str] = (),
        least: int | None = None,
        or_path: bool = False,
        **kwargs: Any,
    ) -> None:
        """An option that may be written with dashes or underscores, a pair of flags `--x`, `--no-x` if it is a bool.

        With `names`, its value is one of them; with `offered`, one of those or another, and with `or_path` one of those
        or a path; with `least`, it or its elements are so large: see `refuse_small`.
        """
        dest = name.removeprefix("--").replace("-", "_")
        self.offered[dest] = list(offered or names or named(kwargs.get("type")))
        if least is not None:
            self.least[dest] = least
        if or_path:
            self.paths.append(dest)
        if names:
            one: Any = Literal[tuple(names)]
            kwargs.setdefault("metavar", name.rpartition("-")[2].upper())
            kwargs["type"] = one | None if kwargs.get("default") is None else one
        aliases = dict.fromkeys([name, name.replace("-", "_").replace("__", "--")])
        if kwargs.get("type") is bool:
            kwargs = {k: v for k, v in kwargs.items() if k != "type"} | {"action": ActionYesNo(no_prefix="no-")}
        self._within.add_argument(*aliases, **kwargs)

    def component(
        self,
        base: str,
        name: str,
        about: str,
        *,
        skip: Callable[[Any], Collection[str]] = lambda base: (),
        usual: str = "",
        among: str | None = None,
        offered: Sequence[str] = (),
        number: str = "",
        elsewhere: Mapping[str, str] | None = None,
        also: Sequence[str] = (),
    ) -> None:
        """An option `--name Class` with `--name.argument value`; `--name.help Class` explains.

        Parameters
        ----------
        base
            The class that is chosen a subclass of, as "module:name".
        name
            Of the option, without its dashes.
        about
            What it is, in a few words.
        skip
            Of the base, parameters of constructors that are no options; those that are functions are none either.
        usual
            What is said of the class that is taken where none is chosen.
        among
            The module whose classes are offered; by default that of the base.
        offered
            The names of those that are offered; by default all.
        number
            "Class.argument" that a number in the place of a class stands for.
        elsewhere
            Names of classes that are chosen by other options, and how.
        also
            Further names that are taken.
        """
        if number:
            self.numbers[name] = number
        self.elsewhere[name] = elsewhere or {}
        module, _, cls = base.partition(":")
        every = choices(cls, among or module)
        self.offered[name] = list(offered) or every
        self.known[name] = [*self.offered[name], *every, *also]
        theirs = imported(among) if among else set()
        own = [n for n in self.offered[name] if n not in theirs] + ["or a number"] * bool(number)
        others = [n for n in self.offered[name] if n in theirs]
        library = f"{module.partition('.')[0].capitalize()}'s {' and '.join(others)}; " if others else ""
        about = f"{about}: {library}{', '.join(own)}{usual}"
        if self.outline:
            self.components[name] = frozenset()
            self._within.add_argument(f"--{name}", metavar="NAME", nargs="?", help=about)
            return
        found = resolve_name(base)
        package = resolve_name(among or module)  # defines the subclasses
        of_python = {argument for choice in every for argument in functions(getattr(package, choice))}
        self.components[name] = skipped = frozenset(skip(found)) | of_python
        takers = [(a, one) for one in self.offered[name] for a in parameters(getattr(package, one)) if a not in skipped]
        self.takes[name] = dict(reversed(takers))
        self.add_subclass_arguments(
            found, name, skip=set(skipped), instantiate=False, required=False, metavar="NAME", help=about
        )

    def config_option(self) -> None:
        """The option `--config`, a file with the others, and `--print-config`."""
        about = "YAML file with these options"
        if not self.outline:
            self.add_argument("--config", action="config", help=about)
            return
        self.add_argument("--config", help=about)
        about = "print as such a file, with =skip_default those given"
        self.add_argument("--print-config", nargs="?", metavar="FLAGS", help=about)

    def check(self, words: Sequence[str]) -> Namespace:
        """Of an outline: print the help if it is asked for, and exit with 2 at a mistake that needs no class.

        Raises
        ------
        ValueError
            As `refuse_small`.
        """
        plain = [re.sub(rf"^--({'|'.join(self.components)})\.[^=]*", r"--\1", word) for word in words]
        found = self.parse_args(plain if self.components else list(words))
        for name in self.components:
            chosen = [after for word, after in pairwise(apart(words)) if word == f"--{name}"]
            if chosen and re.fullmatch(_A_CLASS, chosen[-1]) and chosen[-1] not in self.known[name]:
                self.exit(2, f"{self.prog}: {self._no_class(name, chosen[-1])}\n")
        for name in self.paths:
            came, names = found.get(name), self.offered[name]
            if came and re.fullmatch(r"[\w-]+", came) and came not in names and not os.path.lexists(came):
                near = did_you_mean(came, names) or "correct the name"
                self.exit(2, f"{self.prog}: --{name} expects {', '.join(names)}, or a path, got {came!r}; {near}\n")
        self.refuse_small(found)
        return found

    def refuse_small(self, chosen: Namespace) -> None:
        """Refuse a whole number below the smallest that an option takes.

        Raises
        ------
        ValueError
            Naming the option.
        """
        for name, least in self.least.items():
            value = chosen.get(name)
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, int) and each < least:
                    option = f"--{name.replace('_', '-')}"
                    raise ValueError(
                        f"{option} expects {least} or more, got {each}; give a larger number, or leave it out"
                    )

    def _no_class(self, name: str, came: str) -> str:
        """What to say of a name that is none of a component's classes."""
        option = f"--{name.replace('_', '-')}"
        about = next(str(a.help).removesuffix(".") for a in self._actions if a.dest == name)
        give = f"{option}.ARGUMENT VALUE ({option}.help NAME lists them)"
        near = did_you_mean(came, self.offered.get(name, []))
        usual = near or f"name one of them, and give its arguments by {give}"
        return f"{option} expects {about}, got {came!r}; {self.elsewhere.get(name, {}).get(came, usual)}"

    def import_option(self) -> None:
        """The option `--import`, which `main` carries out before it parses the others."""
        about = "Python file of own classes; not read from --config"
        self.add_argument("--import", metavar="FILE", help=about)

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
        readable = self._mended(message) or plainly(message, self.prog, self._actions)
        self.exit(2, f"{self.prog}: {' '.join(readable.split())}\n")

    def _mended(self, message: str) -> str | None:
        key = re.search(r'Parser key "(.+?)"', message)
        action = next((a for a in self._actions if key and a.dest == key[1]), None)
        if key is None or action is None:
            return None
        option = f"--{key[1].replace('_', '-')}" if action.option_strings else key[1]
        if found := re.search(r"class_path '(.+?)':\s+Option '(.+?)' is not accepted", message):
            module, _, cls = found[1].rpartition(".")
            argument, skipped = found[2], self.components.get(key[1], frozenset())
            chosen = getattr(sys.modules[module], cls)
            if argument in functions(chosen):
                give = f"give one in Python, as {key[1]}=partial({cls}, {argument}=...), or leave it out"
                return f"{option}.{argument} expects a function, got text; {give}"
            offered = [p for p in parameters(chosen) if p not in skipped]
            near = did_you_mean(argument, offered).replace("mean ", f"mean {option}.")
            other = near or f"choose another before it with {option} NAME, or see {option}.help {cls}"
            return f"{option}.{argument} expects a class with this argument, got {cls}, which has none; {other}"
        if found := re.search(r"(?s)is abstract.*NestedArg\(key='(.+?)', val=(['\"]?)(.*)\2\)$", message):
            return self._no_class_before(key[1], found[1], found[3])
        if found := re.search(
            r"(?s)(?:Expected a dot|does not correspond|has no attribute).*Given value: (.+)", message
        ):
            return self._no_class(key[1], re.sub(r"^\W*class_path': '(.+?)'.*", r"\1", found[1].strip()))
        if found := re.search(r"class_path '(.+?)':\s+the following arguments are required: (.+)", message):
            cls, missing = found[1].rpartition(".")[2], [f"{option}.{name.strip()}" for name in found[2].split(",")]
            return f"{option} {cls} expects {' and '.join(missing)}, got none; see {option}.help {cls}"
        if found := re.search(_REFUSED, message):
            within = re.search(r"class_path '.+?':\s+Parser key \"(.+?)\":", message)
            took, names = expected(message)
            named, about = (f"{option}.{within[1]}", "") if within else (option, f" ({action.help})" * (not names))
            came = next(filter(None, found.groups())).strip().strip("'")
            fix = did_you_mean(came, names) or ("choose one of these" if names else "give another value")
            return f"{named} expects {took}{about}, got {came!r}; {fix}"
        return None

    def _no_class_before(self, name: str, argument: str, value: str) -> str:
        """What to say of an argument of a component whose class is not named before it, where none is the usual one."""
        option, takes = f"--{name.replace('_', '-')}", self.takes[name]
        near = did_you_mean(argument, takes).replace("mean ", f"mean {option}.") or f"{option}.help NAME lists them"
        before = f"name the class before it: {option} {takes.get(argument)} {option}.{argument} {value}"
        fix = before if argument in takes else f"none of {', '.join(self.offered[name])} takes it: {near}"
        return f"{option}.{argument} expects a class that takes it, got none before it; {fix}"


_A_CLASS = r"(?!(?i:null|none|true|false)$)[A-Za-z_]\w*"
"""What can be a short name of a class."""

_REFUSED = r"G(?:ot|iven) value: ([^\n]*)|Not of type \w+: (?:(\S+) does not conform|.*: ('.*'))"
"""Where a message of jsonargparse names the value that it refuses."""
