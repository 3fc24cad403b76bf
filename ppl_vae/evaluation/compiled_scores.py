"""Draws scored with the model compiled, chunk after chunk of the data."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ppl_vae import bounds, support, traces
from ppl_vae.compiled import Compiler
from ppl_vae.draws import Draws, blocks, guided, modelled, score
from ppl_vae.group import Group
from ppl_vae.isolation import random_states, set_random_states
from ppl_vae.modelled import Modelled
from ppl_vae.replayed import Replayed
from ppl_vae.site_values import by_datum, coarse
from ppl_vae.summed import likelihood

__all__ = ["CompiledScores"]

PAYS = 60.0
"""Seconds that the scores to come must take for ``"auto"`` to compile, which takes some of them."""

_BATCHES = 4
"""As many are needed: the first is scored without a graph, and the next two check it."""


class CompiledScores:
    """Scores as `draws.score` does, with the log densities of the model by compiled code.

    The first chunk is scored by `draws.score`, with its checks. On the second the model is captured as a graph in which
    parameters are constants and what is made of them alone, such as encoded pseudo-inputs, is computed once; it is
    compiled by torch's inductor. Its first results on this chunk and on the next are compared with the model's. Chunks
    of another size are scored by `draws.score`. So is, on the same random numbers, one in which a log density is NaN, x
    lies outside its support, or a parameter of a distribution outside its bounds: it raises the error. `Draws.observed`
    is empty.

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
        self._names: list[str] = []
        self._seconds, self._chunks, self._size, self._why = 0.0, 0, 1, ""

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
        start, states, size = time.perf_counter(), random_states(args), len(args[0])
        self._size = max(1, max_rows // num_samples)  # of a batch, of which these data may be a part
        found = None
        if num_predictive == 0 and self._pays(size):
            self._program, self._where, self._mask = program, where.of(size), mask
            found = self._scored(args, num_samples, max_rows)
            if found is None:
                set_random_states(states, args)
        if found is None:
            found = score(program, args, mask, num_samples, num_predictive, max_rows, where)
            self._first, self._names = self._first or found, self._names or list(found.z)
            self._seconds = time.perf_counter() - start
        self.left -= size
        return found

    def said(self, group: Group) -> dict[str, Any]:
        """For how many data the model was compiled, in how many seconds, and why not for all, in all processes."""
        mine = (self.data, self.compiler.seconds, self._why or self._graph.reason)
        data, seconds, reasons = zip(*group.gathered(mine), strict=True)
        why = next(filter(None, reasons), None)
        if self.when is True and not any(data) and why is None:
            needed = f"{_BATCHES * self._size * group.size} or more are needed, {_BATCHES} batches of {self._size}"
            why = f"the data are too few: {needed}{' in each process' * (group.size > 1)}"
        return {"data": sum(data), "seconds": round(max(seconds), 1), "reason": why}

    def _pays(self, size: int) -> bool:
        """Whether to score so many data so."""
        if self._first is None or size != self._first.log_likelihood.shape[1]:
            return False
        if self._first.discrete_q:
            self._why = "its latents are discrete"
        if self._why or self._graph.reason is not None:
            return False
        if self._chunks == 0 and self.left < (_BATCHES - 1) * size:
            return False
        return self.when is True or self._chunks > 0 or self._seconds / size * self.left >= PAYS

    def _scored(self, args: tuple[Tensor, ...], num_samples: int, max_rows: int) -> Draws | None:
        """From the graph; `None` where the model is to be called."""
        assert self._first is not None
        where, before = self._where, self._graph.replays
        q = traces.latents(guided(self._program, args, self._mask, num_samples, where))
        values = {name: site["value"] for name, site in q.items()}
        if list(values) != self._names:
            self._why = "the latents of q are not the same for all data"
            return None
        rest, states = [*args, *([self._mask] if isinstance(self._mask, Tensor) else [])], random_states(args)
        # half as many rows at once as for the model: of 1,000 to 10,000 rows the fewer were faster in the cache
        number = 2 * len(list(blocks(values[self._names[0]], max_rows, where)))
        size, parts = math.ceil(num_samples / number), []
        self._chunks += 1
        for start in range(0, num_samples, size):
            first = min(start, num_samples - size)  # blocks of one size, the last one with draws of that before it
            given = (*(value[first : first + size] for value in values.values()), *rest)
            *found, fine = self._graph(*given, again=self._chunks == 2 and start == 0)
            if not fine or self._graph.reason is not None:
                return None
            parts.append([each[start - first :] for each in found])
        if not all(map(torch.equal, states, random_states(args))):
            self._why = "the model draws random numbers where its latents are given"
            return None
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
            coarse=coarse(q.values(), where),
        )

    def _densities(self, *tensors: Tensor) -> list[Tensor]:
        """Of values of the latents, x, context and mask: log p(z) by site, log p(x | z), and whether all is well."""
        values = dict(zip(self._names, tensors, strict=False))
        rest, where = list(tensors[len(values) :]), self._where
        mask = rest.pop() if isinstance(self._mask, Tensor) else self._mask
        model = modelled(self._program, tuple(rest), mask, values, where)
        seen = [site for name, site in traces.observed(model).items() if name not in values]
        prior = [model.nodes[name] for name in values]
        found = [traces.log_prob(site, where, len(tensors[0])) for site in prior]
        found.append(likelihood(seen, where, len(tensors[0])))
        well = [support.inside(s["fn"], s["value"]) for s in seen]
        well += [condition for site in (*prior, *seen) for condition in bounds.kept(site["fn"])]
        return [*found, torch.stack([*well, *(~each.isnan().any() for each in found)]).all()]
