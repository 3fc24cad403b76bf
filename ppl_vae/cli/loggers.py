"""Loggers on the command line: `--log KIND` or `--log KIND:PLACE`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppl_vae.cli.failures import did_you_mean

if TYPE_CHECKING:
    from ppl_vae.callbacks import Logger
    from ppl_vae.split import Split

__all__ = ["KINDS", "logged"]


@contextmanager
def logged(words: Sequence[str], run: Path, figures: Split) -> Iterator[list[Logger]]:
    """A scope with the loggers of some words, closed at its end; without a place they write below the run folder.

    Raises
    ------
    ValueError
        For a logger that is not known.
    """
    made = []
    for word in words:
        kind, _, place = word.partition(":")
        if kind not in KINDS:
            near = did_you_mean(kind, KINDS) or "choose one of these"
            raise ValueError(f"--log expects {', '.join(KINDS)}, or one with :PLACE, got {word!r}; {near}")
        made.append(KINDS[kind](place, run, {"figures": figures}))
    try:
        yield made
    finally:
        for log in made:
            log.close()


def _csv(place: str, run: Path, more: dict[str, Any]) -> Logger:
    from ppl_vae.callbacks import CSV

    return CSV(place or run / "metrics", **more)


def _tensorboard(place: str, run: Path, more: dict[str, Any]) -> Logger:
    from ppl_vae.callbacks import TensorBoard

    return TensorBoard(place or run / "tensorboard", **more)


def _mlflow(place: str, run: Path, more: dict[str, Any]) -> Logger:
    from ppl_vae.callbacks import MLflow

    if "://" in place:
        return MLflow(place, name=run.name, **more)
    file = Path(place or run / "mlflow.db").absolute()
    return MLflow(f"sqlite:///{file}", name=run.name, artifacts=str(file.with_suffix("")), **more)


def _wandb(place: str, run: Path, more: dict[str, Any]) -> Logger:
    from ppl_vae.callbacks import WandB

    return WandB(folder=place or run, name=run.name, **more)


KINDS: dict[str, Callable[[str, Path, dict[str, Any]], Logger]] = {
    "csv": _csv,
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
    "wandb": _wandb,
}
