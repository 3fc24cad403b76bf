"""A posterior on the unit box."""

from __future__ import annotations

from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_vae import distributions
from ppl_vae.distributions import positive
from ppl_vae.posteriors.posterior import Posterior

__all__ = ["Beta"]


class Beta(Posterior):
    """q(z | x) = prod_i Beta(z_i; a_i(x), b_i(x)), on the box [0, 1]^latent_dim; with the prior `Uniform`.

    At first near the uniform density, a = b = 1. Draws have implicit gradients, which can be taken once. The likelihood
    of this name is `ppl_vae.Beta`.

    Parameters
    ----------
    x_shape, latent_dim, net, context, site
        See `Posterior`.

    References
    ----------
    Figurnov et al. 2018, arXiv:1805.08498 (the gradient).

    Examples
    --------
    >>> import torch
    >>> Beta((3,), latent_dim=2).distribution(torch.zeros(2, 2)).mean.tolist()
    [0.5, 0.5]
    """

    def param_shape(self, latent_dim: int) -> tuple[int, ...]:
        """Both concentrations."""
        return 2, latent_dim

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From unconstrained concentrations, (*leading, 2, latent_dim)."""
        a, b = positive(params).unbind(-2)
        q: TorchDistribution = distributions.Beta(a, b).to_event(1)
        return q
