"""log p(x, u) of chosen data, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import pyro
import torch
from torch import Tensor

from ppl_vae import traces
from ppl_vae.casting import arguments
from ppl_vae.memory import chunks
from ppl_vae.modelled import Modelled
from ppl_vae.precision import in_float64
from ppl_vae.split import Split
from ppl_vae.unconstrained import LogJoint

__all__ = ["GRADIENT", "Density", "Scored"]

GRADIENT = 3
"""Evaluations of the density that one with its gradient counts as."""


class Scored(NamedTuple):
    """Log densities at draws, each (draws, n), in nats and float64; -inf where they are not finite.

    Attributes
    ----------
    log_prior
        log p(u).
    log_joint
        log p(x, u).
    log_guide
        log q(u | x), zeros unless requested.
    undefined
        Where log p(x, u) was NaN.
    """

    log_prior: Tensor
    log_joint: Tensor
    log_guide: Tensor
    undefined: Tensor


@dataclass(frozen=True)
class Density:
    """log p(x, u) for data of a split, whose latents u are unconstrained.

    Attributes
    ----------
    program
        Anything with `.model` and `.guide`.
    split
        The data.
    where
        Position of the data plate.
    max_rows
        Pairs of draw and datum decoded at once.
    """

    program: Modelled
    split: Split
    where: traces.Plates
    max_rows: int

    def of(self, rows: Tensor) -> LogJoint:
        """The density of some data, which may repeat."""
        return LogJoint(self.program, *arguments(self.program, self.split[rows]), self.where)

    def score(self, joint: LogJoint, u: Tensor, *, guide: bool = False) -> Scored:
        """Log densities at u, (draws, n, dim), some draws at a time; zero density where the model has none."""
        parts = []
        finite = u.isfinite().all(-1)
        for some in chunks(len(u), joint.size, self.max_rows):
            with pyro.validation_enabled(False):
                given = joint(u[some].nan_to_num(0.0, 0.0, 0.0), guide=guide)
            parts.append(torch.stack([*map(in_float64, (given.log_prior, given.log_joint, given.log_guide))]))
        found = torch.cat(parts, 1)
        ok = finite.to(found.device) & (found[1] < torch.inf)  # NaN compares as false
        log_prior, log_joint, log_guide = found.where(ok & ~found.isnan(), -torch.inf)
        return Scored(log_prior, log_joint, log_guide, found[1].isnan() & finite.to(found.device))
