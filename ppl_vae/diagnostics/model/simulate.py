"""Data simulated from the model, with known latents."""

from __future__ import annotations

from dataclasses import replace

import torch
from pyro import poutine
from torch import Tensor

from ppl_vae import traces
from ppl_vae.casting import arguments
from ppl_vae.find_plates import find_plates
from ppl_vae.memory import chunks
from ppl_vae.modelled import Modelled
from ppl_vae.observed import check_observed
from ppl_vae.site_values import by_datum
from ppl_vae.split import Split

__all__ = ["simulated"]


def simulated(program: Modelled, split: Split, num: int, *, max_rows: int = 10_000) -> tuple[dict[str, Tensor], Split]:
    """Pairs (z, x) drawn from p(z) p(x | z): each z is an exact draw from p(z | x).

    Call it inside `session.diagnosing`.

    Parameters
    ----------
    program
        Anything with `.model` and `.guide`.
    split
        Gives the shape and domain of x; context and mask come from each of its data in turn.
    num
        Number of pairs.
    max_rows
        Number of pairs simulated at once; bounds the memory.

    Returns
    -------
    z : dict of Tensor
        Values by latent site, (num, *event_shape).
    data : Split
        The simulated x, numbered from 0; zero where the mask is False.

    Raises
    ------
    ValueError
        Unless the model observes exactly x: a single site that holds x unchanged; for `max_rows` below 1.
    """
    where = find_plates(program, split)
    like = split[torch.arange(num, device=split.x.device) % len(split)]
    parts = [_simulated(program, like[rows], where) for rows in chunks(num, 1, where.rows(max_rows))]
    values = {name: torch.cat([z[name] for z, _ in parts]) for name in parts[0][0]}
    x = torch.cat([x for _, x in parts])
    index = torch.arange(num, device=split.index.device)
    return values, replace(like, x=x, index=index, y=None, pending=(), provenance={})


def _simulated(program: Modelled, like: Split, where: traces.Plates) -> tuple[dict[str, Tensor], Tensor]:
    """One pair (z, x) per datum: latents by site, and x."""
    args, mask = arguments(program, like)
    where = where.of(len(like))
    trace = poutine.trace(poutine.uncondition(program.model)).get_trace(*args, **traces.model_kwargs(mask))
    sites = traces.latents(trace)
    observed = {name: site["infer"]["obs"] for name, site in sites.items() if site["infer"].get("was_observed")}
    values = {name: by_datum(site["value"][None], site, where)[0] for name, site in sites.items()}
    x = values.pop(check_observed(observed, like))
    x = x if mask is True else torch.where(torch.as_tensor(mask, device=x.device), x, 0.0)
    return values, x.to(like.x.device)
