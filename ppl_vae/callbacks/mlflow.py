"""A training in MLflow."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from ppl_vae.arguments import Count, checked
from ppl_vae.callbacks.logger import Logger, flat
from ppl_vae.libraries import needing
from ppl_vae.split import Split

__all__ = ["MLflow"]

_FILE = "sqlite:///"


@checked
class MLflow(Logger):
    """Writes a run of an experiment: parameters, metrics, and figures and texts as artifacts.

    MLflow's own global run and tracking address stay as they are.

    Parameters
    ----------
    tracking
        Address of the store: ``"sqlite:///FILE"``, a database in a file, or that of a server, ``"http://..."``.
    experiment
        Name of the experiment; made if it is not there.
    name
        Name of the run; MLflow chooses one by default.
    artifacts
        Folder for the artifacts of an experiment that is made; MLflow chooses one by default.
    figures, every
        See `Logger`.

    Raises
    ------
    ImportError
        Without mlflow: `pip install 'ppl_vae[mlflow]'`.
    """

    def __init__(
        self,
        tracking: str = "sqlite:///mlflow.db",
        experiment: str = "ppl_vae",
        *,
        name: str | None = None,
        artifacts: str | None = None,
        figures: Split | None = None,
        every: Count = 10,
    ) -> None:
        super().__init__(figures=figures, every=every)
        with needing("MLflow", "mlflow", "mlflow"):
            from mlflow import MlflowClient
            from mlflow.entities import Metric, Param
        self._made, self._metric, self._param = MlflowClient, Metric, Param
        self.tracking, self.experiment, self.name, self.artifacts = tracking, experiment, name, artifacts
        self._run: str | None = None

    @cached_property
    def client(self) -> Any:
        """The client of the store, which is opened when it is first asked for."""
        if self.tracking.startswith(_FILE):
            Path(self.tracking.removeprefix(_FILE)).parent.mkdir(parents=True, exist_ok=True)
        return self._made(tracking_uri=self.tracking)

    @property
    def run_id(self) -> str:
        """Identifier of the run, which is made when it is first asked for."""
        if self._run is None:
            found = self.client.get_experiment_by_name(self.experiment)
            if found is None:
                experiment = self.client.create_experiment(self.experiment, self.artifacts)
            else:
                experiment = found.experiment_id
            self._run = str(self.client.create_run(experiment, run_name=self.name).info.run_id)
        return self._run

    def settings(self, values: Mapping[str, Any]) -> None:
        """Write each setting as a parameter, of at most 500 characters, and all of them as `settings.json`."""
        params = [self._param(_named(name), str(value)[:500]) for name, value in flat(values).items()]
        for start in range(0, len(params), 100):  # the most that a call may write
            self.client.log_batch(self.run_id, params=params[start : start + 100])
        self.client.log_dict(self.run_id, dict(values), "settings.json")

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        """Write each number as a metric, whose step is the epoch."""
        now = int(time.time() * 1000)
        self.client.log_batch(self.run_id, metrics=[self._metric(_named(k), v, now, epoch) for k, v in values.items()])

    def figure(self, name: str, figure: Any, epoch: int) -> None:
        """Write a PNG."""
        self.client.log_figure(self.run_id, figure, f"{name}/{epoch:06d}.png")

    def text(self, name: str, text: str) -> None:
        """Write a Markdown file."""
        self.client.log_text(self.run_id, text, f"{name}.md")

    def close(self) -> None:
        """Mark the run as finished."""
        if self._run is not None:
            self.client.set_terminated(self._run)


def _named(name: str) -> str:
    """A name of the characters that MLflow takes."""
    return re.sub(r"[^\w\-. /]", "_", name)
