"""Store a training in a run folder while it lasts, and resume the one that is there."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ppl_vae.checksums import ADVICE
from ppl_vae.files import interpreted
from ppl_vae.modelled import Modelled
from ppl_vae.training.json_values import as_json
from ppl_vae.training.lock import locked
from ppl_vae.training.loop import Training
from ppl_vae.training.run_folder import RunFolder
from ppl_vae.training.settings import config_of
from ppl_vae.training.weights import check_finite, part_of, weights

__all__ = ["refuse_taken", "stored", "write_finished"]


# when a training stops and how often it is stored change no step of it, and nor do more epochs without a schedule
_FREE = ("fit.patience", "fit.checkpoint_every")
_ADDED = ("data[0].grey_levels", "data[1].grey_levels")  # which earlier versions did not note


@contextmanager
def stored(
    path: Path | None, training: Training, sources: Sequence[Any], callbacks: Sequence[Any], resume: bool
) -> Iterator[Callable[[], None]]:
    """A scope that holds the run folder of a training: a new one, or one that is resumed.

    Parameters
    ----------
    path
        The folder; nothing is stored if `None`.
    training
        What is stored; with `resume` it is brought to where the stored one stands.
    sources, callbacks
        Its data and callbacks, which are described in `config.json`.
    resume
        Whether the folder may hold a training.

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
    processes = training.processes
    if path is None:
        yield lambda: None
        return
    if not processes.first:  # the first one holds the folder, and says where the training stands
        said: Any = processes.of_first(None)
        if isinstance(said, Exception):
            raise said
        training.load_state_dict(said)
        yield lambda: None
        return
    with ExitStack() as scope:
        try:
            write = scope.enter_context(_held(path, training, sources, callbacks, resume))
        except Exception as error:
            processes.of_first(error)
            raise
        if processes.size > 1:
            processes.of_first(training.state_dict())
        yield write


@contextmanager
def _held(
    path: Path, training: Training, sources: Sequence[Any], callbacks: Sequence[Any], resume: bool
) -> Iterator[Callable[[], None]]:
    """`stored` in one process."""
    folder = RunFolder(path)
    config = config_of(training.program, training.plain_settings(), sources, callbacks)
    _refuse_without(resume, folder)  # before anything is written there
    with locked(path, "fit") as check_same:
        _refuse_without(resume, folder)

        def write() -> None:
            check_same()
            state = training.state_dict()
            plain = {name: value for name, value in state.items() if name not in ("tensors", "history", "best")}
            folder.write(as_json(plain), state["history"], state["tensors"], state["best"])

        if folder.exists():
            with interpreted(path, ADVICE):
                _restore(training, folder, config)
            folder.write_config(config)
        else:
            folder.write_config(config)
            write()
        yield write


def write_finished(
    path: Path, program: Modelled, config: Mapping[str, Any], history: Sequence[Mapping[str, float]]
) -> None:
    """Write a run folder of what is trained already: `load` reads it, and nothing is left to resume.

    Raises
    ------
    ValueError
        If the folder holds a training, or another process writes to it.
    """
    folder = RunFolder(path)
    with locked(path, "fit_prior"):
        refuse_taken(path)
        folder.write_config(config)
        folder.write({"epoch": len(history)}, history, {}, weights(program))


def refuse_taken(path: Path) -> None:
    """Refuse to write a prior fitted afterwards where a training is.

    Raises
    ------
    ValueError
        If the folder holds a training.
    """
    if RunFolder(path).exists():
        raise ValueError(
            f"fit_prior expects a run folder without a training, got {str(path)!r}, which holds one; choose another"
        )


def _refuse_without(resume: bool, folder: RunFolder) -> None:
    if not resume and folder.exists():
        raise ValueError(
            f"fit expects a run folder without a training, got {str(folder.path)!r}, which holds one; "
            "pass resume=True (--resume) to go on with it, or choose another folder"
        )


def _restore(training: Training, folder: RunFolder, config: Mapping[str, Any]) -> None:
    if reason := training.not_resumable():
        raise ValueError(f"an exact resume expects data whose order can be restored, but {reason}")
    folder.verify()
    _refuse_another(folder, config)
    state: dict[str, Any] = {
        **folder.read(),
        "tensors": folder.tensors("last"),
        "best": folder.tensors("best"),
        "history": folder.history(),
    }
    check_finite(training.program, part_of(state["tensors"], "weights"), folder.path)
    training.load_state_dict(state)


def _refuse_another(folder: RunFolder, now: Mapping[str, Any]) -> None:
    before = folder.config()
    older = "format" not in before
    other_python = _minor(before) != _minor(now)
    if other_python or older:
        why = "another Python compiles code to other instructions" if other_python else "it says nothing of that"
        warnings.warn(
            f"{str(folder.path)!r} was written by another version: whether the training is of the same "
            f"code is not checked, as {why}",
            stacklevel=5,
        )
    for part in ("recipe", "fit", "data", "program"):
        for name, old, new in _differences(before.get(part), now[part], part):
            if (
                name in _FREE
                or (name in _ADDED and old is None)
                or (name == "fit.epochs" and now["fit"]["schedule"] is None)
            ):
                continue
            if (older and type(old) is not type(new)) or (other_python and ", code " in f"{old}{new}"):
                continue
            raise ValueError(
                f"resume expects the training that the folder holds, got another {name}: {new!r}, not "
                f"{old!r}; call fit with what config.json says, or choose another folder"
            )
    if not older and before.get("callbacks") != now["callbacks"]:
        warnings.warn(
            f"resume goes on with other callbacks than {str(folder.path)!r} was trained with; what they "
            "change of a training is not what it would have been without an interruption",
            stacklevel=5,
        )


def _minor(config: Mapping[str, Any]) -> list[str]:
    version: str = config["versions"]["python"]
    return version.split(".")[:2]


def _differences(old: Any, new: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            yield from _differences(old.get(key), new.get(key), f"{name}.{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from _differences(a, b, f"{name}[{number}]")
    elif old != new:
        yield name, old, new
