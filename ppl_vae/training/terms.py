"""Reconstruction and KL of each site, read from the traces that an objective draws anyway."""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pyro.infer import ELBO
from pyro.poutine import Trace
from torch import Tensor

from ppl_vae import traces
from ppl_vae.captured import first_line
from ppl_vae.training.processes import Processes

__all__ = ["BatchTerms", "Terms", "Watched", "not_finite", "summed_over", "terms_of"]

Pair = tuple[Trace, Trace]
LATEST = 100
"""Batches whose terms may change yet: more than `steps.LATE`."""


class Watched:
    """A copy of an objective that records the pairs of traces it drew.

    Parameters
    ----------
    objective
        A Pyro ELBO; it stays as it is.

    Attributes
    ----------
    pairs
        (model, guide) traces drawn since they were last taken: one, or one a particle.
    sees
        Whether it draws traces that can be recorded.
    """

    def __init__(self, objective: ELBO) -> None:
        self.objective: Any = copy.copy(objective)  # Pyro's ELBO declares no `loss`
        self.pairs: list[Pair] = []
        self._traced: dict[Any, Any] = {}
        draw = getattr(self.objective, "_get_trace", None)
        self._by_jit = type(objective).__name__.startswith("Jit")  # draws only while torch.jit traces it
        self.sees = draw is not None and not self._by_jit
        if draw is None or not self.sees:
            return

        def drawn(*args: Any, **kwargs: Any) -> Pair:
            self.pairs.append(draw(*args, **kwargs))
            return self.pairs[-1]

        self.objective._get_trace = drawn  # type: ignore[method-assign]  # shadows the method on this copy alone

    def loss_and_grads(
        self, model: Callable[..., Any], guide: Callable[..., Any], args: Sequence[Tensor], kwargs: dict[str, Any]
    ) -> float:
        """The loss, as a number; its gradient is added to that of the parameters.

        Of a Pyro objective that is traced by torch.jit each shape of batches has a copy, as a trace holds the sizes of
        plates and their scales.

        Raises
        ------
        ValueError
            For a program that such an objective cannot trace.
        """
        if not self._by_jit:
            loss: float = self.objective.loss_and_grads(model, guide, *args, **kwargs)
            return loss
        copied = self._traced.setdefault(tuple(arg.shape for arg in args), copy.copy(self.objective))
        try:
            loss = copied.loss_and_grads(model, guide, *args, **kwargs)
        except (KeyError, RuntimeError) as error:
            raise ValueError(
                f"{type(copied).__name__} expects functions that torch.jit can trace, whose parameters are those of a "
                f"module and not of pyro.param or pyro.module, got {type(error).__name__} ({first_line(error)}); give "
                f"{type(copied).__name__.removeprefix('Jit')}: fit replays its steps as a graph"
            ) from error
        return loss

    def take(self) -> list[Pair]:
        """The pairs; they are removed, as they keep the graph of a step alive."""
        pairs, self.pairs = self.pairs, []
        return pairs


@dataclass(frozen=True)
class BatchTerms:
    """Reconstruction and KL of each site of a batch, in nats.

    Attributes
    ----------
    names
        Names of the terms.
    values
        Their parts of the mean over particles, summed over the data, (pairs of traces, terms).
    point
        Whether the posterior is a point mass at some site.
    """

    names: tuple[str, ...]
    values: Tensor
    point: bool

    def bound(self, beta: float) -> float:
        """The ELBO with the KL weighted by beta, summed over the data."""
        means: list[float] = self.values.mean(0).tolist()
        return sum(m if name == "reconstruction" else -beta * m for name, m in zip(self.names, means, strict=True))


def terms_of(pairs: Sequence[Pair], num_particles: int = 1) -> BatchTerms:
    """The terms of the traces of a batch."""
    with torch.no_grad():
        each = [_terms(model, guide) for model, guide in pairs]
        values = torch.stack([torch.stack(list(terms.values())) for terms in each]).detach()
    point = any(traces.singular(site) for _, guide in pairs for site in traces.latents(guide).values())
    return BatchTerms(tuple(each[0]), values / num_particles if num_particles > 1 else values, point)


class Terms:
    """The ELBO and what it is made of, added up over batches, and so weighted by their sizes.

    Batches may differ in their sites, as where a label is observed in some and latent in others; a KL is a mean over
    all data, and those that observe the site add nothing to it. Where the posterior is a point mass in some batch
    there is no KL, and the ELBO is replaced by log p(x, z) at the code.
    """

    def __init__(self) -> None:
        self.point = False
        self.size = 0
        self.gap = 0.0
        self.sums: dict[str, Tensor] = {}
        self._latest: deque[BatchTerms] = deque()

    def add(self, size: int, terms: BatchTerms, loss: float | None = None) -> None:
        """Add the terms of a batch, the mean over its particles.

        `loss` is minus the ELBO where it is better known than from the terms: the sum over enumerated sites. The latest
        terms are added up later, as a step that is taken again changes them in place.
        """
        self.size += size
        self.point = self.point or terms.point
        if loss is not None:
            for values in terms.values.tolist():
                self.gap += loss / len(terms.values) + _elbo(dict(zip(terms.names, values, strict=True)))
        self._latest.append(terms)
        self._sum_up(LATEST)

    def _sum_up(self, latest: int) -> None:
        """Add up all terms but so many of the latest."""
        while len(self._latest) > latest:
            terms = self._latest.popleft()
            for values in terms.values.unbind():
                for name, value in zip(terms.names, values.unbind(), strict=True):
                    self.sums[name] = self.sums[name] + value if name in self.sums else value

    def together(self, processes: Processes) -> Terms:
        """The terms of all processes, which have each some rows of every batch."""
        self._sum_up(0)
        if processes.size == 1:
            return self
        found = Terms()
        sums = {name: float(value) for name, value in self.sums.items()}
        for point, size, gap, added in processes.gathered((self.point, self.size, self.gap, sums)):
            found.point, found.size, found.gap = found.point or point, found.size + size, found.gap + gap
            for name, value in added.items():
                found.sums[name] = found.sums.get(name, torch.zeros((), dtype=torch.float64)) + value
        return found

    def row(self, prefix: str) -> dict[str, float]:
        """The columns of the history, in nats per datum."""
        self._sum_up(0)
        means = {name: float(value) / self.size for name, value in self.sums.items()}
        elbo = _elbo(means) - self.gap / self.size
        shown = {name: v for name, v in means.items() if not (self.point and name.startswith("kl_"))}
        return {f"{prefix}_elbo": elbo, **{f"{prefix}_{name}": v for name, v in shown.items()}}


def summed_over(pairs: Sequence[Pair]) -> bool:
    """Whether some site of the traces is enumerated, and so has no one value in them."""
    return any(traces.enumerated(site) for _, guide in pairs for site in traces.latents(guide).values())


def not_finite(pairs: Sequence[Pair]) -> str | None:
    """The term that went first, in the order they are computed; `None` where all are finite."""
    for model, guide in pairs:
        named = [(f"log q of site {n!r}", s) for n, s in traces.latents(guide).items()]
        named += [(f"log p of latent site {n!r}", s) for n, s in traces.latents(model).items()]
        named += [(f"the log-likelihood of site {n!r}", s) for n, s in traces.observed(model).items()]
        for name, site in named:
            if not math.isfinite(traces.total(site).detach()):
                return name
    return None


def _terms(model: Trace, guide: Trace) -> dict[str, Tensor]:
    """Reconstruction and KL of each site, summed over the data and particles of a draw, in nats."""
    return {
        "reconstruction": sum((_total(s) for s in traces.observed(model).values()), torch.zeros(())),
        **{f"kl_{n}": _total(s) - _total(model.nodes[n]) for n, s in traces.latents(guide).items()},
    }


def _elbo(terms: dict[str, float]) -> float:
    return terms["reconstruction"] - sum(value for name, value in terms.items() if name.startswith("kl_"))


def _total(site: dict[str, Any]) -> Tensor:
    unscaled = isinstance(site["scale"], float) and site["scale"] == 1.0 and "log_prob_sum" in site
    return site["log_prob_sum"] if unscaled else traces.total(site)
