"""Data as a program takes them: on its device, in its precision."""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_vae.modelled import Modelled
from ppl_vae.rows import dense
from ppl_vae.split import Split

__all__ = ["arguments"]


def arguments(program: Modelled, data: Split) -> tuple[tuple[Tensor, ...], Tensor | bool]:
    """Data as a program takes them, (x, *context) and mask: on its device, in its precision.

    x is cast whatever its dtype; a context of whole numbers stays, which may be indices. A program without parameters
    has no precision of its own: real data keep theirs.
    """
    like = next(program.parameters(), data.x if data.x.is_floating_point() else torch.zeros(()))
    data = data.to(like.device)
    context = (c.to(like.dtype) if c.is_floating_point() else c for c in data.context)
    mask = True if data.mask is None else dense(data.mask).to(like.device)  # rows stay where they are until made dense
    return (dense(data.x).to(like.device, like.dtype), *context), mask
