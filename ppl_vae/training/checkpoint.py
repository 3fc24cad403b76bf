"""State on disk: safetensors and JSON, written so that a kill at any moment leaves a whole checkpoint.

Nothing here can execute code when it is read.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

__all__ = ["Checkpoint", "load_weights", "read_json", "renamed", "weights", "write_json"]

_FILE = re.compile(r"(last|best)-\d{6,}\.safetensors")


class Checkpoint:
    """The last and the best state of a training, in a folder.

    `checkpoint.json` names the tensor files it belongs to, and renaming it into place is what commits them:
    tensors written before a kill and never named are ignored, and swept up by the next write; so is a row of
    `history.jsonl`.

    Parameters
    ----------
    folder
        The run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def exists(self) -> bool:
        """Whether there is a state to go on from."""
        return (self.folder / "checkpoint.json").exists()

    def write(
        self,
        state: Mapping[str, Any],
        history: Sequence[Mapping[str, float]],
        last: Mapping[str, Tensor],
        best: Mapping[str, Tensor] | None,
    ) -> None:
        """Write plain state, a row an epoch, the last tensors, and the best weights if they changed."""
        epoch = state["epoch"]
        files = self._files() if self.exists() else {}
        files["last"] = f"last-{epoch:06d}.safetensors"
        _write_tensors(self.folder / files["last"], last)
        if best is not None:
            files["best"] = f"best-{epoch:06d}.safetensors"
            _write_tensors(self.folder / files["best"], best)
        with renamed(self.folder / "history.jsonl") as temporary:
            temporary.write_text("".join(_line(row) for row in history))
        write_json(self.folder / "checkpoint.json", {**state, "files": files})
        for stray in self.folder.glob("*.safetensors*"):
            if _FILE.match(stray.name) and stray.name not in files.values():
                stray.unlink()

    def read(self) -> dict[str, Any]:
        """The plain state."""
        return read_json(self.folder / "checkpoint.json")

    def config(self) -> dict[str, Any]:
        """What the training was called with."""
        return read_json(self.folder / "config.json")

    def history(self) -> list[dict[str, float]]:
        """One row an epoch, as far as the checkpoint has come; a kill may leave a row more in the file."""
        lines = _there(self.folder / "history.jsonl").read_text().splitlines()
        rows = [{k: math.nan if v is None else v for k, v in json.loads(line).items()} for line in lines]
        return rows[: self.read()["epoch"]]

    def tensors(self, which: str) -> dict[str, Tensor]:
        """The tensors of the ``"last"`` epoch, or the ``"best"`` weights.

        Raises
        ------
        FileNotFoundError
            If the file is gone.
        ValueError
            If the folder names a file of another folder, or one that is no safetensors file.
        """
        name = self._files()[which]
        try:
            return safetensors.torch.load_file(_there(self.folder / name))
        except SafetensorError as error:
            raise ValueError(
                f"a checkpoint expects {name} to be a safetensors file, got something else ({error}); it was "
                "damaged or tampered with: train again"
            ) from error

    def _files(self) -> dict[str, str]:
        files = dict(self.read()["files"])
        if strange := [name for name in files.values() if not (isinstance(name, str) and _FILE.fullmatch(name))]:
            raise ValueError(
                f"a checkpoint expects files of its own folder, got {strange[0]!r}; it was tampered with: train again"
            )
        return files


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


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    with renamed(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1))


def read_json(path: Path) -> Any:
    """Read JSON of a run folder.

    Raises
    ------
    FileNotFoundError
        If it is not there.
    """
    return json.loads(_there(path).read_text())


@contextmanager
def renamed(path: Path) -> Iterator[Path]:
    """A temporary name to write to, synced to disk and renamed into place: a file is whole or not there."""
    temporary = path.with_name(path.name + ".tmp")
    yield temporary
    with open(temporary, "rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _there(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(
            f"a run folder expects a {path.name}, got {str(path.parent)!r} without one; copy the whole folder that "
            "fit wrote, or train again into another"
        )
    return path


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    with renamed(path) as temporary:
        safetensors.torch.save_file(dict(tensors), temporary)


def _line(row: Mapping[str, float]) -> str:
    """A row as strict JSON, which has no NaN; Python's repr of a float gives the same float back."""
    return json.dumps({k: v if math.isfinite(v) else None for k, v in row.items()}, allow_nan=False) + "\n"
