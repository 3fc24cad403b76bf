"""One cell of a table: what it trains and scores, and where its runs are."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["COMPONENTS", "Cell", "shown"]

COMPONENTS = ("data", "prior", "posterior", "objective")
"""The settings that name the folder of a cell, beside a checksum of all."""


@dataclass(frozen=True, eq=False)
class Cell:
    """One model, trained and scored once for each seed.

    Attributes
    ----------
    name
        What it is called in the table.
    settings
        Options of `ppl-vae train` by name.
    train, evaluate
        These as words of the command lines, without seed and folders.
    seeds
        Of the weights and the training.
    published
        Published numbers to print beside it, each with `quantity`, `value` and `source`.
    why_not
        Why it cannot be built; empty where it can.
    files
        Checksums of the files that it names, by path, as far as they can be read.
    """

    name: str
    settings: Mapping[str, Any]
    train: Sequence[str]
    evaluate: Sequence[str]
    seeds: Sequence[int]
    published: Sequence[Mapping[str, Any]] = field(default=())
    why_not: str = ""
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """Data, prior, posterior and objective, with a checksum of everything that is trained."""
        names = [shown(self.settings[name]) for name in COMPONENTS if name in self.settings]
        checksum = hashlib.sha256(json.dumps(list(self.train)).encode()).hexdigest()[:8]
        return re.sub(r"[^\w.-]+", "_", "-".join([*(Path(name).name for name in names), checksum]))


def shown(value: Any) -> str:
    """A setting in a few words: a class with its arguments, as Python writes them, or a plain value."""
    if isinstance(value, Mapping) and len(value) == 1:
        (name, arguments), *_ = value.items()
        if isinstance(arguments, Mapping):
            return f"{name}({', '.join(f'{k}={v}' for k, v in arguments.items())})"
    return str(value)
