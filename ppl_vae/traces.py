"""Log densities of each datum, read from a pair of Pyro traces: all that other modules see of a model.

Log densities are read with every scale removed (a KL warm-up, a subsampled plate) and every mask kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine import Trace
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from ppl_vae import one_way, paired, support
from ppl_vae.memory import rows_at_once
from ppl_vae.modelled import Modelled

__all__ = [
    "Plates",
    "analytic_kl",
    "by_particle",
    "check_pair",
    "check_sites",
    "check_support",
    "discrete",
    "enumerated",
    "improper",
    "latents",
    "log_prob",
    "log_weights",
    "model_kwargs",
    "observed",
    "pair",
    "particles",
    "plates",
    "quantized",
    "singular",
    "total",
    "without_shapes",
]

Site = dict[str, Any]
PARTICLES = "num_particles_vectorized"  # the name Pyro's objectives give theirs
UNSIZED = -1  # the size that Pyro gives a plate made without one


@dataclass(frozen=True)
class Plates:
    """Where the data lie in the batch shapes of a program's sites.

    Parameters
    ----------
    size
        Number of data.
    data
        The data plate's dimension, negative.
    depth
        Number of dimensions the program's plates take; particles go to the left of them.
    row_bytes
        Bytes of the tensors that are made for one row, a pair of draw and datum; 0 if not measured.
    name
        Name of the data plate.
    varies
        Whether masks or supports of latents are tensors, which may be others for other data; see `paired.varies`.
    """

    size: int
    data: int
    depth: int
    row_bytes: int = 0
    name: str = field(default="", compare=False)
    varies: bool = field(default=False, compare=False)

    def of(self, size: int) -> Plates:
        """The same for another number of data."""
        return replace(self, size=size)

    def rows(self, most: int) -> int:
        """How many rows to take at once: `most`, or fewer where they are large."""
        return rows_at_once(most, self.row_bytes)


def model_kwargs(mask: Tensor | bool = True, beta: float = 1.0) -> dict[str, Any]:
    """Keyword arguments for `model` and `guide`; none where all is observed and beta is 1."""
    return {} if mask is True and beta == 1.0 else {"mask": mask, "beta": beta}


def pair(
    program: Modelled, x: Tensor, *context: Tensor, mask: Tensor | bool = True, beta: float = 1.0
) -> tuple[Trace, Trace]:
    """One draw from the guide and the model replayed on it: (model trace, guide trace)."""
    kwargs = model_kwargs(mask, beta)
    with without_shapes(ValueError):
        guide = poutine.trace(program.guide).get_trace(x, *context, **kwargs)
        model = poutine.trace(poutine.replay(program.model, trace=guide)).get_trace(x, *context, **kwargs)
    return model, guide


@contextmanager
def without_shapes(*kinds: type[Exception]) -> Iterator[None]:
    """A scope whose errors of these kinds are as they were raised, without Pyro's table of shapes."""
    try:
        yield
    except kinds as error:
        if "Trace Shapes:" in str(error) and error.__cause__ is not None:
            raise error.__cause__ from None
        raise


def latents(trace: Trace) -> dict[str, Site]:
    """The unobserved sample sites, in the order they were sampled, without what plates leave in a trace."""
    return {name: site for name, site in _sampled(trace) if not site["is_observed"]}


def observed(trace: Trace) -> dict[str, Site]:
    """The observed sites, without those of `pyro.deterministic`, which have no density."""
    return {name: site for name, site in _sampled(trace) if site["is_observed"]}


def plates(trace: Trace, size: int, other: Trace | None = None, name: str | None = None) -> Plates:
    """Find the data plate: the one that every site lies in and that is as long as the data.

    Parameters
    ----------
    trace
        A trace of the model.
    size
        Number of data in it.
    other
        A trace for another number of data: a plate that is as long there is not the data's.
    name
        Name of the data plate, where it is known.

    Raises
    ------
    ValueError
        If a site lies outside it, so that nothing can be said of a single datum, or if several plates fit.
    """
    sites = dict(_sampled(trace))
    frames = _frames(trace)
    fixed = {f.name for f in _frames(other) if f.size == size} if other else set()
    candidates = {f.name: f.dim for f in frames if _length(f, sites, size) == size and f.name not in fixed}
    around = [plate for plate in candidates if all(_inside(site, plate) for site in sites.values())]
    around = [name] if name in around else around
    if len(around) > 1 and size > 1:  # over one datum they are the same
        raise ValueError(
            f"per-datum results expect one plate over the {size} data around every site, got {around}, each as long; "
            "keep one of them, or give another number of data if one of them just happens to be as long"
        )
    if around:
        return Plates(size, candidates[around[0]], max(-f.dim for f in frames), name=around[0])
    if unsized := [f.name for f in frames if f.size == UNSIZED and all(_inside(s, f.name) for s in sites.values())]:
        shapes = {name: tuple(site["fn"].batch_shape) for name, site in sites.items()}
        raise ValueError(
            f"a plate without a size expects every site in it to have the batch shape of the {size} data, got {shapes} "
            f"in {unsized[0]!r}; give the plate its size: pyro.plate({unsized[0]!r}, len(x))"
        )
    outside = [name for name, site in sites.items() if not any(_inside(site, plate) for plate in candidates)]
    if not outside or (not candidates and all(site["cond_indep_stack"] for site in sites.values())):
        own = {f.name: f for site in sites.values() for f in site["cond_indep_stack"] if f.name != PARTICLES}
        lengths = ", ".join(f"{f.name!r} of {f.size}{'' if f.vectorized else ' in a for loop'}" for f in own.values())
        raise ValueError(
            f"per-datum results expect one plate over the {size} data around every site, got plates {lengths}; use one "
            "of the data's length for all sites, without subsampling in it, in a with statement"
        )
    raise ValueError(
        f"per-datum results expect every site in one plate over the {size} data, got {outside or list(sites)} outside; "
        "a global latent has no per-datum posterior: move it into the plate, or make it a pyro.param"
    )


def _length(frame: Any, sites: dict[str, Site], size: int) -> int:
    """Length of a plate; one made without a size is as long as its sites if they agree, as Pyro leaves it to them."""
    if frame.size != UNSIZED:
        return int(frame.size)
    shapes = [site["fn"].batch_shape for site in sites.values() if _inside(site, frame.name)]
    return size if all(len(s) >= -frame.dim and s[frame.dim] == size for s in shapes) else UNSIZED


def _inside(site: Site, plate: str) -> bool:
    return any(frame.name == plate for frame in site["cond_indep_stack"])


def log_prob(site: Site, where: Plates, num_particles: int = 1) -> Tensor:
    """Log density of a site per particle and datum, (num_particles, size), in nats."""
    return by_particle(paired.in_own_plates(site, _unscaled(site), where.depth), where, num_particles)


def log_weights(model: Trace, guide: Trace, where: Plates, num_particles: int = 1) -> Tensor:
    """log p(x, z) - log q(z | x) per particle and datum, (num_particles, size), in nats."""
    log_p = [log_prob(s, where, num_particles) for s in (latents(model) | observed(model)).values()]
    log_q = [log_prob(s, where, num_particles) for s in latents(guide).values()]
    return torch.stack(log_p).sum(0) - torch.stack(log_q).sum(0)


def by_particle(values: Tensor, where: Plates, num_particles: int = 1) -> Tensor:
    """Values in the batch shape of a site, summed over every plate but the data's, as (num_particles, size)."""
    values = values.reshape(*[1] * (where.depth + 1 - values.dim()), *values.shape)
    others = [d for d in range(-where.depth, 0) if d != where.data]
    if others:
        values = values.sum(others, keepdim=True)
    return values.flatten().reshape(values.shape[0], -1).expand(num_particles, where.size)


def total(site: Site) -> Tensor:
    """Log density of a site summed over everything, in nats; 0-dimensional."""
    return _unscaled(site).sum()


def analytic_kl(q: Site, p: Site) -> Tensor | None:
    """KL(q || p) of a site in closed form, with its batch shape, in nats; `None` where there is none."""
    try:
        kl = torch.distributions.kl_divergence(q["fn"], p["fn"])
    except NotImplementedError:
        return None
    return scale_and_mask(kl, mask=q["mask"])


def singular(site: Site) -> bool:
    """Whether a site's distribution is a point mass, which has no density."""
    return _one_value(site) and not discrete(site)


def quantized(site: Site) -> bool:
    """Whether a site's distribution is a mass on one of countably many codes, which has an entropy: 0."""
    return _one_value(site) and discrete(site)


def improper(site: Site) -> bool:
    """Whether a site's distribution is improper: its density has no finite integral."""
    return any(isinstance(fn, dist.ImproperUniform) for fn in support.layers(site["fn"]))


def discrete(site: Site) -> bool:
    """Whether a site's distribution is a mass; one that names no support counts as a density."""
    try:
        return bool(site["fn"].support.is_discrete)
    except NotImplementedError:
        return False


def enumerated(site: Site) -> bool:
    """Whether a site asks to be summed over."""
    return bool(site["infer"].get("enumerate"))


def check_pair(model: Trace, guide: Trace, size: int, other: Trace | None = None) -> Plates:
    """Check what every use of a model and guide assumes, and find the data plate; for `other` see `plates`.

    Raises
    ------
    ValueError
        See `check_sites`, `plates`, `paired.check`, `paired.check_whole` and, for observed values, `check_support`.
    """
    check_sites(model, guide)
    of_guide, where = latents(guide), plates(model, size, other)
    for name, site in latents(model).items():
        support.check_shape(site, where.data, where.depth)
        paired.check(of_guide[name], site)
    paired.check_whole([s for t in (guide, model) for s in (latents(t) | observed(t)).values()], where.data, size)
    for site in observed(model).values():
        check_support(site, where)
    return replace(where, varies=any(paired.varies(of_guide[name], site) for name, site in latents(model).items()))


def check_sites(model: Trace, guide: Trace) -> None:
    """Refuse a model and a guide whose latent sites do not match, whatever their values.

    Raises
    ------
    ValueError
        For different sites, none, or an observed one in the guide; for a density beside a mass, and an improper prior.
    """
    of_model, of_guide = latents(model), latents(guide)
    if set(of_model) != set(of_guide):
        raise ValueError(
            f"The guide samples {set(of_guide) or '{}'} but the model has {set(of_model) or '{}'}; "
            "give posterior and prior the same sites, and write the guide out if it is an autoguide, which adds its own"
        )
    if not of_guide:
        raise ValueError("a model and guide expect a latent site, got none; sample z in both")
    if seen := list(observed(guide)):
        raise ValueError(
            f"a guide expects latent sites alone, got {seen[0]!r} with a value (pyro.factor, obs=): q would not "
            "integrate to one; put it into the model"
        )
    for name, site in of_model.items():
        paired.check_events(of_guide[name], site)
        if discrete(site) != discrete(of_guide[name]):
            kinds = ["mass" if discrete(s) else "density" for s in (of_guide[name], site)]
            raise ValueError(
                f"a posterior and a prior expect to be both masses or both densities, got a {kinds[0]} and a "
                f"{kinds[1]} at {name!r}: their ratio is no number; give VectorQuantized a CodePrior, "
                "and discrete latents priors.Bernoulli or priors.Categorical"
            )
        if improper(site) and not singular(of_guide[name]):
            raise ValueError(
                f"the improper prior of {name!r} (Flat) expects a point mass as its posterior, got "
                f"{type(of_guide[name]['fn']).__name__}: its entropy is unbounded, and the ELBO would be no bound; "
                "use Point, or a proper prior"
            )


def _frames(trace: Trace) -> list[Any]:
    """A program's own vectorized plates, once for each site in them."""
    return [f for _, site in _sampled(trace) for f in site["cond_indep_stack"] if f.vectorized and f.name != PARTICLES]


def _one_value(site: Site) -> bool:
    return any(isinstance(fn, dist.Delta) for fn in support.layers(site["fn"]))


def _unscaled(site: Site) -> Tensor:
    lp = site.get("unscaled_log_prob")
    if lp is None:
        lp = one_way.log_prob(site["fn"], site["value"], *site["args"], **site["kwargs"])
    return scale_and_mask(lp, mask=site["mask"])


def _sampled(trace: Trace) -> Iterator[tuple[str, Site]]:
    for name, site in trace.nodes.items():
        if site["type"] == "sample" and not site_is_subsample(site) and not site["infer"].get("_deterministic"):
            yield name, site


def check_support(site: Site, where: Plates) -> None:
    """Refuse an observed value of another shape than its distribution's, or outside its support where it was observed.

    Raises
    ------
    ValueError
        Naming the shapes, or the support, what came, and what to do.
    """
    support.check_shape(site, where.data, where.depth)
    support.check_values(site["fn"], site["value"], support.element_mask(site["fn"]))


def particles(num: int, depth: int) -> Any:
    """The plate that draws `num` times at once, to the left of a program's own plates."""
    return pyro.plate(PARTICLES, num, dim=-1 - depth)
