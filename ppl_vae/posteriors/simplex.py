"""Posteriors on the simplex, of positive parts that sum to one."""

from __future__ import annotations

from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_vae import distributions
from ppl_vae.distributions import positive
from ppl_vae.distributions.simplex import check_parts
from ppl_vae.posteriors.posterior import Posterior

__all__ = ["Dirichlet", "LogisticNormal"]


class Dirichlet(Posterior):
    """q(z | x) = Dirichlet(z; a(x)) over latent_dim parts that sum to 1; with `priors.Dirichlet`.

    At first near the uniform density, a = 1. Its KL to `priors.Dirichlet` is in closed form; draws have implicit
    gradients, which can be taken once. The parts are less dependent on each other than those of a `LogisticNormal`
    can be.

    Parameters
    ----------
    x_shape, latent_dim, net, context, site
        See `Posterior`; latent_dim >= 2.

    Raises
    ------
    ValueError
        For latent_dim of 1.

    References
    ----------
    Figurnov et al. 2018, arXiv:1805.08498 (the gradient); Joo et al. 2020, arXiv:1901.02739 (Dirichlet latents).
    """

    def param_shape(self, latent_dim: int) -> tuple[int, ...]:
        """The concentration of each part."""
        check_parts(latent_dim, "Dirichlet")
        return 1, latent_dim

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From unconstrained concentrations, (*leading, 1, latent_dim)."""
        return distributions.Dirichlet(positive(params[..., 0, :]))


class LogisticNormal(Posterior):
    """q(z | x): softmax(y_1, ..., y_(K-1), 0) of y ~ N(m(x), diag(s(x)^2)), K = latent_dim parts that sum to 1.

    With `priors.Dirichlet` or `priors.LogisticNormal`.

    Parameters
    ----------
    x_shape, latent_dim, net, context, site
        See `Posterior`; latent_dim >= 2.

    Raises
    ------
    ValueError
        For latent_dim of 1.

    References
    ----------
    Srivastava & Sutton 2017, arXiv:1703.01488.
    """

    def param_shape(self, latent_dim: int) -> tuple[int, ...]:
        """Mean and scale of the log ratios."""
        check_parts(latent_dim, "LogisticNormal")
        return 2, latent_dim - 1

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From means and unconstrained scales, (*leading, 2, latent_dim - 1)."""
        loc, raw_scale = params.unbind(-2)
        return distributions.LogisticNormal(loc, positive(raw_scale))
