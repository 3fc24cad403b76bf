"""The steps of a training: gradients on a batch, checked, and the optimizer's step."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from ppl_vae.captured import random_states, set_random_states
from ppl_vae.modelled import Modelled
from ppl_vae.objectives import BetaSchedule, Constant
from ppl_vae.training.batches import Batch
from ppl_vae.training.checks import explained
from ppl_vae.training.dry_run import DryRun
from ppl_vae.training.gradients import Gradients, Trained
from ppl_vae.training.optim import NamedOptim
from ppl_vae.training.processes import Processes
from ppl_vae.training.terms import BatchTerms, Watched

__all__ = ["Steps", "Taken"]

MANY = 2000
"""Steps to come for which a graph pays: it takes seconds to capture, and saves less than a millisecond a step."""


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
    numbers; every validated one is compared with it.

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

    Attributes
    ----------
    reason
        Why no step is replayed, where one was to be; else `None`.
    """

    def __init__(
        self,
        program: Modelled,
        watched: Watched,
        tried: DryRun,
        optim: NamedOptim,
        beta: BetaSchedule,
        processes: Processes,
    ) -> None:
        self.trained, self.optim, self.processes = Trained(program, watched, tried, processes), optim, processes
        self.constant = isinstance(beta, Constant)
        self.reason: str | None = None
        self._kinds: dict[Any, Gradients] = {}
        self._seen = 0

    @property
    def replays(self) -> int:
        """Number of steps that were replayed as a graph."""
        return sum(kind.replayed.replays for kind in self._kinds.values())

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
        replay = self.reason is None and to_come * kind.seen >= MANY * self._seen
        try:
            with self.processes.drawing():
                self._compute(kind, batch, beta, validated or not kind.seen or not self.trained.checked, replay)
            self.optim(kind.named)
        except (FloatingPointError, ValueError) as error:
            raise explained(error, self.trained.program, self.trained.watched.take(), batch, beta, where) from error
        self.reason = self.reason or kind.replayed.reason
        return Taken(kind.loss, kind.terms, kind.summed)

    def _compute(self, kind: Gradients, batch: Batch, beta: float, validated: bool, replay: bool) -> None:
        if validated:
            kind.compute(batch, beta, validated=True, replay=replay)
            return
        tensors = (batch.x,)
        states = random_states(tensors)
        try:
            if kind.compute(batch, beta, validated=False, replay=replay):
                return
        except Exception:
            pass
        self.trained.watched.take()
        self.optim.optimizer.zero_grad()
        set_random_states(states, tensors)
        kind.compute(batch, beta, validated=True, replay=False)

    def _kind(self, batch: Batch, beta: float) -> Gradients:
        changing = not self.constant and beta != 1
        tensors: list[Tensor] = [batch.x, *batch.context, *([batch.mask] if isinstance(batch.mask, Tensor) else [])]
        key = (changing, *((t.shape, t.dtype) for t in tensors))
        if key not in self._kinds:
            self._kinds[key] = Gradients(self.trained, changing)
        return self._kinds[key]
