"""Gradients of an objective on batches of one kind: by Pyro, checked, or replayed as a graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import TraceTailAdaptive_ELBO
from torch import Tensor

from ppl_vae import objectives, support, traces
from ppl_vae.captured import functional
from ppl_vae.isolation import eval_mode, gpus
from ppl_vae.known import Known
from ppl_vae.modelled import Modelled
from ppl_vae.objectives import needs
from ppl_vae.products import InBfloat16
from ppl_vae.replayed import Replayed, all_close
from ppl_vae.training.batches import Batch
from ppl_vae.training.dry_run import DryRun, naming, structure
from ppl_vae.training.processes import Processes
from ppl_vae.training.terms import BatchTerms, Pair, Watched, not_finite, summed_over, terms_of
from ppl_vae.training.unscaled import unscaled_loss

__all__ = ["Gradients", "Trained", "alike"]


class Trained:
    """A program, what of it is trained, and by which objective.

    Parameters
    ----------
    program
        What is trained.
    watched
        The objective.
    tried
        What the dry run found.
    processes
        Those that train it together, whose gradients are summed.
    precision
        ``"bf16"`` for products of the networks in bfloat16.

    Attributes
    ----------
    why_called
        Why every step is validated and none a graph: an objective does not show its traces, say. `None` where a step
        can do without.
    moving
        Names of the buffers that a step changes.
    """

    def __init__(
        self, program: Modelled, watched: Watched, tried: DryRun, processes: Processes, precision: str | None
    ) -> None:
        self.precision = precision
        self.program, self.watched, self.objective = program, watched, watched.objective
        self.model, self.structures = naming(program.model, tried.unnamed), tried.structures
        self.processes = processes
        self.unseen = not watched.sees or isinstance(self.objective, TraceTailAdaptive_ELBO)
        unseen = f"the steps of {type(self.objective).__name__} are not seen from outside"
        self.why_called = unseen if self.unseen else None
        self.moving: set[str] = set()
        self.validates = _validates()
        self.parameters = dict(program.named_parameters())
        owners = dict(program.named_modules())
        paths = {name: name.rpartition(".") for name, _ in program.named_buffers()}  # shared ones once
        self.buffers = {name: (owners[path], own) for name, (path, _, own) in paths.items()}

    def requires_grad(self) -> list[bool]:
        """Which parameters are trained."""
        return [p.requires_grad for p in self.parameters.values()]

    def tensors(self) -> list[Tensor]:
        """Parameters and buffers as they are now."""
        return [*self.parameters.values(), *self.buffers_now()]

    def buffers_now(self) -> list[Tensor]:
        """The buffers, which a program may replace by others."""
        return [module._buffers[name] for module, name in self.buffers.values()]  # type: ignore[misc]

    def note_moving(self, before: Sequence[Tensor]) -> None:
        """Note which buffers are no longer what they were; batch norm moves its own without another version."""
        for name, old, new in zip(self.buffers, before, self.buffers_now(), strict=True):
            if not torch.equal(old, new):
                self.moving.add(name)

    def kept_buffers(self) -> Callable[[], None]:
        """A function that brings back the buffers that a step changes as they are now."""
        now = dict(zip(self.buffers, self.buffers_now(), strict=True))
        kept = [(*self.buffers[name], now[name], now[name].clone()) for name in self.moving]

        def bring_back() -> None:
            for module, name, buffer, values in kept:
                module._buffers[name] = buffer.copy_(values)

        return bring_back

    def put_buffers(self, found: Sequence[Tensor]) -> None:
        """Put new buffers where they belong; an empty tensor stands for none."""
        for (module, name), buffer in zip(self.buffers.values(), found, strict=True):
            if buffer.numel():
                module._buffers[name] = buffer

    def loss_and_grads(self, args: Sequence[Tensor], kwargs: dict[str, Any]) -> float:
        """The loss as a number; its gradient is added to the parameters'.

        Raises
        ------
        FloatingPointError
            For a loss that is not finite, naming the term that went first.
        ValueError
            For sites that are not those of a batch before, and do not fit the objective.
        """
        with self.processes.drawing():
            with self.products():
                loss = self.watched.loss_and_grads(self.model, self.program.guide, args, kwargs)
            self._check_new(args, kwargs)
        if not math.isfinite(loss):
            culprit = not_finite(self.watched.pairs)
            if culprit or not isinstance(self.objective, TraceTailAdaptive_ELBO):  # whose value is always infinity
                raise FloatingPointError(culprit or "the loss")
        return loss

    def products(self) -> AbstractContextManager[Any]:
        """A scope in which products have their precision."""
        return nullcontext() if self.precision is None else InBfloat16()

    def trainable(self) -> list[Tensor]:
        """The parameters that are trained."""
        return [p for p in self.parameters.values() if p.requires_grad]

    def _check_new(self, args: Sequence[Tensor], kwargs: dict[str, Any]) -> None:
        """Check the objective again on the traces of a batch with other sites than any before."""
        for pair in self.watched.pairs:
            if (sites := structure(pair)) not in self.structures:
                objectives.check(self.objective, *pair)
                # the step that is being taken keeps its random numbers, its modes, and what it names to Pyro
                with (
                    torch.random.fork_rng(gpus(self.program)),
                    eval_mode(self.program),
                    torch.no_grad(),
                    poutine.block(),
                ):
                    drawn = traces.pair(self.program, *args, **kwargs)
                traces.check_pair(*drawn, len(args[0]))
                self.structures.add(sites)


class Gradients:
    """Gradients on batches of one kind and size, at a constant beta or at one that changes from step to step.

    Parameters
    ----------
    trained
        The program and its objective.
    changing
        Whether beta changes, and so is an argument of the graph.

    Attributes
    ----------
    seen
        Number of such batches so far.
    loss
        The last loss, where it was computed as a number.
    terms
        Its terms.
    summed
        Whether some site is enumerated.
    exact
        Minus the ELBO with the sum over such sites, at beta = 1 and without scales; else `None`.
    named
        Parameters that the last step named to Pyro and that were not known.
    replayed
        The graph.
    """

    def __init__(self, trained: Trained, changing: bool) -> None:
        self.trained, self.changing = trained, changing
        self.seen, self.loss, self.summed, self.validated = 0, math.nan, False, True
        self.terms: BatchTerms | None = None
        self.exact: float | None = None
        self.named: Iterable[Tensor] = ()
        self._batch, self._beta = Batch(torch.empty(0)), 1.0
        self._begin()

    def _begin(self) -> None:
        self.trains = self.trained.requires_grad()
        self.replayed = Replayed(self.graph, self.called, most=1, close=self.alike)

    def alike(self, found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
        """Whether results, of which terms are the second, agree to rounding, on so many data as the batch has."""
        return alike(found, expected, len(self._batch.x))

    def compute(self, batch: Batch, beta: float, *, validated: bool, replay: bool) -> bool:
        """Compute the gradients, in the parameters' `grad`; whether all is finite, and x in its support.

        Of several processes each computes those of its rows, and all have the sums. Where one fails all do.

        Raises
        ------
        FloatingPointError, ValueError
            See `Trained.loss_and_grads`; with `validated` whatever Pyro refuses, too.
        """
        self.given(batch, beta, validated=validated)
        sum_gradients, trainable = self.trained.processes.sum_gradients, self.trained.trainable()
        try:
            fine = self._own(replay)
        except Exception:
            sum_gradients(trainable, failed=True)
            raise
        sum_gradients(trainable, failed=not fine)
        return fine

    def _own(self, replay: bool) -> bool:
        """Compute the gradients of the rows that this process has."""
        if not replay or self.summed or self.trained.why_called:
            return bool(self.called()[0])
        fine, values, *rest = self.replayed(*self.tensors(), again=self.validated)
        self.take_terms(values)
        self._put(rest)
        return bool(fine)

    def given(self, batch: Batch, beta: float, *, validated: bool) -> None:
        """Take a batch as the one whose gradients are computed next."""
        self._batch, self._beta, self.validated, self.named = batch, beta, validated, ()
        self.seen += 1
        if validated and self.trains != self.trained.requires_grad():
            self._begin()

    def tensors(self) -> list[Tensor]:
        """What `graph` is a function of."""
        batch = self._batch
        tensors = [*self.trained.tensors(), batch.x, *batch.context]
        tensors += [batch.mask] if isinstance(batch.mask, Tensor) else []
        if not self.changing:
            return tensors
        beta = torch.tensor(self._beta, dtype=batch.x.dtype, pin_memory=batch.x.is_cuda)
        return [*tensors, beta.to(batch.x.device, non_blocking=True)]

    def take_terms(self, values: Tensor) -> None:
        """Take the values of the terms, which a graph computed."""
        assert self.terms is not None  # a graph is captured in the second step
        self.terms = BatchTerms(self.terms.names, values, self.terms.point)

    def _put(self, found: Sequence[Tensor]) -> None:
        """Put gradients and new buffers where they belong; an empty tensor stands for none."""
        parameters = self.trained.parameters.values()
        for parameter, gradient in zip(parameters, found, strict=False):
            parameter.grad = gradient if gradient.shape == parameter.shape else None
        self.trained.put_buffers(found[len(parameters) :])

    def called(self, *_: Tensor) -> list[Tensor]:
        """The gradients by Pyro, and what `graph` returns."""
        trained, batch = self.trained, self._batch
        args, kwargs = (batch.x, *batch.context), traces.model_kwargs(batch.mask, self._beta)
        before = trained.buffers_now()
        if self.validated:
            were = [buffer.clone() for buffer in before]
            with poutine.trace(param_only=True) as named:
                self.loss = trained.loss_and_grads(args, kwargs)
            trained.note_moving(were)
            self.named = [site["value"].unconstrained() for site in named.trace.nodes.values()]
        else:
            with Known(trained.parameters.values()) as known, pyro.validation_enabled(False):
                self.loss = trained.loss_and_grads(args, kwargs)
            self.named = known.others
        pairs = trained.watched.take()
        self.summed, self.terms, self.exact = summed_over(pairs), None, None
        if self.summed:
            scaled = any(needs.scaled(*pair) for pair in pairs)
            self.exact = unscaled_loss(trained.objective, pairs) if scaled else self.loss
        fine, values = torch.tensor(True), torch.empty(0)
        if pairs and not self.summed:
            self.terms = terms_of(pairs, trained.objective.num_particles)
            values = self.terms.values
        if not self.validated:
            fine = self._inside(pairs)
        gradients = [p.grad for p in trained.parameters.values()]
        return _outputs(fine, values, gradients, before, trained.buffers_now())

    def graph(self, *tensors: Tensor) -> list[Tensor]:
        """The same as a function of parameters, buffers, x, context, mask and beta."""
        trained, batch = self.trained, self._batch
        given = dict(zip([*trained.parameters, *trained.buffers], tensors, strict=False))
        x, *rest = tensors[len(given) :]
        context, rest = rest[: len(batch.context)], rest[len(batch.context) :]
        mask = rest.pop(0) if isinstance(batch.mask, Tensor) else batch.mask
        kwargs = {"mask": mask, "beta": rest[0]} if rest else traces.model_kwargs(mask, self._beta)
        leaves = [given[n].detach().requires_grad_(r) for n, r in zip(trained.parameters, self.trains, strict=True)]
        buffers = [given[n] for n in trained.buffers]
        with (
            torch.enable_grad(),
            functional(trained.program, {**given, **dict(zip(trained.parameters, leaves, strict=True))}),
            Known(leaves),
            trained.products(),
            trained.processes.drawing(),
        ):
            try:
                loss = trained.objective.loss_and_grads(trained.model, trained.program.guide, x, *context, **kwargs)
            finally:  # traces of a graph that cannot be captured are not those of the step that is called instead
                pairs = trained.watched.take()
            after = trained.buffers_now()
        fine = torch.as_tensor(loss).isfinite() & self._inside(pairs)
        values = terms_of(pairs, trained.objective.num_particles).values
        return _outputs(fine, values, [leaf.grad for leaf in leaves], buffers, after)

    def _inside(self, pairs: Sequence[Pair]) -> Tensor:
        """Whether the data lie in the support of their distribution."""
        sites = [site for model, _ in pairs for site in traces.observed(model).values()]
        if not self.trained.validates or not sites:
            return torch.tensor(True)
        return torch.stack([support.inside(s["fn"], s["value"]) for s in sites]).all()


def alike(found: Sequence[Tensor], expected: Sequence[Tensor], num_data: int) -> bool:
    """Whether results of steps agree to rounding: the second, sums of terms over the data, to that of a nat a datum.

    The summands of a log density of continuous data cancel, and their sum may be any small number.
    """
    scaled = (
        [fine, torch.cat([values.flatten(), values.new_tensor([float(num_data)])]), *rest]
        for fine, values, *rest in (found, expected)
    )
    return all_close(*scaled)


def _outputs(
    fine: Tensor, values: Tensor, gradients: Sequence[Tensor | None], before: Sequence[Tensor], after: Sequence[Tensor]
) -> list[Tensor]:
    none = torch.empty(0)
    found = [none if g is None else g for g in gradients]
    return [fine, values, *found, *(none if old is new else new for old, new in zip(before, after, strict=True))]


def _validates() -> bool:
    """Whether Pyro's validation is on, or the user has turned it off."""
    return bool(torch.distributions.Distribution._validate_args)
