"""Completion of commands, options and choices by a shell."""

from __future__ import annotations

import re
from argparse import Action, ArgumentParser
from typing import Any

from jsonargparse import ActionYesNo, Namespace

from ppl_vae.cli.command import Command
from ppl_vae.cli.components import Parser
from ppl_vae.libraries import needing

__all__ = ["COMMAND"]


def _options(parser: Parser) -> None:
    parser.option("shell", names=("bash", "zsh"), help="bash or zsh")


def _completion(options: Namespace) -> None:
    """Print a script for the shell."""
    with needing("completion", "shtab", "completion"):
        import shtab

    print(shtab.complete(_outline(shtab.FILE), options.shell))


def _outline(file: Any) -> ArgumentParser:
    """All commands as one parser of argparse, which is only looked at."""
    from ppl_vae.cli.commands import COMMANDS

    whole = ArgumentParser(prog="ppl-vae")
    whole.add_argument("--version", action="store_true", help="print the version")
    found = whole.add_subparsers()
    for command in COMMANDS.values():
        made = found.add_parser(command.name, help=_shown(command.about), description=_shown(command.about))
        for action in command.new_parser(outline=True)._actions:
            if "-h" not in action.option_strings:
                _add(made, action, file)
    return whole


def _add(parser: ArgumentParser, action: Action, file: Any) -> None:
    names = [name for name in action.option_strings if "_" not in name and not name.endswith("+")]
    about = _shown(str(action.help or ""))
    if not names:
        several: dict[str, Any] = {"nargs": action.nargs} if action.nargs else {}
        added = parser.add_argument(action.dest, help=about, **several)
    elif isinstance(action, ActionYesNo) or action.nargs == 0:
        parser.add_argument(*names, help=about, action="store_true")
        return
    else:
        added = parser.add_argument(*names, help=about, nargs="+" if action.nargs in ("+", "*") else None)
    if offered := _offered(about, action):
        added.choices = offered
    elif added.dest in _FILES:
        added.complete = file  # type: ignore[attr-defined]


def _offered(about: str, action: Action) -> list[str]:
    """The classes of a component, which its help lists after a colon; the values of a choice, as its type has them."""
    if action.metavar == "NAME":
        return re.findall(r"[A-Z]\w+", about.partition(":")[2].partition("(")[0])
    values = getattr(getattr(action, "_typehint", None), "__args__", ())
    return [value for value in values if isinstance(value, str)]


_FILES = ("run", "runs", "file", "out", "data", "data_dir", "kinds", "test", "import", "config", "figure")


def _shown(text: str) -> str:
    return text.replace("%", "%%")


COMMAND = Command(
    name="completion",
    about="a script that completes commands and options in a shell",
    parser=_options,
    run=_completion,
)
