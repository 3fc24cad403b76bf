"""What the files hold that a cell names: a run that was trained on other contents is not one of the cell."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ppl_vae.checksums import file_digest
from ppl_vae.cli.stored_run import DATA_SETS

__all__ = ["content", "named"]

_FILES = ("data", "test", "kinds")
"""Options of `ppl-vae train` that name what is read."""


def named(settings: Mapping[str, Any], imports: Sequence[str]) -> list[str]:
    """The paths among the settings of a cell, and those of words `--import FILE`; of data sets by name none."""
    data = [str(settings[name]) for name in _FILES if settings.get(name) is not None]
    return list(dict.fromkeys([*(name for name in data if name not in DATA_SETS), *imports[1::2]]))


def content(name: str) -> str:
    """The `file_digest` of a file, or SHA-256 of those of a folder; empty where it cannot be read."""
    path = Path(name).expanduser()
    try:
        if not path.is_dir():
            return file_digest(path)
        inside = sorted(file for file in path.rglob("*") if file.is_file() and file.name[0] != ".")
        listed = "\n".join(f"{file.relative_to(path)} {file_digest(file)}" for file in inside)
        return hashlib.sha256(listed.encode(errors="surrogateescape")).hexdigest()
    except (OSError, ValueError):  # the training says what is wrong with it
        return ""
