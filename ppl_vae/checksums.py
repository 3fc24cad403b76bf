"""SHA-256 of what was written: a flipped bit is noticed when it is read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ppl_vae.files import interpreted, parsed, read_bytes, regular, write_text

__all__ = [
    "ADVICE",
    "changed",
    "check",
    "digest",
    "file_digest",
    "has_weights",
    "record",
    "sealed",
    "unsealed",
    "weights_of",
]

ADVICE = "it was damaged or tampered with: copy the run folder again from where it is whole, or train again"
"""What to do where a file of a run folder is not as it was written."""

_SEAL = re.compile(rb',\n "sha256": "([0-9a-f]{64})"\n\}\Z')
_FORMAT = {"format": 2}
"""In every sealed file: without it a file whose seal was damaged would pass for one of an earlier version."""

_BELOW = re.compile(r"[\w. -]+(/[\w. -]+)?")


def sealed(content: dict[str, Any]) -> str:
    """JSON whose last entry is the SHA-256 of the rest."""
    text = json.dumps({**content, **_FORMAT}, indent=1)
    seal = hashlib.sha256(text.encode()).hexdigest()
    return text.removesuffix("\n}") + f',\n "sha256": "{seal}"\n}}'


def unsealed(path: Path, advice: str, most: int = 2**28) -> tuple[dict[str, Any], bool]:
    """What a file written by `sealed` holds, and whether it has a seal; those of earlier versions have none.

    Raises
    ------
    FileNotFoundError
        If it is not there.
    ValueError
        If it was changed since it was written.
    """
    text = read_bytes(path, most)
    seal = _SEAL.search(text)
    bare = text if seal is None else text[: seal.start()] + b"\n}"
    if seal is not None and hashlib.sha256(bare).hexdigest().encode() != seal[1]:
        raise _other(path, advice)
    content = parsed(bare, path, advice)
    if not isinstance(content, dict):
        raise ValueError(f"expected names and values in {str(path)!r}, got {type(content).__name__}; {advice}")
    if seal is None and _FORMAT.keys() <= content.keys():
        raise _other(path, advice)
    content.pop("format", None)
    return content, seal is not None


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal digits, and the number of bytes."""
    return f"{hashlib.sha256(content).hexdigest()} {len(content)}"


def file_digest(path: Path) -> str:
    """The `digest` of a regular file, which need not fit into memory."""
    with regular(path).open("rb") as file:
        return f"{hashlib.file_digest(file, 'sha256').hexdigest()} {path.stat().st_size}"


def check(path: Path, expected: Sequence[str], advice: str, content: bytes | None = None) -> None:
    """Refuse a file, or a part of its content, with another `digest` than those expected.

    Raises
    ------
    ValueError
        If it was changed since it was written.
    """
    size = regular(path).stat().st_size if content is None else len(content)
    if str(size) not in [known.split()[1] for known in expected]:  # a far larger file is not even read
        raise _other(path, advice)
    if (file_digest(path) if content is None else digest(content)) not in expected:
        raise _other(path, advice)


def record(folder: Path, names: Iterable[str]) -> None:
    """Note the SHA-256 of files of a run folder that no checkpoint lists: options, reports, figures, trees."""
    path = folder / "checksums.json"
    try:
        known = unsealed(path, "")[0]["files"] if path.exists() else {}
    except (ValueError, KeyError, TypeError):  # a damaged one is replaced
        known = {}
    known = {name: noted for name, noted in known.items() if (folder / name).is_file()}
    known |= {name: file_digest(folder / name) for name in names}
    write_text(path, sealed({"files": known}))


def changed(folder: Path) -> list[str]:
    """Names of files of a run folder that are not what `record` noted; those that are gone are left out."""
    path = folder / "checksums.json"
    if not path.exists():
        return []
    try:
        known = unsealed(path, "")[0]["files"]
        there = [name for name in known if _BELOW.fullmatch(name) and (folder / name).is_file()]
        return [name for name in there if not _same(folder / name, known[name])]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return [path.name]


def weights_of(folder: Path) -> str | None:
    """SHA-256 of the best weights of a run folder; `None` where it has none, or is of a version without checksums.

    Raises
    ------
    ValueError
        If its checkpoint was changed since it was written.
    """
    path = folder / "checkpoint.json"
    if not path.is_file():
        return None
    content, has_seal = unsealed(path, ADVICE)
    with interpreted(path, ADVICE):
        return str(content["checksums"][content["files"]["best"]][0].split()[0]) if has_seal else None


def has_weights(folder: Path, known: str | None) -> bool:
    """Whether the best weights of a run folder are those of this SHA-256, as far as both are known."""
    return known is None or weights_of(folder) in (None, known)


def _same(path: Path, expected: str) -> bool:
    return int(expected.split()[1]) == path.stat().st_size and file_digest(path) == expected


def _other(path: Path, advice: str) -> ValueError:
    return ValueError(f"expected {str(path)!r} as it was written, got another content (SHA-256 differs); {advice}")
