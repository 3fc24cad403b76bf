"""What `fit` refuses before a training begins, and the error it raises when a loss is not finite."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pyro
import torch
from pyro.infer import ELBO, ReweightedWakeSleep, TraceTailAdaptive_ELBO
from pyro.poutine import Trace
from torch import Tensor

from ppl_vae import objectives, traces
from ppl_vae.captured import first_line
from ppl_vae.conditional import Amortized
from ppl_vae.modelled import Modelled
from ppl_vae.training.batches import Batch
from ppl_vae.training.terms import Pair, not_finite

__all__ = ["as_elbo", "check_context", "check_first", "check_mask", "explained"]


def as_elbo(objective: Any) -> ELBO:
    """The objective, made if it is a class, after the checks that need no program.

    Raises
    ------
    TypeError
        For what is no ELBO, or a class of one that needs arguments.
    ValueError
        For an ELBO without one loss to step by.
    """
    name = objective.__name__ if isinstance(objective, type) else type(objective).__name__
    try:
        made = objective() if isinstance(objective, type) else objective
    except TypeError as error:
        raise TypeError(
            f"fit expects an ELBO, or a class of one that needs no arguments, got {name} ({error}); "
            f"give one that is made, {name}(...), or use Trace_ELBO"
        ) from error
    if not isinstance(made, ELBO) or not hasattr(made, "loss_and_grads"):
        raise TypeError(
            f"fit expects an ELBO with a loss and its gradient, got {name}; use Trace_ELBO or another ELBO of "
            "pyro.infer, or train with pyro.infer.SVI yourself"
        )
    if not isinstance(made.num_particles, int) or made.num_particles < 1:
        raise ValueError(
            f"{name} expects num_particles to be a whole number from 1 on, got {made.num_particles!r}; give 1 or more"
        )
    if isinstance(made, ReweightedWakeSleep):
        raise ValueError(
            f"fit expects an objective with one loss, got {name}, which has one of the model and another of the "
            "guide; use objectives.IWAE, or train with pyro.infer.SVI yourself"
        )
    if isinstance(made, TraceTailAdaptive_ELBO) and not made.vectorize_particles:
        raise ValueError(
            f"{name} expects vectorized particles, got vectorize_particles=False; "
            f"give {name}(num_particles=10, vectorize_particles=True)"
        )
    return made


def check_mask(x: Tensor, mask: Tensor | bool) -> None:
    """Refuse a mask that Pyro would broadcast to elements it was not meant for.

    Raises
    ------
    ValueError
        For a mask that is not boolean or not of the shape of x, and for one of which nothing is left.
    """
    if not isinstance(mask, bool) and getattr(mask, "dtype", None) != torch.bool:
        got = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(f"mask expects booleans, True where an element was observed, got {got}; convert it: mask > 0")
    if isinstance(mask, Tensor) and mask.shape != x.shape:
        raise ValueError(
            f"mask expects the shape of x, {tuple(x.shape)}, got {tuple(mask.shape)}; give one value an element, "
            "for whole data: mask.reshape(-1, *[1] * (x.dim() - 1)).expand_as(x)"
        )
    if not torch.as_tensor(mask).any():
        raise ValueError(
            "mask expects True where an element was observed, got False everywhere; if it says what is missing, "
            "give its inverse, ~mask; else leave such data out"
        )


def check_first(program: Modelled, objective: ELBO, batch: Batch, beta: float) -> tuple[Pair, traces.Plates]:
    """Draw once from a program, and refuse what would run and print a wrong number.

    Raises
    ------
    ValueError
        See `check_mask`, `traces.check_pair` and `objectives.check`; for a program that fails on the context of
        the batch, and for parameters in Pyro's global store.
    """
    check_mask(batch.x, batch.mask)
    model, guide = _first_drawn(program, batch, beta)
    several = len({f.name for site in traces.observed(model).values() for f in site["cond_indep_stack"]}) > 1
    fewer = batch.first(len(batch.x) - 1) if several and len(batch.x) > 1 else None
    where = traces.check_pair(model, guide, len(batch.x), fewer and _first_drawn(program, fewer, beta)[0])
    objectives.check(objective, model, guide)
    own = {id(p) for p in program.parameters()}
    stray = [n for t in (guide, model) for n, s in _params(t).items() if id(s["value"].unconstrained()) not in own]
    if stray:
        raise ValueError(
            f"fit expects a program that owns its parameters, got {stray[0]!r} in Pyro's global store; "
            "use Program(model, guide), which keeps them"
        )
    return (model, guide), where


def check_context(program: Modelled, batch: Batch, beta: float) -> None:
    """Refuse a class that broadcasts its context against another dimension than that of the data.

    A context (n, 1) meets images of n rows without an error; so one datum more is tried.

    Raises
    ------
    ValueError
        Naming the class and the error.
    """
    leaves = [type(m).__name__ for m in program.modules() if isinstance(m, Amortized) and m.sees_context]
    if not leaves or not batch.context:
        return
    rows = torch.arange(len(batch.x) + 1, device=batch.x.device) % len(batch.x)
    try:
        drawn = _drawn(program, batch.at(rows), beta)
        traces.check_pair(*drawn, len(rows))
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"a class that sees the context expects to broadcast it over batches of any size, got {leaves[0]}, which "
            f"takes {len(batch.x)} data and fails on {len(rows)} ({first_line(error)}); give a context (n, 1) the "
            "dimensions of x in it: context.reshape(*context.shape[:-1], *[1] * len(self.x_shape))"
        ) from error


def fails_alone(program: Modelled, batch: Batch, beta: float) -> bool:
    """Whether a program in train mode fails on a batch of one datum and not on the same datum twice, as batch norm."""
    twice = torch.arange(2 * len(batch.x), device=batch.x.device) % len(batch.x)
    try:
        _drawn(program, batch, beta)
    except (RuntimeError, ValueError):
        with suppress(RuntimeError, ValueError):
            _drawn(program, batch.at(twice), beta)
            return True
    return False


def explained(
    error: Exception, program: Modelled, pairs: list[Pair], batch: Batch, beta: float, where: str
) -> Exception:
    """The error of a step with its cause and what to do; the error itself where there is nothing to add.

    Pyro reports that some distribution was given NaN. This runs the batch once more, without validation, to find the
    term that was not finite first.
    """
    if isinstance(error, FloatingPointError):
        return _broken(str(error), where)
    if any(c.is_floating_point() and not c.isfinite().all() for c in batch.context):
        return ValueError(f"fit expects finite context, got NaN or infinity in {where}; fill or leave out such data")
    try:
        redrawn = _drawn(program, batch, beta)
    except Exception:  # an error of the program itself: the first one says it
        if len(batch.x) > 1 or not fails_alone(program, batch, beta):
            return error
        return ValueError(
            f"fit expects batches of two data or more for a program that cannot be trained on one ({error}), got one "
            f"datum in {where}; give drop_last=True to a DataLoader, or another batch size"
        )
    try:
        traces.check_pair(*redrawn, len(batch.x))
    except ValueError as clearer:
        return ValueError(f"{clearer} (seen in {where})")
    culprit = not_finite([*pairs, redrawn])
    return error if culprit is None else _broken(culprit, where)


def _first_drawn(program: Modelled, batch: Batch, beta: float) -> Pair:
    try:
        return _drawn(program, batch, beta)
    except (RuntimeError, TypeError, ValueError) as error:
        if not batch.context:
            raise
        shapes = [tuple(c.shape) for c in batch.context]
        raise ValueError(
            f"a program expects the context it was made for, got the tensors after x of each batch, {shapes}, taken "
            f"as context, and failed on them ({first_line(error)}); give x alone where they are labels not to "
            "condition on (DataLoader: collate_fn), else build with context= for each"
        ) from error


def _broken(what: str, where: str) -> FloatingPointError:
    return FloatingPointError(
        f"training expects finite losses and gradients, but {what} is not finite in {where}; lower the "
        "learning rate, set clip_norm, or look at the data of that batch"
    )


def _drawn(program: Modelled, batch: Batch, beta: float) -> tuple[Trace, Trace]:
    with torch.no_grad(), pyro.validation_enabled(False):
        return traces.pair(program, batch.x, *batch.context, mask=batch.mask, beta=beta)


def _params(trace: Trace) -> dict[str, dict[str, Any]]:
    return {name: site for name, site in trace.nodes.items() if site["type"] == "param"}
