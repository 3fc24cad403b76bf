"""A training as a table in a text file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppl_vae.arguments import Count, checked
from ppl_vae.callbacks.logger import Logger, as_folder
from ppl_vae.files import write_text
from ppl_vae.libraries import pd
from ppl_vae.split import Split

__all__ = ["CSV"]


@checked
class CSV(Logger):
    """Writes `metrics.csv`, a row an epoch, `settings.json`, and figures and texts beside them.

    A result is added to the row of its epoch.

    Parameters
    ----------
    folder
        Where to write; made if it is not there.
    figures, every
        See `Logger`.

    Raises
    ------
    ValueError
        Where the folder is a file.
    """

    def __init__(self, folder: str | Path, *, figures: Split | None = None, every: Count = 10) -> None:
        super().__init__(figures=figures, every=every)
        self.folder = as_folder("CSV", folder)
        self._rows: dict[int, dict[str, float]] = {}

    def settings(self, values: Mapping[str, Any]) -> None:
        """Write `settings.json`."""
        self._write("settings.json", json.dumps(values, indent=1))

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        """Write the table again, with a row that is new or has more numbers."""
        self._rows.setdefault(epoch, {}).update(values)
        table = pd.DataFrame.from_dict(self._rows, orient="index").rename_axis("epoch")
        self._write("metrics.csv", table.to_csv())

    def figure(self, name: str, figure: Any, epoch: int) -> None:
        """Write a PNG."""
        figure.savefig(self.folder / f"{name}-{epoch:06d}.png")

    def text(self, name: str, text: str) -> None:
        """Write a Markdown file."""
        self._write(f"{name}.md", text)

    def _write(self, name: str, text: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self.folder / name, text)
