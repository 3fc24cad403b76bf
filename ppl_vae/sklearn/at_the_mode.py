"""Weights of draws from q and around the mode of p(z | x), for a log p(x) of rows that q is wrong for, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import constraints
from torch.func import grad, jacrev

from ppl_vae import traces
from ppl_vae.bare_support import of_each
from ppl_vae.casting import arguments
from ppl_vae.isolation import evaluating
from ppl_vae.sklearn import rowwise
from ppl_vae.sklearn.rowwise import ROW, each, posterior_sites
from ppl_vae.split import Split
from ppl_vae.vae import VAE

__all__ = ["log_weights"]

LogDensity = Callable[[Tensor], Tensor]
"""log p(x, z), or log q(z | x), of one row, z (draws, dim) -> (draws,), in nats and the units of x."""

_DF = 5.0
"""Degrees of freedom of the draws: their tails are heavier than those of a posterior under a normal prior."""

_START, _STEPS, _HALVINGS = 100, 20, 10
"""Draws from q that the best is taken of, Newton's steps from there at most, and how often a step may be halved."""

_STILL = 1e-5
"""A row that no latent moves farther in is at its mode."""

_FLATTEST = 1e-2
"""The least curvature that counts: of a standard deviation of 10."""


def log_weights(vae: VAE, data: Split, num_samples: int, seed: int) -> Tensor:
    """log p(x, z) less the log density of the draws z, half from q, half from a Student t at the mode of p(z | x).

    The scale matrix of the multivariate t is the inverse curvature of -log p(x, z) at the mode, which Newton's method
    climbs to from the best of 100 draws from q. The density of the draws is that of their mixture,
    (q(z | x) + t(z; x)) / 2 for even num_samples. So the mean weight is unbiased for p(x), and a weight is at most
    twice what it would be with either density alone. No row is judged by one of them for the sake of its k-hat: among
    rows that q is wrong for, some have a good k-hat by chance, and a log p(x) that is nats too low. As in
    `rowwise.log_weights` the random numbers are the same for every row. Other modes are seen by q alone.

    For latents that are not all of the real numbers all draws are from q.

    Returns
    -------
    Tensor
        (num_samples, n), in nats and the units of x.

    References
    ----------
    Geweke 1989, doi:10.2307/1913710, section 4 (the t); Veach & Guibas 1995, doi:10.1145/218380.218498 (the mixture).
    """
    sites, ((like, *_), _) = posterior_sites(vae, data[:1]), arguments(vae, data[:1])
    if not all(of_each(site["fn"].support) is constraints.real for site in sites):
        return rowwise.log_weights(vae, data, num_samples, seed)
    shapes = {site["name"]: site["value"].shape[1:] for site in sites}
    dim, half = sum(shape.numel() for shape in shapes.values()), num_samples // 2
    t = dist.MultivariateStudentT(like.new_tensor(_DF), like.new_zeros(dim), torch.eye(dim).to(like))
    with evaluating(vae, seed):
        _, drawn = t.sample((2, half))  # the first random numbers are those of q's draws
    shares = like.new_tensor([1 - half / num_samples, half / num_samples]).log()

    def mixed(x: Tensor, mode: Tensor) -> Tensor:
        from_q, log_q = _drawn(vae, x, num_samples - half)
        log_joint = _joint(vae.model, x, shapes)
        _, values, axes = _slope_and_curvature(log_joint, mode)
        around = mode + (drawn * values.rsqrt()) @ axes.T
        z = torch.cat([from_q, around])
        log_q = torch.cat([log_q, _joint(vae.guide, x, shapes)(around)]).nan_to_num(-torch.inf)
        log_t = t.log_prob((z - mode) @ axes * values.sqrt()) + values.log().sum() / 2
        log_w: Tensor = log_joint(z) - torch.logaddexp(shares[0] + log_q, shares[1] + log_t)
        return log_w

    return each(mixed, vae, data, num_samples, seed, _modes(vae, data, seed, shapes)).T


def _modes(vae: VAE, data: Split, seed: int, shapes: Mapping[str, torch.Size]) -> Tensor:
    """Of p(z | x), (n, dim)."""

    def moved(x: Tensor, z: Tensor) -> Tensor:
        return _newton(_joint(vae.model, x, shapes), z)

    modes = each(partial(_best_draw, vae, shapes), vae, data, _START, seed)
    climbing = torch.arange(len(data))
    for _ in range(_STEPS):
        before = modes[climbing]
        modes[climbing] = each(moved, vae, data[climbing], max(modes.shape[1], _HALVINGS), seed, before)
        climbing = climbing[((modes[climbing] - before).abs().amax(1) > _STILL).cpu()]
        if not len(climbing):
            break
    return modes


def _joint(program: Callable[..., Any], x: Tensor, shapes: Mapping[str, torch.Size]) -> LogDensity:
    """Of the latents, and of what else the program samples."""

    def log_joint(z: Tensor) -> Tensor:
        parts = z.split([shape.numel() for shape in shapes.values()], -1)
        values = {name: part.reshape(len(z), 1, *shapes[name]) for name, part in zip(shapes, parts, strict=True)}
        with traces.particles(len(z), ROW.depth):
            trace = poutine.trace(poutine.condition(program, data=values)).get_trace(x)
        sites = traces.observed(trace).values()  # with the latents, which were given
        total: Tensor = torch.stack([traces.log_prob(site, ROW, len(z))[:, 0] for site in sites]).sum(0)
        return total

    return log_joint


def _drawn(vae: VAE, x: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """Draws from q, (num, dim), and log q of them, (num,)."""
    with traces.particles(num, ROW.depth):
        sites = traces.latents(poutine.trace(vae.guide).get_trace(x)).values()
    log_q = torch.stack([traces.log_prob(site, ROW, num)[:, 0] for site in sites]).sum(0)
    return torch.cat([site["value"].reshape(num, -1) for site in sites], -1), log_q


def _best_draw(vae: VAE, shapes: Mapping[str, torch.Size], x: Tensor) -> Tensor:
    """Of the draws from q that with the largest log p(x, z), (dim,)."""
    z, _ = _drawn(vae, x, _START)
    return _largest(z, _joint(vae.model, x, shapes)(z))


def _largest(z: Tensor, value: Tensor) -> Tensor:
    """Of points z (draws, dim) the one with the largest value, (dim,)."""
    return z.gather(0, value.nan_to_num(-torch.inf).argmax().expand(1, z.shape[1]))[0]


def _newton(log_joint: LogDensity, z: Tensor) -> Tensor:
    """The highest point of log p(x, z) on Newton's step from z, and on halves of it; z if none is higher, (dim,)."""
    slope, values, axes = _slope_and_curvature(log_joint, z)
    shares = torch.cat([z.new_zeros(1), 0.5 ** torch.arange(_HALVINGS).to(z)])[:, None]
    tried = z + shares * (axes @ ((axes.T @ slope) / values))
    return _largest(tried, log_joint(tried))


def _slope_and_curvature(log_joint: LogDensity, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient of log p(x, z), (dim,); curvatures of minus it, above 0, (dim,), and their directions as columns."""

    def twice(at: Tensor) -> tuple[Tensor, Tensor]:
        slope = grad(lambda u: log_joint(u[None])[0])(at)
        return slope, slope

    hessian, slope = jacrev(twice, has_aux=True)(z)
    hessian, slope = hessian.nan_to_num(0.0, 0.0, 0.0), slope.nan_to_num(0.0, 0.0, 0.0)  # of rows far away
    values, axes = torch.linalg.eigh((hessian + hessian.T) / 2)
    return slope, values.abs().clamp_min(_FLATTEST), axes
