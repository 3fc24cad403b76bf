"""The base of every prior."""

from __future__ import annotations

from torch import Tensor

from ppl_vae.conditional import Conditional

__all__ = ["Prior"]


class Prior(Conditional):
    """p(z), or p(z | context); the base of every prior.

    `build` passes those of `latent_dim`, `x_shape`, `context`, `posterior` and `pseudo_inputs` that are parameters of
    the constructor.
    """

    def start_from(self, z: Tensor) -> None:
        """Initialize the parameters from values z (n, latent_dim), before `fit_prior` fits them; by default no change.

        Parameters
        ----------
        z
            Values that the prior will be fitted to.
        """
