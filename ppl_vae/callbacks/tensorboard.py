"""A training in TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from ppl_vae.arguments import Count, checked
from ppl_vae.callbacks.logger import Logger, as_folder, flat
from ppl_vae.libraries import needing
from ppl_vae.split import Split

__all__ = ["TensorBoard"]


@checked
class TensorBoard(Logger):
    """Writes an event file, which `tensorboard --logdir FOLDER` shows.

    Parameters
    ----------
    folder
        Where to write; trainings side by side have folders of their own in one folder.
    figures, every
        See `Logger`.

    Raises
    ------
    ImportError
        Without tensorboard: `pip install 'ppl_vae[tensorboard]'`.
    ValueError
        Where the folder is a file.
    """

    def __init__(self, folder: str | Path, *, figures: Split | None = None, every: Count = 10) -> None:
        super().__init__(figures=figures, every=every)
        with needing("TensorBoard", "tensorboard", "tensorboard"):
            from torch.utils.tensorboard import SummaryWriter
        self._make, self.folder = SummaryWriter, as_folder("TensorBoard", folder)

    @cached_property
    def writer(self) -> Any:
        """The `SummaryWriter`, for more of your own; made when it is first asked for."""
        return self._make(str(self.folder))

    def settings(self, values: Mapping[str, Any]) -> None:
        """Write a table of the settings, as text."""
        rows = [f"| {name} | {str(value).replace('|', chr(92) + '|')} |" for name, value in flat(values).items()]
        self.text("settings", "\n".join(["| setting | value |", "|---|---|", *rows]))

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        """Write each number under its name."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, epoch)
        self.writer.flush()

    def figure(self, name: str, figure: Any, epoch: int) -> None:
        """Write an image."""
        self.writer.add_figure(name, figure, epoch, close=False)

    def text(self, name: str, text: str) -> None:
        """Write a text, in Markdown."""
        self.writer.add_text(name, text, self.epoch)
        self.writer.flush()

    def close(self) -> None:
        """Close the event file."""
        if "writer" in vars(self):
            self.writer.close()
