"""The commitment loss of a vector-quantized autoencoder."""

from __future__ import annotations

import torch
from pyro.poutine import Trace
from torch import Tensor

from ppl_vae import traces
from ppl_vae.arguments import Count, NonNegative, checked
from ppl_vae.objectives.penalized import Penalized
from ppl_vae.support import unwrapped

__all__ = ["Commitment"]


@checked
class Commitment(Penalized):
    """Trace_ELBO's loss + weight * sum over the data of ||e(x) - code||^2, the code detached: no bound.

    For a `VectorQuantized` posterior, whose encoder it keeps near the codes; the codes follow by their moving
    averages. Of a `ResidualQuantized` one, whose codes add up to e(x), it is the sum that is kept near. `LookupFree`
    needs `diversity`, a weight of the entropy of the use of the codes in a batch, which is maximized for each datum and
    group; the use is that of soft assignments, softmax over the codes of -||e(x) - code||^2. `fit` chooses the best
    epoch by the ELBO, without the penalty.

    Parameters
    ----------
    weight
        Weight of the penalty, the paper's beta, in nats per squared unit of a code.
    diversity
        Weight of the entropy, in nats per nat.
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
    van den Oord et al. 2017, arXiv:1711.00937, equation 3; Yu et al. 2024, arXiv:2310.05737 (the entropy).
    """

    def __init__(self, weight: NonNegative = 0.25, num_particles: Count = 1, diversity: NonNegative = 0.0) -> None:
        super().__init__(weight, num_particles)
        self.diversity = diversity

    def _check(self, model: Trace, guide: Trace) -> None:
        """Refuse a guide without codes."""
        if not _quantized(guide):
            got = [site["fn"] for site in traces.latents(guide).values()]
            raise ValueError(
                f"Commitment expects a VectorQuantized posterior, got {got}, without codes to keep near; use Trace_ELBO"
            )

    def _penalty(self, model: Trace, guide: Trace, x: Tensor) -> Tensor:
        sites = _quantized(guide)
        distance = torch.stack([_distance(site) for site in sites]).sum() / self.num_particles
        if not self.diversity or not self.weight:
            return distance
        entropy = torch.stack([_entropy(site) for site in sites]).sum() * len(x)
        return distance - self.diversity / self.weight * entropy


def _quantized(guide: Trace) -> list[traces.Site]:
    """Quantized sites that carry the output of their encoder."""
    sites = traces.latents(guide).values()
    return [site for site in sites if traces.quantized(site) and "parametrization" in site["infer"]]


def _distance(site: traces.Site) -> Tensor:
    encoding, value = _encoding(site), site["value"].detach()
    parts = value.unflatten(-1, (-1, encoding.shape[-1])).sum(-2)  # one, or codes that add up
    return (encoding - parts).square().sum()


def _entropy(site: traces.Site) -> Tensor:
    """Entropy of the mean soft assignment, summed over groups, in nats."""
    encoding, codes = _encoding(site), unwrapped(site["fn"]).codes
    parts = encoding.unflatten(-1, (-1, codes.shape[-1])).flatten(0, -3)  # (rows, groups, dim)
    distance = (parts.unsqueeze(-2) - codes).square().sum(-1)
    return torch.special.entr(torch.softmax(-distance, -1).mean(0)).sum()


def _encoding(site: traces.Site) -> Tensor:
    params, _ = site["infer"]["parametrization"]
    return torch.as_tensor(params[..., 0, :])
