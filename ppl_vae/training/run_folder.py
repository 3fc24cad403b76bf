"""A run folder: where it is, and the checkpoint in it, which a kill at any moment leaves whole.

Tensors are safetensors files, the rest is JSON: nothing that is read can execute code.
"""

from __future__ import annotations

import json
import math
import operator
import os
import re
import stat
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from ppl_vae.checksums import ADVICE, check, digest, file_digest, sealed, unsealed
from ppl_vae.files import TEMPORARY, parsed, read_bytes, regular, write_text, written

__all__ = ["RunFolder", "folder_path"]

_FILE = re.compile(r"(last|best)-\d{6,}\.safetensors")
_OWN = re.compile(r"((config|checkpoint)\.json|history\.jsonl|(last|best)-\d{6,}\.safetensors)\b.*")


def folder_path(run: str | os.PathLike[str], caller: str) -> Path:
    """The absolute path of a run folder, which stays the same when the current folder changes.

    Raises
    ------
    ValueError
        For an empty path, for a path that the system does not take, and for one that leads to a file.
    """
    path = Path(run)
    if path == Path(""):
        raise ValueError(
            f"{caller} expects a run folder of its own, got {str(run)!r}, the current folder; name a folder in it"
        )
    path = path.expanduser().absolute()
    try:
        other = not stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        return path
    except (OSError, ValueError) as error:  # too long, below a file, or with a null character
        raise ValueError(f"{caller} expects the path of a run folder, got {run!r} ({error}); correct it") from error
    if other:
        raise ValueError(f"{caller} expects a run folder, got {str(path)!r}, which is a file; name another folder")
    return path


class RunFolder:
    """The last and the best state of a training, in a folder.

    `checkpoint.json` names the tensor files of the checkpoint, and renaming it into place commits them: tensors and
    rows of `history.jsonl` that were written before a kill, and are not named, are ignored and removed by the next
    write. It holds the SHA-256 of these files, of `config.json`, and its own. Folders of earlier versions have no
    checksums, and are read with a warning.

    Parameters
    ----------
    path
        Where it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sums: dict[str, list[str]] | None = None  # of the files as they were written, or committed before

    def exists(self) -> bool:
        """Whether it holds a checkpoint."""
        return os.path.lexists(self.path / "checkpoint.json")

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write what the training is called with.

        In the place of another one it is committed in two steps, so that a kill between them leaves a folder whose
        checksums are right: the checkpoint allows both, then the file is renamed into place.
        """
        text = json.dumps(config, indent=1)
        sums, new = self._known(), digest(text.encode())
        sums["config.json"] = [*sums.get("config.json", [])[-1:], new]
        if self.exists():
            stored, has_sums = self._stored()
            if has_sums:
                self._commit({**stored, "checksums": sums})
        write_text(self.path / "config.json", text)
        sums["config.json"] = [new]

    def write(
        self,
        state: Mapping[str, Any],
        history: Sequence[Mapping[str, float]],
        last: Mapping[str, Tensor],
        best: Mapping[str, Tensor],
    ) -> None:
        """Write plain state, a row an epoch, the last tensors, and the best weights if there is another best epoch."""
        epoch, sums = state["epoch"], self._known()
        before = self.read() if self.exists() else {}
        files = self._files() if before else {}
        files["last"] = f"last-{epoch:06d}.safetensors"
        self._write_tensors(files["last"], last)
        if "best" not in files or state["best_epoch"] != before["best_epoch"]:
            files["best"] = f"best-{epoch:06d}.safetensors"
            self._write_tensors(files["best"], best)
        rows = [_line(row) for row in history]
        write_text(self.path / "history.jsonl", "".join(rows))
        sums["history.jsonl"] = [digest("".join(rows[:epoch]).encode())]
        for name in {*files.values(), "config.json"} - sums.keys():  # a folder of an earlier version
            if (self.path / name).is_file():
                sums[name] = [file_digest(self.path / name)]
        kept = {"config.json", "history.jsonl", *files.values()}
        self._commit({**state, "files": files, "checksums": {n: s for n, s in sums.items() if n in kept}})
        for stray in self.path.iterdir():
            left = TEMPORARY.fullmatch(stray.name) and _OWN.fullmatch(stray.name)
            if left or (_FILE.fullmatch(stray.name) and stray.name not in files.values()):
                stray.unlink()

    def read(self) -> dict[str, Any]:
        """The plain state, and the names of the tensor files it belongs to."""
        return {name: value for name, value in self._stored()[0].items() if name != "checksums"}

    def config(self) -> dict[str, Any]:
        """What the training was called with."""
        path = self._checked("config.json")
        found = parsed(read_bytes(path), path, ADVICE)
        if not isinstance(found, dict):
            raise ValueError(f"expected names and values in {str(path)!r}, got {type(found).__name__}; {ADVICE}")
        return found

    def history(self) -> list[dict[str, float]]:
        """One row an epoch up to that of the checkpoint; a kill may leave one row more in the file."""
        path, (stored, has_sums) = self._there("history.jsonl"), self._stored()
        lines = read_bytes(path).splitlines(keepends=True)[: operator.index(stored["epoch"])]
        if has_sums:
            check(path, stored["checksums"][path.name], ADVICE, b"".join(lines))
        rows = [parsed(line, path, ADVICE) for line in lines]
        return [{k: math.nan if v is None else v for k, v in row.items()} for row in rows]

    def tensors(self, which: str) -> dict[str, Tensor]:
        """The tensors of the ``"last"`` epoch, or the ``"best"`` weights.

        Raises
        ------
        FileNotFoundError
            If the file is gone.
        ValueError
            If the folder names a file of another folder, one that was changed, or one that is no safetensors file.
        """
        name = self._files()[which]
        path = self._checked(name)
        try:
            tensors: dict[str, Tensor] = safetensors.torch.load_file(path)
            return tensors
        except Exception as error:  # a SafetensorError, or whatever wrong headers lead to
            raise ValueError(
                f"a checkpoint expects {str(path)!r} to be a safetensors file, got something else ({error}); {ADVICE}"
            ) from error

    def _commit(self, content: dict[str, Any]) -> None:
        write_text(self.path / "checkpoint.json", sealed(content))

    def _write_tensors(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        with written(self.path / name) as temporary:
            try:
                safetensors.torch.save_file(dict(tensors), temporary)
            except SafetensorError as error:  # in which it wraps those of the system: a full disk
                raise OSError(str(error)) from error
            self._known()[name] = [file_digest(temporary)]

    def _known(self) -> dict[str, list[str]]:
        if self._sums is None:
            self._sums = dict(self._stored()[0].get("checksums", {})) if self.exists() else {}
        return self._sums

    def _stored(self) -> tuple[dict[str, Any], bool]:
        """The content of `checkpoint.json`, and whether it has checksums."""
        return unsealed(self._there("checkpoint.json"), ADVICE)

    def _checked(self, name: str) -> Path:
        path, (stored, has_sums) = self._there(name), self._stored()
        if has_sums:
            check(path, stored["checksums"][name], ADVICE)
        return path

    def _files(self) -> dict[str, str]:
        files = dict(self.read()["files"])
        if strange := [name for name in files.values() if not (isinstance(name, str) and _FILE.fullmatch(name))]:
            raise ValueError(
                f"a checkpoint expects files of its own folder, got {strange[0]!r}; it was tampered with: train again"
            )
        return files

    def _there(self, name: str) -> Path:
        path = self.path / name
        if not os.path.lexists(path):
            raise FileNotFoundError(
                f"a run folder expects a {name}, got {str(self.path)!r} without one; copy the whole folder that "
                "fit wrote, or train again into another"
            )
        return regular(path)

    def verify(self) -> None:
        """Check that every file of the checkpoint is what was written.

        Raises
        ------
        FileNotFoundError
            If one of them is gone.
        ValueError
            If one was changed.
        """
        for name in ("config.json", *self._files().values()):
            self._checked(name)
        self.history()
        if not self._stored()[1]:
            warnings.warn(
                f"{str(self.path)!r} was written by a version of ppl_vae that kept no checksums: whether its files "
                "are as they were written is not known. A training that goes on there adds them",
                stacklevel=3,
            )


def _line(row: Mapping[str, float]) -> str:
    """A row as strict JSON, which has no NaN; Python's repr of a float gives the same float back."""
    return json.dumps({k: v if math.isfinite(v) else None for k, v in row.items()}, allow_nan=False) + "\n"
