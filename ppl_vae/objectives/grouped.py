"""Importance-weighted bounds of groups of draws, their mixture with the ELBO, and a bound for each of p and q."""

from __future__ import annotations

import math

import torch
from pyro.poutine import Trace
from torch import Tensor

from ppl_vae import traces
from ppl_vae.arguments import Count, Share, checked
from ppl_vae.objectives import needs
from ppl_vae.objectives.iwae import OfWeights
from ppl_vae.objectives.path import Apart, scaled_gradient
from ppl_vae.objectives.vectorized_elbo import VectorizedELBO

__all__ = ["CIWAE", "PIWAE", "GroupedIWAE"]


@checked
class CIWAE(OfWeights):
    """weight * ELBO + (1 - weight) * the importance-weighted bound, of the same draws, for each datum.

    The value is a bound on log p(x), between the two. The ELBO keeps the signal-to-noise ratio of the gradient by q
    from falling as K grows, and costs tightness: at 0 it is `IWAE`, at 1 the mean of K ELBOs.

    Parameters
    ----------
    weight
        Of the ELBO, from 0 to 1; the paper's beta.
    num_particles
        Number of draws K.

    Raises
    ------
    ValueError
        For what `IWAE` refuses.

    References
    ----------
    Rainforth et al. 2018, arXiv:1802.04537, section 6.
    """

    def __init__(self, weight: Share = 0.5, num_particles: Count = 5) -> None:
        super().__init__(num_particles)
        self.weight = weight

    def _bound(self, log_w: Tensor) -> Tensor:
        weighted = log_w.logsumexp(0) - math.log(len(log_w))
        return self.weight * log_w.mean(0) + (1 - self.weight) * weighted


@checked
class GroupedIWAE(OfWeights):
    """The mean over M groups of the importance-weighted bound of K draws each (MIWAE), for each datum.

    The value is the bound of K draws, and more groups only take noise off its gradient, that by q included.

    Parameters
    ----------
    groups
        M.
    num_particles
        Number of draws in all, M K.

    Raises
    ------
    ValueError
        For groups that do not divide the number of draws, and for what `IWAE` refuses.

    References
    ----------
    Rainforth et al. 2018, arXiv:1802.04537, section 6 (MIWAE; unrelated to the imputation method of that name).
    """

    def __init__(self, groups: Count = 2, num_particles: Count = 8) -> None:
        _check_groups("GroupedIWAE", groups, num_particles)
        super().__init__(num_particles)
        self.groups = groups

    def _bound(self, log_w: Tensor) -> Tensor:
        by_group = log_w.unflatten(0, (self.groups, -1))
        return (by_group.logsumexp(1) - math.log(by_group.shape[1])).mean(0)


@checked
class PIWAE(VectorizedELBO):
    """The value and the gradient by the model of `IWAE` of all draws; q gets the gradient of `GroupedIWAE`.

    The model gains from a tight bound, while the signal-to-noise ratio of the gradient by q falls as one bound has more
    draws: here q is trained by M bounds of K draws. The value is the bound of M K draws, which a step of q alone need
    not raise. What the prior makes of q's parameters (`VampPrior`) counts as the model.

    Parameters
    ----------
    groups
        M; 1 gives `IWAE`.
    num_particles
        Number of draws in all, M K.

    Raises
    ------
    ValueError
        For groups that do not divide the number of draws, and for what `IWAE` refuses.

    References
    ----------
    Rainforth et al. 2018, arXiv:1802.04537, section 6 (partially importance-weighted).
    """

    def __init__(self, groups: Count = 2, num_particles: Count = 8) -> None:
        _check_groups("PIWAE", groups, num_particles)
        super().__init__(num_particles)
        self.groups = groups

    scores_elsewhere = True
    draws_within = Apart  # the model's draws are tensors of their own, whose gradient is that of log p alone

    def _check(self, model: Trace, guide: Trace) -> None:
        needs.weights("PIWAE", model, guide)

    def _loss(self, model: Trace, guide: Trace, x: Tensor, where: traces.Plates) -> Tensor:
        num, of_guide = self.num_particles, traces.latents(guide)
        log_q = torch.stack([traces.log_prob(s, where, num) for s in of_guide.values()]).sum(0)
        log_w = traces.log_weights(model, guide, where, num)
        by_group = log_w.detach().unflatten(0, (self.groups, -1))
        for_q = by_group.softmax(1) / self.groups
        share = (by_group.logsumexp(1, keepdim=True)).softmax(0) * self.groups
        share = share.clamp_min(torch.finfo(share.dtype).tiny ** 0.5)  # the gradient by q is divided by it again
        for_model = (for_q * share).flatten(0, 1)
        for name in of_guide:
            scaled_gradient(model.nodes[name], share.reciprocal().expand_as(for_q).flatten(0, 1), where)
        step = (for_model * (log_w + log_q) - for_q.flatten(0, 1) * log_q).sum()
        value = (math.log(num) - log_w.logsumexp(0)).sum()
        return value.detach() - (step - step.detach())


def _check_groups(name: str, groups: int, num_particles: int) -> None:
    if num_particles % groups:
        raise ValueError(
            f"{name} expects groups that divide num_particles, got groups={groups} and "
            f"num_particles={num_particles}; give num_particles={groups * max(num_particles // groups, 1)}, say"
        )
