"""Importance-weighted bounds of groups of draws, and their mixture with the ELBO."""

from __future__ import annotations

import math

from torch import Tensor

from ppl_vae.arguments import Count, Share, checked
from ppl_vae.objectives.iwae import OfWeights

__all__ = ["CIWAE", "GroupedIWAE"]


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
        if num_particles % groups:
            raise ValueError(
                f"GroupedIWAE expects groups that divide num_particles, got groups={groups} and "
                f"num_particles={num_particles}; give num_particles={groups * max(num_particles // groups, 1)}, say"
            )
        super().__init__(num_particles)
        self.groups = groups

    def _bound(self, log_w: Tensor) -> Tensor:
        by_group = log_w.unflatten(0, (self.groups, -1))
        return (by_group.logsumexp(1) - math.log(by_group.shape[1])).mean(0)
