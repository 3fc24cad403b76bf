"""Scores with matrix products in bfloat16, and how far they are from those in float32."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from ppl_vae.draws import Draws
from ppl_vae.evaluation.by_q import ByQ, by_q
from ppl_vae.group import Group
from ppl_vae.isolation import reseeded
from ppl_vae.modelled import Modelled
from ppl_vae.products import InBfloat16, check_bfloat16
from ppl_vae.split import Split

__all__ = ["check_products", "scored"]

_COMPARED = 100


def check_products(program: Modelled, precision: str | None, method: str) -> None:
    """Refuse bfloat16 where it is not for the method, or not all is in float32; warn where it is slow.

    Raises
    ------
    ValueError
        For another method than importance sampling with q, and for parameters in another dtype.
    """
    if precision is not None and method != "importance":
        raise ValueError(
            f"precision={precision!r} expects method='importance', got {method!r}, whose proposals and annealing are "
            "fitted to log p(x, z) in float32; leave precision out"
        )
    like = next(iter(program.parameters()), torch.empty(0))
    check_bfloat16(program.parameters(), precision, like.device, stacklevel=6)


def scored(
    program: Modelled,
    split: Split,
    num_samples: int,
    max_rows: int,
    progress: bool,
    group: Group,
    log_volume: Tensor,
    precision: str | None,
    seed: int,
    by: Callable[..., Draws] | None,
) -> tuple[ByQ, dict[str, Any] | None]:
    """`by_q`, with a precision in bfloat16: of up to 100 data, spread evenly, also how much higher log p(x) is so.

    Both numbers of these data are from the same random numbers: the difference is that of the products. Where there is
    no log p(x), for a point mass say, none are compared.

    Returns
    -------
    tuple
        The numbers of all data; and `None`, or what `Evaluation.rounded` is.
    """
    if precision is None:
        return by_q(program, split, num_samples, max_rows, progress, group, log_volume, by), None
    with InBfloat16():
        found = by_q(program, split, num_samples, max_rows, progress, group, log_volume, by)
    if "log_px" not in found.columns:
        return found, {"products": "bfloat16", "compared": 0}
    number = min(_COMPARED, len(split))
    rows = torch.linspace(0, len(split) - 1, number).round().long()
    some, volume = split[rows], log_volume[rows]
    log_px = []
    for scope in (InBfloat16(), nullcontext()):
        reseeded(program, seed)
        with scope:
            log_px.append(by_q(program, some, num_samples, max_rows, False, group, volume).columns["log_px"])
    apart = log_px[0] - log_px[1]
    said = {"mean": float(apart.mean()), "largest": float(apart.abs().max())}
    se = {"se": float(apart.std() / number**0.5)} if number > 1 else {}
    return found, {"products": "bfloat16", "compared": number, **said, **se}
