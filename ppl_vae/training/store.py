"""A training on disk: what it was called with, where it stands, and going on from there."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ppl_vae.isolation import gpus
from ppl_vae.split import Split
from ppl_vae.training.batches import split_of
from ppl_vae.training.checkpoint import Checkpoint, load_weights, weights, write_json
from ppl_vae.training.loop import Training
from ppl_vae.training.randomness import random_states, set_random_states

__all__ = ["Store", "described", "settings_of", "write_finished"]


# when a training stops and how often it is stored change no step of it, and nor do more epochs without a schedule
_FREE = ("fit.patience", "fit.checkpoint_every")


class Store:
    """The run folder of a training.

    Parameters
    ----------
    folder
        Where it lies.
    training
        What is stored.
    config
        What it was called with; see `described`.
    """

    def __init__(self, folder: Path, training: Training, config: Mapping[str, Any]) -> None:
        self.checkpoint, self.training, self.config = Checkpoint(folder), training, config

    def open(self, resume: bool) -> None:
        """Begin the folder, or go on with the training it holds.

        Raises
        ------
        ValueError
            If it holds one and `resume` is not set, or another one, or one whose data cannot be resumed
            exactly.
        """
        folder = self.checkpoint.folder
        if self.checkpoint.exists():
            if not resume:
                raise ValueError(
                    f"fit expects a run folder without a training, got {str(folder)!r}, which holds one; "
                    "pass resume=True (--resume) to go on with it, or choose another folder"
                )
            self._restore()
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "config.json", self.config)
        if not self.checkpoint.exists():
            self.write()

    def write(self) -> None:
        """Write the training as it stands; called between epochs."""
        training = self.training
        state, optim = training.state, training.optim.get_state()
        random, python_random = random_states(gpus(training.program))
        plain = {
            **{k: v for k, v in vars(state).items() if k not in ("program", "history")},
            "optimizer": {"values": optim["values"], "groups": optim["groups"]},
            "schedule": None if training.schedule is None else training.schedule.state_dict(),
            "python_random": python_random,
        }
        last = {
            **_named("weights", weights(training.program)),
            **_named("optimizer", {n: t.detach().cpu().contiguous() for n, t in optim["tensors"].items()}),
            **_named("random", random),
            **_named("loader", {str(i): s for i, s in enumerate(training.train.state())}),
        }
        best = training.best if training.best_is_new else None
        self.checkpoint.write(_plain(plain), state.history, last, best)
        training.best_is_new = False

    def _restore(self) -> None:
        training, state = self.training, self.training.state
        for data in (training.train, training.validation):
            reason = None if data is None else data.not_resumable()
            if reason is not None:
                raise ValueError(f"an exact resume expects data it can go on with, but {reason}")
        self._refuse_another()
        stored, tensors = self.checkpoint.read(), self.checkpoint.tensors("last")
        load_weights(training.program, _part(tensors, "weights"))
        training.optim.set_state({"tensors": _part(tensors, "optimizer"), **stored["optimizer"]})
        if training.schedule is not None:
            training.schedule.load_state_dict(_like(training.schedule.state_dict(), stored["schedule"]))
        training.best, training.best_is_new = self.checkpoint.tensors("best"), False
        for name in vars(state).keys() - {"program", "history"}:
            setattr(state, name, stored[name])
        state.history = self.checkpoint.history()
        loader = _part(tensors, "loader")
        training.train.set_state([loader[str(i)] for i in range(len(loader))])
        set_random_states(_part(tensors, "random"), stored["python_random"], gpus(training.program))

    def _refuse_another(self) -> None:
        stored, now = self.checkpoint.config(), self.config
        for part in ("recipe", "fit", "data"):
            for name, old, new in _differences(stored[part], now[part], part):
                if name in _FREE or (name == "fit.epochs" and self.training.schedule is None):
                    continue
                raise ValueError(
                    f"resume expects the training that the folder holds, got another {name}: {new!r}, not "
                    f"{old!r}; call fit with what config.json says, or choose another folder"
                )


def write_finished(
    folder: Path, program: nn.Module, config: Mapping[str, Any], history: Sequence[Mapping[str, float]]
) -> None:
    """A run folder of what is trained already: `load` reads it, and there is nothing to go on with."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config)
    Checkpoint(folder).write({"epoch": len(history)}, history, {}, weights(program))


def settings_of(settings: Mapping[str, Any], optimizer: Optimizer, schedule: LRScheduler | None) -> dict[str, Any]:
    """What a training steps by, as values and descriptions."""
    return {
        **{name: v if isinstance(v, int | float | str | None) else _text(v) for name, v in settings.items()},
        "optimizer": {"class": type(optimizer).__name__, **{k: _text(v) for k, v in optimizer.defaults.items()}},
        "schedule": schedule and {"class": type(schedule).__name__, **_plain(schedule.state_dict())},
    }


def described(program: nn.Module, settings: Mapping[str, Any], sources: Sequence[Any]) -> dict[str, Any]:
    """What a training was called with, of which data, with which versions; plain values, ready for JSON."""
    splits = [split_of(source) for source in sources if source is not None]
    packages = ("ppl_vae", "torch", "pyro-ppl", "arviz", "numpy")
    config = {
        "recipe": getattr(program, "recipe", None),
        "formula": repr(program).splitlines()[:2],
        "fit": dict(settings),
        "data": [None if split is None else _data(split) for split in splits],
        "versions": {"python": platform.python_version(), **{p: version(p) for p in packages}},
    }
    return json.loads(json.dumps(config))


def _data(split: Split) -> dict[str, Any]:
    return {
        **split.provenance,
        "checksum": split.checksum,
        "context": [Split(c, split.index).checksum for c in split.context],
        "pending": _text(split.pending),
    }


def _text(value: Any) -> str:
    """A description that is the same in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    """As JSON will give it back.

    Raises
    ------
    TypeError
        If an optimizer or schedule has settings that JSON cannot hold.
    """
    try:
        return json.loads(json.dumps(state))
    except TypeError as error:
        raise TypeError(
            f"a stored training expects an optimizer and a schedule of plain numbers, got others ({error}); "
            "give numbers instead of tensors or functions, or train without run="
        ) from error


def _like(fresh: Any, stored: Any) -> Any:
    """Stored values with the types of fresh ones: JSON makes text of number keys, and lists of tuples."""
    if isinstance(fresh, dict):
        keys = {str(key): key for key in fresh}
        return type(fresh)({keys.get(key, key): _like(fresh.get(keys.get(key)), v) for key, v in stored.items()})
    if isinstance(fresh, list | tuple) and len(fresh) == len(stored):
        return type(fresh)(map(_like, fresh, stored))
    return stored


def _differences(old: Any, new: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            yield from _differences(old.get(key), new.get(key), f"{name}.{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from _differences(a, b, f"{name}[{number}]")
    elif old != new:
        yield name, old, new


def _named(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{part}|{name}": tensor for name, tensor in tensors.items()}


def _part(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{part}|"): t for name, t in tensors.items() if name.startswith(f"{part}|")}
