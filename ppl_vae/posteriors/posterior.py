"""The base of every posterior."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import nn

from ppl_vae.arguments import Count, Name, checked
from ppl_vae.conditional import Amortized, Net, by_position_still
from ppl_vae.nets import MLP

__all__ = ["Posterior"]

Shape = Sequence[Count]


@by_position_still
@checked
class Posterior(Amortized):
    """q(z | x, context), its parameters computed by an encoder; the base of every posterior.

    Parameters
    ----------
    x_shape
        Shape of one datum, or of its first input (the level above, in a hierarchy).
    latent_dim
        Dimension of z.
    net
        Encoder factory.
    context
        Shapes of the encoder's further inputs.
    site
        Name of the Pyro sample site.
    """

    reads_above: ClassVar[bool] = True
    """Whether its encoder, below the top of a hierarchy, is given the level above beside x."""

    reads_below: ClassVar[bool] = False
    """Whether its encoder, above the bottom of a hierarchy, is given the level below in the place of x."""

    of_levels: ClassVar[bool] = False
    """Whether it is for hierarchies alone; `build` refuses it for a single level."""

    def __init__(
        self,
        x_shape: Shape,
        latent_dim: Count,
        net: Net = MLP,
        *,
        context: Sequence[Shape] = (),
        site: Name = "z",
    ) -> None:
        super().__init__(x_shape, self.param_shape(latent_dim), net, context=context, site=site)
        self.latent_dim = latent_dim

    def param_shape(self, latent_dim: int) -> tuple[int, ...]:
        """Shape of the parameters of one datum's q(z | x): by default one for each latent unit, (1, latent_dim).

        Settings of the leaf that it depends on are assigned before `super().__init__`.
        """
        return 1, latent_dim

    def meet(self, prior: nn.Module, *, below: bool) -> None:
        """Called by `build` with the prior of its level, once there is one; by default nothing is done.

        Parameters
        ----------
        prior
            The prior of the level.
        below
            Whether there is a level above.
        """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "rows" in vars(cls):  # until 0.2
            warnings.warn(
                f"{cls.__name__}.rows is deprecated; write param_shape(self, latent_dim) and return (rows, latent_dim)",
                DeprecationWarning,
                stacklevel=3,  # the class statement, past the metaclass
            )
            cls.param_shape = _of_rows  # type: ignore[assignment, method-assign]


def _of_rows(posterior: Any, latent_dim: int) -> tuple[int, ...]:
    return posterior.rows(latent_dim), latent_dim
