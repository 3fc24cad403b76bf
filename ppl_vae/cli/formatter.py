"""Help of a command: one name an option, defaults where there are some, no types."""

from __future__ import annotations

from argparse import SUPPRESS, Action
from collections.abc import Iterable
from textwrap import fill
from typing import Any

from jsonargparse import ActionYesNo, DefaultHelpFormatter

__all__ = ["Formatter"]

_SHORT = 2
"""Lines of the help of an option that stay in the column of help."""


class Formatter(DefaultHelpFormatter):
    """Leaves out of argparse's help what is said elsewhere: the options of the usage, and other spellings of them."""

    def add_usage(self, usage: str | None, actions: Iterable[Action], *args: Any, **kwargs: Any) -> None:
        """The places of a command, and the word options."""
        places = [self._format_args(a, a.dest.upper()) for a in actions if not a.option_strings]
        super().add_usage(" ".join([self._prog, *places, "[options]"]), [], *args, **kwargs)

    def _format_action(self, action: Action) -> str:
        """Long lists are as wide as the page: their second line starts near the margin."""
        shown = str(super()._format_action(action))
        if len(shown.splitlines()) <= _SHORT:
            return shown
        indent, place = " " * self._current_indent, min(self._action_max_length + 2, self._max_help_position)
        first = f"{indent}{self._format_action_invocation(action)}  ".ljust(place)
        return fill(self._expand_help(action), self._width, initial_indent=first, subsequent_indent=3 * indent) + "\n"

    def _format_action_invocation(self, action: Action) -> str:
        if not action.option_strings:
            return str(super()._format_action_invocation(action))
        names = [o for o in action.option_strings if o == "-h" or ("_" not in o and not o.endswith("+"))]
        if isinstance(action, ActionYesNo):
            return f"--[no-]{names[0].removeprefix('--')}"
        if action.nargs == 0:
            return ", ".join(names)
        metavar = str(action.metavar or names[-1].rpartition("-")[2].upper())
        values = {"?": metavar, "+": f"{metavar}..."}.get(str(action.nargs)) or self._format_args(action, metavar)
        return f"{', '.join(names)} {values}"

    def _get_help_string(self, action: Action) -> str:
        said, default = str(action.help or ""), action.default
        if action.required and action.option_strings:
            return f"{said} (required)"
        if isinstance(action, ActionYesNo) and default:
            return f"{said} (yes)"
        if default is None or default is False or default == [] or default == SUPPRESS or not action.option_strings:
            return said
        return f"{said} (%(default)s)"
