"""The base of every posterior."""

from __future__ import annotations

import abc
from collections.abc import Sequence

from ppl_vae.arguments import Count, Name, checked
from ppl_vae.conditional import Amortized, Net
from ppl_vae.nets import MLP

__all__ = ["Posterior"]

Shape = Sequence[Count]


@checked
class Posterior(Amortized):
    """q(z | x, context), its parameters computed by an encoder; the base of every posterior.

    Parameters
    ----------
    x_shape
        Shape of one datum, or of whatever it is given first (the level above, in a hierarchy).
    latent_dim
        Dimension of z.
    net
        Encoder factory.
    context
        Shapes of what else the encoder sees.
    site
        Name of the Pyro sample site.
    """

    def __init__(
        self,
        x_shape: Shape,
        latent_dim: Count,
        net: Net = MLP,
        context: Sequence[Shape] = (),
        site: Name = "z",
    ) -> None:
        super().__init__(x_shape, (self.rows(latent_dim), latent_dim), net, context, site)
        self.latent_dim = latent_dim

    @staticmethod
    @abc.abstractmethod
    def rows(latent_dim: int) -> int:
        """Number of parameters of the distribution per latent dimension."""
