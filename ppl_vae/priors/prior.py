"""The base of every prior."""

from __future__ import annotations

from ppl_vae.conditional import Conditional

__all__ = ["Prior"]


class Prior(Conditional):
    """p(z), or p(z | context); the base of every prior.

    `build` gives a prior whichever of `latent_dim`, `x_shape`, `context`, `posterior` and `pseudo_inputs` its
    constructor names. One that has a method `start_from(z)` is moved by it to where values z (n, latent_dim) lie,
    before `fit_prior` fits it to such.
    """
