"""Every leaf of the package, found by `__all__`: a new one is tested by being there."""

import functools
import inspect
import os
from functools import partial
from itertools import combinations
from typing import Any, NamedTuple

import pyro
import torch
from pyro.infer import ELBO, Trace_ELBO

from ppl_vae import DataSpec, Domain, build, distributions, likelihoods, objectives, posteriors, priors, traces
from ppl_vae.nets import MLP

X_SHAPE, LATENT, BATCH, LEVELS = (1, 4, 4), 2, 5, 5
CONTEXT = (3,)
SMALL = {
    "num_components": 3,
    "num_transforms": 2,
    "hidden_dim": 6,
    "num_codes": 6,
    "num_bins": 2,
    "num_steps": 2,
    "num_reflections": 2,
}
SMALL["flow"] = partial(distributions.zuko_flows("a test").SOSPF, transforms=1, hidden_features=(6,), degree=1)


def leaves(module):
    """The classes a module offers that are no base, with small settings."""
    classes = [c for c in map(module.__dict__.get, module.__all__) if inspect.isclass(c) and not inspect.isabstract(c)]
    return [partial(c, **{k: v for k, v in SMALL.items() if k in inspect.signature(c).parameters}) for c in classes]


PRIORS = [
    *leaves(priors),
    partial(priors.VampPrior, num_components=3, weighted=True),
    partial(priors.CodePrior, weighted=True),
]
LIKELIHOODS = [
    *leaves(likelihoods),
    *(partial(likelihoods.Gaussian, scale=scale) for scale in (0.5, "elementwise", "decoder", "optimal")),
    partial(likelihoods.CorrelatedGaussian, covariance=2),
    partial(likelihoods.StudentT, df="elementwise"),
    partial(likelihoods.Poisson, exposure="total"),
    *(partial(likelihoods.NegativeBinomial, dispersion=r, exposure="total") for r in ("learned", "elementwise")),
]
COIN = next(leaf for leaf in LIKELIHOODS if leaf.func is likelihoods.Bernoulli)
"""The likelihood of laws about z, and of cases with a context, which its density ignores."""
OF_LEVELS = (posteriors.Ladder, posteriors.BottomUp)  # which have tests of their own, with other levels
POSTERIORS = [leaf for leaf in leaves(posteriors) if leaf.func not in OF_LEVELS]
OBJECTIVES = [
    c
    for c in map(objectives.__dict__.get, objectives.__all__)
    if inspect.isclass(c) and issubclass(c, ELBO) and c.__module__.startswith("ppl_vae.")
]
"""Those of the package, each with defaults."""
ENCODER = partial(MLP, hidden_dims=[8], activation="tanh")


class Case(NamedTuple):
    prior: Any
    likelihood: Any
    posterior: Any
    context: bool = False

    @property
    def refused(self):
        """What the library says of a prior and a posterior that do not fit; empty where they do."""
        return refusal(self.prior, self.posterior)

    def __str__(self):
        return "-".join(map(name, self[:3])) + ("-context" if self.context else "")


def pairwise(cases):
    """Fewer of the cases in which every pair of their leaves still occurs, by greedy choice."""
    pairs = {case: {*combinations(enumerate(map(id, case)), 2)} for case in cases}
    left, chosen = set().union(*pairs.values()), []
    for gain in range(max(map(len, pairs.values())), 0, -1):  # what a case gains only shrinks: no need to look again
        for case, held in pairs.items():
            if len(held & left) >= gain:
                chosen.append(case)
                left -= held
    return chosen


def name(leaf):
    said = [f"{k}={v}" for k, v in leaf.keywords.items() if k not in SMALL]
    return " ".join([leaf.func.__name__, *said])


_VALUES = {
    "binary": lambda: torch.rand(BATCH, *X_SHAPE).round(),
    "unit": lambda: torch.rand(BATCH, *X_SHAPE),
    "real": lambda: torch.randn(BATCH, *X_SHAPE),
    "levels": lambda: torch.randint(LEVELS, (BATCH, *X_SHAPE)),
    "counts": lambda: torch.poisson(torch.full((BATCH, *X_SHAPE), 2.0)),
    "positive": lambda: torch.rand(BATCH, *X_SHAPE) + 0.1,
    "categories": lambda: torch.randint(LEVELS, (BATCH, *X_SHAPE)),
}


def described(kind="binary", context=False):
    return DataSpec(X_SHAPE, Domain(kind, LEVELS), (CONTEXT,) if context else ())


def make(case, latent_dim=LATENT, seed=0):
    """A float64 VAE with weights away from their start, in eval mode, and what it is called with: x, *context."""
    torch.manual_seed(seed)
    kind = case.likelihood.func.kinds[0]
    vae = build(
        described(kind, case.context),
        latent_dim=latent_dim,
        **{n: getattr(case, n) for n in ("prior", "likelihood", "posterior")},
        encoder=ENCODER,
        decoder=ENCODER,
    ).double()
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    context = [torch.randn(BATCH, *CONTEXT).double()] if case.context else []
    return vae.eval(), (_VALUES[kind]().double(), *context)  # in train mode a codebook moves with every call


def loss(program, args, objective=None, seed=0, **kwargs):
    """An objective's differentiable loss from a seed, in a parameter store of its own, for args in the model's type."""
    like = next(program.parameters(), torch.empty(0))
    args = [a.to(like.dtype) if a.is_floating_point() else a for a in args]
    torch.manual_seed(seed)
    with pyro.get_param_store().scope():
        return (objective or Trace_ELBO()).differentiable_loss(program.model, program.guide, *args, **kwargs)


@functools.cache
def refusal(prior, posterior):
    """The message of the checks that every verb makes of a pair of traces; empty where they pass."""
    with pyro.get_param_store().scope(), torch.random.fork_rng():
        try:
            vae, args = make(Case(prior, COIN, posterior))
            traces.check_pair(*traces.pair(vae, *args), BATCH)
        except ValueError as error:
            return str(error)
    return ""


_LATENT = [(p, q) for p in PRIORS for q in POSTERIORS]
ALL = [Case(p, x, q) for p, q in _LATENT for x in LIKELIHOODS]
ALL += [Case(p, x, q, context=True) for p, q in _LATENT for x in [COIN]]
ONE_LIKELIHOOD = [c for c in ALL if c.likelihood is COIN and not c.refused]
CASES = [c for c in ALL if not c.refused]
"""Those that fit; every pair of leaves among them once or more, and with `PPL_VAE_TEST_CASES=all` every triple."""
EVERY = os.environ.get("PPL_VAE_TEST_CASES") == "all"
if not EVERY:
    CASES = pairwise(CASES)


def with_objectives(objectives):
    """Cases of one likelihood, each with objectives: every pair of leaves and objectives among them, or all."""
    crossed = [(*case, objective) for case in ONE_LIKELIHOOD for objective in objectives]
    return [(Case(*crossing[:-1]), crossing[-1]) for crossing in (crossed if EVERY else pairwise(crossed))]
