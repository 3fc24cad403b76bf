"""Annealing from a fitted proposal, for data whose k-hat stays high."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from ppl_vae.adaptive.density import GRADIENT, Density
from ppl_vae.adaptive.student import Defensive
from ppl_vae.captured import Function
from ppl_vae.precision import in_float64
from ppl_vae.unconstrained import LEAPFROG, LogJoint, Settings, Tempered, anneal, num_pilot, schedule, with_gradients

__all__ = ["NUM_CHAINS", "annealed", "cost"]

NUM_CHAINS = 16

_PILOTS = 4
"""Chains of the pilot run: it only sets step sizes, and each datum's follow their mean acceptance over many steps."""

_STEPS = 5
"""Leapfrog steps at each temperature."""


@dataclass(frozen=True)
class _Path(Tempered):
    """The path from the fitted Student t of some data."""

    joint: LogJoint
    proposal: Defensive

    @functools.cached_property
    def ends(self) -> Function:
        """log t(u) and log p(x, u) - log t(u), and their gradients."""
        return with_gradients(self._ends)

    def _ends(self, u: Tensor) -> list[Tensor]:
        first = self.proposal.log_prob(u, torch.zeros(()), NUM_CHAINS)
        return [first, in_float64(self.joint(u).log_joint) - first]

    def draws(self, num: int) -> Tensor:
        """Draws of t, (num, n, dim)."""
        like = self.joint.from_guide(1)
        return self.proposal.sample(like[:0], num)


def annealed(density: Density, rows: Tensor, proposal: Defensive, num_temperatures: int) -> Tensor:
    """Log weights of chains annealed from the proposal to p(x, u), (chains, n), in nats; see `annealing.anneal`."""
    path = _Path(density.of(rows), Defensive(proposal.students, 0.0))
    betas = schedule(num_temperatures)
    with tqdm(disable=True) as bar:
        settings = Settings.tuned(path, betas, _PILOTS, _STEPS, bar, LEAPFROG)
        log_w, _ = anneal(path, path.draws(NUM_CHAINS), betas, settings, bar)
    return log_w


def cost(num_temperatures: int) -> int:
    """Evaluations of log p(x, u) that `annealed` spends on a datum: a gradient a leapfrog step, one at the start."""
    run, pilot = NUM_CHAINS * (num_temperatures * _STEPS + 1), _PILOTS * (num_pilot(num_temperatures) * _STEPS + 1)
    return GRADIENT * (run + pilot)
