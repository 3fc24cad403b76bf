"""The scope in which every diagnostic runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from ppl_vae import traces
from ppl_vae.find_plates import find_plates
from ppl_vae.isolation import evaluating, frozen
from ppl_vae.modelled import Modelled
from ppl_vae.raw_units import check_units
from ppl_vae.split import Split

__all__ = ["diagnosing"]


@contextmanager
def diagnosing(
    program: Modelled,
    x: Tensor | Split,
    *context: Tensor,
    mask: Tensor | bool = True,
    seed: int | None = None,
) -> Iterator[tuple[Split, int]]:
    """A scope that leaves the program unchanged: eval mode, no gradients of parameters, own seed and parameter store.

    Yields
    ------
    split : Split
        The data, with their random preprocessing applied.
    seed : int
        The seed used.

    Raises
    ------
    TypeError
        For data that are no tensor or `Split`.
    ValueError
        For no data, for values that are not finite, and for whatever `traces.check_pair` refuses.
    """
    split = Split.of(x, *context, mask=mask)
    check_units(program, split)
    with evaluating(program, seed) as used:
        split = split.fixed(used)
        find_plates(program, split)  # a Program creates its parameters at its first call
        with frozen(program), traces.without_shapes(ValueError, RuntimeError):
            yield split, used
