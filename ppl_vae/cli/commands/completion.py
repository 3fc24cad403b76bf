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
        parser = command.new_parser(outline=True)
        for action in parser._actions:
            if "-h" not in action.option_strings:
                added = _add(made, action)
                _complete(added, parser.offered.get(action.dest, []), f"_{made.prog}_{action.dest}_or_file", file)
    return whole


def _add(parser: ArgumentParser, action: Action) -> Action:
    names = [name for name in action.option_strings if "_" not in name and not name.endswith("+")]
    about = _shown(str(action.help or ""))
    if not names:
        several: dict[str, Any] = {"nargs": action.nargs} if action.nargs else {}
        return parser.add_argument(action.dest, help=about, **several)
    if isinstance(action, ActionYesNo) or action.nargs == 0:
        return parser.add_argument(*names, help=about, action="store_true")
    return parser.add_argument(*names, help=about, nargs="+" if action.nargs in ("+", "*") else None)


def _complete(action: Any, offered: list[str], function: str, file: Any) -> None:
    """What is offered for the values of an option: names, files, or both, by a function of the shell."""
    names, function = " ".join(offered), re.sub(r"\W", "_", function)
    if not offered and action.dest in _FILES:
        action.complete = file
    elif offered and action.dest in _FILES:
        bash = f'{function}() {{ compgen -W "{names}" -- "$1"; compgen -f -- "$1"; }}'
        zsh = f"{function}() {{ _alternative 'names:name:({names})' 'files:file:_files'; }}"
        action.complete = {"bash": function, "zsh": function, "preamble": {"bash": bash, "zsh": zsh}}
    elif offered:
        action.choices = offered


_FILES = ("run", "runs", "file", "out", "data", "data_dir", "kinds", "test", "import", "config", "figure")


def _shown(text: str) -> str:
    return text.replace("%", "%%")


COMMAND = Command(
    name="completion",
    about="a script that completes commands and options in a shell",
    parser=_options,
    run=_completion,
)
