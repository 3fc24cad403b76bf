"""The base of every prior."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ppl_vae.conditional import Conditional

__all__ = ["Prior"]


class Prior(Conditional):
    """p(z), or p(z | context); the base of every prior.

    `build` passes those of `linked` that are parameters of the constructor.
    """

    linked: ClassVar[tuple[str, ...]] = (
        "latent_dim",
        "x_shape",
        "context",
        "net",
        "posterior",
        "pseudo_inputs",
        "site",
    )
    """Parameters of constructors that are no options on the command line."""

    def start_from(self, z: Tensor) -> None:
        """Initialize the parameters from values z (n, latent_dim), before `fit_prior` fits them; by default no change.

        Parameters
        ----------
        z
            Values that the prior will be fitted to.
        """

    def start_from_codes(self, z: Tensor, x: Tensor, *context: Tensor) -> None:
        """As `start_from`, which it calls by default, for a prior that needs what z are codes of.

        Parameters
        ----------
        z, x, *context
            Values (n, latent_dim), the data they are codes of, as the encoder sees them, and the context of the prior.
        """
        self.start_from(z)
