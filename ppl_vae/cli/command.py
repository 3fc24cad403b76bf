"""A command of the command line, as one record."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jsonargparse import Namespace

from ppl_vae.cli.components import Parser
from ppl_vae.cli.formatter import Formatter

__all__ = ["Command", "on_run"]


@dataclass(frozen=True)
class Command:
    """A command; `ppl_vae.cli.commands` lists them.

    The modules of commands import nothing that takes long; `run` does.

    Attributes
    ----------
    name
        What is typed: `ppl-vae NAME`.
    about
        What it does, in a line of the overview.
    parser
        Adds its options to an empty parser.
    run
        Carries it out, with the options as they were parsed.
    defaults
        The class of a component where none is chosen, by option.
    after
        What to do next, printed last; ``{run}`` stands for the run that was given. Empty where `run` says it.
    """

    name: str
    about: str
    parser: Callable[[Parser], None]
    run: Callable[[Namespace], None]
    defaults: Mapping[str, str] = field(default_factory=dict)
    after: str = ""

    def new_parser(self, *, outline: bool = False) -> Parser:
        """A parser of its options, without the `defaults`; see `Parser` for an outline."""
        parser = Parser(
            prog=f"ppl-vae {self.name}",
            description=f"{self.about[0].upper()}{self.about[1:]}.",
            print_config="--print-%s",
            allow_abbrev=False,
            formatter_class=Formatter,
            outline=outline,
        )
        self.parser(parser)
        Parser.command = parser.format_usage().removeprefix("usage: ").partition(" [options]")[0]
        return parser


def on_run(name: str, run: str | Path) -> str:
    """A command on a run, as a shell takes it."""
    return f"ppl-vae {name} {shlex.quote(str(run))}"
