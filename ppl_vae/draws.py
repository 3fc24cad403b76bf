"""Draws from q for each datum and their log densities under p and q, of which every estimate is made."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.poutine import Trace
from torch import Tensor

from ppl_vae import paired, traces
from ppl_vae.casting import arguments
from ppl_vae.enumeration import Enumerated, enumerate_latents, num_states, unseen
from ppl_vae.find_plates import check_rows, find_plates
from ppl_vae.masked import draw_masked
from ppl_vae.memory import CACHED, chunks, rows_at_once
from ppl_vae.modelled import Modelled
from ppl_vae.precision import in_float64
from ppl_vae.site_values import by_datum, coarse, observed_values
from ppl_vae.split import Split
from ppl_vae.summed import likelihood, nothing_observed
from ppl_vae.support import measure

__all__ = ["Draws", "blocks", "draws", "encoded", "guided", "modelled", "replayed", "rescored", "score"]


@dataclass(frozen=True)
class Draws:
    """S draws of every latent for each of n data.

    Attributes
    ----------
    z, values
        Values by site, (S, n, *event_shape), and in the batch shapes of their sites, as `replayed` takes them.
    log_q, log_p
        log q(z | x) and log p(z) by site, (S, n), in nats; scales removed, masks kept.
    log_likelihood
        log p(x | z), (S, n), in nats.
    measure
        What log p(x | z) is the log of: a ``"mass"`` or a ``"density"``, of mixed columns which is which; ``"mass given
        the total"`` where an observed site says, in `infer={"given": "the total"}`, what it leaves out the cost of.
    discrete_q
        Whether all of q is a mass; a density otherwise.
    singular, improper
        Whether q is a point mass somewhere, and p(z) improper: then there are no weights.
    quantized
        Whether q is one code for each datum: then all draws are equal.
    observed
        What the model observed, by site, (n, *x_shape).
    predicted, log_predicted
        x' ~ p(x | z) for the first `num_predictive` draws, by observed site, (num_predictive, n, *x_shape), and their
        log p(x' | z), (num_predictive, n), in nats.
    num_states
        Of the discrete sites, by site: how many states each has; infinite where they cannot be counted.
    coarse
        Of which data draws of q lie too close together, (n,): see `site_values.coarse`.
    enumerated
        Log densities at every state of the latents, where all are discrete and their states can be summed over.
    narrow
        Sites where the support of q is smaller than that of p: log p(x) by q leaves out the rest.
    empty
        Of which data nothing was observed, (n,), so that log p(x) is 0; `None` where that is of none.
    """

    z: dict[str, Tensor]
    values: dict[str, Tensor]
    log_q: dict[str, Tensor]
    log_p: dict[str, Tensor]
    log_likelihood: Tensor
    measure: str
    discrete_q: bool
    singular: bool
    improper: bool
    quantized: bool
    observed: dict[str, Tensor]
    predicted: dict[str, Tensor]
    log_predicted: Tensor
    num_states: dict[str, float]
    coarse: Tensor
    enumerated: Enumerated | None = None
    narrow: tuple[str, ...] = ()
    empty: Tensor | None = None

    @property
    def log_weights(self) -> Tensor:
        """log p(x, z) - log q(z | x), (S, n), in nats."""
        return self.log_likelihood + torch.stack([self.log_p[n] - self.log_q[n] for n in self.z]).sum(0)

    def is_factor(self, name: str) -> bool:
        """Whether an observed site is a `pyro.factor`, which has no value."""
        return name in self.observed and self.observed[name].numel() == 0

    @property
    def unseen(self) -> Tensor:
        """Whether a state of the discrete latents was drawn by none, so that its weight is unknown, (n,)."""
        if not self.num_states:
            return torch.zeros_like(self.log_likelihood[0], dtype=torch.bool)
        return unseen({name: self.z[name] for name in self.num_states}, math.prod(self.num_states.values()))


def draws(
    program: Modelled,
    data: Split,
    num_samples: int,
    *,
    num_predictive: int = 0,
    max_rows: int = 10_000,
    share: tuple[int, int] = (0, 1),
    by: Callable[..., Draws] | None = None,
) -> Iterator[tuple[slice, Draws]]:
    """Draw from the guide and score, some data at a time, in bounded memory.

    Each datum is encoded once, whatever the number of samples. The model is run on at most `max_rows` pairs at once,
    fewer where they are large (see `find_plates`); q is drawn for all S at once, which needs the memory of S times the
    latents of one datum at least. Call it inside `isolation.evaluating`.

    Parameters
    ----------
    program
        Anything with `.model` and `.guide`.
    data
        What to draw for; random preprocessing must be done.
    num_samples
        Number of draws S a datum, exactly.
    num_predictive
        For how many of them data are predicted.
    max_rows
        Largest number of (draw, datum) pairs decoded at once; above some thousands more save no time.
    share
        (i, N): score only one chunk of the data in N, from the i-th on, and yield no others. Of these q is drawn alone,
        so that random numbers are the same whatever the share, for a model that draws none of its own.
    by
        Scores each chunk in the place of `score`, with its arguments.

    Yields
    ------
    rows : slice
        Which data.
    draws : Draws

    Raises
    ------
    ValueError
        For `max_rows` below 1, and for whatever `traces.check_pair` refuses, data outside the likelihood's support
        first of all.
    """
    where = find_plates(program, data)
    max_rows = where.rows(max_rows)
    for number, rows in enumerate(chunks(len(data), num_samples, max_rows)):
        args, mask = arguments(program, data[rows])
        if number % share[1] != share[0]:
            guided(program, args, mask, num_samples, where)
            continue
        if where.varies:
            check_rows(program, *args, mask=mask)
        drawn = (by or score)(program, args, mask, num_samples, num_predictive, max_rows, where)
        drawn = replace(drawn, empty=nothing_observed(mask, drawn.log_likelihood))
        if drawn.discrete_q and not drawn.quantized:
            here = where.of(len(args[0]))
            drawn = replace(drawn, enumerated=enumerate_latents(program, args, mask, here, max_rows=max_rows))
        yield rows, drawn


def encoded(
    program: Modelled, data: Split, num_samples: int, max_rows: int = 10_000
) -> Iterator[tuple[slice, dict[str, Tensor]]]:
    """Draw from the guide alone, without decoding; the rest as in `draws`.

    Yields
    ------
    rows : slice
        Which data.
    z : dict
        Values by site, (S, rows, units), in float64.
    """
    where = find_plates(program, data)
    for rows in chunks(len(data), num_samples, where.rows(max_rows)):
        args, mask = arguments(program, data[rows])
        guide = guided(program, args, mask, num_samples, where)
        z = {name: in_float64(by_datum(site["value"], site, where)) for name, site in traces.latents(guide).items()}
        yield rows, {name: value.reshape(*value.shape[:2], -1) for name, value in z.items()}


def guided(
    program: Modelled, args: tuple[Tensor, ...], mask: Tensor | bool, num_samples: int, where: traces.Plates
) -> Trace:
    """The guide's trace, of that many draws for each datum; what a mask leaves out is drawn from the prior."""
    with (particles := traces.particles(num_samples, where.depth)):
        trace = poutine.trace(program.guide).get_trace(*args, **traces.model_kwargs(mask))
    draw_masked(program, trace, args, mask, particles)
    return trace


def score(
    program: Modelled,
    args: tuple[Tensor, ...],
    mask: Tensor | bool,
    num_samples: int,
    num_predictive: int,
    max_rows: int,
    where: traces.Plates,
) -> Draws:
    """The `Draws` of some data, from their `arguments`; differentiable where gradients are enabled."""
    where = where.of(len(args[0]))
    q = traces.latents(guided(program, args, mask, num_samples, where))
    values = {name: site["value"] for name, site in q.items()}
    parts = []
    for some, model in replayed(program, args, mask, values, max_rows, where):
        seen = {name: site for name, site in traces.observed(model).items() if name not in q}
        if some.start == 0:
            for site in seen.values():
                traces.check_support(site, where)
        p = {name: model.nodes[name] for name in q}
        parts.append(_score_some(p, seen, where, some.stop - some.start, max(0, num_predictive - some.start)))
    return Draws(
        z={name: by_datum(site["value"], site, where) for name, site in q.items()},
        values=values,
        log_q={name: traces.log_prob(site, where, num_samples) for name, site in q.items()},
        log_p={name: torch.cat([part.log_p[name] for part in parts]) for name in q},
        log_likelihood=torch.cat([part.log_likelihood for part in parts]),
        measure=_measure(list(seen.values())),
        discrete_q=all(map(traces.discrete, q.values())),
        singular=any(map(traces.singular, q.values())),
        improper=any(map(traces.improper, p.values())),
        quantized=all(map(traces.quantized, q.values())),
        narrow=tuple(name for name, site in q.items() if not paired.contains(site["fn"], p[name]["fn"])),
        observed={name: observed_values(site, where) for name, site in seen.items()},
        predicted={name: torch.cat([p.predicted[name] for p in parts if p.predicted]) for name in parts[0].predicted},
        log_predicted=torch.cat([part.log_predicted for part in parts]),
        num_states={name: num_states(site, where) for name, site in p.items() if traces.discrete(q[name])},
        coarse=coarse(q.values(), where),
    )


def rescored(
    program: Modelled,
    args: tuple[Tensor, ...],
    mask: Tensor | bool,
    sites: Mapping[str, traces.Site],
    log_w: Tensor,
    num_predictive: int,
    max_rows: int,
    where: traces.Plates,
) -> Draws:
    """The `Draws` of latents with densities that came from another proposal than q, given at their `sites`.

    `log_w`, (S, n), are their log weights; log q of all latents together stands at the first site.
    """
    where, parts = where.of(len(args[0])), []
    values = {name: site["value"] for name, site in sites.items()}
    for some, model in replayed(program, args, mask, values, max_rows, where):
        seen = {name: site for name, site in traces.observed(model).items() if name not in sites}
        p = {name: model.nodes[name] for name in sites}
        parts.append(_score_some(p, seen, where, some.stop - some.start, max(0, num_predictive - some.start)))
    log_p = {name: torch.cat([part.log_p[name] for part in parts]) for name in sites}
    log_likelihood = torch.cat([part.log_likelihood for part in parts])
    log_joint = log_likelihood + torch.stack(list(log_p.values())).sum(0)
    first, *others = log_p
    return Draws(
        z={name: by_datum(site["value"], site, where) for name, site in sites.items()},
        values=values,
        log_q={first: log_joint - log_w.to(log_joint), **{name: torch.zeros_like(log_joint) for name in others}},
        log_p=log_p,
        log_likelihood=log_likelihood,
        measure=_measure(list(seen.values())),
        discrete_q=False,
        singular=False,
        improper=False,
        quantized=False,
        observed={name: observed_values(site, where) for name, site in seen.items()},
        predicted={name: torch.cat([p.predicted[name] for p in parts if p.predicted]) for name in parts[0].predicted},
        log_predicted=torch.cat([part.log_predicted for part in parts]),
        num_states={},
        coarse=torch.zeros(where.size, dtype=torch.bool),
    )


def replayed(
    program: Modelled,
    args: tuple[Tensor, ...],
    mask: Tensor | bool,
    values: Mapping[str, Tensor],
    max_rows: int,
    where: traces.Plates,
) -> Iterator[tuple[slice, Trace]]:
    """The model at draws of its latents, (draws, ...) in the batch shapes of their sites, some of them at a time."""
    for some in blocks(next(iter(values.values())), max_rows, where):
        yield some, modelled(program, args, mask, {name: value[some] for name, value in values.items()}, where)


def modelled(
    program: Modelled, args: tuple[Tensor, ...], mask: Tensor | bool, values: Mapping[str, Tensor], where: traces.Plates
) -> Trace:
    """The model at draws of its latents, (draws, ...), all at once."""
    conditioned = poutine.condition(program.model, data=dict(values))
    with traces.particles(len(next(iter(values.values()))), where.depth):
        return poutine.trace(conditioned).get_trace(*args, **traces.model_kwargs(mask))


def blocks(value: Tensor, max_rows: int, where: traces.Plates) -> Iterator[slice]:
    """Which draws of a site's values, (draws, ...), to decode at a time: fewer where a processor's cache counts."""
    if value.device.type == "cpu" and not torch.is_grad_enabled():
        max_rows = rows_at_once(max_rows, where.row_bytes, CACHED)
    return chunks(len(value), where.size, max_rows)


def _measure(sites: list[traces.Site]) -> str:
    given = dict.fromkeys(site["infer"]["given"] for site in sites if site["infer"].get("given"))
    scored = [(measure(site["fn"]), site["infer"]) for site in sites if not isinstance(site["fn"], dist.Unit)]
    each = {found if found.startswith("mixed") else infer.get("measure", found) for found, infer in scored}
    found = each.pop() if len(each) == 1 else "density"
    return f"{found} given {' and '.join(given)}" if given else found


@dataclass(frozen=True)
class _Scores:
    """What the model says of some of the draws; see `Draws`."""

    log_p: dict[str, Tensor]
    log_likelihood: Tensor
    predicted: dict[str, Tensor]
    log_predicted: Tensor


def _score_some(
    p: dict[str, traces.Site], seen: dict[str, traces.Site], where: traces.Plates, size: int, num_predictive: int
) -> _Scores:
    """From `size` draws the log densities, and x' for the first `num_predictive` of them."""
    log_p = {name: traces.log_prob(site, where, size) for name, site in p.items()}
    log_likelihood = likelihood(list(seen.values()), where, size)
    if num_predictive == 0:
        return _Scores(log_p, log_likelihood, {}, log_likelihood[:0])
    drawn = {k: {**s, "value": s["fn"].sample(), "unscaled_log_prob": None} for k, s in seen.items()}
    x = {name: by_datum(site["value"], site, where)[:num_predictive] for name, site in drawn.items()}
    return _Scores(log_p, log_likelihood, x, likelihood(list(drawn.values()), where, size)[:num_predictive])
