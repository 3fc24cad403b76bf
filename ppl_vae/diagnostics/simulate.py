"""Data simulated from the model itself, of which the latents are known."""

from __future__ import annotations

from dataclasses import replace

import torch
from pyro import poutine
from torch import Tensor, nn

from ppl_vae import traces
from ppl_vae.draws import arguments, by_datum, look
from ppl_vae.split import Split

__all__ = ["simulated"]


def simulated(program: nn.Module, split: Split, num: int) -> tuple[dict[str, Tensor], Split]:
    """Pairs (z, x) drawn from p(z) p(x | z): each z is one exact draw from the posterior of its x.

    Call it inside `session.diagnosing`.

    Parameters
    ----------
    program
        Anything with `.model` and `.guide`.
    split
        What gives x its shape, domain, context and mask: those of the data in turn.
    num
        How many pairs.

    Returns
    -------
    z : dict of Tensor
        Values by latent site, (num, *event_shape).
    data : Split
        The x, numbered from 0; zero where their mask says that nothing was observed.

    Raises
    ------
    ValueError
        Unless the model observes exactly x: a single site that holds x as it came.
    """
    where = look(program, split)
    like = split[torch.arange(num, device=split.x.device) % len(split)]
    args, mask = arguments(program, like)
    where = traces.Plates(num, where.data, where.depth)
    trace = poutine.trace(poutine.uncondition(program.model)).get_trace(*args, **traces.call(mask))
    sites = traces.latents(trace)
    names = [name for name, site in sites.items() if site["infer"].get("was_observed")]
    if len(names) != 1 or not _is_x(sites[names[0]], args[0], mask):
        raise ValueError(
            f"simulating data expects a model that observes x as it came, at a single site, got the observed sites "
            f"{names}; give obs=x to one site, and let the likelihood do whatever else is done to x"
        )
    values = {name: by_datum(site["value"][None], site, where)[0] for name, site in sites.items()}
    x = values.pop(names[0])
    x = x if mask is True else torch.where(torch.as_tensor(mask, device=x.device), x, 0.0)
    index = torch.arange(num, device=split.index.device)
    return values, replace(like, x=x.to(split.x.device), index=index, y=None, pending=(), provenance={})


def _is_x(site: traces.Site, x: Tensor, mask: Tensor | bool) -> bool:
    """Whether a site that was observed held x, wherever x was observed."""
    was = site["infer"]["obs"]
    if was.shape != x.shape:
        return False
    return bool(((was == x) | ~torch.as_tensor(mask, device=x.device)).all())
