"""The epoch loop: step, validate, keep the best, stop."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from pyro import poutine
from pyro.infer import ELBO, SVI, TraceTailAdaptive_ELBO
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from tqdm import tqdm

from ppl_vae import objectives, traces
from ppl_vae.arguments import checked
from ppl_vae.conditional import Amortized
from ppl_vae.isolation import eval_mode, evaluating, gpus
from ppl_vae.memory import rows_at_once
from ppl_vae.objectives import Beta
from ppl_vae.training.batches import Batch, Batches
from ppl_vae.training.checkpoint import weights
from ppl_vae.training.checks import check_mask, explained
from ppl_vae.training.look import Looked, look, naming, structure
from ppl_vae.training.optim import NamedOptim
from ppl_vae.training.terms import Pair, Terms, Watched, not_finite, summed_over

__all__ = ["Callback", "State", "Training"]

SHARE = 4  # validation takes this part of the memory that rows may take: the training's own is there besides


@checked
@dataclass
class State:
    """Where a training stands at the end of an epoch; what a callback sees.

    Attributes
    ----------
    epoch
        Epochs done.
    step
        Batches done.
    history
        One dict an epoch, the newest last.
    best_epoch, best_elbo
        The epoch with the best ELBO so far, on validation data; the latest epoch where there are none. And
        its value.
    waited
        Epochs without a better one, since the warm-up.
    stopped
        What ended the training: ``"epochs"``, ``"patience"`` or ``"callback"``; empty while it goes on.
    program
        What is being trained.
    """

    epoch: int = 0
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_elbo: float = -math.inf
    waited: int = 0
    stopped: str = ""
    program: Any = None


Callback = Callable[[State], bool | None]


class Training:
    """The parts of one training, put together once and stepped.

    Parameters
    ----------
    program
        What is trained, on its device.
    train, validation
        Batches of data.
    objective
        A Pyro ELBO.
    beta
        Weight of the KL.
    make_optim
        Makes the optimizer once the program has been called, as a `Program` has no parameters before.
    seed
        Seed of the draws on validation data.

    Attributes
    ----------
    best
        The best weights so far.
    """

    def __init__(
        self,
        program: Any,
        train: Batches,
        validation: Batches | None,
        objective: ELBO,
        beta: Beta,
        make_optim: Callable[[], tuple[NamedOptim, LRScheduler | None]],
        seed: int,
    ) -> None:
        self.program = program
        self.train, self.validation, self.beta, self.seed = train, validation, beta, seed
        self.watched = Watched(objective)
        self.objective = self.watched.objective
        looked = self._look()
        self.structures = looked.structures
        self.optim, self.schedule = make_optim()
        # through `loss_and_grads`, so that nothing that is not finite gets as far as the optimizer
        model = naming(program.model, looked.unnamed)
        self.svi = SVI(model, program.guide, self.optim, self.objective.loss, loss_and_grads=self._loss_and_grads)
        self.state = State(program=program)
        self.best: dict[str, Tensor] = weights(program)
        self.best_is_new = True

    def run(
        self,
        epochs: int,
        patience: int | None,
        callbacks: Sequence[Any],
        progress: bool | None,
        store: Callable[[], None] | None,
        store_every: int,
    ) -> None:
        """Train until something says stop; `State.stopped` says what did."""
        state, total = self.state, epochs * len(self.train) or None
        # a training that a callback ended is resumed if it no longer says stop, as a limit on time would not
        asked = state.stopped == "callback" and _asked(callbacks, state)
        state.stopped = self._stopped(epochs, patience, asked)
        quiet = None if progress is None else not progress
        with tqdm(total=total, initial=state.step, unit="batch", disable=quiet) as bar:
            while not state.stopped:
                row = self._epoch(bar)
                self._keep_best(row)
                self._step_plateau(row)
                bar.set_postfix(elbo=f"{row.get('validation_elbo', row['train_elbo']):.2f}", beta=f"{row['beta']:.2g}")
                state.stopped = self._stopped(epochs, patience, _asked(callbacks, state))
                if store is not None and (state.stopped or state.epoch % store_every == 0):
                    store()

    def _stopped(self, epochs: int, patience: int | None, asked: bool) -> str:
        if asked:
            return "callback"
        if patience is not None and self.state.waited >= patience:
            return "patience"
        return "epochs" if self.state.epoch >= epochs else ""

    def _keep_best(self, row: dict[str, float]) -> None:
        state = self.state
        elbo = row.get("validation_elbo", row["train_elbo"])
        if self.validation is None or elbo > state.best_elbo:
            state.best_elbo, state.best_epoch, state.waited = elbo, state.epoch, 0
            self.best, self.best_is_new = weights(self.program), True
        elif state.epoch > self.beta.epochs:
            state.waited += 1

    def _step_plateau(self, row: dict[str, float]) -> None:
        """A schedule that waits for the ELBO sees it once an epoch, from the end of the warm-up."""
        schedule, elbo = self.schedule, row.get("validation_elbo", row["train_elbo"])
        if isinstance(schedule, ReduceLROnPlateau) and self.state.epoch > self.beta.epochs:
            threshold = schedule.threshold
            if schedule.threshold_mode == "rel" and schedule.best < 0:  # torch's rule takes what is worse for better
                schedule.threshold = -threshold
            schedule.step(-elbo if schedule.mode == "min" else elbo)
            schedule.threshold = threshold

    def _epoch(self, bar: Any) -> dict[str, float]:
        state, start = self.state, time.perf_counter()
        self.program.train()
        terms = Terms()
        for number, batch in enumerate(self.train, 1):
            beta, rate = self.beta(state.step, len(self.train)), self.optim.optimizer.param_groups[0]["lr"]
            self._step(batch, beta, terms, f"epoch {state.epoch + 1}, batch {number}")
            state.step += 1
            bar.update()
        self.optim.warn_of_unreached()
        state.epoch += 1
        row = {"epoch": state.epoch, **terms.row("train"), **self._validate()}
        row |= {"beta": beta, "learning_rate": float(rate), "seconds": time.perf_counter() - start}
        for part in self.program.modules():
            row |= part.reported() if isinstance(part, Amortized) else {}
        state.history.append(row)
        return row

    def _step(self, batch: Batch, beta: float, terms: Terms, where: str) -> None:
        try:
            loss = self.svi.step(batch.x, *batch.context, **traces.call(batch.mask, beta))
        except (FloatingPointError, ValueError) as error:
            raise explained(error, self.program, self.watched.take(), batch, beta, where) from error
        if self.schedule is not None and not isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.step()
        pairs = self.watched.take()
        if summed_over(pairs):  # the traces it drew have no one value of an enumerated site
            terms.add(len(batch.x), [self._pair(batch)], loss=loss if beta == 1 else None)
        elif pairs:
            terms.add(len(batch.x), pairs, self.objective.num_particles)
        else:  # an objective that nothing can be seen of
            terms.add(len(batch.x), [self._pair(batch)])

    def _loss_and_grads(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        loss = self.objective.loss_and_grads(model, guide, *args, **kwargs)
        self._check_new(self.watched.pairs, args, kwargs)
        if not math.isfinite(loss):
            culprit = not_finite(self.watched.pairs)
            if culprit or not isinstance(self.objective, TraceTailAdaptive_ELBO):  # whose value is always infinity
                raise FloatingPointError(culprit or "the loss")
        return loss

    def _validate(self) -> dict[str, float]:
        """The ELBO at beta = 1, from the same draws every epoch: epochs differ by their weights alone."""
        if self.validation is None:
            return {}
        terms = Terms()
        with evaluating(self.program, self.seed), self.validation.rewound():
            for number, batch in enumerate(self.validation, 1):
                self._score(batch, terms, f"validation after epoch {self.state.epoch}, batch {number}")
        return terms.row("validation")

    def _score(self, batch: Batch, terms: Terms, where: str) -> None:
        check_mask(batch.x, batch.mask)
        model, guide = self.program.model, self.program.guide
        try:
            pair, loss = self._pair(batch), None
            if summed_over([pair]):
                loss = self.objective.loss(model, guide, batch.x, *batch.context, **traces.call(batch.mask))
            terms.add(len(batch.x), [pair], loss=loss)
            culprit = not_finite([pair]) or (None if loss is None or math.isfinite(loss) else "the loss")
            if culprit is not None:
                raise FloatingPointError(culprit)
        except (FloatingPointError, ValueError) as error:
            raise explained(error, self.program, self.watched.take(), batch, 1.0, where) from error
        self.watched.take()

    def _pair(self, batch: Batch) -> Pair:
        with torch.no_grad():
            return traces.pair(self.program, batch.x, *batch.context, mask=batch.mask)

    def _look(self) -> Looked:
        # a look is no training: random states and batch statistics stay as they are
        with evaluating(self.program, self.seed), self.train.rewound():
            looked = look(self.program, self.objective, self.train, self.beta(0, 1))
        if self.validation is not None:
            self.validation.limit(rows_at_once(sys.maxsize, SHARE * looked.row_bytes))
            with evaluating(self.program, self.seed), self.validation.rewound():
                for batch in self.validation.to_look_at()[1:]:
                    self._score(batch, Terms(), "validation, before the first step")
        return looked

    def _check_new(self, pairs: Sequence[Pair], args: Sequence[Tensor], kwargs: dict[str, Any]) -> None:
        """A batch with other sites than any before may be one that the objective is wrong for."""
        for pair in pairs:
            if (sites := structure(pair)) not in self.structures:
                objectives.check(self.objective, *pair)
                # apart from the step that is being taken: its random numbers, its modes, what it names to Pyro
                with (
                    torch.random.fork_rng(gpus(self.program)),
                    eval_mode(self.program),
                    torch.no_grad(),
                    poutine.block(),
                ):
                    drawn = traces.pair(self.program, *args, **kwargs)
                traces.check_pair(*drawn, len(args[0]))
                self.structures.add(sites)


def _asked(callbacks: Sequence[Any], state: State) -> bool:
    """Whether some callback says stop; each is called."""
    answers = [getattr(callback, "on_epoch_end", callback)(state) for callback in callbacks]
    return any(answers)
