"""Several steps of q alone before each step of all parameters."""

from __future__ import annotations

import warnings
from collections.abc import Collection

import pyro
import torch
from torch import Tensor

from ppl_vae import traces
from ppl_vae.modelled import Modelled
from ppl_vae.training.batches import Batch
from ppl_vae.training.dry_run import leaves

__all__ = ["Pace", "of_guide"]

WINDOW = 10
"""Steps whose mean bound is compared with that of as many before."""


class Pace:
    """Which parameters a step moves: q's alone, until the bound stops rising or `most` steps are taken, then all.

    Parameters
    ----------
    most
        Steps for each one that moves all parameters, that one included; 1 for none of q alone.
    names
        Names of q's parameters.

    References
    ----------
    He et al. 2019, arXiv:1901.05534, algorithm 1.
    """

    def __init__(self, most: int, names: Collection[str]) -> None:
        self.most, self.names = most, names
        self._taken, self._sum, self._still = 0, 0.0, False
        self._before: float | None = None

    def only(self) -> Collection[str] | None:
        """The parameters that the next step moves; `None` for all."""
        return None if self._still or self._taken + 1 >= self.most else self.names

    def took(self, bound: float) -> None:
        """Go on after a step in which the bound was so many nats per datum."""
        if self.only() is None:
            self._taken, self._sum, self._before, self._still = 0, 0.0, None, False
            return
        self._taken, self._sum = self._taken + 1, self._sum + bound
        if self._taken % WINDOW == 0:
            self._still = self._before is not None and not self._sum > self._before
            self._before, self._sum = self._sum, 0.0

    def warn_of_none(self, steps: int) -> None:
        """Warn where none of so many steps has moved all parameters."""
        if self.most > 1 and self._taken == steps:
            warnings.warn(
                f"encoder_steps expects a training of more steps than {self.most - 1}, got {steps}, which moved q "
                "alone: the decoder and the prior are as they started; give more epochs, or fewer encoder_steps",
                stacklevel=6,
            )

    def state(self) -> list[float | None]:
        """Where it stands, as values of JSON."""
        return [self._taken, self._sum, self._before, self._still]

    def set_state(self, state: list[float | None]) -> None:
        """Restore what `state` returned."""
        taken, total, self._before, still = state
        self._taken, self._sum, self._still = int(taken or 0), float(total or 0), bool(still)


def of_guide(program: Modelled, batch: Batch) -> frozenset[str]:
    """Names of the parameters that draws from q or their densities depend on, on a batch.

    Raises
    ------
    ValueError
        Where there are none that are trained.
    """
    with torch.enable_grad(), pyro.validation_enabled(False):
        _, guide = traces.pair(program, batch.x, *batch.context, mask=batch.mask)
        sites = traces.latents(guide).values()
        values: list[Tensor] = [site["value"] for site in sites] + [traces.total(site) for site in sites]
        found = {id(leaf) for leaf in leaves(values)}
    names = frozenset(name for name, p in program.named_parameters() if p.requires_grad and id(p) in found)
    if not names:
        raise ValueError(
            "encoder_steps expects a guide with parameters of its own, got none that are trained; leave encoder_steps "
            "out, or unfreeze the posterior"
        )
    if all(name in names for name, p in program.named_parameters() if p.requires_grad):
        raise ValueError(
            "encoder_steps expects parameters that q does not depend on, got a q that depends on all that are trained: "
            "every step would move everything; leave it out (a Refined q depends on the model), or unfreeze the rest"
        )
    return names
