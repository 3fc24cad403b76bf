"""From three words to a VAE: sizes and links the components, and remembers how."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ppl_vae.arguments import Count, Seed
from ppl_vae.calls import verb
from ppl_vae.conditional import Chain
from ppl_vae.corruptions import Corruption
from ppl_vae.domain import Domain
from ppl_vae.likelihoods import (
    Bernoulli,
    ContinuousBernoulli,
    DiscretizedLogistic,
    Gaussian,
    Likelihood,
    NegativeBinomial,
)
from ppl_vae.nets import MLP
from ppl_vae.posteriors import DiagonalNormal
from ppl_vae.priors import Prior, StandardNormal
from ppl_vae.vae.recipe import DataSpec, Described, Factory, entry, part, plain, recipe
from ppl_vae.vae.vae import VAE

__all__ = ["build", "rebuild", "with_prior"]

_USUAL: dict[str, type[Likelihood]] = {
    "binary": Bernoulli,
    "unit": ContinuousBernoulli,
    "real": Gaussian,
    "levels": DiscretizedLogistic,
    "counts": NegativeBinomial,
}


@verb
def build(
    data: Described,
    *,
    latent_dim: Count,
    prior: Factory = StandardNormal,
    likelihood: Factory | None = None,
    posterior: Factory = DiagonalNormal,
    encoder: Factory = MLP,
    decoder: Factory = MLP,
    corruption: Factory | None = None,
    seed: Seed | None = None,
) -> VAE:
    """A VAE for some data, its parts sized and linked.

    Every part is a class, or a `functools.partial` of one; each is given those of the things it needs that its
    constructor names: `x_shape`, `latent_dim`, `net`, `context` (the shapes of the data's context), `levels`,
    `posterior` and `pseudo_inputs` (training data as the encoder sees them).

    Parameters
    ----------
    data
        Knows its `x_shape`, `context_shapes` and `domain`.
    latent_dim
        Dimension of z.
    prior, likelihood, posterior
        Components; the likelihood defaults to the one the data were prepared for, else to the usual one on their
        domain.
    encoder, decoder
        Networks, `net(in_shape, out_shape)`.
    corruption
        What the encoder sees in the place of x in training, for a denoising VAE; nothing else if `None`.
    seed
        Seed of the weights. If `None` they are drawn, as those of any torch module, from torch's random numbers of
        the moment: the one call of the library that moves these on.

    Returns
    -------
    VAE
        Untrained, on the CPU.

    Raises
    ------
    TypeError
        If a part is no class, or partial of one.
    ValueError
        If the likelihood is no distribution on the data's domain, or latent_dim is below 1.

    Examples
    --------
    >>> from ppl_vae import GaussianMixture, data
    >>> digits = data.load("digits").binarize("threshold")
    >>> build(digits, latent_dim=2, prior=partial(GaussianMixture, num_components=5))
    p(x, z) = GaussianMixture(z; 5) Bernoulli(x | z)
    q(z | x) = DiagonalNormal
    VAE(...
    """
    parts: dict[str, Any] = {
        "prior": prior,
        "posterior": posterior,
        "encoder": encoder,
        "decoder": decoder,
        "corruption": corruption,
    }
    if seed is not None:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return build(data, latent_dim=latent_dim, likelihood=likelihood, **parts)
    _check_parts("build", likelihood=likelihood, **parts)
    kind = data.domain.kind
    chosen = likelihood or getattr(data, "likelihood", None) or _USUAL[kind]
    _check_kind(chosen, data.domain)
    context = tuple(map(tuple, data.context_shapes))
    known: dict[str, Callable[[], Any]] = {
        "x_shape": lambda: tuple(data.x_shape),
        "latent_dim": lambda: latent_dim,
        "context": lambda: context,
    }
    if kind in ("binary", "levels"):
        known["levels"] = lambda: 2 if kind == "binary" else data.domain.levels
    likelihood_made: Likelihood = _make(chosen, {**known, "net": lambda: decoder}, Likelihood)
    posterior_made = _make(posterior, {**known, "net": lambda: encoder}, nn.Module)
    if isinstance(posterior_made, Prior | Likelihood):
        raise TypeError(
            f"build expects posterior to be a class of posteriors q(z | x), got {type(posterior_made).__name__}; give "
            "DiagonalNormal, say"
        )
    known["posterior"] = lambda: posterior_made
    known["pseudo_inputs"] = lambda: _training_data(data, likelihood_made)
    corruption_made = None if corruption is None else _make(corruption, known, Corruption)
    vae = VAE(_make(prior, known, Prior, Chain), likelihood_made, posterior_made, corruption_made)
    vae.recipe = recipe(data, latent_dim, likelihood=chosen, **parts)
    return vae


def rebuild(stored: Mapping[str, Any], classes: Sequence[type] = ()) -> VAE:
    """The VAE a stored recipe describes, with fresh weights.

    Parameters
    ----------
    stored
        `VAE.recipe`, as JSON gives it back.
    classes
        Classes of your own that the recipe names; nothing is ever imported.

    Raises
    ------
    ValueError
        If the recipe names a class that is neither one of `ppl_vae` nor handed over.
    """
    described = DataSpec(tuple(stored["x_shape"]), Domain(**stored["domain"]), tuple(map(tuple, stored["context"])))
    parts = ("prior", "likelihood", "posterior", "encoder", "decoder", "corruption")
    # older recipes have no corruption
    made: dict[str, Any] = {name: part(stored[name], classes) for name in parts if stored.get(name) is not None}
    return build(described, latent_dim=stored["latent_dim"], **made)


def with_prior(vae: VAE, prior: Factory, z: Tensor, x: Tensor, *context: Tensor) -> VAE:
    """A copy of a VAE with a prior of another kind, also in its recipe.

    Parameters
    ----------
    vae
        Stays as it is.
    prior
        A class, or a `functools.partial` of one, as `build` takes it.
    z, x, *context
        Latents (n, latent_dim), data (n, *x_shape) and context they go with: for sizes, and pseudo-inputs to start
        from.

    Raises
    ------
    TypeError
        If the prior is no class, or partial of one.
    """
    _check_parts("fit_prior", prior=prior)
    made = copy.deepcopy(vae)
    known: dict[str, Callable[[], Any]] = {
        "x_shape": lambda: tuple(x.shape[1:]),
        "latent_dim": lambda: z.shape[-1],
        "context": lambda: tuple(tuple(c.shape[1:]) for c in context),
        "posterior": lambda: made.posterior,
        "pseudo_inputs": lambda: made.likelihood.standardize(x),
        "site": lambda: vae.prior.site,
    }
    made.prior = _make(prior, known, Prior).to(z)
    made.recipe = None if vae.recipe is None else plain({**vae.recipe, "prior": entry(prior)})
    return made


def _check_parts(caller: str, **parts: Any) -> None:
    for name, given in parts.items():
        if given is not None and (not callable(given) or isinstance(given, nn.Module)):
            raise TypeError(
                f"{caller} expects {name} to be a class, or a functools.partial of one, got {given!r}; give the class "
                "itself, and its settings with partial(Class, setting=...)"
            )


def _make(factory: Factory, known: Mapping[str, Callable[[], Any]], *kinds: type) -> Any:
    """Call a factory with those of the known things that its signature names and nothing fixes.

    Raises
    ------
    TypeError
        For settings that it does not have, and where it makes what is of none of the kinds.
    """
    fixed = factory.keywords if isinstance(factory, partial) else {}
    try:
        signature = inspect.signature(factory)
    except ValueError as error:
        raise TypeError(
            f"a part of a VAE expects the settings that its constructor names, got {factory!r} ({error}); correct them"
        ) from None
    made = factory(**{name: known[name]() for name in signature.parameters if name in known and name not in fixed})
    if not isinstance(made, kinds):
        expected = " or a ".join(kind.__name__ for kind in kinds)
        raise TypeError(
            f"a part of a VAE expects a class that makes a {expected} here, got {type(made).__name__} of {factory!r}; "
            "give another class"
        )
    return made


def _training_data(data: Described, likelihood: Likelihood, most: int = 5000) -> Tensor | None:
    train = getattr(data, "train", None)
    return None if train is None else likelihood.standardize(train[:most].fixed().x)


def _check_kind(likelihood: Factory, domain: Domain) -> None:
    kinds = getattr(getattr(likelihood, "func", likelihood), "kinds", None)
    if kinds is not None and domain.kind not in kinds:
        name = getattr(likelihood, "func", likelihood).__name__
        raise ValueError(
            f"{name} expects data of kind {' or '.join(map(repr, kinds))}, got {domain.kind!r}; "
            f"convert them (data.suit({name})), or choose {_USUAL[domain.kind].__name__}"
        )
