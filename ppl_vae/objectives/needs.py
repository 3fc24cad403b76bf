"""Checks of traces that several objectives share."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import fmean
from typing import Any

import torch
from pyro.poutine import Trace
from torch import Tensor

from ppl_vae import one_way, traces
from ppl_vae.precision import in_float64

__all__ = [
    "densities",
    "drawn",
    "in_one_order",
    "mean_kls",
    "mean_scale",
    "one_order",
    "reparametrized",
    "scale_of_data",
    "scale_of_latents",
    "scaled",
    "scored_anywhere",
    "something_to_weigh",
    "unscaled",
    "weights",
]


def unscaled(name: str, model: Trace, guide: Trace) -> None:
    """Refuse a scaled site.

    Raises
    ------
    ValueError
        Naming the objective.
    """
    if scaled(model, guide):
        raise ValueError(
            f"{name} expects unscaled sites, got a scaled one (beta, poutine.scale or a subsampled plate): the "
            "weighted mean would be no bound; train with beta=1 and a plate as long as the batch, or use Trace_ELBO"
        )


def something_to_weigh(model: Trace, guide: Trace, kl: float = 1.0) -> None:
    """Refuse a beta where there is no KL to weigh.

    Raises
    ------
    ValueError
        Saying why there is none.
    """
    of_model, of_guide = traces.latents(model), traces.latents(guide)
    of_data = {float(mean_scale(s)) for s in traces.observed(model).values()}
    if not of_data or all(float(mean_scale(s)) in of_data for s in of_model.values()):
        return
    constant = {
        "an improper prior (Flat)": any(map(traces.improper, of_model.values())),
        "one code a datum (VectorQuantized)": any(map(traces.quantized, of_guide.values())),
        "an objective that leaves the KL out (alpha=1)": kl == 0,
    }
    if why := [said for said, there in constant.items() if there]:
        raise ValueError(
            f"beta expects a KL to weigh, got {why[0]}: it would change nothing; leave beta, and any warm-up, out"
        )


def densities(name: str, guide: Trace) -> None:
    """Refuse a point mass, or one code a datum, as the posterior.

    Raises
    ------
    ValueError
        Naming the objective.
    """
    sites = traces.latents(guide).values()
    if any(map(traces.singular, sites)):
        raise ValueError(
            f"{name} expects a posterior with a density, got a point mass (Point): its weights and its KL do not "
            "exist; use Trace_ELBO, or another posterior"
        )
    if any(map(traces.quantized, sites)):
        raise ValueError(
            f"{name} expects a posterior with a spread, got one code a datum (VectorQuantized): its weights and its "
            "KL are constants; use Trace_ELBO or Commitment, or another posterior"
        )


def weights(name: str, model: Trace, guide: Trace) -> None:
    """Refuse what has no weights p(x, z) / q(z | x) whose mean is p(x): see `unscaled` and `densities`.

    Raises
    ------
    ValueError
        Naming the objective.
    """
    unscaled(name, model, guide)
    densities(name, guide)


def scored_anywhere(guide: Trace) -> None:
    """Refuse a posterior whose log density is known at its own draws alone, by the error of `one_way.log_prob`."""
    with torch.no_grad():
        for site in traces.latents(guide).values():
            one_way.log_prob(site["fn"], site["value"].clone())


def drawn(name: str, guide: Trace) -> None:
    """Refuse a site that asks to be summed over, of an objective that draws.

    Raises
    ------
    ValueError
        Naming the objective.
    """
    if any(map(traces.enumerated, traces.latents(guide).values())):
        raise ValueError(f"an enumerated site expects TraceEnum_ELBO, got {name}; use TraceEnum_ELBO")


def reparametrized(name: str, guide: Trace) -> None:
    """Refuse a site whose draws are not reparametrized.

    Raises
    ------
    ValueError
        Naming the objective and the sites.
    """
    if without := [n for n, s in traces.latents(guide).items() if not s["fn"].has_rsample]:
        raise ValueError(
            f"{name} expects reparametrized draws, got {without} without: the gradient through what is drawn would "
            "be lost; use Trace_ELBO or RWS, or a posterior with such draws (gradient='straight-through')"
        )


def in_one_order(model: Trace, guide: Trace) -> bool:
    """Whether both draw their latents in the same order, so that each site is given the same ones."""
    return list(traces.latents(model)) == list(traces.latents(guide))


def one_order(name: str, model: Trace, guide: Trace, instead: str = "Trace_ELBO") -> None:
    """Refuse a guide that draws its sites in another order than the model.

    Raises
    ------
    ValueError
        Naming the objective, the orders, and what to use instead.
    """
    if not in_one_order(model, guide):
        of_model, of_guide = list(traces.latents(model)), list(traces.latents(guide))
        raise ValueError(
            f"{name} expects model and guide to sample their sites in the same order, got {of_model} and {of_guide}: "
            f"its KLs would be of the wrong distributions; use {instead}"
        )


def mean_scale(site: dict[str, Any]) -> Any:
    """The scale of a site, of weights of the data their mean."""
    scale = site["scale"]
    return scale.mean() if isinstance(scale, Tensor) and scale.dim() else scale


def mean_kls(model: Trace, guide: Trace, num: int) -> Iterator[tuple[dict[str, Any], Tensor]]:
    """Each latent site of the guide, with KL(q || p): its mean over `num` draws and data, in nats.

    It is in closed form, given the latents before the site, where there is one and model and guide draw their sites in
    the same order; else log q - log p at the draws, of which the sum over the sites has the mean of the whole KL.
    Weights of the data (`poutine.scale` by a tensor) are those of this mean; a scale that all share does not count.
    """
    alike = in_one_order(model, guide)
    for name, q in traces.latents(guide).items():
        p, scale = model.nodes[name], mean_scale(q)
        kl = traces.analytic_kl(q, p) if alike else None
        if scale is q["scale"]:
            yield q, (traces.total(q) - traces.total(p) if kl is None else kl.sum()) / num
        else:
            weighed = q["log_prob_sum"] - p["log_prob_sum"] if kl is None else (q["scale"] * kl).sum()
            yield q, weighed / (num * scale)


def scale_of_data(model: Trace, where: traces.Plates) -> float:
    """The scale of the data as a number: that of a plate that subsamples them, and of weights of all sites.

    A scale that some sites have alone (`poutine.scale`), as the weight of a classifier, and beta are no part of it.
    Beside that of the plate it is 1 where some site has none; else what most have.
    """
    of_data = traces.observed(model).values()
    plate = next((_subsampled(site, where) for site in of_data), 1.0)
    found = [_mean_number(site) / plate for site in of_data]
    if not any(_same(scale, 1) for scale in found):  # else beta is not read, which a graph has as a tensor
        beta = float(model.nodes["_INPUT"]["kwargs"].get("beta", 1.0))
        found += [_mean_number(site) / plate / beta for site in traces.latents(model).values()]
    # of scales that as many have the one nearest to 1: no order of the sites matters
    shared = min(found, key=lambda s: (not _same(s, 1), -sum(_same(s, other) for other in found), abs(math.log(s)), s))
    return plate * shared


def scale_of_latents(model: Trace) -> float:
    """The mean scale of the latent sites, as a number."""
    return fmean(map(_mean_number, traces.latents(model).values()))


def scaled(*of: Trace) -> bool:
    """Whether some site of these traces has a scale other than 1, as by a beta or a plate that subsamples."""
    scales = [site["scale"] for trace in of for site in (traces.latents(trace) | traces.observed(trace)).values()]
    return any(scale != 1 if isinstance(scale, int | float) else bool((scale != 1).any()) for scale in scales)


def _subsampled(site: dict[str, Any], where: traces.Plates) -> float:
    """The scale that the plate over the data gives a site: their number over that in the batch."""
    frame = next((frame for frame in site["cond_indep_stack"] if frame.name == where.name), None)
    return 1.0 if frame is None or frame.full_size is None else frame.full_size / frame.size


def _mean_number(site: dict[str, Any]) -> float:
    """The mean scale of a site as a number, computed in float64."""
    return float(in_float64(torch.as_tensor(site["scale"])).mean())


def _same(scale: float, other: float) -> bool:
    return math.isclose(scale, other, rel_tol=1e-5)  # weights and a beta are of float32
