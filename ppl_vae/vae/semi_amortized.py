"""A trained VAE whose q takes gradient steps on each datum."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any, cast

from ppl_vae.arguments import Count, Positive
from ppl_vae.calls import verb
from ppl_vae.factories import Factory
from ppl_vae.posteriors import Posterior, Refined
from ppl_vae.vae.recipe import entry, parts_of, plain
from ppl_vae.vae.vae import VAE

__all__ = ["semi_amortized"]


@verb
def semi_amortized(vae: VAE, *, num_steps: Count = 5, num_particles: Count = 2, learning_rate: Positive = 0.02) -> VAE:
    """A copy of a VAE whose posterior is `Refined` around the one that it has: prior, decoder and encoder stay.

    log p(x) is the same function of x. The ELBO is higher at once, and higher still after some epochs of `fit`, which
    also learns the rates of the steps.

    Parameters
    ----------
    vae
        Trained, of one level. Stays as it is.
    num_steps, num_particles, learning_rate
        See `Refined`. A rate above 0.1 overshoots where p(z | x) is narrow.

    Raises
    ------
    TypeError
        For a posterior that is none of `ppl_vae.posteriors`, or is refined already.

    References
    ----------
    Kim et al. 2018, arXiv:1802.02550.

    Examples
    --------
    >>> from ppl_vae import build, data
    >>> digits = data.load("digits").binarize("threshold")
    >>> semi_amortized(build(digits, latent_dim=2, seed=0), num_steps=3).posterior.settings()
    'DiagonalNormal; 3'
    """
    old = vae.posterior
    if not isinstance(old, Posterior):
        raise TypeError(
            f"semi_amortized expects a VAE whose posterior is one of ppl_vae.posteriors, got {type(old).__name__}; use "
            "inference_gaps, which refines any q by datum"
        )
    made = copy.deepcopy(vae)
    settings: dict[str, Any] = {"num_steps": num_steps, "num_particles": num_particles, "learning_rate": learning_rate}
    base = made.posterior
    made.posterior = Refined(old.in_shape, old.latent_dim, base=lambda *_, **__: base, site=old.site, **settings)
    made.posterior.to(next(vae.parameters())).train(old.training)
    if vae.recipe is not None:
        of_one = cast(Factory, parts_of(vae.recipe["posterior"], "posterior"))
        refined = entry(partial(Refined, base=of_one, **settings))
        made.recipe = plain({**vae.recipe, "posterior": refined})
    return made
