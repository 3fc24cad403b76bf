"""Find the plate over the data of a program, from two small batches."""

from __future__ import annotations

from dataclasses import replace

import torch
from pyro import poutine
from pyro.poutine import Trace
from torch import Tensor

from ppl_vae import paired, traces
from ppl_vae.casting import arguments
from ppl_vae.isolation import random_states, set_random_states
from ppl_vae.memory import Allocated
from ppl_vae.modelled import Modelled
from ppl_vae.split import Split
from ppl_vae.tensors import check_precision

__all__ = ["check_masked", "check_rows", "find_plates"]


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
    check_masked(program, pair[0], *few[0], mask=few[1])
    before = random_states(fewer[0])
    with Allocated() as by_two:  # drawn anew: a flow without an inverse knows the density of its last draws alone
        traces.log_weights(*traces.pair(program, *fewer[0], mask=fewer[1]), where.of(2))
    set_random_states(before, fewer[0])
    return replace(where, row_bytes=max(0, by_three.bytes - by_two.bytes))


def check_rows(program: Modelled, *args: Tensor, mask: Tensor | bool = True) -> None:
    """Check masks and supports of latents again, of further data, by draws that leave random states as they were.

    Raises
    ------
    ValueError
        See `paired.check` and `check_masked`.
    """
    before = random_states(args)
    model, guide = traces.pair(program, *args, mask=mask)
    of_guide = traces.latents(guide)
    for name, site in traces.latents(model).items():
        paired.check(of_guide[name], site)
    check_masked(program, model, *args, mask=mask)
    set_random_states(before, args)


def check_masked(program: Modelled, model: Trace, *args: Tensor, mask: Tensor | bool = True) -> None:
    """Refuse masked latents on which something that is scored depends: their log p and log q may not be left out.

    Parameters
    ----------
    program
        Anything with `.model` and `.guide`.
    model
        A trace of the model, with draws from the guide.
    *args, mask
        What it was called with.

    Raises
    ------
    ValueError
        Naming the site that depends on them. They are drawn anew, and all is scored again; random states stay.
    """
    scored = {name: paired.scored(site) for name, site in traces.latents(model).items()}
    if all(bool(some.all()) for some in scored.values()):
        return
    before, kwargs = random_states(args), traces.model_kwargs(mask)
    guide = traces.latents(poutine.trace(program.guide).get_trace(*args, **kwargs))
    now = {name: model.nodes[name]["value"] for name in scored}
    found = []
    for values in (now, {name: torch.where(some, now[name], guide[name]["value"]) for name, some in scored.items()}):
        set_random_states(before, args)  # a model may have noise of its own
        found.append(poutine.trace(poutine.condition(program.model, values)).get_trace(*args, **kwargs).nodes)
    set_random_states(before, args)
    for name in traces.latents(model) | traces.observed(model):
        as_now, anew = (traces.total(nodes[name]) for nodes in found)
        if not torch.allclose(as_now, anew, rtol=1e-4, atol=1e-6):
            raise ValueError(
                f"masked latents expect that nothing which is scored depends on them, got {name!r}, whose log density "
                f"changes with masked values of {[n for n, some in scored.items() if not some.all()]}: log p(x) by q "
                "would be wrong, as their log p and log q are left out; mask what depends on them, or do not mask them"
            )
