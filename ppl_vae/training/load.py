"""Load a run: its best weights, history and configuration."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ppl_vae.arguments import checked
from ppl_vae.calls import verb
from ppl_vae.checksums import changed
from ppl_vae.files import interpreted
from ppl_vae.modelled import Modelled
from ppl_vae.training.device import chosen_device
from ppl_vae.training.run_folder import ADVICE, RunFolder, folder_path
from ppl_vae.training.weights import check_finite, load_weights
from ppl_vae.vae.build import rebuild
from ppl_vae.vae.vae import VAE

__all__ = ["Run", "load"]


@checked
@dataclass(frozen=True)
class Run:
    """A training read back from its run folder.

    Attributes
    ----------
    vae
        With its best weights, in eval mode.
    history
        One row an epoch; see `fit`.
    config
        What the training was called with, of which data, with which versions.
    path
        The folder.
    """

    vae: Modelled
    history: pd.DataFrame
    config: dict[str, Any]
    path: Path


@verb
def load(run: str | Path, classes: Sequence[type] = (), *, vae: Modelled | None = None, device: str = "cpu") -> Run:
    """Rebuild a run from its folder. Executes nothing that the folder holds.

    Parameters
    ----------
    run
        Folder that `fit` wrote.
    classes
        Classes of your own that the run's VAE is made of.
    vae
        A VAE or Program of the same structure to put the weights into, for one that `build` did not make.
    device
        Where the weights go: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.

    Returns
    -------
    Run

    Raises
    ------
    FileNotFoundError
        If the folder holds no run, or only a part of one.
    TypeError
        For a run that is no path.
    ValueError
        For a device that is not there; if the run names a class that is neither one of `ppl_vae` nor among `classes`,
        was not made by `build`, or if one of its files was changed, damaged, or is too large or no regular file.
    """
    folder, target = RunFolder(folder_path(run, "load")), chosen_device(device)
    if not folder.exists():
        raise FileNotFoundError(
            f"load expects a run folder with a checkpoint.json, got {str(folder.path)!r} without one; "
            "give the folder that fit(run=...) or `ppl-vae train` wrote"
        )
    with interpreted(folder.path, f"{ADVICE}; or give the classes and the vae= that it was trained with"):
        config, best, rows = _read(folder)
        loaded: Modelled = _made(config, best, classes) if vae is None else vae
        check_finite(loaded, best, folder.path)
        load_weights(loaded, best)
        # no rows, if it was killed in its first epoch
        history = pd.DataFrame(rows, columns=None if rows else ["epoch"]).set_index("epoch")
    if other := changed(folder.path):
        warnings.warn(
            f"{', '.join(other)} in {str(folder.path)!r} changed since ppl_vae wrote it (SHA-256 differs); do not rely "
            "on it: write it again by `ppl-vae diagnose`, or move what is yours to another folder",
            stacklevel=2,
        )
    return Run(loaded.to(target).eval(), history, config, folder.path)


def _read(folder: RunFolder, tries: int = 10) -> tuple[dict[str, Any], dict[str, Tensor], list[dict[str, float]]]:
    """Configuration, best weights and history of one checkpoint, all as they were written.

    A training that writes at the same time may replace them; then they are read again.
    """
    before = folder.read()
    try:
        folder.verify()
        return folder.config(), folder.tensors("best"), folder.history()
    except (FileNotFoundError, ValueError):
        if tries == 0 or folder.read() == before:
            raise
        return _read(folder, tries - 1)


def _made(config: dict[str, Any], best: dict[str, Tensor], classes: Sequence[type]) -> VAE:
    """A VAE of the recipe, in the precision of its weights."""
    if config["recipe"] is None:
        raise ValueError(
            "load expects a VAE that build made of classes and plain arguments, got one that it cannot "
            "describe; make it again in code and pass vae="
        )
    with torch.random.fork_rng(devices=[]):
        vae = rebuild(config["recipe"], classes)
    return vae.to(next(t.dtype for t in best.values() if t.is_floating_point()))
