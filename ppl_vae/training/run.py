"""A run folder, read back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from ppl_vae.calls import verb
from ppl_vae.training.checkpoint import Checkpoint, load_weights
from ppl_vae.training.device import chosen_device
from ppl_vae.vae.build import rebuild

__all__ = ["Run", "load"]


@dataclass(frozen=True)
class Run:
    """A training that was stored.

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

    vae: nn.Module
    history: pd.DataFrame
    config: dict[str, Any]
    path: Path


@verb
def load(run: str | Path, classes: Sequence[type] = (), *, vae: nn.Module | None = None, device: str = "cpu") -> Run:
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
    ValueError
        For a device that is not there; if the run names a class that is neither one of `ppl_vae` nor handed over,
        was not made by `build`, or was tampered with.
    """
    folder, target = Path(run), chosen_device(device)
    checkpoint = Checkpoint(folder)
    if not checkpoint.exists():
        raise FileNotFoundError(
            f"load expects a run folder with a checkpoint.json, got {str(folder)!r} without one; "
            "give the folder that fit(run=...) or `ppl-vae train` wrote"
        )
    config, best = checkpoint.config(), checkpoint.tensors("best")
    if vae is None:
        if config["recipe"] is None:
            raise ValueError(
                "load expects a VAE that build made of classes and plain arguments, got one that it cannot "
                "describe; make it again in code and pass vae="
            )
        with torch.random.fork_rng(devices=[]):
            vae = rebuild(config["recipe"], classes)
        vae.to(next(t.dtype for t in best.values() if t.is_floating_point()))
    load_weights(vae, best)
    rows = checkpoint.history()  # none, if it was killed in its first epoch
    history = pd.DataFrame(rows, columns=None if rows else ["epoch"]).set_index("epoch")
    return Run(vae.to(target).eval(), history, config, folder)
