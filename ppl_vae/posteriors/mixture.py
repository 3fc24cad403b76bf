"""A posterior of several modes."""

from __future__ import annotations

from collections.abc import Sequence

from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_vae.arguments import Count, Name, checked
from ppl_vae.conditional import Net
from ppl_vae.distributions import NormalMixture, positive
from ppl_vae.nets import MLP
from ppl_vae.posteriors.posterior import Posterior

__all__ = ["GaussianMixturePosterior"]

Shape = Sequence[Count]


@checked
class GaussianMixturePosterior(Posterior):
    """q(z | x) = sum_k w_k(x) N(z; m_k(x), diag(s_k(x)^2)), weights and components by the encoder.

    Draws have gradients by all parameters, the weights included; see `distributions.NormalMixture`. The ELBO's
    gradient alone seldom finds a mode that no component is near.

    Parameters
    ----------
    x_shape, latent_dim, net
        See `Posterior`.
    num_components
        Number of components K.
    context, site
        See `Posterior`.

    References
    ----------
    Roeder et al. 2017, arXiv:1703.09194 (mixture posteriors in a VAE).

    Examples
    --------
    >>> q = GaussianMixturePosterior((3,), latent_dim=2, num_components=4)
    >>> q.param_shape(2), q.settings()
    ((4, 5), '4')
    """

    def __init__(
        self,
        x_shape: Shape,
        latent_dim: Count,
        net: Net = MLP,
        num_components: Count = 5,
        *,
        context: Sequence[Shape] = (),
        site: Name = "z",
    ) -> None:
        self.num_components = num_components
        super().__init__(x_shape, latent_dim, net, context=context, site=site)

    def param_shape(self, latent_dim: int) -> tuple[int, ...]:
        """Log weight, mean and scale of each component."""
        return self.num_components, 1 + 2 * latent_dim

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From log weights, means and unconstrained scales, (*leading, num_components, 1 + 2 latent_dim)."""
        logits, loc, raw_scale = params.split((1, self.latent_dim, self.latent_dim), -1)
        return NormalMixture(logits.squeeze(-1), loc, positive(raw_scale))

    def settings(self) -> str:
        """What `formula` adds."""
        return str(self.num_components)
