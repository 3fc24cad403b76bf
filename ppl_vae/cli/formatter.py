"""Help of a command: one name an option, defaults where there are some, no types."""

from __future__ import annotations

from argparse import SUPPRESS, Action
from collections.abc import Iterable
from typing import Any

from jsonargparse import ActionYesNo, DefaultHelpFormatter

__all__ = ["Formatter"]


class Formatter(DefaultHelpFormatter):
    """Leaves out of argparse's help what is said elsewhere: the options of the usage, and other spellings of them."""

    def add_usage(self, usage: str | None, actions: Iterable[Action], *args: Any, **kwargs: Any) -> None:
        """The places of a command, and the word options."""
        places = [self._format_args(a, a.dest.upper()) for a in actions if not a.option_strings]
        super().add_usage(" ".join([self._prog, *places, "[options]"]), [], *args, **kwargs)

    def _format_action_invocation(self, action: Action) -> str:
        if not action.option_strings:
            return str(super()._format_action_invocation(action))
        names = [o for o in action.option_strings if o == "-h" or ("_" not in o and not o.endswith("+"))]
        if isinstance(action, ActionYesNo) or action.nargs == 0:
            return ", ".join(names)
        metavar = str(action.metavar or names[-1].rpartition("-")[2].upper())
        return f"{', '.join(names)} {metavar if action.nargs == '?' else self._format_args(action, metavar)}"

    def _get_help_string(self, action: Action) -> str:
        said, default = str(action.help or ""), action.default
        if action.required and action.option_strings:
            return f"{said} (required)"
        if isinstance(action, ActionYesNo) and default:
            return f"{said} ({action.option_strings[0]})"
        if default is None or default is False or default == [] or default == SUPPRESS or not action.option_strings:
            return said
        return f"{said} (%(default)s)"
