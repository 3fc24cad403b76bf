"""The epoch loop: step, validate, keep the best, stop."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from tqdm import tqdm

from ppl_vae import traces
from ppl_vae.conditional import Amortized
from ppl_vae.find_plates import check_rows
from ppl_vae.isolation import evaluating, gpus, isolated
from ppl_vae.memory import rows_at_once
from ppl_vae.modelled import Modelled
from ppl_vae.training.batches import Batch, Batches
from ppl_vae.training.checks import check_mask, explained
from ppl_vae.training.dry_run import DryRun, dry_run, train_mode_undone
from ppl_vae.training.json_values import typed_like
from ppl_vae.training.optim import NamedOptim, step_schedule
from ppl_vae.training.pace import Pace, of_guide
from ppl_vae.training.processes import Processes
from ppl_vae.training.randomness import restore_generators, stored_generators
from ppl_vae.training.row_draws import check_sum
from ppl_vae.training.settings import Settings, plain_settings
from ppl_vae.training.state import State, says_stop
from ppl_vae.training.steps import Compile, Steps
from ppl_vae.training.terms import Pair, Terms, Watched, not_finite, summed_over, terms_of
from ppl_vae.training.unscaled import unscaled_loss
from ppl_vae.training.weights import load_weights, part_of, prefixed, weights

__all__ = ["Training"]

FIRST = 3  # steps that are validated, beside the first of each epoch
OFTEN = 250  # steps after which what an optimizer keeps is rid of denormal numbers
SHARE = 4  # validation may take this part of the memory for rows: the tensors of the training take the rest


class Training:
    """The parts of one training, put together once and stepped.

    Parameters
    ----------
    program
        What is trained, on its device.
    train, validation
        Batches of data.
    settings
        What `fit` was called with.
    make_optim
        Makes the optimizer and the schedule. It is called after the program, as a `Program` has no parameters before.
    processes
        Those that train it together.
    compile
        Which steps are graphs, and which are compiled.

    Attributes
    ----------
    state
        Where it stands.
    best
        The best weights so far.
    """

    def __init__(
        self,
        program: Modelled,
        train: Batches,
        validation: Batches | None,
        settings: Settings,
        make_optim: Callable[[], tuple[NamedOptim, LRScheduler | None]],
        processes: Processes,
        compile: Compile = None,
    ) -> None:
        self.program, self.settings, self.processes = program, settings, processes
        self.train, self.validation, self.beta, self.seed = train, validation, settings.beta, settings.seed
        self.watched = Watched(settings.objective)
        self.objective = self.watched.objective
        self.unchecked = False
        tried = self._dry_run()
        self.optim, self.schedule = make_optim()
        self.pace, self.optim.paced = Pace(settings.encoder_steps, self._of_guide()), settings.encoder_steps > 1
        self.steps = Steps(program, self.watched, tried, self.optim, self.beta, processes, compile, settings.precision)
        self.state = State(program=program, describe=self.plain_settings)
        self.best: dict[str, Tensor] = weights(program)

    def run(self, callbacks: Sequence[Any], progress: bool | None, store: Callable[[], None]) -> None:
        """Train until something says stop; `State.stopped` says what did.

        `store` is called every `checkpoint_every` epochs and at the end.
        """
        state, total = self.state, self.settings.epochs * len(self.train) or None
        # a training that a callback ended is resumed if it no longer says stop, as a limit on time would not
        asked = state.stopped == "callback" and self._asked(callbacks)
        state.stopped = self._stopped(asked)
        quiet = None if progress is None else not progress
        quiet = quiet if self.processes.first else True
        with tqdm(desc="training", total=total, initial=state.step, unit="batch", disable=quiet) as bar:
            while not state.stopped:
                row = self._epoch(bar)
                self._keep_best(row)
                self._step_plateau(row)
                bar.set_postfix(elbo=f"{row.get('validation_elbo', row['train_elbo']):.2f}", beta=f"{row['beta']:.2g}")
                state.stopped = self._stopped(self._asked(callbacks))
                if state.stopped or state.epoch % self.settings.checkpoint_every == 0:
                    store()
        self.pace.warn_of_none(state.step)

    @contextmanager
    def best_kept(self) -> Iterator[None]:
        """A scope after which the program has the best weights so far, and no gradients."""
        try:
            yield
        finally:
            self.optim.optimizer.zero_grad()
            # a Program may have made parameters since
            load_weights(self.program, {**weights(self.program), **self.best})

    def plain_settings(self) -> dict[str, Any]:
        """The settings as plain values, with those of the optimizer and the schedule."""
        return plain_settings(self.settings, self.optim.optimizer, self.schedule)

    def not_resumable(self) -> str | None:
        """Why it could not be resumed exactly on these data; `None` where it can."""
        reasons = [data.not_resumable() for data in (self.train, self.validation) if data is not None]
        return next(filter(None, reasons), None)

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs, between two epochs.

        Returns
        -------
        dict
            `tensors` by "part|name", of the parts `weights`, `optimizer`, `random` and `loader`; `best`, the best
            weights; `history`, a row an epoch; and plain values, which JSON holds unless an optimizer or a schedule has
            others.
        """
        optim = self.optim.get_state()
        random, python_random = stored_generators(gpus(self.program))
        moments = {name: tensor.detach().cpu().contiguous() for name, tensor in optim["tensors"].items()}
        return {
            **self.state.progress(),
            "pace": self.pace.state(),
            "optimizer": {"values": optim["values"], "groups": optim["groups"]},
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
            "python_random": python_random,
            "tensors": {
                **prefixed("weights", weights(self.program)),
                **prefixed("optimizer", moments),
                **prefixed("random", random),
                **prefixed("loader", {str(i): state for i, state in enumerate(self.train.state())}),
            },
            "best": self.best,
            "history": self.state.history,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned, also where its plain values went through JSON.

        Raises
        ------
        TypeError, ValueError
            If weights, settings or progress are not those of such a training.
        """
        tensors = state["tensors"]
        load_weights(self.program, part_of(tensors, "weights"))
        groups = typed_like(self.optim.get_state()["groups"], state["optimizer"]["groups"])
        moments = {"tensors": part_of(tensors, "optimizer"), "values": state["optimizer"]["values"]}
        self.optim.set_state({**moments, "groups": groups})
        if self.schedule is not None:
            self.schedule.load_state_dict(typed_like(self.schedule.state_dict(), state["schedule"]))
        self.best = dict(state["best"])
        for name, value in self.state.progress().items():
            setattr(self.state, name, typed_like(value, state[name]))
        self.state.history = list(state["history"])
        if "pace" in state:  # since 0.2
            self.pace.set_state(state["pace"])
        loader = part_of(tensors, "loader")
        self.train.set_state([loader[str(i)] for i in range(len(loader))])
        restore_generators(part_of(tensors, "random"), state["python_random"], gpus(self.program))

    def _stopped(self, asked: bool) -> str:
        if asked:
            return "callback"
        if self.settings.patience is not None and self.state.waited >= self.settings.patience:
            return "patience"
        return "epochs" if self.state.epoch >= self.settings.epochs else ""

    def _keep_best(self, row: dict[str, float]) -> None:
        state = self.state
        elbo = row.get("validation_elbo", row["train_elbo"])
        if self.validation is None or elbo > state.best_elbo:
            state.best_elbo, state.best_epoch, state.waited = elbo, state.epoch, 0
            self.best = weights(self.program)
        elif state.epoch > self.beta.epochs:
            state.waited += 1

    def _step_plateau(self, row: dict[str, float]) -> None:
        """Step `ReduceLROnPlateau` on the ELBO, once an epoch, from the end of the warm-up."""
        schedule, elbo = self.schedule, row.get("validation_elbo", row["train_elbo"])
        if isinstance(schedule, ReduceLROnPlateau) and self.state.epoch > self.beta.epochs:
            threshold = schedule.threshold
            if schedule.threshold_mode == "rel" and schedule.best < 0:  # there torch takes worse values for better ones
                schedule.threshold = -threshold
            schedule.step(-elbo if schedule.mode == "min" else elbo)
            schedule.threshold = threshold

    def _epoch(self, bar: Any) -> dict[str, float]:
        state, start = self.state, time.perf_counter()
        self.program.train()
        terms = Terms()
        for number, batch in enumerate(self.train, 1):
            beta, rate = self.beta(state.step, len(self.train)), self.optim.optimizer.param_groups[0]["lr"]
            self._check_rows(batch)
            self._step(batch, beta, terms, number)
            state.step += 1
            if state.step % OFTEN == 0:
                self.optim.drop_denormals()
            bar.update()
        self.steps.settle()
        self.optim.warn_of_unreached()
        state.epoch += 1
        row = {"epoch": state.epoch, **terms.together(self.processes).row("train"), **self._validate()}
        self.unchecked = False
        row |= {"beta": beta, "learning_rate": float(rate), "seconds": time.perf_counter() - start}
        for part in self.program.modules():
            row |= part.reported() if isinstance(part, Amortized) else {}
        row = self.processes.of_first(row)
        state.history.append(row)
        return row

    def _check_rows(self, batch: Batch) -> None:
        """Check masks and supports of latents that depend on the data, of every batch of the first epoch."""
        if self.unchecked:
            with evaluating(self.program, self.seed):
                check_rows(self.program, batch.x, *batch.context, mask=batch.mask)

    def _step(self, batch: Batch, beta: float, terms: Terms, number: int) -> None:
        state = self.state
        where = f"epoch {state.epoch + 1}, batch {number}"
        to_come = self.settings.epochs * len(self.train) - state.step if len(self.train) else state.step
        self.optim.only = self.pace.only()
        taken = self.steps.take(batch, beta, where, validated=number == 1 or state.step < FIRST, to_come=to_come)
        if self.settings.encoder_steps > 1:
            found = (len(batch.x), -taken.loss if taken.terms is None else taken.terms.bound(beta))
            sizes, bounds = zip(*self.processes.gathered(found), strict=True)
            self.pace.took(sum(bounds) / max(1, sum(sizes)))
        if self.schedule is not None and not isinstance(self.schedule, ReduceLROnPlateau):
            step_schedule(self.schedule)
        if taken.terms is not None:
            terms.add(len(batch.x), taken.terms)
        else:  # the traces it drew have no one value of an enumerated site, or are not accessible
            terms.add(len(batch.x), terms_of([self._pair(batch)]), loss=taken.exact)

    def _validate(self) -> dict[str, float]:
        """The ELBO at beta = 1, from the same draws every epoch: epochs differ by their weights alone."""
        if self.validation is None:
            return {}
        terms = Terms()
        with evaluating(self.program, self.seed), self.validation.rewound():
            for number, batch in enumerate(self.validation, 1):
                if len(batch.x):  # a last batch of fewer data than processes
                    with self.processes.drawing():
                        self._score(batch, terms, f"validation after epoch {self.state.epoch}, batch {number}")
        return terms.together(self.processes).row("validation")

    def _score(self, batch: Batch, terms: Terms, where: str) -> None:
        check_mask(batch.x, batch.mask)
        self._check_rows(batch)
        model, guide = self.program.model, self.program.guide
        try:
            pair, loss = self._pair(batch), None
            if summed_over([pair]):
                args, kwargs = (batch.x, *batch.context), traces.model_kwargs(batch.mask)
                loss = unscaled_loss(self.objective, self.objective._get_traces(model, guide, args, kwargs))
            terms.add(len(batch.x), terms_of([pair]), loss=loss)
            culprit = not_finite([pair]) or (None if loss is None or math.isfinite(loss) else "the loss")
            if culprit is not None:
                raise FloatingPointError(culprit)
        except (FloatingPointError, ValueError) as error:
            raise explained(error, self.program, self.watched.take(), batch, 1.0, where) from error
        self.watched.take()

    def _pair(self, batch: Batch) -> Pair:
        with torch.no_grad():
            return traces.pair(self.program, batch.x, *batch.context, mask=batch.mask)

    def _of_guide(self) -> Collection[str]:
        """Names of q's parameters, where some steps move them alone."""
        if self.settings.encoder_steps == 1:
            return ()
        with evaluating(self.program, self.seed), self.train.rewound():
            return of_guide(self.program, next(batch for batch in self.train.one_of_each_kind() if len(batch.x)))

    def _dry_run(self) -> DryRun:
        # eval mode: batch statistics must not move; nor do random states
        with evaluating(self.program, self.seed), self.train.rewound():
            tried = dry_run(self.program, self.objective, self.train, self.beta(0, 1))
        self.processes.beside, self.unchecked = tried.beside, tried.varies
        if self.processes.size > 1:
            with isolated(self.program, self.seed), self.train.rewound(), self.processes.whole():
                batch = next(iter(self.train))
                self.processes.same_data(batch)
                with train_mode_undone(self.program):
                    check_sum(self.program, self.objective, batch, self.beta(0, 1), self.seed)
            self.watched.take()
        if self.validation is not None:
            self.validation.limit(min(self.processes.gathered(rows_at_once(sys.maxsize, SHARE * tried.row_bytes))))
            with evaluating(self.program, self.seed), self.validation.rewound():
                for batch in self.validation.one_of_each_kind()[1:]:
                    if len(batch.x):
                        self._score(batch, Terms(), "validation, before the first step")
        return tried

    def _asked(self, callbacks: Sequence[Any]) -> bool:
        """Whether some callback of some process says stop; each is called."""
        answers = [says_stop(callback, self.state) for callback in callbacks]
        return any(self.processes.gathered(any(answers)))
