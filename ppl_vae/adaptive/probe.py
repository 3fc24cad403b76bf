"""Modes of p(z | x) that a proposal misses, looked for from the prior."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ppl_vae.adaptive.climb import climbed
from ppl_vae.adaptive.density import Density, Scored
from ppl_vae.adaptive.student import Student

__all__ = ["NUM_STEPS", "STARTS", "Probe", "Proposal", "probe"]

NUM_STEPS = 20
"""Steps uphill."""

STARTS = 2
"""Points a datum from which they start."""

_LEAST = 0.05
"""The share of p(x) that counts as a mode."""


class Probe(NamedTuple):
    """What was found from the prior for each of n data.

    Attributes
    ----------
    missed
        Whether there is a mode that the proposal misses, (n,).
    peaks
        The points climbed to, (2, n, dim).
    """

    missed: Tensor
    peaks: Tensor


@dataclass(frozen=True)
class Proposal:
    """A proposal of n data, and what its own draws showed.

    Attributes
    ----------
    log_prob
        Its log density at u, (draws, n, dim), given the `Scored` there, which holds log q; (draws, n), in nats.
    near
        Student t with its means and covariances, by which distances are measured.
    log_px, highest
        The estimate of log p(x) and the highest log weight, (n,), in nats and the units of x.
    """

    log_prob: Callable[[Tensor, Scored], Tensor]
    near: Sequence[Student]
    log_px: Tensor
    highest: Tensor

    def exceeded(self, u: Tensor, scored: Scored) -> Tensor:
        """Where a point's weight is above the highest of the proposal's own draws, (draws, n)."""
        log_w: Tensor = scored.log_joint - self.log_prob(u, scored)
        exceeded: Tensor = (log_w > self.highest) & scored.log_joint.isfinite()
        return exceeded

    def missed(self, peaks: Tensor, scored: Scored) -> Tensor:
        """Where a peak is a mode that the proposal misses, (starts, n).

        Its weight is too high, it lies farther out than draws of a normal of the proposal's covariance, and as a normal
        of that volume it carries more than 5 % of p(x).
        """
        dim = peaks.shape[-1]
        square = torch.stack([student.standardized(peaks).square().sum(-1) for student in self.near]).amin(0)
        far = square > dim + 4 * (2 * dim) ** 0.5 + 9
        volumes = torch.stack([s.tril.diagonal(dim1=-2, dim2=-1).log().sum(-1) for s in self.near]).amax(0)
        share = scored.log_joint + dim / 2 * math.log(2 * math.pi) + volumes - self.log_px
        missed: Tensor = self.exceeded(peaks, scored) & far & (share > math.log(_LEAST))
        return missed


def probe(density: Density, rows: Tensor, proposal: Proposal, num_draws: int) -> Probe:
    """Draws from the prior, and points climbed to from two of them, where a proposal has too little density.

    A mode is missed where draws of too high a weight carry more than 5 % of p(x) by their likelihood, or where a point
    climbed to is one. The two starts are the draw of the highest likelihood, and that among the draws of too high a
    weight.
    """
    joint = density.of(rows)
    u = joint.from_prior(num_draws)
    scored = density.score(joint, u, guide=True)
    log_likelihood = (scored.log_joint - scored.log_prior).nan_to_num(-torch.inf, -torch.inf, -torch.inf)
    over = proposal.exceeded(u, scored)
    share = (log_likelihood - math.log(num_draws) - proposal.log_px).where(over, -torch.inf).logsumexp(0).exp()
    best = torch.stack([log_likelihood, log_likelihood.where(over, log_likelihood - 1e6)]).argmax(1)  # (2, n)
    starts = u.gather(0, best.unsqueeze(-1).expand(*best.shape, u.shape[-1]))
    peaks = climbed(joint, starts, u.std(0).clamp_min(1e-6), num_steps=NUM_STEPS, learning_rate=0.1)
    found = proposal.missed(peaks, density.score(joint, peaks, guide=True))
    return Probe((share > _LEAST) | found.any(0), peaks)
