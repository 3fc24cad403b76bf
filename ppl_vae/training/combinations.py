"""Which parts go together: each combination is built on a few made-up data, and asked."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import cache, partial
from types import ModuleType
from typing import Any

import pyro
import torch
from pyro.infer import ELBO, Trace_ELBO, TraceMeanField_ELBO
from pyro.poutine import Trace
from torch import Tensor

from ppl_vae import likelihoods, objectives, posteriors, priors, traces
from ppl_vae.domain import Domain
from ppl_vae.factories import Factory, made_by
from ppl_vae.nets import MLP
from ppl_vae.vae import VAE, DataSpec, build

__all__ = ["combined", "described", "drawn", "leaves", "reason", "reasons"]

Dims = int | tuple[int, ...] | None

ROLES: dict[str, ModuleType] = {
    "priors": priors,
    "likelihoods": likelihoods,
    "posteriors": posteriors,
    "objectives": objectives,
}
X_SHAPE, NUM, LEVELS = (1, 4, 4), 6, 5
_VALUES: dict[str, Callable[[tuple[int, ...]], Tensor]] = {
    "binary": lambda shape: torch.rand(shape).round(),
    "unit": torch.rand,
    "real": torch.randn,
    "levels": lambda shape: torch.randint(LEVELS, shape),
    "counts": lambda shape: torch.poisson(torch.full(shape, 2.0)),
    "positive": lambda shape: torch.rand(shape) + 0.1,
    "categories": lambda shape: torch.randint(LEVELS, shape),
}

_PYROS: dict[type, str] = {
    Trace_ELBO: "Pyro's ELBO, E log p(x, z) - log q(z | x) by draws z of q, for any model and guide.",
    TraceMeanField_ELBO: "Pyro's ELBO, a KL in closed form where there is one; the sites of q must be independent.",
}


def leaves(role: str) -> list[type]:
    """The classes of a role that can be chosen, in alphabetical order."""
    module = ROLES[role]
    found = [getattr(module, name) for name in module.__all__]
    chosen = [c for c in found if inspect.isclass(c) and not inspect.isabstract(c)]
    return sorted((c for c in chosen if role != "objectives" or issubclass(c, ELBO)), key=lambda c: c.__name__)


def described(role: str) -> dict[str, str]:
    """What each class of a role is, by name: the first line of its docstring, of Pyro's a sentence of ours."""
    return {c.__name__: _PYROS.get(c) or (inspect.getdoc(c) or "").partition("\n")[0] for c in leaves(role)}


def combined(prior: Factory, likelihood: Any, posterior: Factory, latent_dim: Dims = None) -> tuple[VAE, Tensor]:
    """A VAE of three classes for a few data of the first kind that the likelihood is for, and these data.

    By default of two latents, or of two levels of them for posteriors of hierarchies alone.

    Raises
    ------
    ValueError
        For a prior that cannot be built beside the posterior.
    """
    kind = likelihood.kinds[0]
    spec = DataSpec(X_SHAPE, Domain(kind, LEVELS))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        x = _VALUES[kind]((NUM, *X_SHAPE)).to(torch.get_default_dtype())
    if latent_dim is None:
        latent_dim = (2, 2) if getattr(made_by(posterior), "of_levels", False) else 2
    net = partial(MLP, hidden_dims=[8])
    parts = {"prior": prior, "likelihood": likelihood, "posterior": posterior, "encoder": net, "decoder": net}
    return build(spec, latent_dim=latent_dim, seed=0, **parts), x


def reason(objective: Callable[[], Any], pair: tuple[Trace, Trace]) -> str:
    """Why an objective does not train a pair of traces, in the words of its check; empty where it does."""
    try:
        objectives.check(objective(), *pair)
    except ValueError as error:
        return str(error)
    return ""


@cache
def drawn(prior: Factory, posterior: Factory, latent_dim: Dims = None) -> tuple[Trace, Trace] | str:
    """A pair of traces of a prior and a posterior that go together, or why they do not."""
    with torch.random.fork_rng(devices=[]), pyro.get_param_store().scope():
        try:
            vae, x = combined(prior, likelihoods.Bernoulli, posterior, latent_dim)
            model, guide = traces.pair(vae, x)
            traces.check_pair(model, guide, NUM)
        except ValueError as error:
            return str(error)
    return model, guide


def reasons() -> Iterator[tuple[type, type, type | None, str]]:
    """Each prior with each posterior, and where these go together with each objective: why not, empty where they do."""
    for prior in leaves("priors"):
        for posterior in leaves("posteriors"):
            pair = drawn(prior, posterior)
            if isinstance(pair, str):
                yield prior, posterior, None, pair
                continue
            yield prior, posterior, None, ""
            for objective in leaves("objectives"):
                yield prior, posterior, objective, reason(objective, pair)
