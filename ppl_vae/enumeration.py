"""Exact sums over all states of discrete latents, where there are few enough to enumerate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter

import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions.torch_distribution import ExpandedDistribution, MaskedDistribution
from torch import Tensor

from ppl_vae import one_way, traces
from ppl_vae.distributions import MOST_STATES
from ppl_vae.isolation import random_states, set_random_states
from ppl_vae.modelled import Modelled
from ppl_vae.precision import in_float64

__all__ = ["Enumerated", "States", "enumerate_latents", "num_states", "states", "unseen"]


@dataclass(frozen=True)
class States:
    """The states of a discrete site.

    Attributes
    ----------
    each
        States of one unit, (num, *event_shape).
    units
        Shape of the site's independent units: its plates, with size 1 for the data plate, then the independent
        dimensions of an event.
    """

    each: Tensor
    units: tuple[int, ...]

    @property
    def count(self) -> int:
        """Number of joint states of all units."""
        return int(len(self.each) ** math.prod(self.units))

    def values(self, numbers: Tensor) -> Tensor:
        """The joint states with these numbers, (len(numbers), *units, *event_shape)."""
        num_units = math.prod(self.units)
        place = len(self.each) ** torch.arange(num_units, device=numbers.device)
        digits = numbers[:, None] // place % len(self.each)
        return self.each[digits].reshape(len(numbers), *self.units, *self.each.shape[1:])


@dataclass(frozen=True)
class Enumerated:
    """Log densities at every state of all latents of a datum.

    Attributes
    ----------
    log_q, log_p
        log q(z | x) and log p(z) by site, (states, n), in nats and float64.
    log_likelihood
        log p(x | z), (states, n).
    """

    log_q: dict[str, Tensor]
    log_p: dict[str, Tensor]
    log_likelihood: Tensor

    @property
    def log_joint(self) -> Tensor:
        """log p(x, z), (states, n)."""
        return self.log_likelihood + torch.stack(list(self.log_p.values())).sum(0)

    @property
    def log_guide(self) -> Tensor:
        """log q(z | x), (states, n)."""
        return torch.stack(list(self.log_q.values())).sum(0)

    @property
    def log_px(self) -> Tensor:
        """log p(x), exact, (n,)."""
        return self.log_joint.logsumexp(0)

    def mean(self, values: Tensor) -> Tensor:
        """Expectation under q of values at every state, (states, n): (n,)."""
        q = self.log_guide.exp()
        return torch.where(q > 0, q * values, 0.0).sum(0)

    def ess(self, num_draws: int) -> Tensor:
        """Effective sample size of importance sampling with that many draws from q, (n,)."""
        log_square = (2 * self.log_joint - self.log_guide).nan_to_num(nan=-math.inf, posinf=math.inf, neginf=-math.inf)
        return num_draws * (2 * self.log_px - log_square.logsumexp(0)).exp()


def states(site: traces.Site, where: traces.Plates) -> States | None:
    """The states of a site of the model; `None` for a continuous one, or one with infinitely many states."""
    fn, independent = site["fn"], 0
    while isinstance(fn, dist.Independent | MaskedDistribution | ExpandedDistribution):
        independent += getattr(fn, "reinterpreted_batch_ndims", 0)
        fn = fn.base_dist
    try:
        each = fn.enumerate_support(expand=False) if fn.has_enumerate_support else None
    except NotImplementedError:  # the number of states differs between data
        return None
    if each is None:
        return None
    batch, event = tuple(site["fn"].batch_shape), tuple(site["fn"].event_shape)
    plates = [*[1] * where.depth, *batch][-where.depth :]
    plates[where.data] = 1
    return States(each.reshape(len(each), *event[independent:]), (*plates, *event[:independent]))


def num_states(site: traces.Site, where: traces.Plates) -> float:
    """How many `states` a site of the model has; infinite where they cannot be counted."""
    found = states(site, where)
    return math.inf if found is None else found.count


def enumerate_latents(
    program: Modelled, args: tuple[Tensor, ...], mask: Tensor | bool, where: traces.Plates, *, max_rows: int = 10_000
) -> Enumerated | None:
    """Log densities at every state of some data's latents; `None` if they are not discrete or more than `MOST_STATES`.

    Nor where the states of a site depend on the value of another, as of a binomial with a latent number of trials. At
    most `max_rows` pairs of state and datum are scored at once.
    """
    with traces.particles(1, where.depth):
        model, guide = traces.pair(program, *args, mask=mask)
    sites = {name: states(model.nodes[name], where) for name in traces.latents(guide)}
    known = {name: found for name, found in sites.items() if found is not None}
    total = math.prod(found.count for found in known.values())
    if len(known) < len(sites) or total > MOST_STATES:
        return None
    parts = []
    for numbers in torch.arange(total, device=args[0].device).split(max(1, max_rows // where.size)):
        values, rest = {}, numbers
        for name, found in known.items():
            value = found.values(rest % found.count)
            shape = list(value.shape)
            shape[1 + where.depth + where.data] = where.size
            values[name], rest = value.expand(shape), rest // found.count
        part = _scored(program, args, mask, where, values, known, len(numbers))
        if part is None:
            return None
        parts.append(part)
    of_q, of_p = attrgetter("log_q"), attrgetter("log_p")
    log_q, log_p = ({name: torch.cat([of(part)[name] for part in parts]) for name in known} for of in (of_q, of_p))
    return Enumerated(
        _masked_once(log_q, known), _masked_once(log_p, known), torch.cat([part.log_likelihood for part in parts])
    )


def _masked_once(log_masses: Mapping[str, Tensor], known: Mapping[str, States]) -> dict[str, Tensor]:
    """Log masses of each site, (states, n); the K states of a masked unit, of mass 1 each, have 1 / K.

    The sum over a site's own states is then 1 again; else log p(x) were too high by log K for each masked unit.
    """
    counts = [found.count for found in reversed(list(known.values()))]  # the first site's states change fastest
    found = {}
    for place, (name, site) in enumerate(known.items(), start=1):
        log_mass = log_masses[name].reshape(*counts, -1)
        log_k = math.log(max(len(site.each), 2))
        masked = (log_mass.logsumexp(len(counts) - place, keepdim=True) / log_k).round().clamp_min(0)
        found[name] = (log_mass - masked * log_k).reshape(log_masses[name].shape)
    return found


def _scored(
    program: Modelled,
    args: tuple[Tensor, ...],
    mask: Tensor | bool,
    where: traces.Plates,
    values: dict[str, Tensor],
    known: Mapping[str, States],
    num: int,
) -> Enumerated | None:
    """At so many states; `None` where the model has other states there."""
    with traces.particles(num, where.depth):
        model, guide = (
            poutine.trace(poutine.condition(f, data=values)).get_trace(*args, **traces.model_kwargs(mask))
            for f in (program.model, program.guide)
        )
    there = ((states(model.nodes[name], where), found) for name, found in known.items())
    if any(now is None or not torch.equal(now.each, found.each) for now, found in there):
        return None
    log_q = {name: in_float64(traces.log_prob(_within_support(guide.nodes[name]), where, num)) for name in values}
    log_p = {name: in_float64(traces.log_prob(model.nodes[name], where, num)) for name in values}
    seen = [in_float64(traces.log_prob(s, where, num)) for n, s in traces.observed(model).items() if n not in values]
    return Enumerated(log_q, log_p, torch.stack(seen).sum(0))


def _within_support(site: traces.Site) -> traces.Site:
    """A site of q scored at states of the prior: those that q does not have are of mass 0."""
    fn, value = site["fn"], site["value"]
    has = fn.support.check(value)
    if has.all():
        return site
    states_before = random_states((value,))
    some = torch.where(has.reshape((*has.shape, *(1 for _ in fn.event_shape))), value, fn.sample())
    set_random_states(states_before, (value,))
    log_q = one_way.log_prob(fn, some).masked_fill(~has, -math.inf)
    return {**site, "unscaled_log_prob": log_q}


def unseen(z: Mapping[str, Tensor], num_states: float) -> Tensor:
    """Whether draws (S, n, *event) of discrete sites miss any of their `num_states` joint states, (n,)."""
    drawn = torch.cat([in_float64(value).reshape(*value.shape[:2], -1) for value in z.values()], -1)
    if num_states > len(drawn):
        return torch.ones(drawn.shape[1], dtype=torch.bool, device=drawn.device)
    num = [len(torch.unique(of_datum, dim=0)) for of_datum in drawn.unbind(1)]
    return torch.tensor(num, device=drawn.device) < num_states
