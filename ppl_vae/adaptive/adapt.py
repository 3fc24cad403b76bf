"""Adaptive importance sampling: a proposal fitted to p(z | x) of each datum, and fresh draws from it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ppl_vae.adaptive.climb import refined
from ppl_vae.adaptive.density import GRADIENT, Density
from ppl_vae.adaptive.moments import matched, of_draws
from ppl_vae.adaptive.student import Defensive, Student
from ppl_vae.importance import FEWEST, good_k, log_marginal, psis
from ppl_vae.isolation import random_states, set_random_states
from ppl_vae.site_values import coincide
from ppl_vae.unconstrained import LogJoint

__all__ = ["Adapted", "Settings", "adapt", "pareto_k"]


_DRAWS_A_DIMENSION = 4
"""Effective sample that a covariance is taken of before an estimate is tried."""


_NARROW, _FEW, _JUDGES = 1e-2, 64, 16
"""Of the prior's standard deviations, of so many draws, below which q's covariance is judged; the draws that do it."""


@dataclass(frozen=True)
class Settings:
    """How proposals are fitted.

    Attributes
    ----------
    num_samples
        Fresh draws a datum for the estimate, at least 25.
    num_rounds
        Rounds of moment matching, at most.
    num_temperatures
        Of the annealing of data whose k-hat stays high; see `improve`.
    num_steps, num_particles, learning_rate
        Gradient steps on the mean and widths of the proposal before the rounds, draws in each, and the rate of Adam.
    df
        Degrees of freedom of the proposal.
    share
        Share of the fresh draws that come from the prior.
    tries
        How often a datum may draw its estimate anew before the last round, because k-hat of it was too high.
    """

    num_samples: int = 1000
    num_rounds: int = 8
    num_temperatures: int = 100
    num_steps: int = 30
    num_particles: int = 4
    learning_rate: float = 0.05
    df: float = 8.0
    share: float = 0.05
    tries: int = 2

    @property
    def num_draws(self) -> int:
        """Draws in each round."""
        return max(FEWEST, self.num_samples // 2)


@dataclass(frozen=True)
class Adapted:
    """Fitted proposals of n data, and draws from them that had no part in fitting them.

    Attributes
    ----------
    proposal
        What the draws are from.
    u
        Draws, (num_samples, n, dim).
    log_w
        log p(x, u) less the log density of the proposal, (num_samples, n), in nats and float64.
    evaluations
        Of log p(x, u) spent on each datum, (n,), one with its gradient counted as 3.
    diverged
        Where gradient steps lowered the ELBO, (n,), so that q's own mean and covariance were the start.
    undefined
        Where log p(x, u) was NaN at a draw, (n,), which then counts as zero, or where draws coincide as numbers of u's
        dtype.
    """

    proposal: Defensive
    u: Tensor
    log_w: Tensor
    evaluations: Tensor
    diverged: Tensor
    undefined: Tensor

    def __getitem__(self, rows: Tensor) -> Adapted:
        """Of some of the data."""
        each = (self.evaluations, self.diverged, self.undefined)
        return Adapted(self.proposal[rows], self.u[:, rows], self.log_w[:, rows], *(v[rows.to(v.device)] for v in each))


def adapt(density: Density, rows: Tensor, settings: Settings, starts: Tensor | None = None) -> Adapted:
    """Fit a proposal to each of some data, until k-hat of fresh draws is good or the rounds end.

    From q's mean and covariance: gradient steps, then rounds of moment matching. In each round draws are taken from the
    proposal, and weighted together with those of the rounds before by their deterministic mixture. Once the
    new draws of a datum have a good k-hat, log p(x) is estimated from fresh draws; if their k-hat is good too, the
    datum is done. Where q is far narrower than the prior, or has collapsed, the covariance is that of the prior if its
    ELBO is higher.

    Parameters
    ----------
    density
        log p(x, u).
    rows
        Which data, (n,).
    settings
        How.
    starts
        Further points that proposals are fitted from, (starts, n, dim), with q's covariance. The estimate is then of
        the mixture of all of a datum's proposals.

    References
    ----------
    Cornuet et al. 2012, arXiv:0907.1254 (the weights); Paananen et al. 2021, arXiv:1906.08850; Hesterberg 1995,
    doi:10.1080/00401706.1995.10484303 (the share of the prior).
    """
    n, num_starts = len(rows), 1 if starts is None else 1 + len(starts)
    joint = density.of(rows.repeat(num_starts))
    drawn = joint.from_guide(max(settings.num_draws, 50 * joint.dim))
    proposal, spent = _not_collapsed(density, joint, of_draws(drawn, settings.df), drawn)
    if starts is not None:
        loc = torch.cat([proposal.loc[:n], starts.to(proposal.loc).flatten(0, 1)])
        proposal = replace(proposal, loc=loc)
    better = refined(
        joint,
        proposal,
        num_steps=settings.num_steps,
        num_particles=settings.num_particles,
        learning_rate=settings.learning_rate,
    )
    diverged = (better.loc == proposal.loc).all(-1)[:n]
    loop = _Loop(density, rows, settings, joint, better, drawn[:0])
    loop.evaluations += num_starts * (spent + GRADIENT * settings.num_steps * settings.num_particles + 32)
    for last in range(settings.num_rounds - 1, -1, -1):
        if not len(loop.left):
            break
        loop.round(last == 0)
    return replace(loop.result(), diverged=diverged)


def _not_collapsed(density: Density, joint: LogJoint, start: Student, drawn: Tensor) -> tuple[Student, int]:
    """A start of q's draws, with the covariance of the prior where that is better; and evaluations of each datum."""
    before = random_states([drawn])
    narrow = (drawn.std(0) < _NARROW * joint.from_prior(_FEW).std(0)).any(-1)
    if not narrow.any():
        set_random_states(before, [drawn])
        return start, 0
    wide = replace(start, tril=of_draws(joint.from_prior(len(drawn)), start.df).tril)

    def elbo(student: Student) -> Tensor:
        u = student.sample(_JUDGES).to(drawn)
        return (density.score(joint, u).log_joint - student.log_prob(u)).mean(0)

    better = coincide(drawn).any(-1) | (narrow & ~(elbo(wide) <= elbo(start)))
    return replace(start, tril=torch.where(better[:, None, None], wide.tril, start.tril)), 2 * _JUDGES


class _Loop:
    """The data that are left, with the proposals and draws of all their starts; items are (start, datum), flattened."""

    def __init__(
        self, density: Density, rows: Tensor, settings: Settings, joint: LogJoint, first: Student, none: Tensor
    ) -> None:
        self.density, self.rows, self.settings = density, rows, settings
        self.num_starts = len(first.loc) // len(rows)
        self.joint, self.proposal = joint, first
        n, dim = len(rows), first.loc.shape[-1]
        self.left = torch.arange(n, device=first.loc.device)
        self.tried = torch.zeros_like(self.left)
        self.past: list[Student] = []
        self.u = none
        self.log_joint = self.log_sum = torch.empty(0, len(first.loc)).to(first.loc)
        self.evaluations = torch.zeros(n, dtype=torch.long)
        self.undefined = torch.zeros(n, dtype=torch.bool)
        self.fitted = [Student(s.loc.clone(), s.tril.clone(), s.df) for s in self._by_start(first)]
        self.found_u = none.new_empty(settings.num_samples, n, dim)
        self.log_w = torch.full((settings.num_samples, n), -torch.inf).to(first.loc)

    def round(self, last: bool) -> None:
        """One round of moment matching; data whose estimate is good are done, after the last round all are."""
        u = self.proposal.sample(self.settings.num_draws).to(self.u.dtype)
        scored = self.density.score(self.joint, u)
        log_q = self.proposal.log_prob(u)
        k = self._by_datum(pareto_k(scored.log_joint - log_q)).amax(0)
        self.evaluations[self.left.cpu()] += self.num_starts * self.settings.num_draws
        self._add(u, scored.log_joint, log_q)
        self.proposal = self._moved(matched(self.u, self._log_weights(), self.proposal))
        enough = self._by_datum(log_marginal(self._log_weights()).ess).amin(0) >= _DRAWS_A_DIMENSION * u.shape[-1]
        ready = enough & (k <= good_k(self.settings.num_draws)) & (self.tried < self.settings.tries)
        self._leave(torch.ones_like(ready) if last else ready, last)

    def result(self) -> Adapted:
        """Of all data."""
        proposal = Defensive(self.fitted, self.settings.share)
        none = torch.zeros_like(self.undefined)
        return Adapted(proposal, self.found_u, self.log_w, self.evaluations, none, self.undefined)

    def _leave(self, ready: Tensor, last: bool) -> None:
        chosen = ready.nonzero().flatten()
        if not len(chosen):
            return
        students = [student[chosen] for student in self._by_start(self.proposal)]
        here = self.left[chosen]
        mixture = Defensive(students, self.settings.share)
        u, log_w, undefined = drawn_from(mixture, self.density, self.rows[here.cpu()], self.settings.num_samples)
        for kept, student in zip(self.fitted, students, strict=True):
            kept.loc[here], kept.tril[here] = student.loc, student.tril
        self.found_u[:, here], self.log_w[:, here] = u.to(self.found_u), log_w
        self.evaluations[here.cpu()] += self.settings.num_samples
        self.undefined[here.cpu()] |= undefined.cpu()
        self.tried[chosen] += 1
        staying = torch.ones_like(ready)
        staying[chosen] = pareto_k(log_w) > good_k(self.settings.num_samples)
        if not last and not staying.all():
            self._keep(staying.nonzero().flatten())

    def _keep(self, positions: Tensor) -> None:
        """Keep these of the data that are left."""
        num = len(self.left)
        items = torch.cat([positions + start * num for start in range(self.num_starts)])
        self.left, self.tried = self.left[positions], self.tried[positions]
        self.proposal, self.past = self.proposal[items], [student[items] for student in self.past]
        self.u, self.log_joint, self.log_sum = self.u[:, items], self.log_joint[:, items], self.log_sum[:, items]
        if len(positions):
            self.joint = self.density.of(self.rows[self.left.cpu()].repeat(self.num_starts))

    def _add(self, u: Tensor, log_joint: Tensor, log_q: Tensor) -> None:
        """New draws, and the sums over all proposals of their densities at all draws."""
        if self.past:
            self.log_sum = torch.logaddexp(self.log_sum, self.proposal.log_prob(self.u))
        new = torch.stack([*(student.log_prob(u) for student in self.past), log_q]).logsumexp(0)
        self.past.append(self.proposal)
        self.u = torch.cat([self.u.to(u), u])
        self.log_joint, self.log_sum = torch.cat([self.log_joint, log_joint]), torch.cat([self.log_sum, new])

    def _log_weights(self) -> Tensor:
        """By the deterministic mixture of the proposals so far, up to a constant."""
        return self.log_joint - self.log_sum

    def _moved(self, matched: Student) -> Student:
        """The matched proposal; the last one where no draw has a density or the moments are not finite."""
        ok = matched.loc.isfinite().all(-1) & matched.tril.isfinite().all((-2, -1))
        loc, tril = matched.loc.where(ok[:, None], self.proposal.loc), matched.tril
        return Student(loc, tril.where(ok[:, None, None], self.proposal.tril), matched.df)

    def _by_datum(self, each: Tensor) -> Tensor:
        """Of items, as (starts, data)."""
        return each.reshape(self.num_starts, -1)

    def _by_start(self, student: Student) -> list[Student]:
        parts = zip(student.loc.chunk(self.num_starts), student.tril.chunk(self.num_starts), strict=True)
        return [Student(loc, tril, student.df) for loc, tril in parts]


def drawn_from(mixture: Defensive, density: Density, rows: Tensor, num_samples: int) -> tuple[Tensor, Tensor, Tensor]:
    """Fresh draws u (num_samples, n, dim), log weights (num_samples, n), and where one was NaN or draws coincide."""
    joint = density.of(rows)
    from_prior = joint.from_prior(mixture.counts(num_samples)[-1])
    u = mixture.sample(from_prior, num_samples)
    scored = density.score(joint, u)
    log_w = scored.log_joint - mixture.log_prob(u, scored.log_prior, num_samples)
    close = coincide(u[: num_samples - len(from_prior)].to(from_prior.dtype)).any(-1)
    return u, log_w.nan_to_num(-torch.inf, torch.inf, -torch.inf), scored.undefined.any(0) | close


def pareto_k(log_w: Tensor, coarse: Tensor | None = None) -> Tensor:
    """k-hat of log weights (draws, n), (n,); infinite where no draw has a density, or draws coincide (`coarse`)."""
    none = ~log_w.max(0).values.isfinite()
    return psis(log_w, coarse=none if coarse is None else none | coarse.to(none.device))[1]
