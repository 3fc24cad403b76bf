"""Likelihoods of whole numbers 0, ..., levels - 1."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_vae import distributions
from ppl_vae.arguments import Count, Name, checked
from ppl_vae.conditional import Net
from ppl_vae.distributions import positive, unconstrained
from ppl_vae.likelihoods.likelihood import Likelihood, Shape
from ppl_vae.likelihoods.marginals import frequencies, mean_and_variance
from ppl_vae.nets import MLP

__all__ = ["Categorical", "DiscretizedLogistic"]


@checked
class _OnLevels(Likelihood):
    """A likelihood of whole numbers 0, ..., levels - 1."""

    base_measure = "mass"

    def __init__(
        self,
        latent_dim: Count,
        x_shape: Shape,
        net: Net = MLP,
        levels: Count = 256,
        *,
        context: Sequence[Shape] = (),
        site: Name = "x",
    ) -> None:
        self.levels = levels
        super().__init__(latent_dim, x_shape, net, context=context, site=site)

    def standardize(self, x: Tensor) -> Tensor:
        """Levels scaled to [0, 1]."""
        return x / max(self.levels - 1, 1)

    def settings(self) -> str:
        """What `formula` adds."""
        return f"levels={self.levels}"


class DiscretizedLogistic(_OnLevels):
    """p(x_i | z): the mass of a logistic in the bins of the grey levels 0, ..., levels - 1.

    The scale is at least half a level: below that one level has all the mass, and gradients vanish.

    Parameters
    ----------
    latent_dim, x_shape, net
        See `Likelihood`.
    levels
        Number of grey levels.
    context, site
        See `Likelihood`.

    References
    ----------
    Kingma et al. 2016, arXiv:1606.04934, section 5.2.
    """

    kinds = ("levels",)

    def param_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Location and scale."""
        return 2, *x_shape

    def elementwise(self, raw_loc: Tensor, raw_scale: Tensor) -> TorchDistribution:
        """From locations, with -1 and 1 the lowest and highest level, and unconstrained scales."""
        loc = (raw_loc + 1) * ((self.levels - 1) / 2)
        scale = 0.5 + positive(raw_scale) * (self.levels / 16)
        return distributions.DiscretizedLogistic(loc, scale, self.levels)

    def start_from(self, x: Tensor, mask: Tensor, *context: Tensor) -> Tensor:
        """The logistic with the mean and variance of the data."""
        mean, variance = mean_and_variance(x, mask)
        scale = (3 * variance).sqrt() / math.pi
        raw_loc = mean * 2 / max(self.levels - 1, 1) - 1
        return torch.stack([raw_loc, unconstrained((scale - 0.5) * (16 / self.levels))])


class Categorical(_OnLevels):
    """p(x_i | z) = Categorical(x_i; softmax(logits_i)), any distribution over the levels 0, ..., levels - 1.

    Parameters
    ----------
    latent_dim, x_shape, net
        See `Likelihood`.
    levels
        Number of levels; the decoder has that many outputs per element.
    context, site
        See `Likelihood`.

    References
    ----------
    van den Oord et al. 2016, arXiv:1601.06759.
    """

    kinds = ("levels", "binary", "categories")

    def param_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        """One logit per level."""
        return self.levels, *x_shape

    def elementwise(self, *logits: Tensor) -> TorchDistribution:
        """From one logit per level."""
        return distributions.Levels(torch.stack(logits, -1))

    def start_from(self, x: Tensor, mask: Tensor, *context: Tensor) -> Tensor:
        """Log frequencies."""
        return frequencies(x, mask, self.levels).log()
