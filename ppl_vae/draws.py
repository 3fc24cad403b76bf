"""Draws from q for each datum, and what p and q say of them: what every estimate is made of."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from pyro import poutine
from torch import Tensor, nn

from ppl_vae import traces
from ppl_vae.enumeration import Enumerated, enumerate_latents, states, unseen
from ppl_vae.memory import Allocated
from ppl_vae.precision import in_float64
from ppl_vae.split import Split
from ppl_vae.tensors import check_precision

__all__ = ["Draws", "arguments", "by_datum", "check_program", "chunks", "draws", "encoded", "look", "scored"]


@dataclass(frozen=True)
class Draws:
    """S draws of every latent for each of n data.

    Attributes
    ----------
    z
        Values by site, (S, n, *event_shape).
    log_q, log_p
        log q(z | x) and log p(z) by site, (S, n), in nats; scales removed, masks kept.
    log_likelihood
        log p(x | z), (S, n), in nats.
    discrete, discrete_q
        Whether log p(x | z) is a mass, and whether all of q is; a density otherwise.
    singular, improper
        Whether q is a point mass somewhere, and p(z) improper: then there are no weights.
    quantized
        Whether q is one code for each datum: then all draws are the same one.
    observed
        What the model observed, by site, (n, *x_shape).
    predicted
        x' ~ p(x | z) for the first `num_predictive` draws, by observed site, (num_predictive, n, *x_shape).
    log_predicted
        log p(x' | z) of them, (num_predictive, n), in nats.
    num_states
        Of the discrete sites, by site: how many states each has; infinite where they cannot be counted.
    enumerated
        Log densities at every state of the latents, where all are discrete and their states can be summed over.
    """

    z: dict[str, Tensor]
    log_q: dict[str, Tensor]
    log_p: dict[str, Tensor]
    log_likelihood: Tensor
    discrete: bool
    discrete_q: bool
    singular: bool
    improper: bool
    quantized: bool
    observed: dict[str, Tensor]
    predicted: dict[str, Tensor]
    log_predicted: Tensor
    num_states: dict[str, float]
    enumerated: Enumerated | None = None

    @property
    def log_weights(self) -> Tensor:
        """log p(x, z) - log q(z | x), (S, n), in nats."""
        return self.log_likelihood + torch.stack([self.log_p[n] - self.log_q[n] for n in self.z]).sum(0)

    @property
    def unseen(self) -> Tensor:
        """Whether a state of the discrete latents was drawn by none, so that its weight is unknown, (n,)."""
        if not self.num_states:
            return torch.zeros(self.log_likelihood.shape[1], dtype=torch.bool, device=self.log_likelihood.device)
        return unseen({name: self.z[name] for name in self.num_states}, math.prod(self.num_states.values()))


def draws(
    program: Any, data: Split, num_samples: int, *, num_predictive: int = 0, max_rows: int = 10_000
) -> Iterator[tuple[slice, Draws]]:
    """Draw from the guide and score, some data at a time, in bounded memory.

    Each datum is encoded once, whatever the number of samples. The model is run on at most `max_rows` pairs at once,
    fewer where they are large (see `look`), but q is drawn for all S at once: of one datum at least, memory for S times
    the latents' size is needed. Call it inside `isolation.evaluating`.

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
        Number of (draw, datum) pairs decoded at once, at most; above some thousands more save no time.

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
    where = look(program, data)
    max_rows = where.rows(max_rows)
    for rows in chunks(len(data), num_samples, max_rows):
        args, mask = arguments(program, data[rows])
        drawn = scored(program, args, mask, num_samples, num_predictive, max_rows, where)
        if drawn.discrete_q and not drawn.quantized:
            here = where.of(len(args[0]))
            drawn = replace(drawn, enumerated=enumerate_latents(program, args, mask, here, max_rows=max_rows))
        yield rows, drawn


def encoded(
    program: nn.Module, data: Split, num_samples: int, max_rows: int = 10_000
) -> Iterator[tuple[slice, dict[str, Tensor]]]:
    """Draw from the guide alone, nothing being decoded; the rest as in `draws`.

    Yields
    ------
    rows : slice
        Which data.
    z : dict
        Values by site, (S, rows, units), in float64.
    """
    where = look(program, data)
    for rows in chunks(len(data), num_samples, where.rows(max_rows)):
        args, mask = arguments(program, data[rows])
        with traces.particles(num_samples, where.depth):
            guide = poutine.trace(program.guide).get_trace(*args, **traces.call(mask))
        z = {name: in_float64(by_datum(site["value"], site, where)) for name, site in traces.latents(guide).items()}
        yield rows, {name: value.reshape(*value.shape[:2], -1) for name, value in z.items()}


def chunks(size: int, rows_each: int, max_rows: int) -> Iterator[slice]:
    """Some of `size` things at a time, of which each takes `rows_each` rows of at most `max_rows`; one at least.

    Raises
    ------
    ValueError
        For `max_rows` below 1.
    """
    if max_rows < 1:
        raise ValueError(f"max_rows expects one row or more, got {max_rows}; give max_rows=10_000, say")
    step = max(1, max_rows // rows_each)
    for start in range(0, size, step):
        yield slice(start, min(start + step, size))


def arguments(program: nn.Module, data: Split) -> tuple[tuple[Tensor, ...], Tensor | bool]:
    """Data as a program takes them, (x, *context) and mask: on its device, in its precision.

    x is cast whatever its dtype; a context of whole numbers stays, which may be indices. A program without parameters
    has no precision of its own: real data keep theirs.
    """
    like = next(program.parameters(), data.x if data.x.is_floating_point() else torch.zeros(()))
    data = data.to(like.device)
    context = (c.to(like.dtype) if c.is_floating_point() else c for c in data.context)
    return (data.x.to(like.dtype), *context), True if data.mask is None else data.mask


def check_program(caller: str, program: Any) -> None:
    """Refuse what has no model and guide, or no modes and device to look after.

    Raises
    ------
    TypeError
        Naming the class that came.
    """
    if not (isinstance(program, nn.Module) and hasattr(program, "model") and hasattr(program, "guide")):
        raise TypeError(
            f"{caller} expects a module with .model and .guide, got {type(program).__name__}; "
            "make one of two Pyro functions: Program(model, guide)"
        )


def look(program: Any, data: Split) -> traces.Plates:
    """Where the data lie in a program's plates, seen on three data and on two; it checks the pair as well.

    Two sizes tell the plate over the data from one that happens to be as long, and what is made for each datum from
    what is made once: `Plates.rows` bounds the memory by that. Fewer data are repeated.
    """
    like = next(program.parameters(), data.x if data.x.is_floating_point() else torch.zeros(()))
    check_precision("x", data.x, like.dtype, data.mask)
    few, fewer = (arguments(program, data[torch.arange(size) % len(data)]) for size in (3, 2))
    with Allocated() as by_two:
        other = traces.pair(program, *fewer[0], mask=fewer[1])
    with Allocated() as by_three:
        pair = traces.pair(program, *few[0], mask=few[1])
    where = traces.check_pair(*pair, 3, other[0])
    for allocated, drawn in ((by_two, other), (by_three, pair)):
        with allocated:
            traces.log_weights(*drawn, where.of(2 if drawn is other else 3))
    return replace(where, row_bytes=max(0, by_three.bytes - by_two.bytes))


def scored(
    program: Any,
    args: tuple[Tensor, ...],
    mask: Tensor | bool,
    num_samples: int,
    num_predictive: int,
    max_rows: int,
    where: traces.Plates,
) -> Draws:
    """What `draws` yields for some data, from their `arguments`; gradients flow where they are enabled."""
    n = len(args[0])
    where = where.of(n)
    with traces.particles(num_samples, where.depth):
        guide = poutine.trace(program.guide).get_trace(*args, **traces.call(mask))
    q = traces.latents(guide)
    log_q = {name: traces.log_prob(site, where, num_samples) for name, site in q.items()}
    log_p: dict[str, list[Tensor]] = {name: [] for name in q}
    log_likelihood = []
    predicted: dict[str, list[Tensor]] = {}
    log_predicted = []
    for some in chunks(num_samples, n, max_rows):
        start, size = some.start, some.stop - some.start
        values = {name: site["value"][some] for name, site in q.items()}
        with traces.particles(size, where.depth):
            model = poutine.trace(poutine.condition(program.model, data=values)).get_trace(*args, **traces.call(mask))
        seen = {name: site for name, site in traces.observed(model).items() if name not in q}
        if start == 0:
            for site in seen.values():
                traces.check_support(site, where)
        for name in q:
            log_p[name].append(traces.log_prob(model.nodes[name], where, size))
        log_likelihood.append(torch.stack([traces.log_prob(s, where, size) for s in seen.values()]).sum(0))
        if start < num_predictive:
            drawn = {k: {**s, "value": s["fn"].sample(), "unscaled_log_prob": None} for k, s in seen.items()}
            for name, site in drawn.items():
                x = by_datum(site["value"], site, where)
                predicted.setdefault(name, []).append(x[: num_predictive - start])
            densities = torch.stack([traces.log_prob(site, where, size) for site in drawn.values()]).sum(0)
            log_predicted.append(densities[: num_predictive - start])
    return Draws(
        z={name: by_datum(site["value"], site, where) for name, site in q.items()},
        log_q=log_q,
        log_p={name: torch.cat(parts) for name, parts in log_p.items()},
        log_likelihood=torch.cat(log_likelihood),
        discrete=all(map(traces.discrete, seen.values())),
        discrete_q=all(map(traces.discrete, q.values())),
        singular=any(map(traces.singular, q.values())),
        improper=any(traces.improper(model.nodes[name]) for name in q),
        quantized=all(map(traces.quantized, q.values())),
        observed={name: _observed(site, where) for name, site in seen.items()},
        predicted={name: torch.cat(parts) for name, parts in predicted.items()},
        log_predicted=torch.cat(log_predicted) if log_predicted else log_likelihood[0][:0],
        num_states={name: _num_states(model.nodes[name], where) for name in q if traces.discrete(q[name])},
    )


def _num_states(site: traces.Site, where: traces.Plates) -> float:
    found = states(site, where)
    return math.inf if found is None else found.count


def _observed(site: dict[str, Any], where: traces.Plates) -> Tensor:
    value = site["value"]
    missing = where.depth + 1 + len(site["fn"].event_shape) - value.dim()  # data are not repeated for every draw
    value = by_datum(value[(None,) * missing], site, where)[0]
    return value.expand(where.size, *value.shape[1:])


def by_datum(value: Tensor, site: dict[str, Any], where: traces.Plates) -> Tensor:
    """A site's values (draws, ..., *event_shape) as (draws, n, ...), whatever plates it lies in besides."""
    batch = value.dim() - len(site["fn"].event_shape)
    value = value.movedim(batch + where.data, 1)
    others = [d for d in range(2, batch) if value.shape[d] == 1]
    return value.squeeze(others) if others else value
