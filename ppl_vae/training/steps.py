"""The steps of a training: gradients on a batch, checked, and the optimizer's step."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ppl_vae.compiled import Compiler
from ppl_vae.isolation import random_states, set_random_states
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

LATE = {"cuda": 50}
"""Compiled steps that are launched on a device before it is asked whether they were finite."""

_RATES = ("lr", "betas", "momentum")
"""Settings of an optimizer that a schedule changes."""


class Taken(NamedTuple):
    """What a step says: its loss, its terms if its traces show them, or `Gradients.exact` of an enumerated site."""

    loss: float
    terms: BatchTerms | None
    exact: float | None


class _Step(NamedTuple):
    """A step of a kind: its arguments, where it stands, the state before it, and what a launched one will say."""

    kind: Whole
    batch: Batch
    beta: float
    where: str
    states: Sequence[Tensor]
    bring_back: Callable[[], None]
    rates: Sequence[tuple[Any, ...]]
    fine: Tensor | None = None
    terms: BatchTerms | None = None


class Steps:
    """The steps of one training.

    A `validated` step names all parameters to Pyro's store, and lets Pyro check every distribution. In the others it is
    checked that the loss and the gradients are finite, and that the data lie in the support of their distribution;
    where they do not, the step is repeated with validation on the same random numbers. The first step on a batch of
    another kind or size is validated. Where many of a kind are to come they are replayed as a graph, with the same
    numbers, or compiled, with the same up to rounding; every validated one is compared with it. On a GPU compiled steps
    are launched without waiting for those before; one that is not finite changes nothing, nor does any after it,
    until `settle` takes them again.

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
        Those that train it together; where there are several the optimizer's step is no part of a graph.
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
        self.going = torch.tensor(True, device=next(iter(optim.parameters.values())).device)
        self._most = LATE.get(self.going.device.type, 0)
        self._launched: list[_Step] = []
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
        if validated or not compile or not kind.steady or len(self._launched) >= self._most:
            self.settle()
        step = self._step(kind, batch, beta, where)
        start = time.perf_counter()
        if validated or not kind.gradients.seen or self.trained.unseen:
            self._checked(step, replay=graph, compile=compile)
        elif self._quick(step, replay=graph, compile=compile):
            self._seconds.append(time.perf_counter() - start)
        else:
            step.bring_back()
            self.settle()
            self._repeat(step)
        self.reason = self.reason or (kind.why_called() if graph or compile else None)
        self.not_compiled = self.not_compiled or (kind.why_not_compiled() if compile else None)
        return Taken(kind.gradients.loss, kind.gradients.terms, kind.gradients.exact)

    def settle(self) -> None:
        """Wait for the steps that a GPU has not finished; where one was not finite, take it and those after it again.

        Raises
        ------
        FloatingPointError, ValueError
            See `take`.
        """
        launched, self._launched = self._launched, []
        if not launched or self.going:
            return
        first = next((number for number, step in enumerate(launched) if not step.fine), len(launched))
        again = launched[first:]
        if not again:  # it was the step after them
            return
        now = self._step(again[0].kind, again[0].batch, 1.0, "")
        for step in again:
            step.kind.uncount()
        again[0].bring_back()
        for step in again:
            self._put_rates(step.rates)
            self._repeat(step)
            if step.terms is not None and step.kind.gradients.terms is not None:
                step.terms.values.copy_(step.kind.gradients.terms.values)  # the history adds them up later
        self._put_rates(now.rates)
        set_random_states(now.states, (now.batch.x,))

    def _wanted(self, kind: Whole, to_come: float) -> tuple[bool, bool]:
        """Whether the next step of a kind is to be a graph, and whether a compiled one."""
        if self.compile is False:
            return False, False
        replay = to_come * kind.gradients.seen >= MANY * self._seen
        if self.compile == "auto" and not self._pays and len(self._seconds) == _TIMED:
            self._pays = to_come * sorted(self._seconds)[_TIMED // 2] >= PAYS
        common = kind.gradients.seen * MOST >= self._seen and kind.gradients.seen > 0
        return replay, common and (self.compile is True or self._pays)

    def _step(self, kind: Whole, batch: Batch, beta: float, where: str) -> _Step:
        """A step that is to be taken, with what brings back the state before it."""
        groups = self.optim.optimizer.param_groups
        rates = [tuple(_number(group.get(name)) for name in _RATES) for group in groups]
        states = random_states((batch.x,))
        return _Step(kind, batch, beta, where, states, self.trained.kept_buffers(), rates)

    def _quick(self, step: _Step, *, replay: bool, compile: bool) -> bool:
        """A step without validation; whether it was taken, or is launched: `settle` waits for it."""
        steady = step.kind.steady and self._most > 0
        try:
            fine = step.kind.step(step.batch, step.beta, validated=False, replay=replay, compile=compile)
        except Exception:  # the same comes of the step with validation, in its words
            return False
        if steady and step.kind.steady:
            self._launched.append(step._replace(fine=torch.as_tensor(fine), terms=step.kind.gradients.terms))
            return True
        if step.kind.steady and not fine:
            step.kind.uncount()
        return bool(fine)

    def _repeat(self, step: _Step) -> None:
        """Take a step that was not finite again, on the same random numbers, with validation."""
        self.trained.watched.take()
        self.optim.optimizer.zero_grad()
        set_random_states(step.states, (step.batch.x,))
        self._checked(step, replay=False, compile=False)

    def _checked(self, step: _Step, *, replay: bool, compile: bool) -> None:
        """A step with validation, whose error says where it was."""
        self.going.fill_(True)
        try:
            step.kind.step(step.batch, step.beta, validated=True, replay=replay, compile=compile)
        except (FloatingPointError, ValueError) as error:
            pairs = self.trained.watched.take()
            raise explained(error, self.trained.program, pairs, step.batch, step.beta, step.where) from error

    def _put_rates(self, rates: Sequence[tuple[Any, ...]]) -> None:
        for group, values in zip(self.optim.optimizer.param_groups, rates, strict=True):
            for name, value in zip(_RATES, values, strict=True):
                if isinstance(group.get(name), Tensor):
                    group[name].fill_(value)
                elif name in group:
                    group[name] = value

    def _kind(self, batch: Batch, beta: float) -> Whole:
        changing = not self.constant and beta != 1
        tensors: list[Tensor] = [batch.x, *batch.context, *([batch.mask] if isinstance(batch.mask, Tensor) else [])]
        key = (changing, self.processes.part, *((t.shape, t.dtype) for t in tensors))
        if key not in self._kinds:
            self._kinds[key] = Whole(Gradients(self.trained, changing), self.optim, self.compiler, self.going)
        return self._kinds[key]


def _number(value: Any) -> Any:
    """A setting of an optimizer; a tensor, which a schedule changes in place, as its number."""
    return value.item() if isinstance(value, Tensor) else value
