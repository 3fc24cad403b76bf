"""Pyro handlers in which a program's functions are called."""

from __future__ import annotations

from typing import Any

from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae import support

__all__ = ["FilledObserved", "ScaledLatents"]


class FilledObserved(Messenger):
    """Replaces missing values by ones in the support, at observed sites whose distribution masks elements."""

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if msg["is_observed"] and isinstance(mask := support.element_mask(msg["fn"]), Tensor):
            msg["value"] = support.filled(msg["value"], mask, msg["fn"])


class ScaledLatents(Messenger):
    """Scales the log density of every latent site."""

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = beta

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if not msg["is_observed"] and not poutine.util.site_is_subsample(msg):
            msg["scale"] = self.beta * msg["scale"]
