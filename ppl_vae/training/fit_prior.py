"""A prior fitted afterwards, to the encodings: what makes an autoencoder generate."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ppl_vae import traces
from ppl_vae.conditional import Chain
from ppl_vae.draws import arguments
from ppl_vae.isolation import eval_mode, evaluating, frozen, isolated
from ppl_vae.priors import Prior
from ppl_vae.split import Split
from ppl_vae.training.fit import fit
from ppl_vae.training.optim import OneCycle
from ppl_vae.vae import VAE, Program
from ppl_vae.vae.build import with_prior

__all__ = ["fit_prior"]


def fit_prior(
    vae: VAE,
    x: Any,
    prior: Callable[..., Any],
    *context: Tensor,
    mask: Tensor | bool = True,
    epochs: int = 100,
    batch_size: int = 128,
    learning_rate: float = 1e-2,
    patience: int | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> VAE:
    """A copy of a VAE with another prior, of maximum likelihood E[log p(z)] over the encodings z ~ q(z | x) of data.

    By `fit`, with an encoding of each datum drawn afresh in every epoch; of a `Point` posterior that is its code. A
    mixture starts where expectation maximization ends, a flow at the codes' location and scale. Encoder and decoder
    are those of the VAE given. For an autoencoder the density of codes says nothing of p(x): it can be sampled then,
    and has no log p(x) still. Few codes and many components overfit: give validation data, and patience.

    Parameters
    ----------
    vae
        A trained VAE or autoencoder; stays as it is.
    x
        Data to encode: a tensor (n, *x_shape), a `Split`, or a data set with `.train` and `.validation`, of which
        the latter decides on the best epoch.
    prior
        A class, or a `functools.partial` of one, as `build` takes it; one without parameters, `StandardNormal`, has
        nothing to fit and is put in as it is.
    *context
        What the data are conditioned on, each (n, ...); a split has its own.
    mask
        False where an element of x is missing.
    epochs, batch_size, patience, progress
        See `fit`.
    learning_rate
        The peak of Adam's one-cycle schedule.
    seed
        Seed of the prior's first parameters and of the training.

    Returns
    -------
    VAE
        On the device of the one given; its recipe names the new prior.

    Raises
    ------
    TypeError
        For what is no VAE with one latent site, for a prior that is no class, and for data that are neither
        a tensor nor a `Split`.
    ValueError
        For a `Flat` prior, which has nothing to fit; for a `VampPrior` of points, which has no density; for a prior
        and a posterior of which one has a density and the other none; and for whatever `fit` refuses.

    References
    ----------
    Dai & Wipf 2019, arXiv:1903.05789 (the two-stage VAE); Ghosh et al. 2020, arXiv:1903.12436 (of autoencoders).

    Examples
    --------
    >>> from ppl_vae import Flat, GaussianMixture, Point, build, data
    >>> digits = data.load("digits").binarize("threshold")
    >>> autoencoder = build(digits, latent_dim=2, prior=Flat, posterior=Point, seed=0)
    >>> vae = fit_prior(autoencoder, digits, partial(GaussianMixture, num_components=5), epochs=1)
    >>> vae
    p(x, z) = GaussianMixture(z; 5) Bernoulli(x | z)
    q(z | x) = Point
    VAE(...
    >>> vae.sample(3, seed=0).shape
    torch.Size([3, 1, 8, 8])
    """
    if not isinstance(vae, VAE) or isinstance(vae.prior, Chain):
        got = f"sites {vae.prior.site}" if isinstance(vae, VAE) else type(vae).__name__
        raise TypeError(f"fit_prior expects a VAE with one latent site, got {got}; fit such a prior with the rest: fit")
    train = Split.of(getattr(x, "train", x), *context, mask=mask)
    with evaluating(vae, seed):
        (some, *rest), missing = arguments(vae, train[:_MOST].fixed(seed))
        some = torch.where(missing, some, torch.zeros_like(some)) if isinstance(missing, Tensor) else some
        z = vae.posterior_draw(some, *rest)
    with isolated(vae, seed):
        made = with_prior(vae, prior, z, some, *rest)
        with frozen(made.posterior), frozen(made.likelihood), eval_mode(made):
            with torch.no_grad():
                improper = traces.improper({"fn": made.prior.given(*rest)})
            if improper:
                raise ValueError(
                    "fit_prior expects a proper prior, got Flat, which has nothing to fit; fit GaussianMixture or "
                    "another proper prior"
                )
            if not any(p.requires_grad for p in made.prior.parameters()):
                return made
            if isinstance(made.prior, Prior):
                made.prior.start_from(z)
            fit(
                _prior_alone(made),
                train,
                validation=getattr(x, "validation", None),
                epochs=epochs,
                batch_size=batch_size,
                optimizer=partial(torch.optim.Adam, lr=learning_rate, fused=True),
                schedule=OneCycle(learning_rate),
                patience=patience,
                seed=seed,
                device=str(z.device),
                progress=progress,
            )
    return made


_MOST = 5000
"""Data whose encodings a prior starts from."""


def _prior_alone(vae: VAE) -> Program:
    """q(z | x) and p(z) alone: -KL in the place of the ELBO, and nothing is decoded.

    Of the VAE's modules the program sees the prior only: `fit` puts what it sees into train mode.
    """
    latents = traces.up_to(vae.model, [vae.prior.site])

    def model(x: Tensor, *context: Tensor, mask: Tensor | bool = True) -> None:
        latents(x, *context, mask=mask)

    def guide(x: Tensor, *context: Tensor, mask: Tensor | bool = True) -> None:
        vae.guide(x, *context, mask=mask)

    return Program(model, guide, vae.prior)
