"""What every diagnostic begins with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from ppl_vae.find_plates import find_plates
from ppl_vae.isolation import evaluating, frozen
from ppl_vae.modelled import Modelled
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
    """A scope in which a program is looked at and nothing of it changes.

    In eval mode, its parameters wanting no gradient, with random numbers and a parameter store of its own.

    Yields
    ------
    split : Split
        The data, their random preprocessing carried out.
    seed : int
        The seed in use.

    Raises
    ------
    TypeError
        For data that are no tensor or `Split`.
    ValueError
        For no data, for values that are not finite, and for whatever `traces.check_pair` refuses.
    """
    split = Split.of(x, *context, mask=mask)
    with evaluating(program, seed) as used:
        split = split.fixed(used)
        find_plates(program, split)  # a Program makes its parameters when it is first called
        with frozen(program):
            yield split, used
