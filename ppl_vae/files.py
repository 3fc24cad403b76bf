"""Files that are read whole and within bounds, and written whole or not at all."""

from __future__ import annotations

import glob
import json
import math
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

__all__ = ["TEMPORARY", "interpreted", "no_run", "number", "parsed", "read_bytes", "regular", "write_text", "written"]

TEMPORARY = re.compile(r".+\.\d+-[0-9a-f]{8}\.tmp|.+\.(json|jsonl|yaml|safetensors)\.tmp")
"""Names that `written` writes to, and did in earlier versions; a killed process leaves one behind."""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def regular(path: Path, most: int | None = None) -> Path:
    """A path that leads to a regular file of at most so many bytes: reading it ends.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    ValueError
        For a folder, pipe, device or socket, and for a larger file.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = getattr(error, "strerror", None) or error
        raise FileNotFoundError(f"expected a file at {str(path)!r}, got none ({reason}); correct the path") from error
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise ValueError(f"expected a regular file at {str(path)!r}, got {kind}; put the file itself there")
    if most is not None and status.st_size > most:
        raise ValueError(
            f"expected at most {most} bytes in {str(path)!r}, got {status.st_size}; put the file there that was written"
        )
    return path


def no_run(path: str | os.PathLike[str]) -> FileNotFoundError:
    """The error for a folder that is no run."""
    return FileNotFoundError(
        f"load expects a run folder with a checkpoint.json, got {str(path)!r} without one; give the folder that "
        "fit(run=...) or `ppl-vae train` wrote"
    )


def read_bytes(path: Path, most: int = 2**28) -> bytes:
    """The content of a regular file of at most so many bytes.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    ValueError
        For what is no such file, or cannot be read.
    """
    try:
        with regular(path, most).open("rb") as file:
            return file.read(most)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"expected to read {str(path)!r}, got {error.strerror}; mend its permissions") from error


def parsed(text: bytes, path: Path, advice: str) -> Any:
    """The values of JSON, and what to do where it is none.

    Raises
    ------
    ValueError
        For anything but JSON, and for JSON too deep or of numbers too long to be read.
    """
    try:
        return json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"expected JSON in {str(path)!r}, got something else ({error}); {advice}") from error


def number(value: float) -> float | str | None:
    """A number as JSON has it: NaN is null and infinities are text, for a mean of what is read must not skip these."""
    if math.isfinite(value):
        return value
    return None if math.isnan(value) else str(value)


@contextmanager
def interpreted(path: Path, advice: str) -> Iterator[None]:
    """A scope that makes sense of what a file or folder holds; what stumbles over it says which, and what to do.

    Raises
    ------
    ValueError
        In the place of any exception but interruptions, warnings and our own, which say after a semicolon what to do.
    """
    try:
        yield
    except Exception as error:  # whatever wrong content makes of the code that it reaches
        ours = isinstance(error, ValueError | FileNotFoundError) and ";" in str(error)
        if ours or isinstance(error, Warning):  # a caller may have asked for warnings as errors
            raise
        raise ValueError(
            f"expected {str(path)!r} as it was written, got contents that cannot be read ({type(error).__name__}: "
            f"{error}); {advice}"
        ) from error


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A temporary name to write to, synced to disk and renamed into place: a file is whole or not there.

    The name is no other process's; what was written to it is removed if the writing fails.

    Raises
    ------
    OSError
        If it cannot be written: a full disk, a folder that is gone.
    """
    _sweep(path)
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        _sync(temporary, os.O_RDONLY)
        os.replace(temporary, path)
        if hasattr(os, "O_DIRECTORY"):  # the new name itself; elsewhere a folder cannot be opened
            _sync(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise _named(error, path) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a whole text file in UTF-8, whatever the encoding of the locale; errors as for `written`."""
    with written(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _sweep(path: Path) -> None:
    """Remove what processes that were killed while they wrote this file left behind."""
    for stray in path.parent.glob(f"{glob.escape(path.name)}.*-????????.tmp"):
        process = stray.name.removeprefix(f"{path.name}.").partition("-")[0]
        if TEMPORARY.fullmatch(stray.name) and process.isdecimal() and not _alive(int(process)):
            stray.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's, or not supported on this system
        return True
    return True


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _named(error: OSError, path: Path) -> OSError:
    """The error with the file and what to do; of the same class, with the same `errno`."""
    named = type(error)(
        f"expected to write {str(path)!r}, got {error.strerror or error}; free space on the disk, or see that its "
        "folder is there and can be written to, and run again"
    )
    named.errno = error.errno
    return named
