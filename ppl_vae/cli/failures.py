"""The message of a command that fails: one line, with the file and what to do."""

from __future__ import annotations

import difflib
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["did_you_mean", "expected", "failure", "nearest", "plainly", "told_in_one_line"]

_MOST = 1500
_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "list": "a list like [64, 32]",
    "Sequence": "a list like [64, 32]",
    "PositiveInt": "a whole number above 0",
    "NonNegativeInt": "a whole number of at least 0",
    "PositiveFloat": "a number above 0",
    "NonNegativeFloat": "a number of at least 0",
}


def failure(command: str, words: Sequence[str], error: BaseException) -> str:
    """One line for an error of any class.

    Our own errors say what to do after a semicolon; the others are given the files of the command line.
    """
    text = _as_typed(" ".join(str(error).split()))
    if not isinstance(error, LookupError | MemoryError) and ";" in text:
        return f"ppl-vae {command}: {text[:_MOST]}"
    about = ", ".join(_paths(words)) or "its options and data"
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return (
        f"ppl-vae {command}: expected to finish with {about}, got {said[:_MOST]}; {_fix(error)}, or add --traceback to "
        "see where it comes from"
    )


def plainly(message: str, prog: str, actions: Sequence[Any]) -> str:
    """A message of argparse or jsonargparse as one line, with the nearest option where one is not known.

    Parameters
    ----------
    message
        The message.
    prog
        The command, as it is typed.
    actions
        Its options and arguments.
    """
    options = [o for a in actions for o in a.option_strings if o[:2] == "--"]
    see = f"`{prog} --help` lists the options"
    if found := re.search(r"unrecognized arguments: (\S+)", message):
        word = found[1].partition("=")[0]
        places = [a.dest for a in actions if not a.option_strings]
        place = next((p for p in places if word.removeprefix("--") in (p, p.removesuffix("s"))), None)
        named = f"give {place} without its name: `{prog} {place.upper()}`" if place else ""
        near = did_you_mean(word, options) if word[:2] == "--" else ""
        return f"expects known options and values, got {word!r}; {named or near or see}"
    if found := re.search(r"Option '(.+?)' is not accepted", message):
        near = did_you_mean(found[1], [o[2:].replace("-", "_") for o in options])
        return f"a configuration expects options, got {found[1]!r}; {near or see}"
    if found := re.search(r"arguments are required: (.+)", message):
        return f"expects {found[1]}, got none; give it: {see}"
    if found := re.search(r"argument (--\S+?)(?:/\S+)?: expected one argument", message):
        return f"{found[1]} expects a value, got none; give one: {see}"
    if found := re.search(r'(?s)Parser key "(.+?)": (File does not exist|Path is not).*?: (.+)', message):
        return f"--{found[1]} expects a file, got {found[3].strip()}, which is none; correct the path"
    return f"{re.sub(r'Parser key .(.+?).: ', lambda m: f'--{m[1]}: ', message)}; {see}"


def expected(message: str) -> tuple[str, list[str]]:
    """What values an option takes by a message of jsonargparse about one it refused, and the names among them."""
    found: dict[str, bool] = {}
    for said in re.findall(r"(?:Expected an?|Not of type) (.+?)(?:\. Got |: |\n|$)", message):
        last = re.sub(r"\W+$", "", said).rpartition(".")[2].removeprefix("<class '")
        if "Literal[" in said:
            found |= dict.fromkeys(re.findall(r"'(.+?)'", said), True)
        elif last == "bool":
            found |= {"true": True, "false": True}
        elif last != "NoneType":
            found[_TYPES.get(last, said)] = False
    *first, last = found
    words = f"{', '.join(first)} or {last}" if first else last
    return words, [word for word, is_name in found.items() if is_name]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The nearest of the known words as a question, whatever is a capital, or nothing."""
    by_plain = {_plain(name): name.replace("_", "-") if name[:2] == "--" else name for name in known}
    near = difflib.get_close_matches(_plain(word), by_plain, n=1, cutoff=0.6)
    return f"did you mean {by_plain[near[0]]}?" if near else ""


def nearest(word: str, known: Iterable[str]) -> list[str]:
    """The known words, the nearest first."""
    return sorted(known, key=lambda name: -difflib.SequenceMatcher(None, _plain(word), _plain(name)).ratio())


def _plain(word: str) -> str:
    return word.replace("_", "-").lstrip("-").lower()


@contextmanager
def told_in_one_line(command: str) -> Iterator[None]:
    """A scope in which a warning is a line on stderr, without the code it comes from."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        print(f"ppl-vae {command}: {_as_typed(' '.join(str(message).split()))}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _as_typed(text: str) -> str:
    """A message whose kinds of columns are those of a file, as the command line takes them."""
    return re.sub(r"kinds=\{('.+?'): (.+?)\}", _kinds_file, text)


def _kinds_file(found: re.Match[str]) -> str:
    return f"--kinds kinds.yaml, a file with the line `{found[1]}: {found[2].strip(chr(39))}`"


def _paths(words: Sequence[str]) -> list[str]:
    values = [word.partition("=")[2] if word.startswith("--") else word for word in words]
    return [value for value in values if value and _is_path(value)]


def _is_path(value: str) -> bool:
    try:
        return Path(value).exists()
    except (OSError, ValueError):
        return False


def _fix(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "give less at a time (--take, --batch-size, --max-rows)"
    if isinstance(error, OSError):
        return "see that the disk has space and that the file is there and can be written to"
    return "check these files"
