"""Modes of p(z | x) that a proposal misses, looked for from the prior."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ppl_vae.adaptive.climb import climbed
from ppl_vae.adaptive.density import GRADIENT, Density, Scored
from ppl_vae.adaptive.student import Defensive, Student
from ppl_vae.precision import in_float64

__all__ = ["Probe", "Proposal", "probe"]

_STEPS, _MORE_STEPS = 12, 60
"""Uphill, and of those that go on."""

_STARTS = 3
"""Points a datum from which climbs start."""

_AROUND = 5
"""Draws around each point climbed to."""

_DF = 8.0

_NEAR = 5
"""Neighbours that a start is better than."""

_PAIRS = 4_000_000
"""Of draws, whose distances are held at once."""

_LEAST = 0.05
"""The share of p(x) that counts as a mode."""

_PROMISING = 20.0
"""Nats below that share of a point from which the climb goes on."""


class Probe(NamedTuple):
    """What was found from the prior for each of n data.

    Attributes
    ----------
    missed
        Whether there is a mode that the proposal misses, (n,).
    peaks
        The points climbed to, (starts, n, dim).
    evaluations
        Of log p(x, u) spent on each, (n,).
    """

    missed: Tensor
    peaks: Tensor
    evaluations: Tensor

    def of(self, some: Tensor) -> Probe:
        """Of some of the data."""
        return Probe(self.missed[some], self.peaks[:, some], self.evaluations[some.cpu()])


@dataclass(frozen=True)
class Proposal:
    """A proposal of n data, and what its own draws showed.

    Attributes
    ----------
    mixture
        The fitted proposals, without a share of the prior; `None` where q itself is the proposal.
    near
        Student t with its means and covariances, by which distances are measured.
    log_px, highest
        The estimate of log p(x) and the highest log weight, (n,), in nats and the units of x.
    """

    mixture: Defensive | None
    near: Sequence[Student]
    log_px: Tensor
    highest: Tensor

    def __getitem__(self, rows: Tensor) -> Proposal:
        """Of some of the data."""
        mixture = None if self.mixture is None else self.mixture[rows]
        return Proposal(mixture, [student[rows] for student in self.near], self.log_px[rows], self.highest[rows])

    def log_prob(self, u: Tensor, scored: Scored) -> Tensor:
        """Its log density at u, (draws, n, dim) to (draws, n), in nats; `scored` there has that of q."""
        if self.mixture is None:
            return scored.log_guide
        num = len(self.mixture.students)  # draws, one of each: equal shares
        return self.mixture.log_prob(u, scored.log_prior, num)

    def exceeded(self, u: Tensor, scored: Scored) -> Tensor:
        """Where a point's weight is above the highest of the proposal's own draws, (draws, n)."""
        log_w: Tensor = scored.log_joint - self.log_prob(u, scored)
        exceeded: Tensor = (log_w > self.highest) & scored.log_joint.isfinite()
        return exceeded

    def far(self, u: Tensor) -> Tensor:
        """Where a point lies farther out than draws of normals of the proposal's covariances, (draws, n)."""
        dim = u.shape[-1]
        square = torch.stack([student.standardized(u).square().sum(-1) for student in self.near]).amin(0)
        far: Tensor = square > dim + 4 * (2 * dim) ** 0.5 + 9
        return far

    def log_share(self, density: Density, rows: Tensor, peaks: Tensor) -> Tensor:
        """Log of the share of p(x) around points that are far, (starts, n); -inf around others.

        The larger of two guesses: as a normal of the proposal's volume at the highest of the points, and the mean
        weight of draws of a Student t around them. Points of a weight that the proposal's own draws have do not count.
        """
        shape, dim = peaks.shape[:2], peaks.shape[-1]
        volumes = torch.stack([s.tril.diagonal(dim1=-2, dim2=-1).log().sum(-1) for s in self.near])
        largest = volumes.argmax(0)
        tril = torch.stack([student.tril for student in self.near])[largest, torch.arange(len(largest)).to(largest)]
        around = Student(in_float64(peaks).flatten(0, 1), tril.repeat(len(peaks), 1, 1), _DF)
        u = torch.cat([around.loc.unsqueeze(0), around.sample(_AROUND)])
        by_datum = u.to(peaks).reshape(-1, *peaks.shape[1:])
        scored = density.score(density.of(rows), by_datum, guide=True)
        height = scored.log_joint.where(self.exceeded(by_datum, scored), -torch.inf).reshape(-1, *shape)
        as_normal = height.amax(0) + dim / 2 * math.log(2 * math.pi) + volumes.amax(0)
        log_t = around.log_prob(u).reshape(-1, *shape)
        by_draws = (height - log_t)[1:].logsumexp(0) - math.log(_AROUND)
        share: Tensor = (torch.maximum(as_normal, by_draws) - self.log_px).where(self.far(peaks), -torch.inf)
        return share

    def missed(self, density: Density, rows: Tensor, peaks: Tensor) -> Tensor:
        """Where a peak is a mode with more than 5 % of p(x) that the proposal misses, (starts, n)."""
        missed: Tensor = self.log_share(density, rows, peaks) > math.log(_LEAST)
        return missed


def probe(density: Density, rows: Tensor, proposal: Proposal, num_draws: int) -> Probe:
    """Draws from the prior, and points climbed to from three of them, where a proposal has too little density.

    A mode is missed where draws of too high a weight carry more than 5 % of p(x) by their likelihood, or where a point
    climbed to is one. The starts are the best of the draws of too high a weight, where there are some, and those of the
    highest likelihood among draws with no better one among their five nearest neighbours. The climb that leads to the
    highest share far from the proposal goes on where that is below 5 %, but not by many nats. A mode into whose basin
    no draw falls is not found.

    References
    ----------
    Rinnooy Kan and Timmer 1987, doi:10.1007/BF02592071 (starts that have no better draw near them).
    """
    joint = density.of(rows)
    u = joint.from_prior(num_draws)
    scored = density.score(joint, u, guide=True)
    log_likelihood = (scored.log_joint - scored.log_prior).nan_to_num(-torch.inf, -torch.inf, -torch.inf)
    over = proposal.exceeded(u, scored)
    share = (log_likelihood - math.log(num_draws) - proposal.log_px).where(over, -torch.inf).logsumexp(0).exp()
    width = u.std(0).clamp_min(1e-6)
    best = _starts(u / width, log_likelihood, over)
    starts = u.gather(0, best.unsqueeze(-1).expand(*best.shape, u.shape[-1]))
    peaks = climbed(joint, starts, width, num_steps=_STEPS, learning_rate=0.15)
    cost = torch.full((len(rows),), num_draws + len(peaks) * (GRADIENT * _STEPS + 1 + _AROUND))
    (log_share, at), least = proposal.log_share(density, rows, peaks).max(0), math.log(_LEAST)
    some = ((log_share <= least) & (log_share > least - _PROMISING)).nonzero().flatten()
    if len(some):
        here, at = rows[some.cpu()], at[some]
        point = peaks[at, some].unsqueeze(0)
        point = climbed(density.of(here), point, 0.2 * width[some], num_steps=_MORE_STEPS, learning_rate=0.1)
        peaks[at, some] = point[0]
        log_share[some] = proposal[some].log_share(density, here, point)[0]
        cost[some.cpu()] += GRADIENT * _MORE_STEPS + 1 + _AROUND
    return Probe((share > _LEAST) | (log_share > least), peaks, cost)


def _starts(u: Tensor, height: Tensor, over: Tensor) -> Tensor:
    """Positions of draws u (draws, n, dim) to climb from, (starts, n)."""
    rank = height.argsort(0).argsort(0)  # the higher, the larger
    parts = u.transpose(0, 1).split(max(1, _PAIRS // len(u) ** 2))
    near = torch.cat([_nearest(some) for some in parts]).to(rank.device)  # (n, draws, neighbours)
    around = rank.T.unsqueeze(1).expand(-1, len(u), -1).gather(2, near).amax(-1).T
    rank = rank + len(u) * (rank == around)
    carried = torch.where(over, rank, -1)
    best, at = carried.max(0, keepdim=True)
    rank = rank.scatter_add(0, at, 3 * len(u) * (best >= 0))
    return rank.topk(min(_STARTS, len(u)), 0).indices


def _nearest(u: Tensor) -> Tensor:
    """Positions of the nearest draws of each, itself among them, of u (n, draws, dim)."""
    distance = torch.cdist(u, u, compute_mode="donot_use_mm_for_euclid_dist")
    return distance.topk(min(_NEAR + 1, u.shape[1]), largest=False).indices
