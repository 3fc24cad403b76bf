"""log p(x) of rows that q is wrong for, by draws around the mode of p(z | x) in its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import constraints
from torch.func import grad, jacrev

from ppl_vae import traces
from ppl_vae.casting import arguments
from ppl_vae.isolation import evaluating
from ppl_vae.sklearn.rowwise import ROW, each, posterior_sites
from ppl_vae.split import Split
from ppl_vae.vae import VAE

__all__ = ["log_weights_at_the_mode"]

LogJoint = Callable[[Tensor], Tensor]
"""log p(x, z) of one row, z (draws, dim) -> (draws,), in nats and the units of x."""

_DF = 5.0
"""Degrees of freedom of the draws: their tails are heavier than those of a posterior under a normal prior."""

_START, _STEPS, _HALVINGS = 100, 20, 10
"""Draws from q that the best is taken of, Newton's steps from there at most, and how often a step may be halved."""

_STILL = 1e-5
"""A row that no latent moves farther in is at its mode."""

_FLATTEST = 1e-2
"""The least curvature that counts: of a standard deviation of 10."""


def log_weights_at_the_mode(vae: VAE, data: Split, num_samples: int, seed: int) -> Tensor | None:
    """log p(x, z) - log t(z; x) of draws z from a multivariate Student t at the mode of p(z | x), (num_samples, n).

    Its scale matrix is the inverse curvature of -log p(x, z) at the mode, which Newton's method climbs to from the best
    of 100 draws from q. As in `rowwise.log_weights` the random numbers are the same for every row, in nats
    and the units of x. Other modes are not seen.

    Returns
    -------
    Tensor or None
        `None` for latents that are not all of the real numbers.

    References
    ----------
    Geweke 1989, doi:10.2307/1913710, section 4.
    """
    sites, ((like, *_), _) = posterior_sites(vae, data[:1]), arguments(vae, data[:1])
    if not all(_real(site["fn"].support) for site in sites):
        return None
    shapes = {site["name"]: site["value"].shape[1:] for site in sites}
    dim = sum(shape.numel() for shape in shapes.values())
    t = dist.MultivariateStudentT(like.new_tensor(_DF), like.new_zeros(dim), torch.eye(dim).to(like))
    with evaluating(vae, seed):
        drawn = t.sample((num_samples,))
    log_t = t.log_prob(drawn)

    def moved(x: Tensor, z: Tensor) -> Tensor:
        return _newton(_log_joint(vae, x, shapes), z)

    modes = each(partial(_best_draw, vae), vae, data, _START, seed)
    climbing = torch.arange(len(data))
    for _ in range(_STEPS):
        before = modes[climbing]
        modes[climbing] = each(moved, vae, data[climbing], max(dim, _HALVINGS), seed, before)
        climbing = climbing[((modes[climbing] - before).abs().amax(1) > _STILL).cpu()]
        if not len(climbing):
            break

    def around(x: Tensor, mode: Tensor) -> Tensor:
        log_joint = _log_joint(vae, x, shapes)
        _, values, axes = _slope_and_curvature(log_joint, mode)
        log_w: Tensor = log_joint(mode + (drawn * values.rsqrt()) @ axes.T) - log_t - values.log().sum() / 2
        return log_w

    return each(around, vae, data, num_samples, seed, modes).T


def _log_joint(vae: VAE, x: Tensor, shapes: Mapping[str, torch.Size]) -> LogJoint:
    def log_joint(z: Tensor) -> Tensor:
        parts = z.split([shape.numel() for shape in shapes.values()], -1)
        values = {name: part.reshape(len(z), 1, *shapes[name]) for name, part in zip(shapes, parts, strict=True)}
        with traces.particles(len(z), ROW.depth):
            trace = poutine.trace(poutine.condition(vae.model, data=values)).get_trace(x)
        sites = traces.observed(trace).values()  # with the latents, which were given
        total: Tensor = torch.stack([traces.log_prob(site, ROW, len(z))[:, 0] for site in sites]).sum(0)
        return total

    return log_joint


def _best_draw(vae: VAE, x: Tensor) -> Tensor:
    """Of the draws from q that with the largest log p(x, z), (dim,)."""
    with traces.particles(_START, ROW.depth):
        model, guide = traces.pair(vae, x)
    z = torch.cat([site["value"].reshape(_START, -1) for site in traces.latents(guide).values()], -1)
    sites = (traces.latents(model) | traces.observed(model)).values()
    joint = torch.stack([traces.log_prob(site, ROW, _START)[:, 0] for site in sites]).sum(0)
    return _largest(z, joint)


def _largest(z: Tensor, value: Tensor) -> Tensor:
    """Of points z (draws, dim) the one with the largest value, (dim,)."""
    return z.gather(0, value.nan_to_num(-torch.inf).argmax().expand(1, z.shape[1]))[0]


def _newton(log_joint: LogJoint, z: Tensor) -> Tensor:
    """The highest point of log p(x, z) on Newton's step from z, and on halves of it; z if none is higher, (dim,)."""
    slope, values, axes = _slope_and_curvature(log_joint, z)
    shares = torch.cat([z.new_zeros(1), 0.5 ** torch.arange(_HALVINGS).to(z)])[:, None]
    tried = z + shares * (axes @ ((axes.T @ slope) / values))
    return _largest(tried, log_joint(tried))


def _slope_and_curvature(log_joint: LogJoint, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient of log p(x, z), (dim,); curvatures of minus it, above 0, (dim,), and their directions as columns."""

    def twice(at: Tensor) -> tuple[Tensor, Tensor]:
        slope = grad(lambda u: log_joint(u[None])[0])(at)
        return slope, slope

    hessian, slope = jacrev(twice, has_aux=True)(z)
    hessian, slope = hessian.nan_to_num(0.0, 0.0, 0.0), slope.nan_to_num(0.0, 0.0, 0.0)  # of rows far away
    values, axes = torch.linalg.eigh((hessian + hessian.T) / 2)
    return slope, values.abs().clamp_min(_FLATTEST), axes


def _real(support: constraints.Constraint) -> bool:
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support is constraints.real
