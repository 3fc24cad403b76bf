"""Draws scored with the model compiled, chunk after chunk of the data."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from ppl_vae import support, traces
from ppl_vae.compiled import Compiler
from ppl_vae.draws import Draws, blocks, by_datum, guided, score
from ppl_vae.isolation import random_states, set_random_states
from ppl_vae.modelled import Modelled
from ppl_vae.replayed import Replayed
from ppl_vae.summed import likelihood

__all__ = ["CompiledScores"]

PAYS = 60.0
"""Seconds that the scores to come must take for ``"auto"`` to compile, which takes some of them."""


class CompiledScores:
    """Scores as `draws.score` does, with the log densities of the model by compiled code.

    The first chunk is scored by `draws.score`, with its checks. On the second the model is captured as a graph in which
    parameters are constants and what is made of them alone, such as encoded pseudo-inputs, is computed once; it is
    compiled by torch's inductor, and its first results are compared with the model's. Chunks of another size are scored
    by `draws.score`. So is one with a NaN or with data outside the support, on the same random numbers: it raises the
    error. What the model observed is not in the result.

    Parameters
    ----------
    when
        `True`, or ``"auto"`` where the scores to come take a minute or more.
    num_data
        Number of data.
    """

    def __init__(self, when: str | bool, num_data: int) -> None:
        self.when, self.left, self.data = when, num_data, 0
        self.compiler = Compiler()
        self._graph = Replayed(self._densities, by=self.compiler.folded, most=1, after=0, trials=1)
        self._first: Draws | None = None
        self._seconds = 0.0

    def __call__(
        self,
        program: Modelled,
        args: tuple[Tensor, ...],
        mask: Tensor | bool,
        num_samples: int,
        num_predictive: int,
        max_rows: int,
        where: traces.Plates,
    ) -> Draws:
        """See `draws.score`."""
        start, states = time.perf_counter(), random_states(args)
        where = where.of(len(args[0]))
        if num_predictive == 0 and self._pays(len(args[0])):
            self._program, self._where, self._mask = program, where, mask
            if (found := self._scored(args, num_samples, max_rows)) is not None:
                self.left -= len(args[0])
                return found
            set_random_states(states, args)
        found = score(program, args, mask, num_samples, num_predictive, max_rows, where)
        self._first, self.left = self._first or found, self.left - len(args[0])
        self._seconds = time.perf_counter() - start
        return found

    @property
    def said(self) -> dict[str, Any]:
        """For how many data the model was compiled, in how many seconds, and why not for all."""
        reason = self._graph.reason
        if self.when is True and not self.data and reason is None:
            discrete = self._first is not None and self._first.discrete_q
            reason = "its latents are discrete" if discrete else "the data are too few: the first are scored without"
        return {"data": self.data, "seconds": round(self.compiler.seconds, 1), "reason": reason}

    def _pays(self, size: int) -> bool:
        """Whether to score so many data so."""
        first = self._first
        if first is None or first.discrete_q or size != first.log_likelihood.shape[1] or self._graph.reason is not None:
            return False
        return self.when is True or self.data > 0 or self._seconds / size * self.left >= PAYS

    def _scored(self, args: tuple[Tensor, ...], num_samples: int, max_rows: int) -> Draws | None:
        """From the graph; `None` where the error of the model itself is wanted."""
        assert self._first is not None
        where, before = self._where, self._graph.replays
        q = traces.latents(guided(self._program, args, self._mask, num_samples, where))
        values = {name: site["value"] for name, site in q.items()}
        if [*values] != [*self._first.z]:
            return None
        rest = [*args, *([self._mask] if isinstance(self._mask, Tensor) else [])]
        number = len(list(blocks(next(iter(values.values())), max_rows, where)))
        size, parts = math.ceil(num_samples / number), []
        for start in range(0, num_samples, size):
            first = min(start, num_samples - size)  # blocks of one size, the last one with draws of that before it
            *found, fine = self._graph(*(value[first : first + size] for value in values.values()), *rest)
            if not fine:
                return None
            parts.append([each[start - first :] for each in found])
        *log_p, log_likelihood = (torch.cat(each) for each in zip(*parts, strict=True))
        self.data += len(args[0]) if self._graph.replays > before else 0
        return replace(
            self._first,
            z={name: by_datum(site["value"], site, where) for name, site in q.items()},
            values=values,
            log_q={name: traces.log_prob(site, where, num_samples) for name, site in q.items()},
            log_p=dict(zip(values, log_p, strict=True)),
            log_likelihood=log_likelihood,
            observed={},
        )

    def _densities(self, *tensors: Tensor) -> list[Tensor]:
        """Of values of the latents, x, context and mask: log p(z) by site, log p(x | z), and whether all is well."""
        assert self._first is not None
        values = dict(zip(self._first.z, tensors, strict=False))
        rest = list(tensors[len(values) :])
        mask = rest.pop() if isinstance(self._mask, Tensor) else self._mask
        model = self._model(values, rest, mask)
        seen = [site for name, site in traces.observed(model).items() if name not in values]
        size = len(tensors[0])
        log_p = [traces.log_prob(model.nodes[name], self._where, size) for name in values]
        found = [*log_p, likelihood(seen, self._where, size)]
        inside = [support.inside(s["fn"], s["value"], support.element_mask(s["fn"])) for s in seen]
        return [*found, torch.stack([*inside, *(~each.isnan().any() for each in found)]).all()]

    def _model(self, values: Mapping[str, Tensor], args: list[Tensor], mask: Tensor | bool) -> poutine.Trace:
        """The model at draws of its latents."""
        conditioned = poutine.condition(self._program.model, data=dict(values))
        with traces.particles(len(next(iter(values.values()))), self._where.depth):
            return poutine.trace(conditioned).get_trace(*args, **traces.model_kwargs(mask))
