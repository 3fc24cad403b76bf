"""Priors on the simplex, of positive parts that sum to one."""

from __future__ import annotations

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_vae import distributions
from ppl_vae.arguments import Count, Name, Positive, checked
from ppl_vae.distributions import positive, unconstrained
from ppl_vae.distributions.simplex import check_parts
from ppl_vae.priors.prior import Prior

__all__ = ["Dirichlet", "LogisticNormal"]


@checked
class Dirichlet(Prior):
    """p(z) = Dirichlet(z; a, ..., a) over latent_dim parts that sum to 1: topics, or shares.

    With `posteriors.Dirichlet` or `posteriors.LogisticNormal`. Below a = 1 most parts are near 0.

    Parameters
    ----------
    latent_dim
        Number of parts, 2 or more.
    concentration
        a, the same for each part.
    site
        Name of the Pyro sample site.

    Raises
    ------
    ValueError
        For latent_dim of 1.

    References
    ----------
    Blei et al. 2003, jmlr.org/papers/v3/blei03a.html.

    Examples
    --------
    >>> Dirichlet(4).given().mean
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """

    uses_context = False

    one: Tensor

    def __init__(self, latent_dim: Count, concentration: Positive = 1.0, *, site: Name = "z") -> None:
        check_parts(latent_dim, "Dirichlet")
        super().__init__(site)
        self.concentration = concentration
        self.register_buffer("one", torch.ones(latent_dim))

    def given(self, *context: Tensor) -> TorchDistribution:
        """The prior; the context is ignored."""
        return distributions.Dirichlet(self.concentration * self.one)

    def settings(self) -> str:
        """What `formula` adds."""
        return f"{self.concentration:g}"


@checked
class LogisticNormal(Prior):
    """p(z): softmax(y_1, ..., y_(K-1), 0) of y ~ N(m, diag(s^2)), m and s learned; K = latent_dim parts that sum to 1.

    With `posteriors.LogisticNormal` or `posteriors.Dirichlet`.

    Parameters
    ----------
    latent_dim
        Number of parts, 2 or more.
    site
        Name of the Pyro sample site.

    Raises
    ------
    ValueError
        For latent_dim of 1.

    References
    ----------
    Aitchison & Shen 1980, doi:10.1093/biomet/67.2.261; Srivastava & Sutton 2017, arXiv:1703.01488 (topics).
    """

    uses_context = False

    def __init__(self, latent_dim: Count, *, site: Name = "z") -> None:
        check_parts(latent_dim, "LogisticNormal")
        super().__init__(site)
        self.loc = nn.Parameter(torch.zeros(latent_dim - 1))
        self.raw_scale = nn.Parameter(torch.zeros(latent_dim - 1))

    def given(self, *context: Tensor) -> TorchDistribution:
        """The prior; the context is ignored."""
        return distributions.LogisticNormal(self.loc, positive(self.raw_scale))

    def start_from(self, z: Tensor) -> None:
        """Initialize m and s with those of the log ratios of z."""
        log_z = z.clamp_min(torch.finfo(z.dtype).tiny).log()
        y = log_z[:, :-1] - log_z[:, -1:]
        with torch.no_grad():
            self.loc.copy_(y.mean(0))
            self.raw_scale.copy_(unconstrained(y.std(0, correction=0)))
