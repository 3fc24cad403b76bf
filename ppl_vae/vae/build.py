"""Build a VAE from component classes: sets their sizes, connects them, and records the recipe."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ppl_vae import nets as networks
from ppl_vae.arguments import Count, Seed
from ppl_vae.calls import verb
from ppl_vae.conditional import Chain, Upward
from ppl_vae.corruptions import Corruption
from ppl_vae.domain import Domain
from ppl_vae.factories import Factory, made_by, name_of, settings_of
from ppl_vae.likelihoods import Likelihood
from ppl_vae.nets import MLP, Network
from ppl_vae.posteriors import DiagonalNormal, Posterior
from ppl_vae.priors import Prior, StandardNormal
from ppl_vae.vae.column_scales import warn_of_scales
from ppl_vae.vae.context_to import ContextTo, Part, check_use, parts_given
from ppl_vae.vae.data_spec import DataSpec, Described
from ppl_vae.vae.levels import DataFirst, Known, Level, as_given, levels_of
from ppl_vae.vae.recipe import Levels, entry, parts_of, plain, recipe
from ppl_vae.vae.seen import encoder_input, rows_to_learn_from, seen_shape, training_data
from ppl_vae.vae.start import start_decoder
from ppl_vae.vae.usual import as_stored, chosen, of_domain
from ppl_vae.vae.vae import VAE

__all__ = ["build", "rebuild", "with_prior"]


@verb
def build(
    data: Described,
    *,
    latent_dim: Count | Sequence[Count],
    prior: Factory | Levels = StandardNormal,
    likelihood: Factory | None = None,
    posterior: Factory | Levels = DiagonalNormal,
    encoder: Factory = MLP,
    decoder: Factory = MLP,
    corruption: Factory | None = None,
    mask_input: bool | None = None,
    context_to: ContextTo | None = None,
    start: Literal["auto", "marginals"] | None = "auto",
    seed: Seed | None = None,
) -> VAE:
    """A VAE for some data, with the sizes of its parts set and the parts connected.

    Every part is a class, or a `functools.partial` of one. Its constructor is given those of the following arguments
    that it names: `x_shape`, `latent_dim`, `net`, `context` (the shapes of the data's context), `levels`, `posterior`
    and `pseudo_inputs` (training data as the encoder sees them).

    Lists make a hierarchy p(z_L) ... p(z_1 | z_2) p(x | z_1) with the top-down guide q(z_L | x) ... q(z_1 | z_2, x),
    the top level first, each a `Chain` with sites ``"z3"``, ``"z2"``, ``"z1"``. The length of a list is the number of
    levels. A single prior is that of the top, with `ConditionalNormal` below; a single posterior or latent_dim is that
    of every level. In the `context` of a level below the top, the level above comes first.

    Parameters
    ----------
    data
        Data with `x_shape`, `context_shapes` and `domain`.
    latent_dim
        Dimension of z, or one for each level.
    prior, likelihood, posterior
        Components; the likelihood defaults to the one the data were prepared for, else to the usual one on their
        domain. Prior and posterior may be lists, one for each level.
    encoder, decoder
        Networks, `net(in_shape, out_shape)`. Below the top the encoder is given x first, and the level above as
        context; the prior's networks are settings of its own, as in `partial(ConditionalNormal, net=...)`.
    corruption
        Corruption of the encoder's input in training, for a denoising VAE; `None` for none.
    mask_input
        Whether the encoder is given the mask beside x; by default where elements of the training data are missing, and
        the formula then says q(z | x, mask). What is missing is 0 in x as the encoder sees it, either way.
    context_to
        What is given the context of the data: ``"prior"``, ``"encoder"``, ``"decoder"``, or several of them; all by
        default. For cells, give the batch to the decoder alone, as scVI does by default, so that q(z | x) is given the
        counts alone. An exposure that is a context belongs to the decoder, too.
    start
        Whether the decoder starts at the marginals of the training data: the bias of its last layer, and a learned
        scale, are those of the best p(x_i) without z, and that layer's weights are divided by ten. ``"auto"`` does
        that for tables, x_shape of one dimension, where possible; ``"marginals"`` does it for any data, and is an error
        where it is impossible; `None` does nothing.
    seed
        Seed of the weights. If `None`, uses torch's global generator, as any torch module does, and advances it.

    Returns
    -------
    VAE
        Untrained, on the CPU.

    Raises
    ------
    TypeError
        If a part is no class, or partial of one.
    ValueError
        If the likelihood is no distribution on the data's domain, a network cannot be what it is given as, latent_dim
        is below 1, lists differ in length, the decoder cannot start at the marginals and ``start="marginals"``, or
        nothing could use the context as `context_to` says.

    Warns
    -----
    UserWarning
        Where the ranges of the columns of a table, of `LogNormal` ones those of their logarithms, differ by a factor
        above 100.

    Examples
    --------
    >>> from ppl_vae import GaussianMixture, data
    >>> digits = data.load("digits").binarize("threshold")
    >>> build(digits, latent_dim=2, prior=partial(GaussianMixture, num_components=5))
    p(x, z) = GaussianMixture(z; 5) Bernoulli(x | z)
    q(z | x) = DiagonalNormal
    VAE(...
    >>> build(digits, latent_dim=[2, 8])
    p(x, z2, z1) = StandardNormal(z2) ConditionalNormal(z1 | z2) Bernoulli(x | z1)
    q(z2, z1 | x) = DiagonalNormal(z2 | x) DiagonalNormal(z1 | z2, x)
    VAE(...
    """
    nets = {"encoder": encoder, "decoder": decoder}
    parts: dict[str, Any] = {"prior": prior, "posterior": posterior, "corruption": corruption, **nets}
    if seed is not None:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            parts |= {"likelihood": likelihood, "mask_input": mask_input, "start": start, "context_to": context_to}
            return build(data, latent_dim=latent_dim, **parts)
    _check_parts("build", likelihood=likelihood, **parts)
    spec, levels = DataSpec.of(data), levels_of(latent_dim, prior, posterior)
    described = chosen(spec, likelihood)
    to = parts_given(spec, context_to)
    likelihood_made = _likelihood(described, spec, levels[-1], decoder, to)
    warn_of_scales(spec, likelihood_made)
    masked = spec.masked if mask_input is None else mask_input
    known = _of_data(spec, "encoder", to) | {"x_shape": lambda: seen_shape(likelihood_made, masked)}
    posteriors = [_posterior(level, known, encoder, likelihood_made, masked) for level in levels]
    corrupted = corruption and _make(corruption, {**known, "x_shape": lambda: likelihood_made.seen_shape}, Corruption)
    inputs: Known = {"pseudo_inputs": lambda: training_data(spec, likelihood_made, masked)}
    known |= {**inputs, "context": _of_data(spec, "prior", to)["context"]}
    priors = [_prior(level, known, q) for level, q in zip(levels, posteriors, strict=True)]
    check_use(levels[0].prior, priors[0], to)
    vae = VAE(_chain(priors), likelihood_made, _chain(posteriors, levels), corrupted, mask_input=masked, context_to=to)
    start_decoder(likelihood_made, spec, start)
    vae.recipe = recipe(spec, mask_input=masked, context_to=to, **{**parts, **as_given(levels)}, likelihood=described)
    return vae


def _reader(encoder: Any, likelihood: Likelihood, masked: bool) -> Any:
    """The encoder with `masked` and `levels`, where its class asks for them: a mask or one-hot codes in its input.

    Raises
    ------
    ValueError
        For an encoder of sequences with gaps, of which only some columns are seen one-hot.
    """
    made_of = made_by(encoder)
    asked = made_of.linked if inspect.isclass(made_of) and issubclass(made_of, Network) else ()
    seen, x_shape = likelihood.seen_shape, likelihood.x_shape
    if masked and "masked" in asked and seen[1:] != x_shape[1:]:
        raise ValueError(
            f"{made_of.__name__} expects a mask of the shape of what it sees, got one of {x_shape} for columns of "
            f"which some are seen one-hot, {seen}; use encoder=MLP, or columns of other kinds than categories"
        )
    told: dict[str, Any] = {"masked": True} if masked and "masked" in asked else {}
    told |= {"levels": seen[0] // x_shape[0]} if "levels" in asked and seen[:1] != x_shape[:1] else {}
    return partial(encoder, **told) if told else encoder


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
        If the recipe names a class that is neither one of `ppl_vae` nor among `classes`.
    """
    described = DataSpec(tuple(stored["x_shape"]), Domain(**stored["domain"]), tuple(map(tuple, stored["context"])))
    names = ("prior", "likelihood", "posterior", "encoder", "decoder", "corruption")
    # older recipes have no corruption and no mask
    made: dict[str, Any] = {n: parts_of(stored[n], n, classes) for n in names if stored.get(n) is not None}
    made |= {"mask_input": stored.get("mask_input", False), "context_to": stored.get("context_to")}
    made["likelihood"] = as_stored(made["likelihood"])
    return build(described, latent_dim=stored["latent_dim"], **made)


def with_prior(vae: VAE, prior: Factory, z: Tensor, x: Tensor, *context: Tensor, mask: Tensor | bool = True) -> VAE:
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
    mask
        False where an element of x is missing.

    Raises
    ------
    TypeError
        If the prior is no class, or partial of one.
    """
    _check_parts("fit_prior", prior=prior)
    made = copy.deepcopy(vae)
    known: Known = {
        "x_shape": lambda: seen_shape(vae.likelihood, vae.mask_input),
        "latent_dim": lambda: z.shape[-1],
        "context": lambda: tuple(tuple(c.shape[1:]) for c in vae.given_to("prior", context)),
        "posterior": lambda: made.posterior,
        "pseudo_inputs": lambda: encoder_input(made.likelihood, x, mask, vae.mask_input),
        "site": lambda: vae.prior.site,
    }
    made.prior = _make(prior, known, Prior).to(z)
    check_use(prior, made.prior, vae.context_to)
    made.recipe = None if vae.recipe is None else plain({**vae.recipe, "prior": entry(prior)})
    return made


def _of_data(data: DataSpec, part: Part, context_to: Sequence[Part]) -> Known:
    """Arguments that a part may name, from the data; the shapes of the context only where the part is given it."""
    given = tuple(map(tuple, data.context_shapes)) if part in context_to else ()
    return {"x_shape": lambda: tuple(data.x_shape), "context": lambda: given, **of_domain(data.domain)}


def _likelihood(chosen: Factory, data: DataSpec, bottom: Level, decoder: Factory, to: Sequence[Part]) -> Likelihood:
    """p(x | z), after `learn_from` the first training data, if any."""
    known: Known = {**_of_data(data, "decoder", to), "latent_dim": lambda: bottom.latent_dim, "net": lambda: decoder}
    made: Likelihood = _make(chosen, known, Likelihood)
    if (rows := rows_to_learn_from(data)) is not None:
        made.learn_from(*rows)
    return made


def _posterior(level: Level, known: Known, encoder: Factory, likelihood: Likelihood, masked: bool) -> Any:
    """q of one level, given x at the top, and the level above and x below the top."""
    encoder = encoder if level.reads_latents else _reader(encoder, likelihood, masked)
    given: Known = {**known, **level.known, "net": lambda: encoder}
    if level.reads_latents:
        given["x_shape"] = lambda: level.below
    elif level.above and not level.reads_below and getattr(made_by(level.posterior), "reads_above", True):
        x_shape, context = known["x_shape"](), known["context"]()
        given["x_shape"], given["context"] = (lambda: level.above), (lambda: (x_shape, *context))
        given["net"] = lambda: partial(DataFirst, encoder)
    made = _make(level.posterior, given, nn.Module)
    if isinstance(made, Prior | Likelihood):
        raise TypeError(
            f"build expects posterior to be a class of posteriors q(z | x), got {type(made).__name__}; give "
            "DiagonalNormal, say"
        )
    return level.checked(made)


def _prior(level: Level, known: Known, posterior: nn.Module) -> Any:
    """p of one level, given the context; below the top, the level above comes before it."""
    given: Known = {**known, **level.known, "posterior": lambda: posterior}
    if level.reads_latents:
        given["posterior"] = level.refuse_posterior
    if level.above:
        context = known["context"]()
        given["context"] = lambda: (level.above, *context)
        given["x_shape"] = given["pseudo_inputs"] = level.refuse_data
    made = level.checked(_make(level.prior, given, *((Prior,) if level.site else (Prior, Chain))))
    if isinstance(posterior, Posterior):
        posterior.meet(made, below=bool(level.above))
    return made


def _chain(made: list[Any], levels: Sequence[Level] = ()) -> Any:
    if len(made) == 1:
        return made[0]
    return Upward(*reversed(made)) if any(level.reads_below for level in levels) else Chain(*made)


def _check_parts(caller: str, **parts: Any) -> None:
    for name, given in ((n, g) for n, v in parts.items() for g in (v if isinstance(v, Sequence) else [v])):
        if given is not None and (not callable(given) or isinstance(given, nn.Module)):
            raise TypeError(
                f"{caller} expects {name} to be a class, or a functools.partial of one, got {given!r}; give the class "
                "itself, and its settings with partial(Class, setting=...)"
            )
        if given is not None:
            _check_role(caller, name, given)


def _check_role(caller: str, name: str, given: Factory) -> None:
    """Refuse a network as the encoder that can only be a decoder, and the other way round."""
    roles, own = getattr(made_by(given), "roles", (name,)), name_of(given)
    if name in roles:
        return
    other = own.replace(roles[0].capitalize(), name.capitalize())
    use = f"{other} or MLP" if other != own and hasattr(networks, other) else "MLP"
    raise ValueError(
        f"{caller} expects a network for the {name}, got {own}, which is one for the {roles[0]}; use {use}"
    )


def _make(factory: Factory, known: Known, *kinds: type) -> Any:
    """Call a factory with those of the known arguments that it names and that are not bound yet.

    Raises
    ------
    TypeError
        For settings that it does not have, and if it makes an object of another kind.
    """
    fixed = settings_of(factory)
    try:
        signature = inspect.signature(factory)
    except ValueError as error:
        raise TypeError(
            f"a part of a VAE expects the settings that its constructor names, got {factory!r} ({error}); correct them"
        ) from None
    made_of = made_by(factory)
    if inspect.isclass(made_of) and not issubclass(made_of, kinds):
        raise _of_another_kind(made_of.__name__, factory, kinds)
    made = factory(**{name: known[name]() for name in signature.parameters if name in known and name not in fixed})
    if not isinstance(made, kinds):
        raise _of_another_kind(type(made).__name__, factory, kinds)
    return made


def _of_another_kind(name: str, factory: Factory, kinds: tuple[type, ...]) -> TypeError:
    expected = " or a ".join(kind.__name__ for kind in kinds)
    return TypeError(
        f"a part of a VAE expects a class that makes a {expected} here, got {name} of {factory!r}; give another class"
    )
