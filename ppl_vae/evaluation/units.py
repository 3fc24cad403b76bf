"""KL of each latent unit."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor

from ppl_vae import traces
from ppl_vae.arguments import Count, Seed
from ppl_vae.calls import verb
from ppl_vae.casting import arguments
from ppl_vae.find_plates import find_plates
from ppl_vae.isolation import evaluating
from ppl_vae.libraries import stats
from ppl_vae.masked import draw_masked, left_out, unmasked
from ppl_vae.modelled import Modelled
from ppl_vae.objectives import needs
from ppl_vae.precision import in_float64
from ppl_vae.raw_units import check_units
from ppl_vae.site_values import by_datum
from ppl_vae.split import Split

__all__ = ["kernel_log_density", "kl_of_data", "kl_per_unit"]


@verb
def kl_per_unit(
    program: Modelled,
    x: Tensor | Split,
    *context: Tensor,
    mask: Tensor | bool = True,
    seed: Seed | None = None,
    batch_size: Count = 1000,
) -> dict[str, tuple[np.ndarray, str]]:
    """KL of each latent unit, in nats per datum, by site: (values (units,), their name).

    Where a mask leaves a unit out q has its prior given the other latents, and the KL is 0.
    ``"KL"`` where q and p factorize over the units and draw their sites in the same order: the mean over the data of
    KL(q(z_j | x) || p(z_j)), which add up to the site's KL. Elsewhere ``"dimension-wise KL"``: KL(q(z_j) || p(z_j)) of
    the aggregate posterior's marginals, by kernel density estimates of one draw a datum, at each of them by the
    others, which do not add up to it and say nothing of a single datum, and count as 0 below that; NaN for a unit that
    never varies, such as the corner of a Cholesky factor.
    A site inside a further plate has its units once for each member of that plate.

    Parameters
    ----------
    program
        A `VAE`, a `Program`, or a module of your own with `.model` and `.guide`.
    x
        Data, (n, *x_shape), or a `Split`.
    *context
        What the data are conditioned on, each (n, ...).
    mask
        False where an element of x is missing.
    seed
        Seed of the draws; fresh entropy if `None`.
    batch_size
        Data encoded at once, 1 or more; fewer where they are large.

    Raises
    ------
    ValueError
        For a point-mass posterior or an improper prior, which have no KL; for a discrete site, of which no density
        can be estimated; for sites outside one plate over the data.
    TypeError
        For a program that is no module with `.model` and `.guide`, and for data that are no tensor or `Split`.

    References
    ----------
    Chen et al. 2018, arXiv:1802.04942 (the dimension-wise KL).
    """
    split = Split.of(x, *context, mask=mask)
    check_units(program, split)
    with evaluating(program, seed) as used:
        found = kl_of_data("kl_per_unit", program, split.fixed(used), batch_size=batch_size)
    return {name: (values.mean(0) if what == "KL" else values, what) for name, (values, what) in found.items()}


def kl_of_data(
    caller: str, program: Modelled, split: Split, *, batch_size: int = 1000
) -> dict[str, tuple[np.ndarray, str]]:
    """`kl_per_unit` before the mean over the data: a ``"KL"`` is (n, units). Inside `isolation.evaluating`."""
    exact: dict[str, list[Tensor]] = {}
    drawn: dict[str, list[tuple[Tensor, Tensor]]] = {}
    where = find_plates(program, split)
    batch_size = where.rows(batch_size)
    for start in range(0, len(split), batch_size):
        args, seen = arguments(program, split[start : start + batch_size])
        model, guide = traces.pair(program, *args, mask=seen)
        for name, q in traces.latents(guide).items():
            _check_densities(caller, name, q, model.nodes[name])
        of_guide = traces.latents(guide)
        alike = needs.in_one_order(model, guide)
        kls = {name: _factorized(q, model.nodes[name]) if alike else None for name, q in of_guide.items()}
        for name, kl in kls.items():
            if kl is not None:
                exact.setdefault(name, []).append(_units(kl, of_guide[name], where))
        unknown = [name for name, kl in kls.items() if kl is None]
        if unknown:
            free = poutine.trace(poutine.uncondition(program.model)).get_trace(*args, **traces.model_kwargs(seen))
            draw_masked(program, guide, args, seen, nullcontext())
        for name in unknown:
            q = of_guide[name]
            pair = _units(q["value"], q, where), _units(free.nodes[name]["value"], q, where)
            drawn.setdefault(name, []).append(pair)
    return {name: _per_unit(exact.get(name), drawn.get(name, [])) for name in kls}


def _check_densities(caller: str, name: str, q: traces.Site, p: traces.Site) -> None:
    if traces.singular(q) or traces.improper(p):
        raise ValueError(
            f"{caller} expects densities at {name!r}, got a point mass or an improper prior, which have no KL; "
            "use another posterior and prior"
        )
    if traces.discrete(q):
        raise ValueError(
            f"{caller} expects densities at {name!r}, got the discrete {type(q['fn']).__name__}, whose units have "
            f"none to estimate; see `kl_{name}` of evaluate(...).per_datum"
        )


def _units(value: Tensor, site: traces.Site, where: traces.Plates) -> Tensor:
    """A value with the batch and event shape of a site as (n, units), on the CPU."""
    value = by_datum(value[None], site, where)[0]
    return value.reshape(len(value), -1).cpu()


def _per_unit(exact: list[Tensor] | None, drawn: list[tuple[Tensor, Tensor]]) -> tuple[np.ndarray, str]:
    if exact is not None:
        return in_float64(torch.cat(exact)).numpy(), "KL"
    q, p = (in_float64(torch.cat([pair[i] for pair in drawn])).numpy() for i in (0, 1))
    of_q = np.stack([_at_others(unit, 2000) for unit in q.T], -1)
    kl = (of_q - kernel_log_density(p, q[:2000])).mean(0)
    return kl.clip(0), "dimension-wise KL"


def kernel_log_density(sample: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Log density of each unit by itself, in nats: of `sample` (n, units), estimated by kernels, at some (m, units).

    NaN for a unit of one value, which has no density.
    """
    return np.stack(
        [
            stats.gaussian_kde(s).logpdf(a) if np.ptp(s) > 0 else np.full(len(a), np.nan)
            for s, a in zip(sample.T, at.T, strict=True)
        ],
        -1,
    )


def _at_others(sample: np.ndarray, num: int) -> np.ndarray:
    """Log density of each of the first `num` of a sample (n,), in nats, by kernels at the others; NaN for one value."""
    if np.ptp(sample) == 0:
        return np.full(len(sample[:num]), np.nan)
    kernels, at, n = stats.gaussian_kde(sample), sample[:num], len(sample)
    variance = kernels.covariance.item()
    own = -np.log(2 * np.pi * variance) / 2
    others = np.expm1(kernels.logpdf(at) + np.log(n) - own)  # kernels at a value less its own, in units of that
    found = np.log(np.maximum(others, 1e-6))
    for i in np.flatnonzero(others < 1e-6):  # far from all others: the difference has lost its digits
        found[i] = np.logaddexp.reduce(-((np.delete(sample, i) - at[i]) ** 2) / (2 * variance))
    density: np.ndarray = found + own - np.log(n - 1)
    return density


def _factorized(q: traces.Site, p: traces.Site) -> Tensor | None:
    """KL of each unit and datum, (*batch, *units), if both are independent over them and it is known."""
    of_units = [unmasked(site["fn"]) for site in (q, p)]
    of_q, of_p = (fn.base_dist if isinstance(fn, dist.Independent) else fn for fn in of_units)
    if of_q.event_shape or of_p.event_shape:
        return None
    try:
        kl: Tensor = torch.distributions.kl_divergence(of_q, of_p)
    except NotImplementedError:
        return None
    out = left_out(q)
    return kl if out is None else kl.masked_fill(out, 0.0)
