"""log q(z | x_n) and log p(z | c_n) at any z, joint and by unit, without running the decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.poutine import Trace
from torch import Tensor

from ppl_vae import traces
from ppl_vae.casting import arguments
from ppl_vae.distributions import Mixture
from ppl_vae.draws import guided
from ppl_vae.masked import left_out, log_prior, log_q, unmasked
from ppl_vae.modelled import Modelled
from ppl_vae.precision import in_float64
from ppl_vae.site_values import by_datum
from ppl_vae.split import Split
from ppl_vae.up_to import up_to

__all__ = ["LatentSites", "free_of_others", "unit_log_prob"]


@dataclass(frozen=True)
class LatentSites:
    """The latent sites of a program's guide and of its model, for some data.

    Values have the batch shape of their site, (num, *plates, *event_shape), with size 1 along the data plate where all
    data share them. What a mask leaves out has its prior given the other latents, in q too: sites of the guide then
    hold that of the model as their ``"prior"``.

    Attributes
    ----------
    program
        Anything with `.model` and `.guide`.
    names
        Its latent sites.
    args, mask
        Arguments of `.model` and `.guide`.
    where
        Position of the data plate among its plates.
    """

    program: Modelled
    names: tuple[str, ...]
    args: tuple[Tensor, ...]
    mask: Tensor | bool
    where: traces.Plates

    @classmethod
    def of(cls, program: Modelled, names: Iterable[str], data: Split, where: traces.Plates) -> LatentSites:
        """The latent sites of some data."""
        args, mask = arguments(program, data)
        return cls(program, tuple(names), args, mask, where.of(len(data)))

    def guide(self, num: int, values: Mapping[str, Tensor] | None = None) -> dict[str, traces.Site]:
        """Sites of q(z | x), drawn or at `values`."""
        if values is None:
            trace = guided(self.program, self.args, self.mask, num, self.where)
        else:
            trace = self._run(self.program.guide, num, values)
        sites = {name: trace.nodes[name] for name in self.names}
        if all(left_out(site) is None for site in sites.values()):
            return sites
        priors = self.prior(num, {name: site["value"] for name, site in sites.items()})
        return {name: {**site, "prior": priors[name]} for name, site in sites.items()}

    def prior(self, num: int, values: Mapping[str, Tensor] | None = None) -> dict[str, traces.Site]:
        """Sites of p(z), drawn or at `values`."""
        trace = self._run(up_to(self.program.model, self.names), num, values)
        return {name: trace.nodes[name] for name in self.names}

    def log_prob(self, sites: Mapping[str, traces.Site], num: int) -> Tensor:
        """Their log density, (num, n), in float64."""
        each = (
            log_q(site, site["prior"], self.where, num) if "prior" in site else log_prior(site, self.where, num)
            for site in sites.values()
        )
        return torch.stack([in_float64(log_prob) for log_prob in each]).sum(0)

    def by_point(self, value: Tensor) -> Tensor:
        """One draw per datum, (1, ..., n, ...), as n draws shared by all data, (n, ..., 1, ...)."""
        return value.transpose(0, self._data)

    @property
    def _data(self) -> int:
        return self.where.depth + 1 + self.where.data

    def _run(self, f: Callable[..., Any], num: int, values: Mapping[str, Tensor] | None) -> Trace:
        f = f if values is None else poutine.condition(f, data={name: self._for_all(v) for name, v in values.items()})
        with traces.particles(num, self.where.depth):
            return poutine.trace(f).get_trace(*self.args, **traces.model_kwargs(self.mask))

    def _for_all(self, value: Tensor) -> Tensor:
        shape = list(value.shape)
        shape[self._data] = self.where.size
        return value.expand(shape)


def unit_log_prob(site: traces.Site, where: traces.Plates) -> Tensor | None:
    """Marginal log density of each unit of a site's value, (num, n, units) in float64; `None` where it is not known.

    Conditional on the latents that the site depends on: see `free_of_others`.
    """
    each = _marginals(site["fn"], site["value"])
    out = left_out(site) if "prior" in site else None
    if each is not None and out is not None:
        of_prior = _marginals(site["prior"]["fn"], site["value"])
        each = None if of_prior is None else torch.where(out, of_prior, each)
    if each is None:
        return None
    each = by_datum(in_float64(each), site, where)
    return each.reshape(*each.shape[:2], -1)


def free_of_others(site: traces.Site, where: traces.Plates) -> bool:
    """Whether the marginal densities of a site's units are known and independent of the other latents."""
    first = site["value"][:1].expand_as(site["value"])
    each = unit_log_prob({**site, "value": first}, where)
    return each is not None and torch.allclose(each, each[:1].expand_as(each), atol=1e-4)


def _marginals(fn: Any, value: Tensor) -> Tensor | None:
    """Log density of the marginals of a distribution, in the shape of the value."""
    fn = _units(unmasked(fn))
    if isinstance(fn, Mixture):
        parts = _units(fn.components)
        if not isinstance(parts, dist.Normal):
            return None
        loc, scale = parts.loc, parts.scale
        each = (  # one unit at a time, for memory: there may be hundreds of components
            dist.Normal(loc[..., j], scale[..., j]).log_prob(value[..., j, None]) for j in range(value.shape[-1])
        )
        return torch.stack([(fn.log_weights + unit).logsumexp(-1) for unit in each], -1)
    return None if fn.event_shape else fn.log_prob(value)


def _units(fn: Any) -> Any:
    """A distribution with independent units and the same marginals, where these are known."""
    while isinstance(fn, dist.Independent):
        fn = fn.base_dist
    return dist.Normal(fn.loc, fn.variance.sqrt()) if isinstance(fn, dist.MultivariateNormal) else fn
