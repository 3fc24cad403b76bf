"""The steps of a training: gradients on a batch, checked, and the optimizer's step."""

from __future__ import annotations

import time
from typing import Any, Literal, NamedTuple

from torch import Tensor

from ppl_vae.captured import random_states, set_random_states
from ppl_vae.compiled import Compiler
from ppl_vae.modelled import Modelled
from ppl_vae.objectives import BetaSchedule, Constant
from ppl_vae.training.batches import Batch
from ppl_vae.training.checks import explained
from ppl_vae.training.dry_run import DryRun
from ppl_vae.training.gradients import Gradients, Trained
from ppl_vae.training.optim import NamedOptim
from ppl_vae.training.processes import Processes
from ppl_vae.training.terms import BatchTerms, Watched
from ppl_vae.training.whole import Whole

__all__ = ["Compile", "Steps", "Taken"]

Compile = Literal["auto"] | bool | None
"""Which steps are graphs, and which are compiled: see `fit`."""

MANY = 2000
"""Steps to come for which a graph pays: it takes seconds to capture, and saves less than a millisecond a step."""

MOST = 10
"""A kind of batches is compiled with `True` where it is at least one in so many."""

PAYS = 300.0
"""Seconds of steps to come for which compilation pays: it takes 20 to 40, and saves a sixth of a step or more."""

_TIMED = 20


class Taken(NamedTuple):
    """What a step says: its loss, its terms if its traces show them, and whether a site of them is enumerated."""

    loss: float
    terms: BatchTerms | None
    summed: bool


class Steps:
    """The steps of one training.

    A `validated` step names all parameters to Pyro's store, and lets Pyro check every distribution. In the others it is
    checked that the loss and the gradients are finite, and that the data lie in the support of their distribution;
    where they do not, the step is repeated with validation on the same random numbers. The first step on a batch of
    another kind or size is validated. Where many of a kind are to come they are replayed as a graph, with the same
    numbers, or compiled, with the same up to rounding; every validated one is compared with it.

    Parameters
    ----------
    program
        What is trained.
    watched
        The objective.
    tried
        What the dry run found.
    optim
        The optimizer.
    beta
        The schedule of beta.
    processes
        Those that train it together; where there are several every step is validated.
    compile
        Which steps are graphs.
    precision
        ``"bf16"`` for products of the networks in bfloat16.

    Attributes
    ----------
    reason
        Why no step is replayed, where one was to be; else `None`.
    not_compiled
        Why no step is compiled, or its optimizer's step is not, where it was to be; else `None`.
    compiler
        Compiles them.
    """

    def __init__(
        self,
        program: Modelled,
        watched: Watched,
        tried: DryRun,
        optim: NamedOptim,
        beta: BetaSchedule,
        processes: Processes,
        compile: Compile = None,
        precision: str | None = None,
    ) -> None:
        self.trained = Trained(program, watched, tried, processes, precision)
        self.optim, self.processes = optim, processes
        self.constant, self.compile = isinstance(beta, Constant), compile
        self.reason: str | None = None
        self.not_compiled: str | None = None
        self.compiler = Compiler()
        self._kinds: dict[Any, Whole] = {}
        self._seen, self._pays = 0, False
        self._seconds: list[float] = []

    @property
    def replays(self) -> int:
        """Number of steps that were replayed as a graph without a compiler."""
        return sum(kind.replays for kind in self._kinds.values())

    @property
    def compiled(self) -> int:
        """Number of steps that were compiled."""
        return sum(kind.compiled for kind in self._kinds.values())

    def why_not_compiled(self) -> str | None:
        """Why no step was compiled, or not as a whole, where `compile` asked for it; else `None`."""
        if self.compile is True and not self.compiled and self.not_compiled is None:
            return "there were no more steps than those that a graph is compared with"
        return self.not_compiled

    def take(self, batch: Batch, beta: float, where: str, *, validated: bool, to_come: float) -> Taken:
        """Take a step.

        Parameters
        ----------
        batch, beta
            The data, and the weight of the KL.
        where
            Where the training stands, for messages.
        validated
            Whether Pyro checks every distribution.
        to_come
            Number of steps that are to come.

        Raises
        ------
        FloatingPointError
            For a loss or gradient that is not finite.
        ValueError
            For whatever the program or Pyro refuses.
        """
        self.processes.check_rows()
        kind = self._kind(batch, beta)
        self._seen += 1
        graph, compile = self._wanted(kind, to_come)
        start = time.perf_counter()
        try:
            with self.processes.drawing():
                if validated or not kind.gradients.seen or self.trained.why_called:
                    kind.step(batch, beta, validated=True, replay=graph, compile=compile)
                else:
                    self._quick(kind, batch, beta, replay=graph, compile=compile)
                    self._seconds.append(time.perf_counter() - start)
        except (FloatingPointError, ValueError) as error:
            raise explained(error, self.trained.program, self.trained.watched.take(), batch, beta, where) from error
        self.reason = self.reason or (kind.why_called() if graph or compile else None)
        self.not_compiled = self.not_compiled or (kind.why_not_compiled() if compile else None)
        return Taken(kind.gradients.loss, kind.gradients.terms, kind.gradients.summed)

    def _wanted(self, kind: Whole, to_come: float) -> tuple[bool, bool]:
        """Whether the next step of a kind is to be a graph, and whether a compiled one."""
        if self.compile is False:
            return False, False
        replay = to_come * kind.gradients.seen >= MANY * self._seen
        if self.compile == "auto" and not self._pays and len(self._seconds) == _TIMED:
            self._pays = to_come * sorted(self._seconds)[_TIMED // 2] >= PAYS
        common = kind.gradients.seen * MOST >= self._seen and kind.gradients.seen > 0
        return replay, common and (self.compile is True or self._pays)

    def _quick(self, kind: Whole, batch: Batch, beta: float, *, replay: bool, compile: bool) -> None:
        """A step without validation; where something is not finite it is repeated with validation."""
        tensors = (batch.x,)
        states, bring_back = random_states(tensors), self.trained.kept_buffers()
        try:
            if kind.step(batch, beta, validated=False, replay=replay, compile=compile):
                return
        except Exception:
            pass
        self.trained.watched.take()
        self.optim.optimizer.zero_grad()
        bring_back()
        set_random_states(states, tensors)
        kind.step(batch, beta, validated=True, replay=False, compile=False)

    def _kind(self, batch: Batch, beta: float) -> Whole:
        changing = not self.constant and beta != 1
        tensors: list[Tensor] = [batch.x, *batch.context, *([batch.mask] if isinstance(batch.mask, Tensor) else [])]
        key = (changing, *((t.shape, t.dtype) for t in tensors))
        if key not in self._kinds:
            self._kinds[key] = Whole(Gradients(self.trained, changing), self.optim, self.compiler)
        return self._kinds[key]
