"""Run a command line: parse it, carry it out, and report a failure in one line."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from os.path import abspath, expanduser, isfile, lexists

from jsonargparse import Namespace

from ppl_vae.cli.command import Command
from ppl_vae.cli.commands import COMMANDS
from ppl_vae.cli.components import Parser, allow_imports, import_file
from ppl_vae.cli.failures import did_you_mean, failure, told_in_one_line
from ppl_vae.cli.reading import bound_values, refuse_endless
from ppl_vae.files import no_run

__all__ = ["main", "parsed"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0 on success, 1 for what the user can mend, 2 for a command line that cannot be read.

    130 where it was interrupted, and 141 where nobody reads the output any longer, as shells have it.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    given = [word for word in words if word != "--traceback"]
    if not given or given[0] not in COMMANDS:
        return _overview(given)
    command, rest = given[0], given[1:]
    try:
        with told_in_one_line(command):
            return _run(COMMANDS[command], rest)
    except KeyboardInterrupt:
        how = "by the same command again" if command == "table" else "with --resume"
        print(f"ppl-vae {command}: interrupted; a training goes on from its last epoch {how}", file=sys.stderr)
        return 130
    except SystemExit:
        raise
    except BrokenPipeError:  # whoever read the output has seen enough: `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except BaseException as error:  # whatever its class, it is one line
        print(failure(command, rest, error), file=sys.stderr)
        if len(given) < len(words):
            traceback.print_exc()
        return 1


def _run(command: Command, words: list[str]) -> int:
    outline = command.new_parser(outline=True)
    refuse_endless(words, ["config", *outline.components])
    bound_values()
    words = outline.numbers_named(words)
    if not any(word.partition("=")[0] == "--import" for word in words):  # whose classes the help lists, too
        outline.set_defaults(dict(command.defaults))
        found = outline.check(words)
        if outline.of_run and found.run and not found.run.startswith("hub:"):
            run = abspath(expanduser(found.run))
            if not isfile(run) and not lexists(f"{run}/checkpoint.json"):  # `load` refuses a file
                raise no_run(run)
    words, files, classes = _imported(words)
    parser, chosen = parsed(command, words)
    parser.refuse_small(chosen)
    kept = chosen.clone()
    kept.pop("json", None)  # how it was printed is no setting of a run
    chosen.classes, chosen.yaml = classes, parser.dump(kept)
    chosen.imports = "".join(f" --import {shlex.quote(file)}" for file in files)  # for a command on the same run
    command.run(chosen)
    if command.after:
        out = sys.stderr if chosen.get("json") else sys.stdout
        print(f"next: {command.after.format(run=shlex.quote(str(chosen.get('run'))))}{chosen.imports}", file=out)
    return 0


def parsed(command: Command, words: list[str]) -> tuple[Parser, Namespace]:
    """The options, and the parser that read them.

    A default class would lend its arguments to the class that is chosen instead: IWAE would get the one particle of
    Trace_ELBO. So a first reading finds the chosen classes, and the second one has only those defaults that stay.
    """
    parser = command.new_parser()
    if command.defaults:
        parser.set_defaults({name: {"class_path": cls} for name, cls in command.defaults.items()})
        first = parser.parse_args([word for word in words if not word.startswith("--print-config")])
        same = {n: c for n, c in command.defaults.items() if first[n] and first[n].class_path.rpartition(".")[2] == c}
        parser = command.new_parser()
        parser.set_defaults({name: {"class_path": cls} for name, cls in same.items()})
    return parser, parser.parse_args(words)


def _overview(words: Sequence[str]) -> int:
    if words == ["--version"]:
        print(f"ppl-vae {version('ppl_vae')}")
        return 0
    known = words in ([], ["-h"], ["--help"])
    if not known:
        near = did_you_mean(words[0], COMMANDS) or "`ppl-vae --help` lists them"
        print(f"ppl-vae: expects one of {', '.join(COMMANDS)}, got {words[0]!r}; {near}", file=sys.stderr)
        return 2
    print("usage: ppl-vae COMMAND [options]\n\nVariational autoencoders as Pyro model and guide.\n")
    print("\n".join(f"  {command.name:<13}{command.about}" for command in COMMANDS.values()))
    print("\n`ppl-vae COMMAND --help` lists the options of a command; with --traceback a failure shows where it arose.")
    return 0


def _imported(words: list[str]) -> tuple[list[str], list[str], list[type]]:
    """Carry out every `--import FILE`, and see that nothing else is imported; what is left, the files, the classes."""
    allow_imports("ppl_vae", "pyro.infer")
    classes: list[type] = []
    files: list[str] = []
    rest: list[str] = []
    remaining = iter(words)
    for word in remaining:
        option, equals, value = word.partition("=")
        if option == "--import":
            files.append(value if equals else next(remaining, ""))
            classes += import_file(files[-1])
        else:
            rest.append(word)
    return rest, files, classes
