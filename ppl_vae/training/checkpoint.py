"""State on disk: safetensors and JSON, written so that a kill at any moment leaves a whole checkpoint.

Nothing here can execute code when it is read.
"""

from __future__ import annotations

import json
import math
import operator
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ppl_vae.checksums import check, digest, file_digest, sealed, unsealed
from ppl_vae.files import TEMPORARY, parsed, read_bytes, regular, written

__all__ = ["ADVICE", "Checkpoint", "check_finite", "load_weights", "weights"]

ADVICE = "it was damaged or tampered with: copy the run folder again from where it is whole, or train again"

_FILE = re.compile(r"(last|best)-\d{6,}\.safetensors")
_OWN = re.compile(r"((config|checkpoint)\.json|history\.jsonl|(last|best)-\d{6,}\.safetensors)\b.*")


class Checkpoint:
    """The last and the best state of a training, in a folder.

    `checkpoint.json` names the tensor files it belongs to, and renaming it into place is what commits them:
    tensors written before a kill and never named are ignored, and swept up by the next write; so is a row of
    `history.jsonl`. It holds the SHA-256 of these files and of `config.json`, and its own: whatever is read is what was
    written. Folders of earlier versions have no checksums, and are read with a warning.

    Parameters
    ----------
    folder
        The run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sums: dict[str, list[str]] | None = None  # of the files as they were written, or committed before

    def exists(self) -> bool:
        """Whether there is a state to go on from."""
        return os.path.lexists(self.folder / "checkpoint.json")

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
        with written(self.folder / "config.json") as temporary:
            temporary.write_text(text)
        sums["config.json"] = [new]

    def write(
        self,
        state: Mapping[str, Any],
        history: Sequence[Mapping[str, float]],
        last: Mapping[str, Tensor],
        best: Mapping[str, Tensor] | None,
    ) -> None:
        """Write plain state, a row an epoch, the last tensors, and the best weights if they changed."""
        epoch, sums = state["epoch"], self._known()
        files = self._files() if self.exists() else {}
        files["last"] = f"last-{epoch:06d}.safetensors"
        self._write_tensors(files["last"], last)
        if best is not None:
            files["best"] = f"best-{epoch:06d}.safetensors"
            self._write_tensors(files["best"], best)
        rows = [_line(row) for row in history]
        with written(self.folder / "history.jsonl") as temporary:
            temporary.write_text("".join(rows))
        sums["history.jsonl"] = [digest("".join(rows[:epoch]).encode())]
        for name in {*files.values(), "config.json"} - sums.keys():  # a folder of an earlier version
            if (self.folder / name).is_file():
                sums[name] = [file_digest(self.folder / name)]
        kept = {"config.json", "history.jsonl", *files.values()}
        self._commit({**state, "files": files, "checksums": {n: s for n, s in sums.items() if n in kept}})
        for stray in self.folder.iterdir():
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
        """One row an epoch, as far as the checkpoint has come; a kill may leave a row more in the file."""
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
            return safetensors.torch.load_file(path)
        except Exception as error:  # a SafetensorError, or whatever wrong headers lead to
            raise ValueError(
                f"a checkpoint expects {str(path)!r} to be a safetensors file, got something else ({error}); {ADVICE}"
            ) from error

    def _commit(self, content: dict[str, Any]) -> None:
        with written(self.folder / "checkpoint.json") as temporary:
            temporary.write_text(sealed(content))

    def _write_tensors(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        with written(self.folder / name) as temporary:
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
        path = self.folder / name
        if not os.path.lexists(path):
            raise FileNotFoundError(
                f"a run folder expects a {name}, got {str(self.folder)!r} without one; copy the whole folder that "
                "fit wrote, or train again into another"
            )
        return regular(path)

    def verify(self) -> None:
        """See that every file of the checkpoint is what was written.

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
                f"{str(self.folder)!r} was written by a version of ppl_vae that kept no checksums: whether its files "
                "are as they were written is not known. A training that goes on there adds them",
                stacklevel=3,
            )


def weights(module: nn.Module) -> dict[str, Tensor]:
    """Copies of all parameters and stored buffers, shared ones once, on the CPU."""
    buffers = {
        f"{prefix}{'.' if prefix else ''}{name}"
        for prefix, child in module.named_modules()
        for name in child._non_persistent_buffers_set
    }
    named = [*module.named_parameters(), *((n, b) for n, b in module.named_buffers() if n not in buffers)]
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in named}


def load_weights(module: nn.Module, stored: Mapping[str, Tensor]) -> None:
    """Copy stored weights into a module of the same structure.

    Raises
    ------
    ValueError
        If names, shapes or precisions differ.
    """
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    expected = {(name, tuple(t.shape), str(t.dtype)) for name, t in weights(module).items()}
    came = {(name, tuple(t.shape), str(t.dtype)) for name, t in stored.items()}
    if expected != came:
        different = sorted(expected ^ came)[:4]
        raise ValueError(
            f"the weights expect the model they were stored from, got one that differs in {different}; "
            "build it with the same arguments, and call a Program once on some data, which makes its "
            "parameters"
        )
    with torch.no_grad():
        for name, tensor in stored.items():
            own[name].copy_(tensor)


def check_finite(module: nn.Module, stored: Mapping[str, Tensor], folder: Path) -> None:
    """Refuse stored weights that no training leaves behind: `fit` stops before a parameter is NaN or infinite.

    A buffer may be infinite, as masks are.

    Raises
    ------
    ValueError
        For a trainable parameter that is not finite, and for a buffer with NaN.
    """
    trained = {name for name, p in module.named_parameters() if p.requires_grad}
    for name, tensor in stored.items():
        bad = ~tensor.isfinite() if name in trained else tensor.isnan()
        if bad.any():
            raise ValueError(
                f"a checkpoint expects finite weights, got {int(bad.sum())} of {bad.numel()} that are not in {name!r} "
                f"of {str(folder)!r}; {ADVICE}"
            )


def _line(row: Mapping[str, float]) -> str:
    """A row as strict JSON, which has no NaN; Python's repr of a float gives the same float back."""
    return json.dumps({k: v if math.isfinite(v) else None for k, v in row.items()}, allow_nan=False) + "\n"
