"""A dry run before the first step: the program on a batch of every kind and size that is known."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyro
import torch
from pyro.infer import ELBO, TraceEnum_ELBO
from torch import Tensor, nn

from ppl_vae import traces
from ppl_vae.find_plates import check_masked
from ppl_vae.known import are_known
from ppl_vae.memory import Allocated
from ppl_vae.modelled import Modelled
from ppl_vae.training.batches import Batch, Batches
from ppl_vae.training.checks import check_context, check_first, fails_alone
from ppl_vae.training.terms import Pair, summed_over

__all__ = ["DryRun", "dry_run", "leaves", "naming", "structure", "train_mode_undone"]


@dataclass
class DryRun:
    """What a dry run found.

    Attributes
    ----------
    structures
        Those of the traces, see `structure`.
    unnamed
        Parameters that the program owns and neither function names to Pyro in every batch.
    row_bytes
        Bytes of the tensors that are made for one datum; see `memory`.
    varies
        Whether other data may have other masks or supports of latents: see `traces.Plates`.
    beside
        Sizes above 1 of the dimensions to the left of the data: particles and other plates.
    """

    structures: set[Any] = field(default_factory=set)
    unnamed: dict[str, nn.Parameter] = field(default_factory=dict)
    row_bytes: float = 0.0
    varies: bool = False
    beside: set[int] = field(default_factory=set)


def dry_run(program: Modelled, objective: ELBO, train: Batches, beta: float) -> DryRun:
    """Try a program before the first step, and set the objective's `max_plate_nesting` where it has none.

    Call it inside `isolation.evaluating`. A last batch of one datum that the program cannot be trained on is joined to
    the batch before it, where the data are in memory.

    Raises
    ------
    ValueError
        See `checks.check_first` and `checks.check_context`; for a batch of a single datum that fails in train mode and
        cannot be joined.
    """
    found, tried, depth = DryRun(), train.one_of_each_kind(), 0
    made: list[int] = []
    summed = False
    for batch in tried:
        with Allocated() as allocated:
            pair, where = check_first(program, objective, batch, beta)
            traces.log_weights(*pair, where)
        check_masked(program, pair[0], batch.x, *batch.context, mask=batch.mask)
        check_context(program, batch, beta)
        made.append(allocated.bytes)
        found.structures.add(structure(pair))
        found.unnamed |= _unnamed(program, pair)
        found.beside |= _beside(pair, where)
        found.varies |= where.varies
        depth, summed = max(depth, where.depth), summed or summed_over([pair])
    found.row_bytes = _row_bytes(tried, made)
    objective.data_plate, objective.data_size = where.name, train.num_data  # type: ignore[attr-defined]  # for ours
    vectorized = objective.vectorize_particles and objective.num_particles > 1
    found.beside |= {objective.num_particles} if vectorized else set()
    if math.isinf(objective.max_plate_nesting):  # else Pyro finds it by one more run, and logs that
        objective.max_plate_nesting = depth + vectorized
    if summed and isinstance(objective, TraceEnum_ELBO):  # batches that observe the site have nothing to sum over
        objective.strict_enumeration_warning = False
    if train.smallest() == 1:
        with train_mode_undone(program):
            _check_single(program, tried[-1], train, beta)
    _warn_of_foreign(program, _fewer(program, tried[-1]), beta)
    return found


def _fewer(program: Modelled, batch: Batch) -> Batch:
    """A batch without its last row, where a parameter is as long as it: a program refuses one that follows the data."""
    as_long = any(len(p) == len(batch.x) for p in program.parameters() if p.dim())
    return batch.first(len(batch.x) - 1) if as_long and len(batch.x) > 1 else batch


def structure(pair: Pair) -> frozenset[tuple[Any, ...]]:
    """The sites of a pair of traces: which are observed or enumerated, and their families; not their values."""
    return frozenset(
        (number, name, site["is_observed"], traces.enumerated(site), type(site["fn"]))
        for number, trace in enumerate(pair)
        for name, site in (traces.latents(trace) | traces.observed(trace)).items()
    )


def naming(model: Callable[..., Any], parameters: Mapping[str, nn.Parameter]) -> Callable[..., Any]:
    """A model that names these parameters to Pyro, whose objectives compute gradients of named ones only."""

    def named(*args: Any, **kwargs: Any) -> Any:
        for name, parameter in parameters.items():
            pyro.param(f"program:{name}", parameter)
            if are_known():
                break
        return model(*args, **kwargs)

    return named if parameters else model


def _beside(pair: Pair, where: traces.Plates) -> set[int]:
    sites = (site for trace in pair for site in (traces.latents(trace) | traces.observed(trace)).values())
    return {size for site in sites for size in site["fn"].batch_shape[: where.data] if size > 1}


def _unnamed(program: Modelled, pair: Pair) -> dict[str, nn.Parameter]:
    params = (site for trace in pair for site in trace.nodes.values() if site["type"] == "param")
    named = {id(site["value"].unconstrained()) for site in params}
    return {name: p for name, p in program.named_parameters() if p.requires_grad and id(p) not in named}


def _row_bytes(tried: list[Batch], made: list[int]) -> float:
    """Bytes a datum: from two batch sizes the slope; from one size an upper bound."""
    first, last = tried[0], tried[-1]
    if first.kind == last.kind and len(first.x) > len(last.x):
        return max(0, made[0] - made[-1]) / (len(first.x) - len(last.x))
    return max(size / len(batch.x) for batch, size in zip(tried, made, strict=True))


def _check_single(program: Modelled, batch: Batch, train: Batches, beta: float) -> None:
    if fails_alone(program, batch.first(1), beta) and not train.join_single():
        raise ValueError(
            "fit expects batches of two data or more for a program that cannot be trained on one (batch norm), got a "
            "batch of 1; give another batch_size, or drop_last=True to a DataLoader"
        )


@contextmanager
def train_mode_undone(program: Modelled) -> Iterator[None]:
    """A scope in train mode; after it the buffers (batch statistics, codebooks) are as before, in the same tensors."""
    kept = [(m, name, b, b.clone()) for m in program.modules() for name, b in m.named_buffers(recurse=False)]
    try:
        program.train()
        yield
    finally:
        program.eval()
        for module, name, buffer, values in kept:
            buffer.copy_(values)
            setattr(module, name, buffer)


def _warn_of_foreign(program: Modelled, batch: Batch, beta: float) -> None:
    """Warn of tensors that require a gradient, are used, and are not the program's: they are not trained."""
    with torch.enable_grad(), pyro.validation_enabled(False):
        pair = traces.pair(program, batch.x, *batch.context, mask=batch.mask, beta=beta)
        sites = (s for trace in pair for s in (traces.latents(trace) | traces.observed(trace)).values())
        used = leaves([traces.total(site) for site in sites])
    own = {id(t) for t in (*program.parameters(), batch.x, *batch.context)}
    if foreign := [tuple(leaf.shape) for leaf in used if id(leaf) not in own]:
        warnings.warn(
            f"the model and guide use {len(foreign)} tensors that ask for a gradient and are not the program's own, "
            f"the first of shape {foreign[0]}: they stay as they are; give their modules to Program(model, guide, "
            "*modules), or freeze them: requires_grad_(False)",
            stacklevel=2,
        )


def leaves(values: list[Tensor]) -> list[Tensor]:
    """The leaf tensors that the gradient of the values would reach."""
    found, seen, waiting = [], set(), [v.grad_fn for v in values]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        waiting += [following for following, _ in node.next_functions]
    return found
