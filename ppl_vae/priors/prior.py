"""The base of every prior."""

from __future__ import annotations

from torch import Tensor

from ppl_vae.conditional import Conditional

__all__ = ["Prior"]


class Prior(Conditional):
    """p(z), or p(z | context); the base of every prior.

    `build` gives a prior whichever of `latent_dim`, `x_shape`, `context`, `posterior` and `pseudo_inputs` its
    constructor names.
    """

    def start_from(self, z: Tensor) -> None:
        """Move the parameters to where values z (n, latent_dim) lie, before `fit_prior` fits them; by default nowhere.

        Parameters
        ----------
        z
            Values that the prior is to be fitted to.
        """
