"""The base of the callbacks that write a training elsewhere."""

from __future__ import annotations

import abc
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ppl_vae.arguments import Count, checked
from ppl_vae.isolation import evaluating
from ppl_vae.split import Split
from ppl_vae.training import State
from ppl_vae.training.processes import Processes
from ppl_vae.vae import VAE
from ppl_vae.vae.formula import formula_of

__all__ = ["Logger", "as_folder", "flat"]


@checked
class Logger(abc.ABC):
    """Writes settings, the numbers of every epoch, figures, and results, by four methods of a subclass.

    Give it to `fit(callbacks=[...])`. Of several processes the first one writes. A training that is resumed writes the
    epochs before it, too. Nothing is written before the first epoch has ended.

    Parameters
    ----------
    figures
        Pictures of which the first eight are drawn with their reconstructions; none by default. Of other data and
        programs nothing is drawn.
    every
        Epochs between two figures.
    """

    def __init__(self, *, figures: Split | None = None, every: Count = 10) -> None:
        self.figures, self.every = figures, every
        self.epoch = 0

    @abc.abstractmethod
    def settings(self, values: Mapping[str, Any]) -> None:
        """Write the settings, once: plain values, nested."""

    @abc.abstractmethod
    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        """Write numbers of an epoch, in nats per datum in the units of x where they are log densities."""

    @abc.abstractmethod
    def figure(self, name: str, figure: Any, epoch: int) -> None:
        """Write a figure of matplotlib."""

    @abc.abstractmethod
    def text(self, name: str, text: str) -> None:
        """Write a text."""

    def close(self) -> None:  # noqa: B027, most have nothing to close
        """End the record; call it after the last result."""

    def on_epoch_end(self, state: State) -> None:
        """Write what is new since the last call."""
        if not Processes().first:
            return
        if self.epoch == 0:
            recipe = getattr(state.program, "recipe", None)
            self.settings({"formula": formula_of(state.program), "fit": state.settings, "recipe": recipe})
        for row in state.history[self.epoch :]:
            self.scalars({name: value for name, value in row.items() if name != "epoch"}, int(row["epoch"]))
        self.epoch = len(state.history)
        if self.epoch % self.every == 0:
            for name, figure in self._drawn(state):
                self.figure(name, figure, self.epoch)

    def result(self, result: Any) -> None:
        """Write what `evaluate`, `check_guide` or `diagnose` returned: mean and error of each number, and the verdict.

        The numbers are those of `Evaluation.summary`, in nats of the raw data: `nll`, `nll_se` and so on.
        """
        if not Processes().first:
            return
        evaluation = getattr(getattr(result, "check", result), "evaluation", result)
        table = evaluation.summary
        means = {f"test_{name}": float(v) for name, v in table["mean"].items()}
        errors = {f"test_{name}_se": float(v) for name, v in table["se"].items()}
        self.scalars({**means, **errors}, self.epoch)
        said = next((getattr(result, name)() for name in ("in_short", "verdict") if hasattr(result, name)), result)
        self.text("verdict", str(said))

    def _drawn(self, state: State) -> Iterator[tuple[str, Any]]:
        """The figures that the data allow."""
        program = state.program
        if self.figures is None or self.figures.x.dim() != 4 or not isinstance(program, VAE):
            return
        import matplotlib.pyplot as plt

        from ppl_vae import plots

        few = self.figures[:8].fixed()
        with evaluating(program, 0):
            shown = program.reconstruct(few, seed=0)
        axes = plots.reconstructions(program.raw(few.x).numpy(), program.raw(shown).cpu().numpy())
        try:
            yield "reconstructions", axes.figure
        finally:
            plt.close(axes.figure)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str | int | float | bool]:
    """Nested settings by dotted names: numbers, booleans and text; lists as JSON. `None` is left out."""
    found: dict[str, str | int | float | bool] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        elif value is not None:
            found[prefix + name] = value if isinstance(value, str | int | float | bool) else json.dumps(value)
    return found


def as_folder(logger: str, path: str | Path) -> Path:
    """The folder that a logger will make at its first epoch, if it is not there.

    Raises
    ------
    ValueError
        Where a file has that name.
    """
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{logger} expects a folder, got the file {path}; give another name")
    return folder
