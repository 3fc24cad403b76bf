"""Latents that a mask leaves out: given all else, and so in q too, they have their prior given the other latents."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import ExpandedDistribution, MaskedDistribution
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae import one_way, paired, traces
from ppl_vae.modelled import Modelled
from ppl_vae.support import layers
from ppl_vae.up_to import up_to

__all__ = ["FromPrior", "draw_masked", "left_out", "log_prior", "log_q", "unmasked"]


def left_out(site: traces.Site) -> Tensor | None:
    """Which elements of a latent's value a mask leaves out, in a shape that broadcasts with it; `None` if none."""
    masks = (site["mask"], *(getattr(layer, "_mask", True) for layer in layers(site["fn"])))
    if all(mask is None or mask is True for mask in masks):
        return None
    out = ~paired.scored(site)
    return out if bool(out.any()) else None


def draw_masked(
    program: Modelled, guide: Trace, args: tuple[Tensor, ...], mask: Tensor | bool, around: AbstractContextManager[Any]
) -> None:
    """Draw what a mask leaves out of the latents in a guide's trace from their prior given the others.

    Log densities of the others stay those of the guide's own draws. `around` is the scope that the guide was run in.
    """
    sites = traces.latents(guide)
    if all(left_out(site) is None for site in sites.values()):
        return
    for site in sites.values():  # what the prior draws may lie outside the support of q
        site["unscaled_log_prob"] = one_way.log_prob(site["fn"], site["value"], *site["args"], **site["kwargs"])
    drawn = FromPrior({name: site["value"] for name, site in sites.items()})
    with drawn, around:
        up_to(program.model, sites)(*args, **traces.model_kwargs(mask))
    for name, site in sites.items():
        site["value"] = drawn.values[name]


class FromPrior(Messenger):
    """Sets latents of a model to values, and what a mask leaves out to draws of their prior given those above them.

    Enter it before the plate of the particles.

    Parameters
    ----------
    values
        By site, in its batch shape.
    also
        By site, further elements to draw, in a shape that broadcasts with its values.

    Attributes
    ----------
    values
        What the latents were set to.
    """

    def __init__(self, values: Mapping[str, Tensor], also: Mapping[str, Tensor] = MappingProxyType({})) -> None:
        super().__init__()
        self.values, self.also = dict(values), also

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        name = msg["name"]
        if name not in self.values:
            return
        msg["value"], msg["done"] = self.values[name], True
        parts = [part for part in (left_out(msg), self.also.get(name)) if part is not None]
        if parts and not traces.improper(msg):
            drawn = msg["fn"](*msg["args"], **msg["kwargs"]).to(msg["value"].dtype)
            out = parts[0] if len(parts) == 1 else parts[0] | parts[1]
            msg["value"] = self.values[name] = torch.where(out, drawn, msg["value"])


def log_prior(site: traces.Site, where: traces.Plates, num_particles: int) -> Tensor:
    """Log density of a latent of the model, whether or not it is masked, (num_particles, size), in nats."""
    bare = {**site, "mask": None, "fn": unmasked(site["fn"]), "unscaled_log_prob": None}
    return traces.log_prob(bare, where, num_particles)


def log_q(q: traces.Site, p: traces.Site, where: traces.Plates, num_particles: int) -> Tensor:
    """Log density of a latent of the guide, (num_particles, size), in nats: of what a mask leaves out, its prior's."""
    found = traces.log_prob(q, where, num_particles)
    if left_out(p) is None:
        return found
    of_rest = traces.log_prob(p, where, num_particles)
    masked = log_prior(p, where, num_particles) - of_rest
    return found + torch.where(of_rest.isfinite(), masked, 0.0)


def unmasked(fn: Any) -> Any:
    """A distribution without the masks of its elements."""
    if all(getattr(layer, "_mask", True) is True for layer in layers(fn)):
        return fn
    if isinstance(fn, MaskedDistribution):
        return unmasked(fn.base_dist)
    if isinstance(fn, dist.Independent):
        return dist.Independent(unmasked(fn.base_dist), fn.reinterpreted_batch_ndims)
    return unmasked(fn.base_dist).expand(fn.batch_shape) if isinstance(fn, ExpandedDistribution) else fn
