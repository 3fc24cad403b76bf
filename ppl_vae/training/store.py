"""A training on disk: what it was called with, where it stands, and going on from there."""

from __future__ import annotations

import json
import math
import platform
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import FunctionType
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, IterableDataset

from ppl_vae.files import interpreted
from ppl_vae.isolation import gpus, isolated
from ppl_vae.split import Split
from ppl_vae.training.batches import split_of
from ppl_vae.training.checkpoint import ADVICE, Checkpoint, check_finite, load_weights, weights
from ppl_vae.training.fingerprint import code_of_program, of_loader, plain
from ppl_vae.training.folder import held
from ppl_vae.training.loop import Training
from ppl_vae.training.randomness import random_states, set_random_states
from ppl_vae.vae.vae import formula_of

__all__ = ["Store", "described", "refuse_taken", "settings_of", "write_finished"]


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
        self._same: Callable[[], None] = lambda: None

    @contextmanager
    def opened(self, resume: bool) -> Iterator[Callable[[], None]]:
        """The folder of a training begun, or gone on with, and held as long as it lasts.

        Yields
        ------
        Callable
            Writes the training as it stands.

        Raises
        ------
        FileNotFoundError
            If a file of the training it holds is gone, or the folder while it is held.
        ValueError
            If another process holds it; if it holds a training and `resume` is not set, or another one, or one whose
            data cannot be resumed exactly, or one whose files were changed.
        """
        folder = self.checkpoint.folder
        self._refuse_taken(resume)  # before anything is written there
        with held(folder, "fit") as self._same:
            self._refuse_taken(resume)
            if self.checkpoint.exists():
                with interpreted(folder, ADVICE):
                    self._restore()
                self.checkpoint.write_config(self.config)
            else:
                self.checkpoint.write_config(self.config)
                self.write()
            yield self.write

    def _refuse_taken(self, resume: bool) -> None:
        if not resume and self.checkpoint.exists():
            raise ValueError(
                f"fit expects a run folder without a training, got {str(self.checkpoint.folder)!r}, which holds one; "
                "pass resume=True (--resume) to go on with it, or choose another folder"
            )

    def write(self) -> None:
        """Write the training as it stands; called between epochs."""
        self._same()
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
        self.checkpoint.verify()
        self._refuse_another()
        stored, tensors = self.checkpoint.read(), self.checkpoint.tensors("last")
        check_finite(training.program, _part(tensors, "weights"), self.checkpoint.folder)
        load_weights(training.program, _part(tensors, "weights"))
        groups = _like(training.optim.get_state()["groups"], stored["optimizer"]["groups"])
        moments = {"tensors": _part(tensors, "optimizer"), "values": stored["optimizer"]["values"]}
        training.optim.set_state({**moments, "groups": groups})
        if training.schedule is not None:
            training.schedule.load_state_dict(_like(training.schedule.state_dict(), stored["schedule"]))
        training.best, training.best_is_new = self.checkpoint.tensors("best"), False
        for name in vars(state).keys() - {"program", "history"}:
            setattr(state, name, _like(getattr(state, name), stored[name]))
        state.history = self.checkpoint.history()
        loader = _part(tensors, "loader")
        training.train.set_state([loader[str(i)] for i in range(len(loader))])
        set_random_states(_part(tensors, "random"), stored["python_random"], gpus(training.program))

    def _refuse_another(self) -> None:
        stored, now = self.checkpoint.config(), self.config
        older = "format" not in stored
        other_python = _minor(stored) != _minor(now)
        if other_python or older:
            why = "another Python compiles code to other instructions" if other_python else "it says nothing of that"
            warnings.warn(
                f"{str(self.checkpoint.folder)!r} was written by another version: whether the training is of the same "
                f"code is not checked, as {why}",
                stacklevel=5,
            )
        for part in ("recipe", "fit", "data", "program"):
            for name, old, new in _differences(stored.get(part), now[part], part):
                if name in _FREE or (name == "fit.epochs" and self.training.schedule is None):
                    continue
                if (older and type(old) is not type(new)) or (other_python and ", code " in f"{old}{new}"):
                    continue
                raise ValueError(
                    f"resume expects the training that the folder holds, got another {name}: {new!r}, not "
                    f"{old!r}; call fit with what config.json says, or choose another folder"
                )
        if not older and stored.get("callbacks") != now["callbacks"]:
            warnings.warn(
                f"resume goes on with other callbacks than {str(self.checkpoint.folder)!r} was trained with; what they "
                "change of a training is not what it would have been without an interruption",
                stacklevel=5,
            )


def write_finished(
    folder: Path, program: nn.Module, config: Mapping[str, Any], history: Sequence[Mapping[str, float]]
) -> None:
    """A run folder of what is trained already: `load` reads it, and there is nothing to go on with.

    Raises
    ------
    ValueError
        If the folder holds a training, or another process writes to it.
    """
    checkpoint = Checkpoint(folder)
    with held(folder, "fit_prior"):
        refuse_taken(folder)
        checkpoint.write_config(config)
        checkpoint.write({"epoch": len(history)}, history, {}, weights(program))


def refuse_taken(folder: Path) -> None:
    """Refuse to write a prior fitted afterwards where a training is.

    Raises
    ------
    ValueError
        If the folder holds a training.
    """
    if Checkpoint(folder).exists():
        raise ValueError(
            f"fit_prior expects a run folder without a training, got {str(folder)!r}, which holds one; choose another"
        )


def settings_of(settings: Mapping[str, Any], optimizer: Optimizer, schedule: LRScheduler | None) -> dict[str, Any]:
    """What a training steps by, as values and descriptions."""
    groups = [{k: len(v) if k == "params" else plain(v) for k, v in g.items()} for g in optimizer.param_groups]
    kept = {k: re.sub(r" at 0x[0-9a-f]+", "", repr(v)) for k, v in optimizer.defaults.items()}
    return {
        **{name: plain(v) for name, v in settings.items()},
        "optimizer": {"class": plain(type(optimizer)), **kept},
        "schedule": schedule and _schedule(schedule),
        "groups": groups,
    }


def _schedule(schedule: LRScheduler) -> dict[str, Any]:
    """Its state, and the functions it goes by, which are no part of that."""
    functions = [f for v in vars(schedule).values() for f in (v if isinstance(v, list) else [v]) if callable(f)]
    within = getattr(schedule, "_schedulers", [])
    return {
        "class": plain(type(schedule)),
        **_plain(schedule.state_dict()),
        "functions": [plain(f) for f in functions],
        "within": [_schedule(s) for s in within],
    }


def described(
    program: nn.Module, settings: Mapping[str, Any], sources: Sequence[Any], callbacks: Sequence[Any] = ()
) -> dict[str, Any]:
    """What a training was called with, of which data and code, with which versions; plain values, ready for JSON."""
    packages = ("ppl_vae", "torch", "pyro-ppl", "arviz", "numpy")
    with isolated(program, 0):  # items of a data set may be random
        data = [_data(source) for source in sources if source is not None]
    config = {
        "format": 2,
        "recipe": getattr(program, "recipe", None),
        "formula": formula_of(program).splitlines(),
        "fit": dict(settings),
        "data": data,
        "program": code_of_program(program),
        "callbacks": [plain(c if isinstance(c, FunctionType) else type(c)) for c in callbacks],
        "versions": {"python": platform.python_version(), **{p: version(p) for p in packages}},
    }
    return json.loads(json.dumps(config))


def _minor(config: Mapping[str, Any]) -> list[str]:
    return config["versions"]["python"].split(".")[:2]


def _data(source: Any) -> dict[str, Any] | None:
    split = split_of(source)
    if split is None:
        known = isinstance(source, DataLoader) and not isinstance(source.dataset, IterableDataset)
        return of_loader(source) if known else None
    return {
        **split.provenance,
        "checksum": split.checksum,
        "context": [Split(c, split.index).checksum for c in split.context],
        "pending": re.sub(r" at 0x[0-9a-f]+", "", repr(split.pending)),
    }


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
    """Stored values with the types of fresh ones: JSON makes text of number keys, and lists of tuples.

    Raises
    ------
    TypeError
        For text, numbers and truth values in each other's place.
    ValueError
        For a number that is not finite in the place of one that is.
    """
    if isinstance(fresh, dict):
        keys = {str(key): key for key in fresh}
        return type(fresh)({keys.get(key, key): _like(fresh.get(keys.get(key)), v) for key, v in stored.items()})
    if isinstance(fresh, list | tuple) and len(fresh) == len(stored):
        return type(fresh)(map(_like, fresh, stored))
    kind: Any = next(
        (k for k in (str, bool, (int, float)) if isinstance(fresh, k)), object
    )  # bool first: True is an int
    number = kind == (int, float)
    if not isinstance(stored, kind) or (number and isinstance(stored, bool)):
        raise TypeError(f"{stored!r} in the place of {fresh!r}")
    if number and math.isfinite(fresh) and not math.isfinite(float(stored)):
        raise ValueError(f"{stored!r} in the place of {fresh!r}")
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
