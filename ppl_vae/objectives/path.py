"""Bounds whose gradient by q leaves out the score, which has mean zero."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterator
from typing import Any

import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae import traces
from ppl_vae.arguments import Count, checked
from ppl_vae.assumed import assume
from ppl_vae.objectives import needs
from ppl_vae.objectives.vectorized_elbo import VectorizedELBO

__all__ = ["STL", "Apart", "DReG", "scaled_gradient"]

_SCORE = "score"  # what is added to a site of the guide


class Apart(Messenger):
    """Gives each draw a tensor of its own, so that its density is computed from it and not from the noise behind it."""

    def _pyro_post_sample(self, msg: dict[str, Any]) -> None:
        if isinstance(msg["value"], Tensor) and not msg["is_observed"]:
            msg["value"] = msg["value"].view_as(msg["value"])


class _Path(VectorizedELBO, abc.ABC):
    """A bound whose latent sites of the guide have log q at draws without a gradient: its gradient is the score."""

    scores_elsewhere = True

    def _check(self, model: Trace, guide: Trace) -> None:
        needs.densities(type(self).__name__, guide)

    def _get_traces(self, model: Any, guide: Any, args: Any, kwargs: Any) -> Iterator[tuple[Trace, Trace]]:
        for model_trace, guide_trace in super()._get_traces(model, guide, args, kwargs):
            sites = traces.latents(guide_trace)
            if len(sites) == 1:
                (site,) = sites.values()
                log_q = site["fn"].log_prob(site["value"].detach())
                site[_SCORE] = scale_and_mask(log_q, site["scale"], site["mask"])
            else:
                self._score_together(guide, guide_trace, args, kwargs)
            yield model_trace, guide_trace

    def _score_together(self, guide: Any, trace: Trace, args: Any, kwargs: Any) -> None:
        """Run the guide again at the draws: below the top of a hierarchy the parameters of q depend on those above."""
        fixed, sites = trace.copy(), traces.latents(trace)
        for name, site in sites.items():
            fixed.nodes[name] = {**site, "value": site["value"].detach()}
        again = poutine.trace(poutine.replay(self._vectorized_num_particles(guide), trace=fixed))
        again = again.get_trace(*args, **kwargs)
        again.compute_log_prob()
        for name, site in sites.items():
            site[_SCORE] = again.nodes[name]["log_prob"]
            if not assume(torch.isclose(site[_SCORE], site["log_prob"], rtol=1e-3, atol=1e-3).all()):
                raise ValueError(
                    f"{type(self).__name__} expects a guide that gives its draws of {name!r} the same density when it "
                    "runs again, got another: it has randomness of its own, such as dropout; use Trace_ELBO or IWAE"
                )


@checked
class STL(_Path):
    """The ELBO, with the gradient by q's parameters along the path of the draws alone ("sticking the landing").

    The value is the ELBO, and the mean of its gradient is the ELBO's: the score E d log q(z | x) / d phi that is left
    out has mean 0. Its variance vanishes as q approaches p(z | x), where that of `Trace_ELBO` does not; far from there,
    and where a KL in closed form is used (`TraceMeanField_ELBO`), it may be larger. Log q is computed at draws that it
    did not make, for which an `IAF` takes `latent_dim` passes. Not with a guide that has randomness beside its draws
    (dropout) and several latent sites: it runs twice.

    Parameters
    ----------
    num_particles
        Number of draws.

    Raises
    ------
    ValueError
        For a posterior without a density, and a guide of several sites with randomness of its own.

    References
    ----------
    Roeder et al. 2017, arXiv:1703.09194.
    """

    def __init__(self, num_particles: Count = 1) -> None:
        super().__init__(num_particles)

    def _loss(self, model: Trace, guide: Trace, x: Tensor, where: traces.Plates) -> Tensor:
        of_data, of_guide = traces.observed(model), traces.latents(guide)
        loss = -sum(site["log_prob_sum"] for site in of_data.values())
        for name, q in of_guide.items():
            score = q[_SCORE].sum()
            loss = loss + q["log_prob_sum"] - model.nodes[name]["log_prob_sum"] - (score - score.detach())
        return loss / self.num_particles


@checked
class DReG(_Path):
    """The importance-weighted bound of `IWAE`, with the doubly reparametrized gradient by q's parameters.

    The value is the bound. Each path is weighted by the square of its normalized weight: unbiased for the gradient of
    the bound, and its signal does not drown in noise as K grows, as that of `IWAE` does. The gradient by the model is
    that of `IWAE`. Not with several latent sites, a beta other than 1 or a scaled plate.

    Parameters
    ----------
    num_particles
        Number of draws K; 1 gives `STL`.

    Raises
    ------
    ValueError
        For what `IWAE` refuses, and for several latent sites.

    References
    ----------
    Tucker et al. 2019, arXiv:1810.04152; Rainforth et al. 2018, arXiv:1802.04537 (the noise of `IWAE`).
    """

    draws_within = Apart

    def __init__(self, num_particles: Count = 5) -> None:
        super().__init__(num_particles)

    def _check(self, model: Trace, guide: Trace) -> None:
        needs.unscaled("DReG", model, guide)
        super()._check(model, guide)
        if len(sites := traces.latents(guide)) > 1:
            raise ValueError(
                f"DReG expects one latent site, got {list(sites)}: paths through several would be weighted more than "
                "once; use STL or IWAE"
            )

    def _loss(self, model: Trace, guide: Trace, x: Tensor, where: traces.Plates) -> Tensor:
        (site,), num = traces.latents(guide).values(), self.num_particles
        score = traces.by_particle(site[_SCORE], where, num)
        log_w = traces.log_weights(model, guide, where, num) + (score - score.detach())
        scaled_gradient(site, log_w.detach().softmax(0), where)
        return (math.log(num) - log_w.logsumexp(0)).sum()


def scaled_gradient(site: traces.Site, weight: Tensor, where: traces.Plates) -> None:
    """Multiply the gradient by a site's draws by weights (num_particles, n)."""
    z, num = site["value"], len(weight)
    if not z.requires_grad:
        return
    sizes = [num, *(where.size if d == where.data else 1 for d in range(-where.depth, 0))]
    shaped = weight.reshape(*sizes, *(1 for _ in site["fn"].event_shape))
    z.register_hook(lambda grad: grad * shaped.reshape(shaped.shape[shaped.dim() - grad.dim() :]))
