"""The progress of a training, which callbacks are given."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from ppl_vae.arguments import checked
from ppl_vae.modelled import Modelled

__all__ = ["Callback", "EpochEnd", "State", "says_stop"]


@checked
@dataclass
class State:
    """The progress of a training at the end of an epoch, which callbacks are given.

    Attributes
    ----------
    epoch
        Epochs done.
    step
        Batches done.
    history
        One dict an epoch, the newest last.
    best_epoch, best_elbo
        The epoch with the best ELBO so far, on validation data; the latest epoch where there are none. And
        its value.
    waited
        Epochs without a better one, since the warm-up.
    stopped
        What ended the training: ``"epochs"``, ``"patience"`` or ``"callback"``; empty while it goes on.
    program
        What is being trained.
    describe
        Gives the `settings`.
    """

    epoch: int = 0
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_elbo: float = -math.inf
    waited: int = 0
    stopped: str = ""
    program: Modelled = None  # type: ignore[assignment]  # one made by hand has none
    describe: Callable[[], dict[str, Any]] = field(default=dict, repr=False, compare=False)

    @property
    def settings(self) -> dict[str, Any]:
        """What `fit` was called with, as plain values: epochs, objective, optimizer, seed and so on."""
        return self.describe()

    def progress(self) -> dict[str, Any]:
        """Where it stands, without the history: plain values."""
        return {name: value for name, value in vars(self).items() if name not in ("history", "program", "describe")}


Callback = Callable[[State], bool | None]


@runtime_checkable
class EpochEnd(Protocol):
    """A callback that is an object with state of its own, instead of a function."""

    def on_epoch_end(self, state: State) -> bool | None:
        """Called at the end of every epoch; a true answer stops the training."""
        ...


def says_stop(callback: Callback | EpochEnd, state: State) -> bool:
    """Call a callback, and give whether its answer stops the training.

    Raises
    ------
    TypeError
        For an answer that is neither true nor false.
    """
    answer = callback.on_epoch_end(state) if isinstance(callback, EpochEnd) else callback(state)
    try:
        return bool(answer)
    except (TypeError, ValueError, RuntimeError) as error:
        name = getattr(callback, "__name__", type(callback).__name__)
        raise TypeError(
            f"fit expects a callback to return True to stop the training, False or None to go on, got "
            f"{type(answer).__name__} from {name} ({error}); return None"
        ) from error
