"""log p(x, z) of each datum as a function of unconstrained latents u, for HMC and quadrature."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import biject_to

from ppl_vae import traces
from ppl_vae.bare_support import of_components, support_of
from ppl_vae.captured import Function
from ppl_vae.casting import arguments
from ppl_vae.draws import guided
from ppl_vae.find_plates import find_plates
from ppl_vae.folded import folded
from ppl_vae.masked import log_prior, log_q
from ppl_vae.memory import chunks
from ppl_vae.modelled import Modelled
from ppl_vae.replayed import Replayed
from ppl_vae.site_values import by_datum
from ppl_vae.split import Split
from ppl_vae.summed import likelihood
from ppl_vae.up_to import up_to

__all__ = ["LogDensities", "LogJoint", "bijection", "gradient", "log_joints", "with_gradients"]


def bijection(name: str, site: traces.Site) -> Any:
    """The transform from real numbers onto the support of a site, by `biject_to`.

    Raises
    ------
    ValueError
        For a support without a bijection from real numbers, such as a sphere, or one that the distribution does not
        define.
    """
    try:
        return biject_to(of_components(support_of(site["fn"])))
    except NotImplementedError:
        raise ValueError(
            f"latents as real numbers expect a bijection onto the support of {name!r}, got "
            f"{type(site['fn']).__name__}, whose support has none (as a sphere has none); use evaluate, check_guide or "
            "log_marginal_likelihood(method='iwae' or 'prior'), which need none"
        ) from None


@dataclass(frozen=True)
class LogDensities:
    """Log densities at some points u, each (draws, n), in nats.

    Attributes
    ----------
    log_prior
        log p(z) + log |dz/du|, the density of u.
    log_likelihood
        log p(x | z).
    log_guide
        log q(z | x) + log |dz/du|; zeros unless requested.
    """

    log_prior: Tensor
    log_likelihood: Tensor
    log_guide: Tensor

    @property
    def log_joint(self) -> Tensor:
        """log p(x, u)."""
        return self.log_prior + self.log_likelihood

    @property
    def log_weight(self) -> Tensor:
        """log p(x, u) - log q(u | x)."""
        return self.log_joint - self.log_guide


class LogJoint:
    """log p(x, u) of each of n data, where u are all latents of a datum, unconstrained.

    u is (draws, n, dim), or (draws, 1, dim) for points shared by all data: a decoder that depends on z alone is then
    run once for all data. u concatenates the sites, each transformed from its support by `biject_to`; the Jacobian is
    part of the prior. Scales (`poutine.scale`) are removed, masks of x kept. A masked latent is scored by its prior, in
    q as well, and drawn from it: that integrates to 1, and leaves log p(x) as it is, where a constant has no finite
    integral. A datum's density does not depend on the other data, so the gradient of the sum over data holds the
    gradient of each.

    Parameters
    ----------
    program
        Anything with `.model` and `.guide`.
    args, mask
        Their arguments, from `casting.arguments`.
    where
        Position of the data plate among its plates.

    Raises
    ------
    ValueError
        For discrete latents, a point mass or an improper prior; for a support without a bijection from real numbers,
        such as a sphere.
    """

    def __init__(self, program: Modelled, args: tuple[Tensor, ...], mask: Tensor | bool, where: traces.Plates) -> None:
        self.program, self.args, self.mask = program, args, mask
        self.where = where.of(len(args[0]))
        model, guide = self._drawn()
        self._check(model, guide)
        self.layout: dict[str, _Placed] = {}
        self.dim = 0
        for name in traces.latents(guide):
            placed = _Placed.of(model.nodes[name], self.where, self.dim)
            self.layout[name], self.dim = placed, placed.columns.stop

    @property
    def size(self) -> int:
        """Number of data."""
        return self.where.size

    def __call__(self, u: Tensor, *, guide: bool = False) -> LogDensities:
        """The log densities at u; with `guide`, log q as well, which runs the encoder."""
        trace, jacobian = self._at(self.program.model, u)
        num = len(u)
        of_prior = sum((log_prior(trace.nodes[name], self.where, num) for name in self.layout), jacobian)
        seen = [site for name, site in traces.observed(trace).items() if name not in self.layout]
        log_likelihood = likelihood(seen, self.where, num) if seen else torch.zeros_like(jacobian)
        log_guide = torch.zeros_like(jacobian)
        if guide:
            values = {name: trace.nodes[name]["value"] for name in self.layout}
            q, p = self._trace(poutine.condition(self.program.guide, data=values), num).nodes, trace.nodes
            log_guide = sum((log_q(q[name], p[name], self.where, num) for name in self.layout), jacobian)
        return LogDensities(of_prior, log_likelihood, log_guide)

    def gradients(self, of: Callable[[LogDensities], Sequence[Tensor]], *, guide: bool = False) -> Function:
        """A function of u that returns `of` the log densities, each (draws, n), and the gradient of each.

        See `with_gradients`; q's parameters are computed once.
        """
        return with_gradients(lambda u: of(self(u, guide=guide)))

    def from_guide(self, num: int) -> Tensor:
        """Draws u from q(z | x), (num, n, dim)."""
        guide = guided(self.program, self.args, self.mask, num, self.where)
        return self._flat(self._trace(poutine.replay(self._latents, trace=guide), num), num)

    def from_prior(self, num: int) -> Tensor:
        """Draws u from p(z), (num, n, dim)."""
        return self._flat(self._trace(self._latents, num), num)

    def values(self, u: Tensor) -> dict[str, Tensor]:
        """The latents themselves, by site, (draws, n, *event_shape), as `draws.Draws` has them."""
        return {name: by_datum(site["value"], site, self.where) for name, site in self.sites(u).items()}

    def sites(self, u: Tensor) -> dict[str, traces.Site]:
        """The latents' sites of the model, whose values are in their batch shapes."""
        trace, _ = self._at(self._latents, u)
        return {name: trace.nodes[name] for name in self.layout}

    def unconstrained(self, values: Mapping[str, Tensor]) -> Tensor:
        """The inverse of `values`: u, (draws, n, dim)."""
        model, _ = self._drawn()
        for name, placed in self.layout.items():
            model.nodes[name]["value"] = placed.batched(values[name], model.nodes[name]["fn"].event_shape)
        return self._flat(model, len(values[name]))

    def _drawn(self) -> tuple[Trace, Trace]:
        """One draw from q for each datum."""
        with traces.particles(1, self.where.depth):
            return traces.pair(self.program, *self.args, mask=self.mask)

    def _trace(self, f: Callable[..., Any], num: int) -> Trace:
        with traces.particles(num, self.where.depth):
            return poutine.trace(f).get_trace(*self.args, **traces.model_kwargs(self.mask))

    @property
    def _latents(self) -> Callable[..., None]:
        """The model without its likelihood."""
        return up_to(self.program.model, self.layout)

    def _at(self, f: Callable[..., Any], u: Tensor) -> tuple[Trace, Tensor]:
        """The trace of the model, or of its latents, at u, and log |dz/du|, (draws, n)."""
        placed = _Placing(self.layout, u)
        with placed:
            trace = self._trace(f, len(u))
        zero = u.new_zeros(len(u), self.size)
        return trace, sum((traces.by_particle(j, self.where, len(u)) for j in placed.jacobians), zero)

    def _flat(self, model: Trace, num: int) -> Tensor:
        """The latents of a trace, unconstrained, (num, n, dim)."""
        sites = ((model.nodes[name], placed) for name, placed in self.layout.items())
        return torch.cat([placed.flat(site, num, self.size) for site, placed in sites], -1)

    def _check(self, model: Trace, guide: Trace) -> None:
        for name, site in traces.latents(guide).items():
            if traces.discrete(site) or traces.discrete(model.nodes[name]):
                raise ValueError(
                    f"log p(x, z) as a function of z expects latents with densities, got the discrete {name!r}; "
                    "sum over it, or use log_marginal_likelihood(method='iwae')"
                )
            if traces.singular(site) or traces.improper(model.nodes[name]):
                raise ValueError(
                    f"log p(x, z) as a function of z expects a proper prior and a q with a density at {name!r}, got "
                    "an improper prior (Flat) or a point mass (Point): there is no posterior to compare q with; use "
                    "another prior and posterior"
                )


def log_joints(program: Modelled, data: Split, num: int, *, max_rows: int = 10_000) -> Iterator[tuple[slice, LogJoint]]:
    """The joint density in batches of data, such that `num` points for each datum are at most `max_rows` pairs.

    Fewer where one pair takes much memory: see `find_plates`. Call it inside `session.diagnosing`. Raises for
    `max_rows` below 1, and whatever `LogJoint` raises.
    """
    where = find_plates(program, data)
    for rows in chunks(len(data), num, where.rows(max_rows)):
        yield rows, LogJoint(program, *arguments(program, data[rows]), where)


def gradient(f: Callable[[Tensor], Tensor], u: Tensor) -> tuple[Tensor, Tensor]:
    """f(u), (draws, n), and its gradient, (draws, n, dim), both detached."""
    with torch.enable_grad():
        u = u.detach().requires_grad_()
        value = f(u)
        grad = _gradient(value, u)
    return value.detach(), grad


def with_gradients(f: Callable[[Tensor], Sequence[Tensor]]) -> Function:
    """A function of u that returns f(u), each (draws, n), and the gradient of each, (draws, n, dim), all detached.

    After some calls it is replayed as a graph, in which everything that does not depend on u is computed once. Pyro's
    validation is off, since a trajectory may reach invalid parameters of a distribution.
    """

    def evaluated(u: Tensor) -> list[Tensor]:
        with torch.enable_grad(), pyro.validation_enabled(False):
            u = u.detach().requires_grad_()
            values = f(u)
            grads = [_gradient(value, u) for value in values]
        return [*(value.detach() for value in values), *grads]

    return Replayed(evaluated, after=_FEW, by=folded)


_FEW = 60
"""Calls of a log density before a graph of it is made, which takes 0.3 to 1 s: as long as 75 to 200 replays save."""


def _gradient(value: Tensor, u: Tensor) -> Tensor:
    if not value.requires_grad:  # a uniform prior, say
        return torch.zeros_like(u)
    (grad,) = torch.autograd.grad(value.sum(), u, retain_graph=True, materialize_grads=True)
    return grad


@dataclass(frozen=True)
class _Placed:
    """The columns of u that belong to a site, and their layout.

    `columns`; `plates`, the sizes of the site's batch dimensions between particles and event, 1 for the data plate;
    `data`, the position of the data plate among them; `event`, the shape of an unconstrained event.
    """

    columns: slice
    plates: tuple[int, ...]
    data: int
    event: tuple[int, ...]

    @classmethod
    def of(cls, site: traces.Site, where: traces.Plates, start: int) -> _Placed:
        """The next columns, for a site with one particle."""
        transform, value = bijection(site["name"], site), site["value"]
        batch = value.shape[: value.dim() - len(site["fn"].event_shape)]
        plates = list(batch[len(batch) - where.depth :])
        plates[where.data] = 1
        event = tuple(transform.inv(value).shape[len(batch) :])
        columns = slice(start, start + math.prod(plates) * math.prod(event))
        return cls(columns, tuple(plates), where.depth + where.data, event)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one datum's columns, as in `draws.by_datum`: other plates, then the event."""
        return (*(size for i, size in enumerate(self.plates) if i != self.data and size > 1), *self.event)

    def inside(self, u: Tensor) -> Tensor:
        """The site's part of u (draws, n, dim), in its batch shape."""
        part = u[..., self.columns]
        others = [size for i, size in enumerate(self.plates) if i != self.data]
        return part.reshape(*u.shape[:2], *others, *self.event).movedim(1, 1 + self.data)

    def batched(self, value: Tensor, event: torch.Size) -> Tensor:
        """A site's value (draws, n, *others, *event), as `by_datum` gives it, in its batch shape."""
        others = [size for i, size in enumerate(self.plates) if i != self.data]
        return value.reshape(*value.shape[:2], *others, *event).movedim(1, 1 + self.data)

    def flat(self, site: traces.Site, num: int, size: int) -> Tensor:
        """The inverse of `inside`: from a site's value, (num, size, columns)."""
        u: Tensor = bijection(site["name"], site).inv(site["value"])
        plates = [size if i == self.data else n for i, n in enumerate(self.plates)]
        return u.expand(num, *plates, *self.event).movedim(1 + self.data, 1).reshape(num, size, -1)


class _Placing(Messenger):
    """Sets each latent site to its part of u, transformed to its support, and records the log Jacobians."""

    def __init__(self, layout: dict[str, _Placed], u: Tensor) -> None:
        super().__init__()
        self.layout, self.u = layout, u
        self.jacobians: list[Tensor] = []

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        placed = self.layout.get(msg["name"])
        if placed is None:
            return
        transform = bijection(msg["name"], msg)
        u = placed.inside(self.u)
        msg["value"] = transform(u)
        msg["done"] = True
        self.jacobians.append(transform.log_abs_det_jacobian(u, msg["value"]))
