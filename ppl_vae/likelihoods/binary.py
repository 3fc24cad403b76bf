"""Likelihoods of x in {0, 1} and in [0, 1]."""

from __future__ import annotations

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_vae import distributions
from ppl_vae.distributions import positive, unconstrained
from ppl_vae.likelihoods.likelihood import Likelihood
from ppl_vae.likelihoods.marginals import frequencies, mean_and_variance, root

__all__ = ["Bernoulli", "Beta", "ContinuousBernoulli"]


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


class Beta(Likelihood):
    """p(x_i | z) = Beta(x_i; a_i, b_i), a density for x in [0, 1], with a_i and b_i from the decoder.

    Unlike a `ContinuousBernoulli` it may be narrow anywhere, of mean a / (a + b). An x of exactly 0 or 1 is scored by
    the mean density of the numbers within 2^-25 of it: where many are, the density says nothing, dequantize first.

    Parameters
    ----------
    latent_dim, x_shape, net, context, site
        See `Likelihood`.
    """

    kinds = ("unit",)
    base_measure = "density"

    def param_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        """a and b."""
        return 2, *x_shape

    def elementwise(self, raw_a: Tensor, raw_b: Tensor) -> TorchDistribution:
        """From unconstrained a and b."""
        return distributions.Beta(positive(raw_a), positive(raw_b))

    def start_from(self, x: Tensor, mask: Tensor, *context: Tensor) -> Tensor:
        """The a and b that give mean and variance of the data."""
        mean, variance = mean_and_variance(x, mask)
        mean = mean.clamp(1e-3, 1 - 1e-3)
        total = (mean * (1 - mean) / variance - 1).clamp_min(0.1)
        return torch.stack([unconstrained(mean * total), unconstrained((1 - mean) * total)])
