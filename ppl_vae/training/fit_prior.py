"""Fit a prior to the encodings of a trained VAE or autoencoder, which can then be sampled."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ppl_vae import traces
from ppl_vae.arguments import Count, Positive, Seed
from ppl_vae.calls import verb
from ppl_vae.casting import arguments
from ppl_vae.conditional import Chain
from ppl_vae.isolation import eval_mode, evaluating, frozen, isolated
from ppl_vae.libraries import pd
from ppl_vae.priors import Prior
from ppl_vae.split import Split
from ppl_vae.training.fit import fit
from ppl_vae.training.optim import OneCycle
from ppl_vae.training.resume import refuse_taken, write_finished
from ppl_vae.training.run_folder import folder_path
from ppl_vae.training.settings import config_of
from ppl_vae.up_to import up_to
from ppl_vae.vae import VAE, Program
from ppl_vae.vae.build import with_prior
from ppl_vae.vae.seen import encoder_input

__all__ = ["fit_prior"]


@verb
def fit_prior(
    vae: VAE,
    x: Any,
    prior: Callable[..., Any],
    *context: Tensor,
    mask: Tensor | bool = True,
    epochs: Count = 100,
    batch_size: Count = 128,
    learning_rate: Positive = 1e-2,
    patience: Count | None = None,
    seed: Seed = 0,
    progress: bool | None = None,
    run: str | Path | None = None,
) -> VAE:
    """A copy of a VAE with another prior, of maximum likelihood E[log p(z)] over the encodings z ~ q(z | x) of data.

    By `fit`, with an encoding of each datum drawn afresh in every epoch; of a `Point` posterior that is its code. A
    mixture starts where expectation maximization ends, a flow at the codes' location and scale. Encoder and decoder
    are those of the VAE given. An autoencoder can be sampled then, and still has no log p(x): the density of codes is
    not that of data. Few codes and many components overfit: give validation data, and patience.

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
    run
        Folder to write the whole VAE to, once it is fitted: `load(run).vae` is it. The history there is of
        E[log p(z) - log q(z | x)] alone, of a point mass E[log p(z)], as `train_prior_term` and
        `validation_prior_term`; such a run is not resumed.

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
        and a posterior of which one is a mass and the other a density; for a density fitted to codes with exact zeros
        (`TopK`), which has no maximum; for fewer data than components; for a run folder that holds a training or
        that another process is writing to; and for whatever `fit` refuses.

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
    folder = None if run is None else folder_path(run, "fit_prior")
    if folder is not None:
        refuse_taken(folder)
    train, validation = Split.of(getattr(x, "train", x), *context, mask=mask), getattr(x, "validation", None)
    settings: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    settings |= {"patience": patience, "seed": seed}
    z, encoded, missing = _encoded(vae, train, seed)
    with isolated(vae, seed):
        made = with_prior(vae, prior, z, *encoded, mask=missing)
        rows: list[dict[Any, float]] = []
        with frozen(made.posterior), frozen(made.likelihood), frozen(vae), eval_mode(made), eval_mode(vae):
            _check(vae, made, z, *encoded)
            if any(p.requires_grad for p in made.prior.parameters()):
                assert isinstance(made.prior, Prior)  # with_prior makes nothing else
                seen = encoder_input(made.likelihood, encoded[0], missing, made.mask_input)
                made.prior.start_from_codes(z, seen, *made.given_to("prior", encoded[1:]))
                rows = _fit_alone(vae, made, train, validation, z.device, progress, **settings)
    if folder is not None:
        config = config_of(made, {"what": "fit_prior", **settings}, [train, validation])
        write_finished(folder, made, config, rows)
    return made


def _encoded(vae: VAE, train: Split, seed: int) -> tuple[Tensor, tuple[Tensor, ...], Tensor | bool]:
    """Codes (n, latent_dim) of some of the data, what they are codes of, (x, *context), and the mask of x."""
    with evaluating(vae, seed):
        (some, *rest), missing = arguments(vae, train[:_MOST].fixed(seed))
        z = vae.posterior_draw(some, *rest, mask=missing)
        if isinstance(missing, Tensor):
            some = some.masked_fill(~missing, 0.0)
    return z, (some, *rest), missing


def _fit_alone(
    vae: VAE,
    made: VAE,
    train: Split,
    validation: Any,
    device: torch.device,
    progress: bool | None,
    *,
    learning_rate: float,
    **settings: Any,
) -> list[dict[Any, float]]:
    """Fit the prior of a VAE alone, and give the rows of the history."""
    fitted = fit(
        _prior_alone(vae, made),
        train,
        validation=validation,
        optimizer=partial(torch.optim.Adam, lr=learning_rate, fused=True),
        schedule=OneCycle(learning_rate),
        device=str(device),
        progress=progress,
        **settings,
    )
    return _of_the_prior(fitted.history)


_MOST = 5000
"""Data whose encodings a prior starts from."""


def _check(vae: VAE, made: VAE, z: Tensor, x: Tensor, *context: Tensor) -> None:
    """Refuse a prior whose likelihood at the codes z (n, latent_dim) does not exist, or has no maximum."""
    few = [t[:3] for t in (x, *context)]
    with torch.no_grad():
        if traces.improper({"fn": made.prior.given(*made.given_to("prior", few[1:]))}):
            raise ValueError(
                "fit_prior expects a proper prior, got Flat, which has nothing to fit; fit GaussianMixture or "
                "another proper prior"
            )
        model, guide = traces.pair(_prior_alone(vae, made), *few)
    traces.check_pair(model, guide, len(few[0]))
    zeros = (z == 0).sum(0).max().item()
    if (
        zeros > 1
        and traces.singular(guide.nodes[made.prior.site])
        and any(p.requires_grad for p in made.prior.parameters())
    ):
        raise ValueError(
            f"fit_prior expects codes with a density, got exact zeros for {zeros} of {len(z)} data in one unit "
            f"({type(vae.posterior).__name__}), on which a fitted density grows without bound; train with Point "
            "(sparse: with a Laplace prior), or use a prior without parameters, Laplace or StandardNormal"
        )


def _of_the_prior(history: pd.DataFrame) -> list[dict[Any, float]]:
    """Rows of a history whose ELBO has no reconstruction in it."""
    kept = history.drop(columns=[c for c in map(str, history) if c.endswith("_reconstruction")])
    kept.columns = kept.columns.str.replace("_elbo", "_prior_term")
    rows: list[dict[Any, float]] = kept.reset_index().to_dict("records")
    return rows


def _prior_alone(vae: VAE, made: VAE) -> Program:
    """q(z | x) of a VAE and the new p(z) alone: -KL in the place of the ELBO, and nothing is decoded.

    q stays that of the VAE also where it depends on the prior, as one that is refined does. Of the modules the program
    sees the new prior only: `fit` puts what it sees into train mode.
    """
    latents = up_to(made.model, [made.prior.site])

    def model(x: Tensor, *context: Tensor, mask: Tensor | bool = True) -> None:
        latents(x, *context, mask=mask)

    def guide(x: Tensor, *context: Tensor, mask: Tensor | bool = True) -> None:
        vae.guide(x, *context, mask=mask)

    return Program(model, guide, made.prior)
