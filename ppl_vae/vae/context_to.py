"""Which parts of a VAE are given the context."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Annotated, Literal

from ppl_vae.arguments import Rule
from ppl_vae.conditional import Chain, Conditional
from ppl_vae.factories import Factory
from ppl_vae.vae.data_spec import DataSpec

__all__ = ["EVERY_PART", "ContextTo", "Part", "check_use", "in_order", "parts_given"]

Part = Literal["prior", "encoder", "decoder"]
ContextTo = Part | Annotated[Sequence[Part], Rule("and one or more of them", lambda given: len(given) > 0)]
"""One part, or several."""
EVERY_PART: tuple[Part, ...] = ("prior", "encoder", "decoder")


def parts_given(data: DataSpec, context_to: ContextTo | None) -> tuple[Part, ...]:
    """The parts that are given the context, in the order of `EVERY_PART`; all of them by default.

    Raises
    ------
    ValueError
        Where parts are named, and the data have no context.
    """
    if context_to is None:
        return EVERY_PART
    if not data.context_shapes:
        raise ValueError(
            f"build expects data with a context, got none and context_to={context_to!r}; give the data one "
            "(from_arrays(..., context=), condition_on_labels()), or leave context_to out"
        )
    return in_order(context_to)


def in_order(context_to: ContextTo) -> tuple[Part, ...]:
    """Parts, each once, in the order of `EVERY_PART`."""
    return tuple(p for p in EVERY_PART if p in ([context_to] if isinstance(context_to, str) else context_to))


def check_use(prior: Factory, made: Conditional | Chain, context_to: tuple[Part, ...]) -> None:
    """Refuse a prior that cannot have the context as `context_to` says, or is alone given it and does not use it.

    Raises
    ------
    ValueError
        For a mixture of q(z | u_k, context) where only one of q and the prior is given the context, and for a prior
        that uses no context as the only part that is given it.
    """
    of_q = "posterior" in inspect.signature(prior).parameters
    if of_q and ("prior" in context_to) != ("encoder" in context_to):
        raise ValueError(
            f"{type(made).__name__} expects the context where q has it, as it is made of q(z | x, context), got "
            f"context_to={list(context_to)}; give it to prior and encoder, or to neither"
        )
    if context_to == ("prior",) and not made.uses_context:
        raise ValueError(
            f"build expects a part that uses the context, got context_to=['prior'] and {type(made).__name__}, which "
            "does not; give it to the decoder too, or choose a prior with a context, such as ConditionalNormal"
        )
