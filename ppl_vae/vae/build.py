"""From three words to a VAE: sizes and links the components, and remembers how."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ppl_vae import likelihoods, nets, posteriors, priors
from ppl_vae.domain import Domain
from ppl_vae.likelihoods import Bernoulli, ContinuousBernoulli, DiscretizedLogistic, Gaussian, Likelihood
from ppl_vae.nets import MLP
from ppl_vae.posteriors import DiagonalNormal
from ppl_vae.priors import StandardNormal
from ppl_vae.vae.vae import VAE

__all__ = ["COMPONENTS", "Described", "build", "rebuild"]

Factory = Callable[..., Any]

COMPONENTS = {
    name: getattr(module, name) for module in (priors, likelihoods, posteriors, nets) for name in module.__all__
}
"""Every class a stored recipe may name."""

_USUAL: dict[str, type[Likelihood]] = {
    "binary": Bernoulli,
    "unit": ContinuousBernoulli,
    "real": Gaussian,
    "levels": DiscretizedLogistic,
}


class Described(Protocol):
    """What `build` must know of the data; every data set of `ppl_vae.data` does."""

    @property
    def x_shape(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def context_shapes(self) -> tuple[tuple[int, ...], ...]: ...  # noqa: D102
    @property
    def domain(self) -> Domain: ...  # noqa: D102


def build(
    data: Described,
    *,
    latent_dim: int,
    prior: Factory = StandardNormal,
    likelihood: Factory | None = None,
    posterior: Factory = DiagonalNormal,
    encoder: Factory = MLP,
    decoder: Factory = MLP,
    seed: int | None = None,
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
    if seed is not None:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return build(
                data,
                latent_dim=latent_dim,
                prior=prior,
                likelihood=likelihood,
                posterior=posterior,
                encoder=encoder,
                decoder=decoder,
            )
    _check_parts(latent_dim, prior=prior, likelihood=likelihood, posterior=posterior, encoder=encoder, decoder=decoder)
    kind = data.domain.kind
    chosen = likelihood or getattr(data, "likelihood", None) or _USUAL.get(kind)
    if chosen is None:
        raise ValueError(
            f"build expects data with a usual likelihood ({', '.join(_USUAL)}), got {kind!r}; "
            "give likelihood= a class of your own"
        )
    _check_kind(chosen, data.domain)
    context = tuple(map(tuple, data.context_shapes))
    known: dict[str, Callable[[], Any]] = {
        "x_shape": lambda: tuple(data.x_shape),
        "latent_dim": lambda: latent_dim,
        "context": lambda: context,
    }
    if data.domain.discrete:
        known["levels"] = lambda: 2 if kind == "binary" else data.domain.levels
    likelihood_made: Likelihood = _make(chosen, {**known, "net": lambda: decoder})
    posterior_made = _make(posterior, {**known, "net": lambda: encoder})
    known["posterior"] = lambda: posterior_made
    known["pseudo_inputs"] = lambda: _training_data(data, likelihood_made)
    vae = VAE(_make(prior, known), likelihood_made, posterior_made)
    vae.recipe = _recipe(
        data, latent_dim, prior=prior, likelihood=chosen, posterior=posterior, encoder=encoder, decoder=decoder
    )
    return vae


def rebuild(recipe: Mapping[str, Any], classes: Sequence[type] = ()) -> VAE:
    """The VAE a stored recipe describes, with fresh weights.

    Parameters
    ----------
    recipe
        `VAE.recipe`, as JSON gives it back.
    classes
        Classes of your own that the recipe names; nothing is ever imported.

    Raises
    ------
    ValueError
        If the recipe names a class that is neither one of `ppl_vae` nor handed over.
    """

    def part(entry: Mapping[str, Any]) -> Factory:
        name, ours = entry["class"], entry.get("module", "ppl_vae").partition(".")[0] == "ppl_vae"
        known = COMPONENTS if ours else {c.__name__: c for c in classes}
        if name not in known:
            raise ValueError(
                f"a recipe expects classes of ppl_vae or ones handed over, got {name!r}; "
                f"if you trust it, import it yourself and pass classes=[{str(name).rpartition('.')[2]}], "
                "or name its file with --import"
            )
        return partial(known[name], **entry["args"])

    described = _Stored(tuple(recipe["x_shape"]), tuple(map(tuple, recipe["context"])), Domain(**recipe["domain"]))
    parts = ("prior", "likelihood", "posterior", "encoder", "decoder")
    made: dict[str, Any] = {name: part(recipe[name]) for name in parts}
    return build(described, latent_dim=recipe["latent_dim"], **made)


class _Stored:
    """The description of data that are not at hand."""

    def __init__(self, x_shape: tuple[int, ...], context_shapes: tuple[tuple[int, ...], ...], domain: Domain) -> None:
        self.x_shape, self.context_shapes, self.domain = x_shape, context_shapes, domain


def _check_parts(latent_dim: int, **parts: Any) -> None:
    if latent_dim < 1:
        raise ValueError(f"build expects latent_dim of 1 or more, got {latent_dim}; give the dimension of z")
    for name, part in parts.items():
        if part is not None and (not callable(part) or isinstance(part, nn.Module)):
            raise TypeError(
                f"build expects {name} to be a class, or a functools.partial of one, got {part!r}; give the class "
                "itself, and its settings with partial(Class, setting=...)"
            )


def _make(factory: Factory, known: Mapping[str, Callable[[], Any]]) -> Any:
    """Call a factory with those of the known things that its signature names and nothing fixes."""
    fixed = factory.keywords if isinstance(factory, partial) else {}
    named = [name for name in inspect.signature(factory).parameters if name in known and name not in fixed]
    return factory(**{name: known[name]() for name in named})


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
            if domain.kind in _USUAL
            else f"{name} expects data of kind {' or '.join(map(repr, kinds))}, got {domain.kind!r}; "
            "choose a likelihood for such data"
        )


def _recipe(data: Described, latent_dim: int, **parts: Factory) -> dict[str, Any] | None:
    recipe = {
        "x_shape": list(data.x_shape),
        "context": [list(shape) for shape in data.context_shapes],
        "domain": vars(data.domain) | {},
        "latent_dim": latent_dim,
        **{name: _described(factory) for name, factory in parts.items()},
    }
    try:
        return json.loads(json.dumps(recipe))
    except TypeError:  # a lambda, or an argument that is no plain value: only code can rebuild it
        return None


def _described(factory: Factory) -> dict[str, Any] | Factory:
    made_of = factory.func if isinstance(factory, partial) else factory
    args = factory.keywords if isinstance(factory, partial) else {}
    if not inspect.isclass(made_of) or (isinstance(factory, partial) and factory.args):
        return factory
    return {"class": made_of.__name__, "module": made_of.__module__, "args": args}
