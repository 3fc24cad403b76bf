"""Likelihoods of x above 0."""

from __future__ import annotations

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_vae import distributions
from ppl_vae.distributions import positive, unconstrained
from ppl_vae.likelihoods.likelihood import Likelihood
from ppl_vae.likelihoods.marginals import mean_and_variance
from ppl_vae.likelihoods.scales import Scaled

__all__ = ["Gamma", "LogNormal"]


class LogNormal(Scaled):
    """p(x_i | z) = N(log x_i; m_i, s_i^2) / x_i, a density for x > 0 with relative errors of size s_i.

    The median is exp(m_i) and the mean exp(m_i + s_i^2 / 2). The encoder sees log x, which is
    about 0 after `Data.standardize`.

    Parameters
    ----------
    latent_dim, x_shape, net
        See `Likelihood`.
    scale
        Standard deviation of log x_i: a number; ``"learned"``, one for all elements; ``"elementwise"``, one learned for
        each element of x; or ``"decoder"``, computed from z.
    context, site
        See `Likelihood`.
    """

    kinds = ("positive",)
    base_measure = "density"

    def elementwise(self, loc: Tensor, *raw: Tensor) -> TorchDistribution:
        """From means of log x, and unconstrained scales where the decoder computes them."""
        return distributions.LogNormal(loc, self.scale_of(loc, *raw))

    def start_from(self, x: Tensor, mask: Tensor, *context: Tensor) -> Tensor:
        """Mean and standard deviation of log x."""
        return super().start_from(_log(x), mask, *context)

    def standardize(self, x: Tensor) -> Tensor:
        """log x."""
        return _log(x)


class Gamma(Likelihood):
    """p(x_i | z) = Gamma(x_i; k_i, k_i / m_i), a density for x > 0 of mean m_i and variance m_i^2 / k_i.

    Both from the decoder. The encoder sees log x, which is about 0 after `Data.standardize`.

    Parameters
    ----------
    latent_dim, x_shape, net, context, site
        See `Likelihood`.
    """

    kinds = ("positive",)
    base_measure = "density"

    def param_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Mean and concentration."""
        return 2, *x_shape

    def elementwise(self, raw_mean: Tensor, raw_concentration: Tensor) -> TorchDistribution:
        """From unconstrained means and concentrations."""
        concentration = positive(raw_concentration)
        return distributions.Gamma(concentration, concentration / positive(raw_mean))

    def start_from(self, x: Tensor, mask: Tensor, *context: Tensor) -> Tensor:
        """The mean of the data, and the concentration that gives their variance."""
        mean, variance = mean_and_variance(x, mask)
        return torch.stack([unconstrained(mean), unconstrained(mean.square() / variance)])

    def standardize(self, x: Tensor) -> Tensor:
        """log x."""
        return _log(x)


def _log(x: Tensor) -> Tensor:
    """log x; finite at the 0 that stands for what is missing."""
    return x.clamp_min(torch.finfo(x.dtype).tiny).log()
