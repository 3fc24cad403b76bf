"""The commitment loss of a vector-quantized autoencoder."""

from __future__ import annotations

import torch
from pyro.poutine import Trace
from torch import Tensor

from ppl_vae import traces
from ppl_vae.arguments import Count, checked
from ppl_vae.objectives.penalized import Penalized

__all__ = ["Commitment"]


@checked
class Commitment(Penalized):
    """Trace_ELBO's loss + weight * sum over the data of ||e(x) - code||^2, the code detached: no bound.

    For a `VectorQuantized` posterior, whose encoder it keeps near the codes; the codes follow by their moving
    averages. `fit` chooses the best epoch by the ELBO, without the penalty.

    Parameters
    ----------
    weight
        Weight of the penalty, the paper's beta, in nats per squared unit of a code.
    num_particles
        Number of draws; those of a code are all equal.

    Raises
    ------
    TypeError
        For what is no number.
    ValueError
        For a negative weight.

    References
    ----------
    van den Oord et al. 2017, arXiv:1711.00937, equation 3.
    """

    def __init__(self, weight: float = 0.25, num_particles: Count = 1) -> None:
        super().__init__(weight, num_particles)

    def _check(self, model: Trace, guide: Trace) -> None:
        """Refuse a guide without codes."""
        if not _quantized(guide):
            got = [site["fn"] for site in traces.latents(guide).values()]
            raise ValueError(
                f"Commitment expects a VectorQuantized posterior, got {got}, without codes to keep near; use Trace_ELBO"
            )

    def _penalty(self, model: Trace, guide: Trace, x: Tensor) -> Tensor:
        return torch.stack([_distance(site) for site in _quantized(guide)]).sum() / self.num_particles


def _quantized(guide: Trace) -> list[traces.Site]:
    """Quantized sites that carry the output of their encoder."""
    sites = traces.latents(guide).values()
    return [site for site in sites if traces.quantized(site) and "parametrization" in site["infer"]]


def _distance(site: traces.Site) -> Tensor:
    params, _ = site["infer"]["parametrization"]
    return (params[..., 0, :] - site["value"].detach()).square().sum()
