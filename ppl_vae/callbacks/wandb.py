"""A training in Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ppl_vae.arguments import Count, checked
from ppl_vae.callbacks.logger import Logger
from ppl_vae.libraries import needing
from ppl_vae.split import Split

__all__ = ["WandB"]


@checked
class WandB(Logger):
    """Writes a run of Weights & Biases, by default to a folder alone; `wandb sync` sends it later.

    Parameters
    ----------
    project
        Name of the project.
    folder
        Where the folder `wandb` is made.
    name
        Name of the run; one is chosen by default.
    mode
        ``"offline"``, or ``"online"`` to send it as it is made.
    figures, every
        See `Logger`.

    Raises
    ------
    ImportError
        Without wandb: `pip install 'ppl_vae[wandb]'`.
    """

    def __init__(
        self,
        project: str = "ppl_vae",
        folder: str | Path = ".",
        *,
        name: str | None = None,
        mode: Literal["offline", "online"] = "offline",
        figures: Split | None = None,
        every: Count = 10,
    ) -> None:
        super().__init__(figures=figures, every=every)
        with needing("WandB", "wandb", "wandb"):
            from wandb import Image, Settings, init  # by name: a folder `wandb` of its runs would be imported, too
        self._image, self._settings, self._init, self._run = Image, Settings, init, None
        self.project, self.folder, self.name, self.mode = project, Path(folder), name, mode

    @property
    def run(self) -> Any:
        """The run, which is made when it is first asked for."""
        if self._run is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            quiet = self._settings(silent=True, console="off", disable_git=True, x_disable_stats=True)
            self._run = self._init(
                project=self.project, dir=str(self.folder), name=self.name, mode=self.mode, settings=quiet
            )
        return self._run

    def settings(self, values: Mapping[str, Any]) -> None:
        """Write the settings as the run's configuration."""
        self.run.config.update(dict(values))

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        """Write the numbers, whose step is the epoch."""
        self.run.log(dict(values), step=epoch)

    def figure(self, name: str, figure: Any, epoch: int) -> None:
        """Write an image."""
        self.run.log({name: self._image(figure)}, step=epoch)

    def text(self, name: str, text: str) -> None:
        """Write a text to the run's summary."""
        self.run.summary[name] = text

    def close(self) -> None:
        """End the run. A process of wandb writes the last records after it; `wandb.teardown()` waits for them."""
        if self._run is not None:
            self._run.finish()
