"""The lock of a run folder: one process writes to it at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["locked"]

_LOCK = ".lock"


@contextmanager
def locked(folder: Path, caller: str) -> Iterator[Callable[[], None]]:
    """A scope that holds a run folder, made if need be: no other process and no other thread writes to it.

    The lock is the operating system's, on the file ``.lock``: that of a killed process is free. The file stays.

    Yields
    ------
    Callable
        Checks that the folder is still the same one.

    Raises
    ------
    ValueError
        If another holds it, or if the lock is no regular file.
    OSError
        If it cannot be made or written to.
    """
    path = folder / _LOCK
    if os.path.lexists(path) and (path.is_symlink() or not path.is_file()):  # opening it could empty or hang
        raise ValueError(f"{caller} expects {str(path)!r} to be a file of its own, got a link or pipe; remove it")
    lock = FileLock(path, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise ValueError(
            f"{caller} expects a run folder that nobody else writes to, got {str(folder)!r}, which another process or "
            "thread is writing to; wait until it has ended, or choose another folder"
        ) from error
    except OSError as error:
        raise type(error)(
            f"{caller} expects a run folder that can be written to, got {str(folder)!r} ({error.strerror or error}); "
            "mend its permissions, free space on the disk, or choose another folder"
        ) from error
    try:
        mine = _identity(path)

        def same() -> None:
            if _identity(path) != mine:
                raise FileNotFoundError(
                    f"{caller} expects its run folder to stay, got {str(folder)!r} moved, deleted or replaced "
                    "meanwhile; leave it alone, and run again into another folder"
                )

        yield same
    finally:
        lock.release()


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and number of a file; `None` where there is none."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
