"""Find the plate over the data of a program, from two small batches."""

from __future__ import annotations

from dataclasses import replace

import torch

from ppl_vae import traces
from ppl_vae.casting import arguments
from ppl_vae.isolation import random_states, set_random_states
from ppl_vae.memory import Allocated
from ppl_vae.modelled import Modelled
from ppl_vae.split import Split
from ppl_vae.tensors import check_precision

__all__ = ["find_plates"]


def find_plates(program: Modelled, data: Split) -> traces.Plates:
    """Where the data lie in a program's plates, from one run on three data and one on two; it checks the pair as well.

    Two sizes tell the plate over the data from one that happens to be as long, and tensors made for each datum from
    those made once: `Plates.rows` bounds the memory by the former. Fewer data are repeated.

    Raises
    ------
    ValueError
        For no data, and for whatever `traces.check_pair` refuses.
    """
    if not len(data):
        raise ValueError("a model and guide are run on one datum or more, got none; give some rows")
    like = next(program.parameters(), data.x if data.x.is_floating_point() else torch.zeros(()))
    check_precision("x", data.x, like.dtype, data.mask)
    few, fewer = (arguments(program, data[torch.arange(size) % len(data)]) for size in (3, 2))
    other = traces.pair(program, *fewer[0], mask=fewer[1])
    with Allocated() as by_three:
        pair = traces.pair(program, *few[0], mask=few[1])
    where = traces.check_pair(*pair, 3, other[0])
    with by_three:
        traces.log_weights(*pair, where.of(3))
    before = random_states(fewer[0])
    with Allocated() as by_two:  # drawn anew: a flow without an inverse knows the density of its last draws alone
        traces.log_weights(*traces.pair(program, *fewer[0], mask=fewer[1]), where.of(2))
    set_random_states(before, fewer[0])
    return replace(where, row_bytes=max(0, by_three.bytes - by_two.bytes))
