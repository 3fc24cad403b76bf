"""The ELBO, and log q of latents whose data the model simulated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from pyro import poutine
from pyro.poutine import Trace
from torch import Tensor

from ppl_vae import paired, traces
from ppl_vae.arguments import Count, NonNegative, checked
from ppl_vae.objectives import needs
from ppl_vae.objectives.vectorized_elbo import VectorizedELBO

__all__ = ["WakeSleep"]

_SLEEP = "sleep"  # what is added to a site of the guide


@checked
class WakeSleep(VectorizedELBO):
    """The ELBO, whose gradient by q has weight * E log q(z | x) over simulated (z, x) ~ p(z) p(x | z) added to it.

    That is, q also minimizes KL(p(z | x) || q(z | x)), the mean over data of the model: it covers what p(z | x) covers,
    and cannot overfit, as every simulated datum is new. The model gets the gradient of the ELBO alone, and the value is
    the ELBO. Wrong where the model's data are unlike the data, as at the start of a training and for data in the tails:
    there q is fitted to the former, and the bound on the latter is looser than without.

    Parameters
    ----------
    weight
        Of the simulated data; 0 gives `Trace_ELBO`, and the larger it is, the nearer to the wake-sleep algorithm.
    num_particles
        Number of draws for the ELBO; one datum is simulated for each datum of a batch.

    Raises
    ------
    ValueError
        For an improper prior, a posterior without a density, or without one at draws of the prior, and a model that
        does not observe x as it came at a single site.

    References
    ----------
    Hinton et al. 1995, doi:10.1126/science.7761831; Bornschein & Bengio 2015, arXiv:1406.2751.
    """

    def __init__(self, weight: NonNegative = 1.0, num_particles: Count = 1) -> None:
        super().__init__(num_particles)
        self.weight = weight

    def _check(self, model: Trace, guide: Trace) -> None:
        needs.densities("WakeSleep", guide)
        if improper := [name for name, site in traces.latents(model).items() if traces.improper(site)]:
            raise ValueError(
                f"WakeSleep expects a prior to draw from, got an improper one (Flat) at {improper}; use StandardNormal"
            )
        for name, q in traces.latents(guide).items():
            if not paired.contains(q["fn"], model.nodes[name]["fn"]):
                raise ValueError(
                    f"WakeSleep expects a posterior with a density at the draws of its prior, got {q['fn'].support} at "
                    f"{name!r} for draws on {model.nodes[name]['fn'].support}: log q would be minus infinity; use "
                    "Trace_ELBO, or a prior and a posterior on the same support"
                )

    def _get_traces(self, model: Any, guide: Any, args: Any, kwargs: Any) -> Iterator[tuple[Trace, Trace]]:
        for model_trace, guide_trace in super()._get_traces(model, guide, args, kwargs):
            self.check(model_trace, guide_trace)
            name = _site_of_x(model_trace, args[0], kwargs.get("mask", True))
            with torch.no_grad():
                drawn = poutine.trace(poutine.uncondition(model)).get_trace(*args, **kwargs)
                x = torch.where(torch.as_tensor(kwargs.get("mask", True)), drawn.nodes[name]["value"], 0).to(args[0])
            scored = poutine.trace(poutine.replay(guide, trace=drawn)).get_trace(x, *args[1:], **kwargs)
            for site, q in traces.latents(guide_trace).items():
                q[_SLEEP] = traces.total(scored.nodes[site])
            yield model_trace, guide_trace

    def _loss(self, model: Trace, guide: Trace, x: Tensor, where: traces.Plates) -> Tensor:
        loss = -sum(site["log_prob_sum"] for site in traces.observed(model).values()) / self.num_particles
        for name, q in traces.latents(guide).items():
            loss = loss + (q["log_prob_sum"] - model.nodes[name]["log_prob_sum"]) / self.num_particles
            loss = loss - self.weight * (q[_SLEEP] - q[_SLEEP].detach())
        return loss


def _site_of_x(model: Trace, x: Tensor, mask: Tensor | bool) -> str:
    """The one site that observes x as it came.

    Raises
    ------
    ValueError
        Where there is none, or another observed one.
    """
    name, *others = observed = traces.observed(model)
    value = observed[name]["value"]
    known = torch.as_tensor(mask, device=x.device)
    if others or value.shape[value.dim() - x.dim() :] != x.shape or bool(((value != x) & known).any()):
        raise ValueError(
            f"WakeSleep expects a model that observes x as it came, at a single site, got {list(observed)}; give obs=x "
            "to one site, and let the likelihood do whatever else is done to x"
        )
    return name
