"""Likelihoods of x in {0, 1} and in [0, 1], from a logit."""

from __future__ import annotations

from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_vae import distributions
from ppl_vae.likelihoods.likelihood import Likelihood
from ppl_vae.likelihoods.marginals import frequencies, mean_and_variance, root

__all__ = ["Bernoulli", "ContinuousBernoulli"]


class Bernoulli(Likelihood):
    """p(x_i | z) = Bernoulli(x_i; sigmoid(logit_i)), for x in {0, 1}; not for grey levels, which are refused.

    Parameters
    ----------
    latent_dim, x_shape, net, context, site
        See `Likelihood`.
    """

    kinds = ("binary",)
    base_measure = "mass"

    def elementwise(self, logits: Tensor) -> TorchDistribution:
        """From logits."""
        return distributions.Bernoulli(logits)

    def start_from(self, x: Tensor, mask: Tensor, *context: Tensor) -> Tensor:
        """The logit of the share of ones."""
        return frequencies(x, mask, 2)[1:].logit()


class ContinuousBernoulli(Likelihood):
    """p(x_i | z) = CB(x_i; sigmoid(logit_i)), a density for x in [0, 1].

    Parameters
    ----------
    latent_dim, x_shape, net, context, site
        See `Likelihood`.

    References
    ----------
    Loaiza-Ganem & Cunningham 2019, arXiv:1907.06845.
    """

    kinds = ("unit",)
    base_measure = "density"

    def elementwise(self, logits: Tensor) -> TorchDistribution:
        """From logits."""
        return distributions.ContinuousBernoulli(logits)

    def start_from(self, x: Tensor, mask: Tensor, *context: Tensor) -> Tensor:
        """The logit at which the mean is that of the data, the maximum of the likelihood."""
        mean, _ = mean_and_variance(x, mask)
        return root(lambda logits: self.elementwise(logits).mean - mean, mean, -1e3, 1e3).unsqueeze(0)
