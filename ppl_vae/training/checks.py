"""What is refused before a training begins, and what is said when one breaks down."""

from __future__ import annotations

import math
from typing import Any

import pyro
import torch
from pyro.infer import ELBO
from pyro.poutine import Trace
from torch import nn

from ppl_vae import objectives, traces
from ppl_vae.training.batches import Batch
from ppl_vae.training.terms import Pair, not_finite

__all__ = ["check_first", "explained"]


def check_first(program: nn.Module, objective: ELBO, batch: Batch, beta: float) -> Pair:
    """Draw once from a program, and refuse what would run and print a wrong number.

    Raises
    ------
    ValueError
        See `traces.check_pair` and `objectives.check`; and for parameters in Pyro's global store.
    """
    model, guide = _drawn(program, batch, beta)
    where = traces.check_pair(model, guide, len(batch.x))
    objectives.check(objective, model, guide)
    own = {id(p) for p in program.parameters()}
    stray = [n for t in (guide, model) for n, s in _params(t).items() if id(s["value"].unconstrained()) not in own]
    if stray:
        raise ValueError(
            f"fit expects a program that owns its parameters, got {stray[0]!r} in Pyro's global store; "
            "use Program(model, guide), which keeps them"
        )
    if math.isinf(objective.max_plate_nesting):  # else Pyro finds it by one more run, and logs that
        vectorized = objective.vectorize_particles and objective.num_particles > 1
        objective.max_plate_nesting = where.depth + vectorized
    return model, guide


def explained(
    error: Exception, program: nn.Module, pairs: list[Pair], batch: Batch, beta: float, where: str
) -> Exception:
    """The error of a step as a user can act on it; the error itself where there is nothing to add.

    Pyro says that some distribution was given NaN. This runs the batch once more, unchecked, to see where it
    began.
    """
    if isinstance(error, FloatingPointError):
        return _broken(str(error), where)
    if any(c.is_floating_point() and not c.isfinite().all() for c in batch.context):
        return ValueError(f"fit expects finite context, got NaN or infinity in {where}; fill or leave out such data")
    try:
        redrawn = _drawn(program, batch, beta)
    except Exception:  # an error of the program itself: the first one says it
        return error
    try:
        traces.check_pair(*redrawn, len(batch.x))
    except ValueError as clearer:
        return ValueError(f"{clearer} (seen in {where})")
    culprit = not_finite([*pairs, redrawn])
    return error if culprit is None else _broken(culprit, where)


def _broken(what: str, where: str) -> FloatingPointError:
    return FloatingPointError(
        f"training expects finite losses and gradients, but {what} is not finite in {where}; lower the "
        "learning rate, set clip_norm, or look at the data of that batch"
    )


def _drawn(program: Any, batch: Batch, beta: float) -> tuple[Trace, Trace]:
    with torch.no_grad(), pyro.validation_enabled(False):
        return traces.pair(program, batch.x, *batch.context, mask=batch.mask, beta=beta)


def _params(trace: Trace) -> dict[str, dict[str, Any]]:
    return {name: site for name, site in trace.nodes.items() if site["type"] == "param"}
