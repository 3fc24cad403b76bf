"""Adaptation, a search for missed modes from the prior, and annealing of data whose k-hat stays high."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ppl_vae.adaptive.adapt import Adapted, Settings, adapt, pareto_k
from ppl_vae.adaptive.density import Density
from ppl_vae.adaptive.leftovers import NUM_CHAINS, annealed, cost
from ppl_vae.adaptive.moments import of_draws
from ppl_vae.adaptive.probe import Probe, Proposal, probe
from ppl_vae.adaptive.student import Defensive
from ppl_vae.importance import above, doubtful, log_marginal

__all__ = ["Improved", "fitted", "improve", "missed_by_q"]

STEADY = 0.8
"""Nats; annealed log weights that spread more have a mean that is not settled (Wu et al. 2017, arXiv:1611.04273 ask for
a standard deviation below one). Where that of most data is near one, the intervals of those below it are too short."""

_LONGER = (2, 4)
"""Times as many temperatures for the data whose annealed weights spread more, until they are settled. The variance of
annealed weights falls as one over the number of temperatures (Neal 2001, arXiv:physics/9803008): 4 halve the spread."""

_LUCK = 0.2
"""Nats; 1.4 standard deviations of the spread of 16 chains about `STEADY`. Where many spread more, one within this
may be below it by luck, and is annealed again, too: such data were up to 0.23 nats too low on average."""


@dataclass(frozen=True)
class Improved:
    """What adaptation and annealing found for n data.

    Attributes
    ----------
    adapted
        The fitted proposals and draws from them.
    missed
        Where draws or climbs from the prior found a mode that the first proposal misses, (n,).
    annealed
        Which data were annealed, positions.
    log_chains
        Their log weights, (chains, annealed), of the last annealing of each.
    believed
        Where k-hat of the fresh draws is good, or annealing is settled, and no mode is known to be missed, (n,).
    evaluations
        Of log p(x, u) spent on each, (n,).
    """

    adapted: Adapted
    missed: Tensor
    annealed: Tensor
    log_chains: Tensor
    believed: Tensor
    evaluations: Tensor


def missed_by_q(density: Density, rows: Tensor, log_px: Tensor, highest: Tensor, num_draws: int) -> Probe:
    """Modes that q itself misses; see `probe`."""
    joint = density.of(rows)
    drawn = joint.from_guide(max(100, 5 * joint.dim))
    proposal = Proposal(None, [of_draws(drawn, 1.0)], log_px.to(drawn.device), highest.to(drawn.device))
    return probe(density, rows, proposal, num_draws)


def improve(density: Density, rows: Tensor, settings: Settings, seen: Probe | None = None) -> Improved:
    """Adapt to some data, again where a search from the prior finds missed modes; anneal data with a high k-hat.

    Where many of the data keep a high k-hat, a good one of another may be luck (`importance.doubtful`), and it is
    annealed, too; where the chains of most are not settled, none are. Data whose chains are not settled are annealed
    again over twice and then four times as many temperatures, unless half the spread of most is above `STEADY`.

    Parameters
    ----------
    density, rows, settings
        See `adapt`.
    seen
        The modes that q misses for all of these data, if `missed_by_q` found them.
    """
    found, seen = fitted(density, rows, settings, seen)
    settled = ~doubtful(pareto_k(found.log_w), settings.num_samples)
    left = (~settled).nonzero().flatten()
    chains, evaluations = found.log_w.new_zeros(NUM_CHAINS, 0), found.evaluations
    if len(left):
        chains, spent = _annealed(density, rows[left.cpu()], found.proposal[left], settings.num_temperatures)
        evaluations[left.cpu()] += spent
        settled[left] = ~above(chains.std(0), STEADY, luck=0.0)
    believed = settled & ~_still_missed(density, rows, found, seen) & ~found.undefined.to(settled.device)
    return Improved(found, seen.missed, left, chains, believed, evaluations)


def _annealed(density: Density, rows: Tensor, proposal: Defensive, num_temperatures: int) -> tuple[Tensor, Tensor]:
    """Log weights of annealed chains, (chains, n), and evaluations of each datum, (n,)."""
    chains = annealed(density, rows, proposal, num_temperatures)
    spent = torch.full_like(rows, cost(num_temperatures))
    for longer in (times * num_temperatures for times in _LONGER):
        spread = chains.std(0)
        again = above(spread, STEADY, _LUCK).nonzero().flatten()
        if not len(again) or spread[again].median() > 2 * STEADY:
            break
        chains[:, again] = annealed(density, rows[again.cpu()], proposal[again], longer)
        spent[again.cpu()] += cost(longer)
    return chains, spent


def fitted(density: Density, rows: Tensor, settings: Settings, seen: Probe | None = None) -> tuple[Adapted, Probe]:
    """`improve` without annealing: the fitted proposals, and what was found from the prior on the way."""
    if seen is not None:
        return adapt(density, rows, settings, seen.peaks), seen
    found = adapt(density, rows, settings)
    num_draws = max(10, 3 * settings.num_samples // 10)
    seen = probe(density, rows, _proposal(found), num_draws)
    found = replace(found, evaluations=found.evaluations + seen.evaluations)
    some = seen.missed.nonzero().flatten()
    if len(some):
        found = _merged(found, some, adapt(density, rows[some.cpu()], settings, seen.peaks[:, some]))
    return found, seen


def _proposal(found: Adapted) -> Proposal:
    """The fitted proposals as the probe takes them: without the share of the prior, from which the probe starts."""
    num_samples = len(found.log_w)
    *_, from_prior = found.proposal.counts(num_samples)
    students = replace(found.proposal, share=0.0)
    return Proposal(
        students,
        students.students,
        log_marginal(found.log_w).estimate,
        found.log_w[: num_samples - from_prior].max(0).values,
    )


def _still_missed(density: Density, rows: Tensor, found: Adapted, seen: Probe) -> Tensor:
    """Where a mode was found, and the final proposal misses it still."""
    missed = torch.zeros_like(seen.missed)
    some = seen.missed.nonzero().flatten()
    if len(some):
        peaks = seen.peaks[:, some]
        missed[some] = _proposal(found[some]).missed(density, rows[some.cpu()], peaks).any(0)
    return missed


def _merged(found: Adapted, some: Tensor, again: Adapted) -> Adapted:
    """With the results of some data replaced; one Student t and several copies of it are the same mixture."""
    first, students = found.proposal.students[0], []
    for new in again.proposal.students:
        loc, tril = first.loc.clone(), first.tril.clone()
        loc[some], tril[some] = new.loc, new.tril
        students.append(replace(first, loc=loc, tril=tril))
    u, log_w, undefined = found.u.clone(), found.log_w.clone(), found.undefined.clone()
    u[:, some], log_w[:, some], undefined[some.cpu()] = again.u, again.log_w, again.undefined
    evaluations = found.evaluations.clone()
    evaluations[some.cpu()] += again.evaluations
    mixture = replace(found.proposal, students=students)
    return replace(found, proposal=mixture, u=u, log_w=log_w, undefined=undefined, evaluations=evaluations)
