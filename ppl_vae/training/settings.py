"""What a training is called with, as values of JSON: settings, data, code and versions."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from types import FunctionType
from typing import Any

import torch
from pyro.infer import ELBO
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, IterableDataset

from ppl_vae.isolation import isolated
from ppl_vae.modelled import Modelled
from ppl_vae.objectives import BetaSchedule
from ppl_vae.split import Split
from ppl_vae.training.batches import split_of
from ppl_vae.training.fingerprint import code_of_program, of_loader, plain, without_addresses
from ppl_vae.training.json_values import as_json
from ppl_vae.vae.formula import formula_of
from ppl_vae.vae.vae import VAE

__all__ = ["Settings", "config_of", "plain_settings"]


@dataclass(frozen=True)
class Settings:
    """The settings of one call of `fit`, which documents them."""

    epochs: int
    batch_size: int
    objective: ELBO
    beta: BetaSchedule
    clip_norm: float | None
    patience: int | None
    checkpoint_every: int
    seed: int
    device: torch.device
    precision: str | None = None
    encoder_steps: int = 1


def plain_settings(settings: Settings, optimizer: Optimizer, schedule: LRScheduler | None) -> dict[str, Any]:
    """The settings, and those of the optimizer and the schedule that were made."""
    groups = [{k: len(v) if k == "params" else plain(v) for k, v in g.items()} for g in optimizer.param_groups]
    kept = {k: without_addresses(v) for k, v in optimizer.defaults.items()}
    return {
        **{name: plain(v) for name, v in vars(settings).items() if (name, v) != ("encoder_steps", 1)},  # since 0.2
        "optimizer": {"class": plain(type(optimizer)), **kept},
        "schedule": None if schedule is None else _schedule(schedule),
        "groups": groups,
    }


def config_of(
    program: Modelled, settings: Mapping[str, Any], sources: Sequence[Any], callbacks: Sequence[Any] = ()
) -> dict[str, Any]:
    """What `config.json` holds: the settings of a training, its data and code, and the versions of the packages."""
    packages = ("ppl_vae", "torch", "pyro-ppl", "arviz", "numpy")
    with isolated(program, 0):  # items of a data set may be random
        data = [_data(source) for source in sources if source is not None]
    config = {
        "format": 2,
        "recipe": program.recipe if isinstance(program, VAE) else None,
        "formula": formula_of(program).splitlines(),
        "fit": dict(settings),
        "data": data,
        "program": code_of_program(program),
        "callbacks": [plain(c if isinstance(c, FunctionType) else type(c)) for c in callbacks],
        "versions": {"python": platform.python_version(), **{p: version(p) for p in packages}},
    }
    found: dict[str, Any] = json.loads(json.dumps(config))
    return found


def _schedule(schedule: LRScheduler) -> dict[str, Any]:
    """The state of a schedule, and the functions it calls, which are no part of that."""
    functions = [f for v in vars(schedule).values() for f in (v if isinstance(v, list) else [v]) if callable(f)]
    within = getattr(schedule, "_schedulers", [])
    return {
        "class": plain(type(schedule)),
        **as_json(schedule.state_dict()),
        "functions": [plain(f) for f in functions],
        "within": [_schedule(s) for s in within],
    }


def _data(source: Any) -> dict[str, Any] | None:
    split = split_of(source)
    if split is None:
        known = isinstance(source, DataLoader) and not isinstance(source.dataset, IterableDataset)
        return of_loader(source) if known else None
    return {
        **split.provenance,
        "checksum": split.checksum,
        "context": [Split(c, split.index).checksum for c in split.context],
        "pending": without_addresses(split.pending),
    }
