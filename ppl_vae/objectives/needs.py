"""What objectives need of the traces they are given, each refused in one place."""

from __future__ import annotations

from typing import Any

import torch
from pyro.poutine import Trace

from ppl_vae import traces

__all__ = ["densities", "reparametrized", "unscaled"]


def unscaled(name: str, model: Trace, guide: Trace) -> None:
    """Refuse a scaled site.

    Raises
    ------
    ValueError
        Naming the objective.
    """
    if any(_scaled(s) for t in (model, guide) for s in (traces.latents(t) | traces.observed(t)).values()):
        raise ValueError(
            f"{name} expects unscaled sites, got a scaled one (beta, poutine.scale or a subsampled plate): the "
            "weighted mean would be no bound; train with beta=1 and a plate as long as the batch, or use Trace_ELBO"
        )


def densities(name: str, guide: Trace) -> None:
    """Refuse a posterior that is all on one value, with or without a mass.

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


def reparametrized(name: str, guide: Trace) -> None:
    """Refuse a site whose draws pass no gradient on.

    Raises
    ------
    ValueError
        Naming the objective and the sites.
    """
    if without := [n for n, s in traces.latents(guide).items() if not s["fn"].has_rsample]:
        raise ValueError(
            f"{name} expects reparametrized draws, got {without} without: the gradient through what is drawn would "
            "be lost; use Trace_ELBO"
        )


def _scaled(site: dict[str, Any]) -> bool:
    return bool((torch.as_tensor(site["scale"]) != 1).any())
