"""State on disk: safetensors and JSON, written so that a kill at any moment leaves a whole checkpoint.

Nothing here can execute code when it is read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

__all__ = ["Checkpoint", "load_weights", "read_json", "weights", "write_json"]


class Checkpoint:
    """The last and the best state of a training, in a folder.

    `checkpoint.json` names the tensor files it belongs to, and renaming it into place is what commits them: tensors
    written before a kill and never named are ignored, and swept up by the next write.

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

    def write(self, state: Mapping[str, Any], last: Mapping[str, Tensor], best: Mapping[str, Tensor] | None) -> None:
        """Write the plain state, the tensors of the last epoch and, where they changed, the best weights."""
        epoch = state["epoch"]
        files = dict(self.read()["files"]) if self.exists() else {}
        files["last"] = f"last-{epoch:06d}.safetensors"
        _write_tensors(self.folder / files["last"], last)
        if best is not None:
            files["best"] = f"best-{epoch:06d}.safetensors"
            _write_tensors(self.folder / files["best"], best)
        write_json(self.folder / "checkpoint.json", {**state, "files": files})
        for stray in self.folder.glob("*.safetensors*"):
            if stray.name not in files.values():
                stray.unlink()

    def read(self) -> dict[str, Any]:
        """The plain state."""
        return read_json(self.folder / "checkpoint.json")

    def tensors(self, which: str) -> dict[str, Tensor]:
        """The tensors of the ``"last"`` epoch, or the ``"best"`` weights."""
        name = self.read()["files"][which]
        if Path(name).name != name:
            raise ValueError(f"a checkpoint expects files of its own folder, got {name!r}; it was tampered with")
        return safetensors.torch.load_file(self.folder / name)


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
        If names or shapes differ.
    """
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    expected = {name: tuple(t.shape) for name, t in weights(module).items()}
    came = {name: tuple(t.shape) for name, t in stored.items()}
    if expected != came:
        different = sorted(set(expected.items()) ^ set(came.items()))[:4]
        raise ValueError(
            f"the weights expect the model they were stored from, got one that differs in {different}; "
            "build it with the same arguments"
        )
    with torch.no_grad():
        for name, tensor in stored.items():
            own[name].copy_(tensor)


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    with _renamed(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1))


def read_json(path: Path) -> Any:
    """Read JSON."""
    return json.loads(path.read_text())


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    with _renamed(path) as temporary:
        safetensors.torch.save_file(dict(tensors), temporary)


class _renamed:  # noqa: N801, a context manager used as a function
    """A temporary name to write to, synced to disk and renamed into place."""

    def __init__(self, path: Path) -> None:
        self.path, self.temporary = path, path.with_name(path.name + ".tmp")

    def __enter__(self) -> Path:
        return self.temporary

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            with open(self.temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(self.temporary, self.path)
