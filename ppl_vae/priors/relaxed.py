"""Priors of relaxed discrete latents: densities that are near masses at low temperatures."""

from __future__ import annotations

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_vae import distributions
from ppl_vae.arguments import Count, Name, Positive, checked
from ppl_vae.distributions.simplex import check_parts
from ppl_vae.priors.prior import Prior

__all__ = ["RelaxedBernoulli", "RelaxedCategorical"]


@checked
class _Relaxed(Prior):
    """A density near a mass, by a temperature above 0."""

    uses_context = False

    def __init__(
        self, latent_dim: Count, temperature: Positive = 0.5, weighted: bool = False, *, site: Name = "z"
    ) -> None:
        super().__init__(site)
        self.temperature = temperature
        self.logits = nn.Parameter(torch.zeros(latent_dim), requires_grad=weighted)

    def settings(self) -> str:
        """What `formula` adds."""
        return f"{self.temperature:g}"


class RelaxedBernoulli(_Relaxed):
    """p(z): sigmoid((logit + logistic noise) / t) of each unit, a density on the box [0, 1]^latent_dim.

    With `posteriors.RelaxedBernoulli`. The model is another one than that of `priors.Bernoulli`: its log p(x) is that
    of latents between 0 and 1, and is not comparable with a sum over discrete states.

    Parameters
    ----------
    latent_dim
        Number of units.
    temperature
        t, above 0; below 1 most units are near 0 or 1.
    weighted
        Whether the logits are learned; 0 otherwise.
    site
        Name of the Pyro sample site.

    References
    ----------
    Maddison et al. 2017, arXiv:1611.00712.
    """

    def given(self, *context: Tensor) -> TorchDistribution:
        """The prior; the context is ignored."""
        t = torch.full_like(self.logits, self.temperature)
        p: TorchDistribution = distributions.RelaxedBernoulli(self.logits, t).to_event(1)
        return p


@checked
class RelaxedCategorical(_Relaxed):
    """p(z): softmax((logits + Gumbel noise) / t), a density over latent_dim parts that sum to 1.

    With `posteriors.RelaxedCategorical`. As for `RelaxedBernoulli`, log p(x) is that of a relaxed model.

    Parameters
    ----------
    latent_dim
        Number of categories, 2 or more.
    temperature
        t, above 0.
    weighted
        Whether the logits are learned; 0 otherwise.
    site
        Name of the Pyro sample site.

    Raises
    ------
    ValueError
        For latent_dim of 1.

    References
    ----------
    Maddison et al. 2017, arXiv:1611.00712; Jang et al. 2017, arXiv:1611.01144.
    """

    def __init__(
        self, latent_dim: Count, temperature: Positive = 0.5, weighted: bool = False, *, site: Name = "z"
    ) -> None:
        check_parts(latent_dim, "RelaxedCategorical")
        super().__init__(latent_dim, temperature, weighted, site=site)

    def given(self, *context: Tensor) -> TorchDistribution:
        """The prior; the context is ignored."""
        return distributions.RelaxedCategorical(self.logits, self.temperature)
