"""The cells of a table, from its YAML file."""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import replace
from functools import cache
from io import StringIO
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ActionYesNo, Namespace

from ppl_vae.cli.command import Command
from ppl_vae.cli.commands import evaluate, train
from ppl_vae.cli.comparison.cell import Cell, shown
from ppl_vae.cli.comparison.contents import content, named
from ppl_vae.cli.comparison.possible import why_not
from ppl_vae.cli.components import Parser
from ppl_vae.cli.failures import did_you_mean
from ppl_vae.files import read_bytes
from ppl_vae.strict_yaml import check_keys

__all__ = ["Table", "read"]

_TABLE = ("cells", "seeds", "evaluate", "reference", "published")
_OF_RUNS = frozenset(
    {"help", "config", "print_config", "import", "run", "resume", "seed", "data_dir", "device", "threads", "json"}
)
QUANTITIES = ("nll", "negative_elbo", "bits_per_dim", "elbo_bits_per_dim")
_MOST_CELLS = 1000


class Table:
    """What a file says: its cells, and the one that the others are compared with.

    Attributes
    ----------
    path
        The file.
    cells
        In the order of the file.
    common
        The settings that all cells share.
    reference
        Settings of the cell that others on the same data are compared with.
    """

    def __init__(self, path: Path, cells: Sequence[Cell], reference: Mapping[str, Any]) -> None:
        self.path, self.cells, self.reference = path, cells, reference
        first = cells[0].settings
        same = [k for k, v in first.items() if all(k in c.settings and c.settings[k] == v for c in cells)]
        self.common = {name: first[name] for name in same}

    @property
    def reference_of(self) -> dict[Cell, Cell]:
        """By cell, the first one on the same data with the settings of the reference; itself where there is none."""
        chosen = [cell for cell in self.cells if _matches(cell.settings, self.reference)]
        return {
            cell: next((c for c in chosen if c.settings.get("data") == cell.settings.get("data")), cell)
            for cell in self.cells
        }


def read(path: Path, imports: Sequence[str] = ()) -> Table:
    """The table that a YAML file describes.

    Parameters
    ----------
    path
        The file.
    imports
        Words `--import FILE` that go before those of each training.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is no YAML, or says something that a table does not have.
    """
    said = _mapping(path)
    train_parser, evaluate_parser = (c.new_parser(outline=True) for c in (train.COMMAND, evaluate.COMMAND))
    known = _options(train_parser)
    _check_keys(f"{path}", said, [*known, *_TABLE])
    shared = {k: v for k, v in said.items() if k not in _TABLE}
    seeds = _seeds(path, said.get("seeds", [0]))
    scoring = said.get("evaluate") or {}
    _check_keys(f"{path}: evaluate", scoring, _options(evaluate_parser))
    scored = _words(f"{path}: evaluate", scoring, evaluate_parser)
    _parsed(f"{path}: evaluate", evaluate.COMMAND, ["run", *scored])
    published = _published(path, said.get("published") or [], known)
    cells: dict[str, Cell] = {}
    known_content = cache(content)  # a file is read once for all cells
    for where, name, settings in _settings(path, shared, said.get("cells"), known):
        words = _words(where, settings, train_parser)
        numbers = [entry for entry in published if _matches(settings, entry["where"])]
        files = {path: found for path in named(settings, imports) if (found := known_content(path))}
        cell = Cell(name, settings, [*imports, *words], scored, seeds, numbers, files=files)
        cells[cell.folder] = replace(cell, why_not=why_not(_parsed(where, train.COMMAND, words)))
    _told_unmatched(path, published, cells)
    reference = _reference(path, said.get("reference") or {}, cells, known)
    return Table(path, _named(path, list(cells.values()), reference), reference)


def _mapping(path: Path) -> dict[str, Any]:
    text = read_bytes(path, most=2**20)
    try:
        check_keys(text)
        said = yaml.safe_load(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    except yaml.YAMLError as error:
        raise ValueError(
            f"a table expects YAML in {str(path)!r}, got {' '.join(str(error).split())}; correct it"
        ) from None
    if not isinstance(said, dict) or not said:
        raise ValueError(
            f"a table expects settings in {str(path)!r}, got {type(said).__name__}; write lines such as 'prior: "
            "[StandardNormal, VampPrior]'"
        )
    return said


def _options(parser: Parser) -> list[str]:
    return [a.dest for a in parser._actions if a.option_strings and a.dest not in _OF_RUNS]


def _check_keys(where: str, said: Any, known: Collection[str]) -> None:
    if not isinstance(said, Mapping):
        raise ValueError(f"{where} expects names and values, got {said!r}; write 'name: value' lines")
    for key in said:
        if key not in known:
            near = did_you_mean(str(key), known).replace("-", "_") or f"it may have {', '.join(known)}"
            raise ValueError(f"{where} expects known settings, got {str(key)!r}; {near}")


def _seeds(path: Path, seeds: Any) -> list[int]:
    numbers = seeds if isinstance(seeds, list) else [seeds]
    whole = all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in numbers)
    if not numbers or not whole or len(set(numbers)) < len(numbers):
        raise ValueError(
            f"{path}: seeds expects different whole numbers from 0 on, got {seeds!r}; write [0, 1, 2], say"
        )
    return numbers


def _settings(
    path: Path, shared: Mapping[str, Any], single: Any, known: Collection[str]
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Where they are said, the name and the settings of each cell: all that are crossed, then the single ones."""
    if single is not None and not isinstance(single, list):
        raise ValueError(f"{path}: cells expects a list, got {single!r}; write '- prior: VampPrior' lines below it")
    yield from (("settings of " + str(path), "", each) for each in _crossed(path, shared))
    first = {k: v[0] if isinstance(v, list) and v else v for k, v in shared.items()}
    for number, entry in enumerate(single or [], 1):
        where = f"{path}: cell {number}"
        _check_keys(where, entry, [*known, "name"])
        crossed = _crossed(path, {**first, **{k: v for k, v in entry.items() if k != "name"}})
        if len(crossed) > 1 and "name" in entry:
            raise ValueError(f"{where} expects a name for one cell, got {len(crossed)} cells; leave the name out")
        yield from ((where, str(entry.get("name", "")), each) for each in crossed)


def _crossed(path: Path, said: Mapping[str, Any]) -> list[dict[str, Any]]:
    lists = {k: v if isinstance(v, list) else [v] for k, v in said.items()}
    count = 1
    for name, values in lists.items():
        count *= len(values)
        if not values:
            raise ValueError(f"{path}: {name} expects one value or more, got []; give some, or leave {name} out")
    if count > _MOST_CELLS:
        raise ValueError(f"{path} expects at most {_MOST_CELLS} cells, got {count} by its lists; cross fewer of them")
    return [dict(zip(lists, values, strict=True)) for values in product(*lists.values())]


def _words(where: str, settings: Mapping[str, Any], parser: Parser) -> list[str]:
    """Settings as words of a command line."""
    words: list[str] = []
    several = {a.dest for a in parser._actions if a.nargs not in (None, "?", 0, 1)}
    flags = {a.dest for a in parser._actions if isinstance(a, ActionYesNo)}
    for name, value in settings.items():
        option = f"--{name.replace('_', '-')}"
        if value is None:
            continue
        if name in flags and isinstance(value, bool):
            words.append(option if value else f"--no-{option.removeprefix('--')}")
        elif name in several and isinstance(value, list):
            words += [option, *map(_text, value)]
        elif isinstance(value, Mapping) and name in parser.components and len(value) == 1:
            ((chosen, arguments),) = value.items()
            _check_keys(f"{where}: {name} {chosen}", arguments, arguments)
            words += [f"{option}={chosen}", *(f"{option}.{k}={_text(v)}" for k, v in arguments.items())]
        elif isinstance(value, Mapping):
            raise ValueError(
                f"{where}: {name} expects a value, or a class with its arguments, got {value!r}; write 'prior: "
                "{VampPrior: {num_components: 500}}', say"
            )
        else:
            words.append(f"{option}={_text(value)}")
    return parser.numbers_named(words)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _parsed(where: str, command: Command, words: list[str]) -> Namespace:
    """The options of a command line, which are refused in the words of that command."""
    from ppl_vae.cli.main import parsed

    said = StringIO()
    try:
        with redirect_stderr(said):
            return parsed(command, words)[1]
    except SystemExit:
        message = said.getvalue().strip().splitlines()[-1].partition(": ")[2]
        raise ValueError(f"{where}: {message}") from None
    except RuntimeError as error:
        raise ValueError(f"{where}: {error}") from None


def _published(path: Path, entries: Any, known: Collection[str]) -> list[dict[str, Any]]:
    if not isinstance(entries, list):
        raise ValueError(f"{path}: published expects a list, got {entries!r}; write '- where: ...' lines below it")
    for number, entry in enumerate(entries, 1):
        where = f"{path}: published {number}"
        _check_keys(where, entry, ["where", "quantity", "value", "source"])
        _check_keys(f"{where}: where", entry.get("where"), known)
        if entry.get("quantity") not in QUANTITIES or not isinstance(entry.get("value"), int | float):
            raise ValueError(
                f"{where} expects a quantity, {', '.join(QUANTITIES)}, and a value, got {entry.get('quantity')!r} and "
                f"{entry.get('value')!r}; give both"
            )
        if not entry.get("source"):
            raise ValueError(
                f"{where} expects the source of its number, got none; give authors, year and what it is of"
            )
    return entries


def _told_unmatched(path: Path, published: Sequence[dict[str, Any]], cells: Mapping[str, Cell]) -> None:
    """Warn of published numbers that match no cell."""
    for number, entry in enumerate(published, 1):
        if not any(_matches(cell.settings, entry["where"]) for cell in cells.values()):
            warnings.warn(
                f"{path}: published {number} matches no cell, {dict(entry['where'])}, and is left out", stacklevel=3
            )


def _matches(settings: Mapping[str, Any], where: Mapping[str, Any]) -> bool:
    """Whether settings are those of a condition; a class alone stands for it with any arguments."""
    return all(
        settings.get(name) == value or (isinstance(settings.get(name), Mapping) and [value] == list(settings[name]))
        for name, value in where.items()
    )


def _reference(
    path: Path, where: Mapping[str, Any], cells: Mapping[str, Cell], known: Collection[str]
) -> Mapping[str, Any]:
    _check_keys(f"{path}: reference", where, known)
    if not any(_matches(cell.settings, where) for cell in cells.values()):
        raise ValueError(f"{path}: reference expects settings of a cell, got {dict(where)}; give those of one")
    return where


def _named(path: Path, cells: Sequence[Cell], reference: Mapping[str, Any]) -> list[Cell]:
    """The cells; those without a name are called by the settings in which they differ from the reference."""
    base = next((cell.settings for cell in cells if _matches(cell.settings, reference)), {})
    without = [cell.settings for cell in cells if not cell.name]
    among = without if len(without) > 1 else [cell.settings for cell in cells]
    varied = [k for k in base if len({shown(settings.get(k)) for settings in among}) > 1]
    found = [cell if cell.name else replace(cell, name=_name(cell, base, varied)) for cell in cells]
    names = [cell.name for cell in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{path} expects names that differ, got {twice[0]!r} twice; give the cells other names")
    return found


def _name(cell: Cell, base: Mapping[str, Any], varied: Sequence[str]) -> str:
    if cell.settings == base:
        return ", ".join(shown(base[name]) for name in varied) or "reference"
    every = dict.fromkeys([*base, *cell.settings])
    differing = [name for name in every if cell.settings.get(name) != base.get(name)]
    return ", ".join(f"{name} {shown(cell.settings.get(name))}" for name in differing)
