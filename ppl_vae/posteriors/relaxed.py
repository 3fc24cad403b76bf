"""Posteriors of relaxed discrete latents."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_vae import distributions
from ppl_vae.arguments import Count, Name, Positive, checked
from ppl_vae.conditional import Net
from ppl_vae.distributions.simplex import check_parts
from ppl_vae.nets import MLP
from ppl_vae.posteriors.posterior import Posterior

__all__ = ["RelaxedBernoulli", "RelaxedCategorical"]

Shape = Sequence[int]


@checked
class _Relaxed(Posterior):
    """A posterior near a mass, by a temperature above 0.

    Parameters
    ----------
    x_shape, latent_dim, net, context, site
        See `Posterior`.
    temperature
        t; the lower, the nearer to a mass, and the larger the variance of the gradient.
    """

    def __init__(
        self,
        x_shape: Shape,
        latent_dim: Count,
        net: Net = MLP,
        temperature: Positive = 0.5,
        *,
        context: Sequence[Shape] = (),
        site: Name = "z",
    ) -> None:
        super().__init__(x_shape, latent_dim, net, context=context, site=site)
        self.temperature = temperature

    def settings(self) -> str:
        """What `formula` adds."""
        return f"{self.temperature:g}"


class RelaxedBernoulli(_Relaxed):
    """q(z | x): sigmoid((logit(x) + logistic noise) / t) of each unit, a density; with `priors.RelaxedBernoulli`.

    Draws have a gradient, and lie between 0 and 1: the ELBO is that of the relaxed model, not of one of bits, for which
    see `posteriors.Bernoulli`.

    Parameters
    ----------
    x_shape, latent_dim, net, context, site
        See `Posterior`.
    temperature
        t; the lower, the nearer to bits, and the larger the variance of the gradient.

    References
    ----------
    Maddison et al. 2017, arXiv:1611.00712.
    """

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From logits, (*leading, 1, latent_dim)."""
        logits = params[..., 0, :]
        t = torch.full_like(logits, self.temperature)
        q: TorchDistribution = distributions.RelaxedBernoulli(logits, t).to_event(1)
        return q


class RelaxedCategorical(_Relaxed):
    """q(z | x): softmax((logits(x) + Gumbel noise) / t), a density on the simplex; with `priors.RelaxedCategorical`.

    See `RelaxedBernoulli`; for one-hot vectors `posteriors.Categorical`.

    Parameters
    ----------
    x_shape, latent_dim, net, context, site
        See `Posterior`; latent_dim >= 2.
    temperature
        t; the lower, the nearer to one-hot vectors, and the larger the variance of the gradient.

    Raises
    ------
    ValueError
        For latent_dim of 1.

    References
    ----------
    Maddison et al. 2017, arXiv:1611.00712; Jang et al. 2017, arXiv:1611.01144.
    """

    def param_shape(self, latent_dim: int) -> tuple[int, ...]:
        """The logits."""
        check_parts(latent_dim, "RelaxedCategorical")
        return 1, latent_dim

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From logits, (*leading, 1, latent_dim)."""
        return distributions.RelaxedCategorical(params[..., 0, :], self.temperature)
