"""Priors of discrete latents."""

from __future__ import annotations

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_vae.arguments import Count, Name, checked
from ppl_vae.distributions import Bits, OneHots
from ppl_vae.distributions.discrete import categories
from ppl_vae.priors.prior import Prior

__all__ = ["Bernoulli", "Categorical"]


@checked
class Bernoulli(Prior):
    """p(z) = prod_i Bernoulli(z_i; p_i) of zeros and ones, p_i = 1/2 or learned; with `posteriors.Bernoulli`.

    The likelihood of this name is `ppl_vae.Bernoulli`.

    Parameters
    ----------
    latent_dim
        Number of latents.
    weighted
        Whether the p_i are learned.
    site
        Name of the Pyro sample site.

    References
    ----------
    Neal 1992, doi:10.1016/0004-3702(92)90065-6 (belief networks); Mnih & Gregor 2014, arXiv:1402.0030.
    """

    uses_context = False

    def __init__(self, latent_dim: Count, weighted: bool = False, *, site: Name = "z") -> None:
        super().__init__(site)
        self.logits = nn.Parameter(torch.zeros(latent_dim), requires_grad=weighted)

    def given(self, *context: Tensor) -> TorchDistribution:
        """The prior; the context is ignored."""
        return Bits(self.logits)

    def start_from(self, z: Tensor) -> None:
        """Initialize the p_i with the relative frequencies of ones, half a one and half a zero added."""
        with torch.no_grad():
            self.logits.copy_(((z.sum(0) + 0.5) / (len(z) + 1)).logit())


@checked
class Categorical(Prior):
    """p(z) = prod_i w_i(k_i) of num_latents one-hot vectors, w uniform or learned; with `posteriors.Categorical`.

    z concatenates the vectors, each of latent_dim / num_latents categories. The likelihood of this name is
    `ppl_vae.Categorical`.

    Parameters
    ----------
    latent_dim
        Length of z, 2 or more for each latent.
    num_latents
        Number of latents; it divides latent_dim.
    weighted
        Whether the weights are learned.
    site
        Name of the Pyro sample site.

    Raises
    ------
    ValueError
        For num_latents that does not divide latent_dim, or leaves each latent one category.

    References
    ----------
    Jang et al. 2017, arXiv:1611.01144.

    Examples
    --------
    >>> Categorical(6, num_latents=2).given().mean
    tensor([0.3333, 0.3333, 0.3333, 0.3333, 0.3333, 0.3333])
    """

    uses_context = False

    def __init__(self, latent_dim: Count, num_latents: Count = 1, weighted: bool = False, *, site: Name = "z") -> None:
        num = categories("Categorical", latent_dim, num_latents)
        super().__init__(site)
        self.logits = nn.Parameter(torch.zeros(num_latents, num), requires_grad=weighted)

    def given(self, *context: Tensor) -> TorchDistribution:
        """The prior; the context is ignored."""
        return OneHots(self.logits)

    def start_from(self, z: Tensor) -> None:
        """Initialize the weights with the relative frequencies of the categories, one added to each count."""
        with torch.no_grad():
            self.logits.copy_((z.sum(0) + 1).log().reshape(self.logits.shape))

    def settings(self) -> str:
        """What `formula` adds."""
        return " x ".join(map(str, self.logits.shape))
