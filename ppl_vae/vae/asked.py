"""The arguments of the methods of a VAE: shapes of data and context, the number of draws, and what they are given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ppl_vae.likelihoods import Likelihood
from ppl_vae.tensors import as_tensor

__all__ = ["check_context", "check_number", "check_shape", "rows_of_total"]


def check_shape(x: Tensor, expected: tuple[int, ...]) -> None:
    """Check that x are data of this shape.

    Raises
    ------
    ValueError
        Otherwise.
    """
    if tuple(x.shape[1:]) != expected or not x.dim():
        raise ValueError(
            f"the VAE expects x of shape {('n', *expected)}, got {tuple(x.shape)}; reshape it, a single datum to "
            "x[None]"
        )


def check_context(context: Sequence[Tensor], shapes: Sequence[Sequence[int]], known: bool, rows: bool = False) -> None:
    """Check contexts against the shapes that a VAE was built for; with none of them only where it is `known`.

    With `rows` each is one row a datum, and not one of all data.

    Raises
    ------
    ValueError
        For another number of them, and for other shapes.
    """
    expected = tuple(map(tuple, shapes))
    ends = tuple(tuple(c.shape[max(c.dim() - len(s), 0) :]) for c, s in zip(context, expected, strict=False))
    short = rows and any(c.dim() == len(s) for c, s in zip(context, expected, strict=False))
    if (expected or known) and (len(context) != len(expected) or ends != expected or short):
        raise ValueError(
            f"the VAE expects {len(expected)} contexts, of shapes {[('n', *s) for s in expected]}, got "
            f"{[tuple(c.shape) for c in context]}; give each after x or z, labels one-hot (condition_on_labels)"
        )


def check_number(n: int, context: Sequence[Any]) -> None:
    """Check that there are draws, and a context for each.

    Raises
    ------
    ValueError
        Otherwise.
    """
    lengths = [len(c) if getattr(c, "shape", (1,)) else 1 for c in context]
    if n < 1 or any(length != n for length in lengths):
        raise ValueError(
            f"sample expects one draw or more and a context for each, got n={n} and contexts of lengths "
            f"{lengths}; give {n if n > 0 else 'n >= 1'} of each"
        )


def rows_of_total(likelihood: Likelihood, n: int, total: Any, dtype: torch.dtype) -> Tensor:
    """Rows (n, *x_shape) with these totals, for a likelihood given the total of a row, which reads nothing else of it.

    In `dtype`, the precision of the likelihood.

    Raises
    ------
    ValueError
        For another likelihood; for totals that are below 0, not finite, or neither one nor n; and, where x adds up to
        its total, for totals that are no whole numbers or that `dtype` cannot represent.
    """
    if not likelihood.given_total:
        raise ValueError(
            f"sample expects total= with a likelihood given the total of a row, got {type(likelihood).__name__}; leave "
            "it out, or build with Multinomial, or a count with exposure='total'"
        )
    totals = as_tensor("total", total).double()
    if tuple(totals.shape) not in ((), (n,)) or not bool(((totals >= 0) & totals.isfinite()).all()):
        raise ValueError(
            f"sample expects a total of 0 or more, or one for each of {n} draws, got {total}; give one number, or an "
            f"array ({n},)"
        )
    if likelihood.given_total is True and not bool((totals == totals.round()).all()):
        raise ValueError(
            f"sample expects whole numbers as totals, to which the counts of {type(likelihood).__name__} add up, got "
            f"{total}; round them"
        )
    rounded = totals.to(dtype)
    if likelihood.given_total is True and bool((changed := rounded.double() != totals).any()):
        kind = str(dtype).removeprefix("torch.")
        raise ValueError(
            f"sample expects totals that {kind} represents, all whole numbers up to "
            f"{round(2 / torch.finfo(dtype).eps):,}, got {totals[changed][0]:.0f}, which would become "
            f"{rounded[changed][0]:.0f}; sample in float64: vae.double()"
        )
    x = rounded.new_zeros(n, math.prod(likelihood.x_shape))
    x[:, 0] = rounded
    return x.reshape(n, *likelihood.x_shape)
