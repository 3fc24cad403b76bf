"""Walks through the latent space: grids, traversals and interpolations."""

from __future__ import annotations

from contextlib import suppress
from typing import Literal

import pyro
import torch
from pyro import poutine
from pyro.distributions import Independent
from torch import Tensor

from ppl_vae import traces
from ppl_vae.arguments import Count, Floats, Numbers, Seed, checked
from ppl_vae.calls import verb
from ppl_vae.conditional import Chain
from ppl_vae.isolation import evaluating
from ppl_vae.manifold.pullback import check_codes
from ppl_vae.tensors import LEAVE, check_finite
from ppl_vae.vae import VAE

__all__ = ["code_grid", "interpolate", "traverse"]

NUM_DRAWS = 10_000


@checked
def interpolate(a: Tensor, b: Tensor, steps: Count, *, kind: Literal["linear", "spherical"] = "linear") -> Tensor:
    """Walks from a to b at even steps: a straight line, or an arc around the origin.

    A line between two draws of a high-dimensional standard normal passes where the prior has hardly any mass, nearer
    to the origin than any draw; an arc does not. Its direction turns at constant speed while its norm goes evenly
    from |a| to |b|; where these are equal it is the usual slerp, whose formula diverges between opposite directions
    where they are not. Between exactly opposite ones it takes one great circle of many, always the same; with one
    code unit, and from or to the origin, it is the line.

    Parameters
    ----------
    a, b
        Ends, (*leading, latent_dim); they broadcast.
    steps
        Number of points, the ends included.
    kind
        ``"linear"`` or ``"spherical"``.

    Returns
    -------
    Tensor
        (*leading, steps, latent_dim).

    Raises
    ------
    ValueError
        For fewer than two steps, ends that are not finite, of different dimensions or whose leading ones do not
        broadcast, or another kind.
    TypeError
        For ends that are no tensors of floats.

    References
    ----------
    White 2016, arXiv:1609.04468.

    Examples
    --------
    >>> a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    >>> interpolate(a, b, 3, kind="spherical")
    tensor([[1.0000, 0.0000],
            [0.7071, 0.7071],
            [0.0000, 1.0000]])
    """
    check_codes("interpolate", a, b)
    for end in (a, b):
        check_finite("interpolate", end, fix=LEAVE)
    if steps < 2 or a.shape[-1] != b.shape[-1] or not _broadcast(a, b):
        raise ValueError(
            f"interpolate expects two steps or more between codes of one dimension, got steps={steps} from "
            f"{tuple(a.shape)} to {tuple(b.shape)}; give ends (*leading, latent_dim) that broadcast"
        )
    a, b = (end.unsqueeze(-2) for end in torch.broadcast_tensors(a, b))
    t = torch.linspace(0, 1, steps, dtype=a.dtype, device=a.device).unsqueeze(-1)
    z = _arc(a, b, t) if kind == "spherical" and a.shape[-1] > 1 else torch.lerp(a, b, t)
    z[..., :1, :], z[..., -1:, :] = a, b  # exactly
    return z


@checked
def traverse(z: Tensor, values: Numbers) -> Tensor:
    """Walks from a code along each of its units, the others staying as they are.

    Parameters
    ----------
    z
        The code, (latent_dim,).
    values
        What the moving unit takes, (steps,), or for each unit (latent_dim, steps).

    Returns
    -------
    Tensor
        (latent_dim, steps, latent_dim): a row for each unit.

    Raises
    ------
    ValueError
        For several codes at once, one that is not finite, and values of another shape.
    TypeError
        For a code that is no tensor of floats.

    Examples
    --------
    >>> traverse(torch.zeros(2), torch.tensor([-1.0, 1.0])).tolist()
    [[[-1.0, 0.0], [1.0, 0.0]], [[0.0, -1.0], [0.0, 1.0]]]
    """
    check_codes("traverse", z)
    check_finite("traverse", z, fix=LEAVE)
    values = torch.as_tensor(values, dtype=z.dtype, device=z.device)
    dim = len(z)
    if z.dim() != 1 or values.shape[:-1] not in ((), (dim,)) or values.dim() == 0 or not values.numel():
        raise ValueError(
            "traverse expects one code (latent_dim,) and values (steps,) or (latent_dim, steps), got "
            f"{tuple(z.shape)} and {tuple(values.shape)}; traverse codes one by one, and give values for every unit"
        )
    values = values.expand(dim, values.shape[-1])
    walks = z.repeat(dim, values.shape[-1], 1)
    units = torch.arange(dim, device=z.device)
    walks[units, :, units] = values
    return walks


@verb
def code_grid(vae: VAE, side: Count, *context: Tensor, codes: Floats | None = None, seed: Seed = 0) -> Tensor:
    """A grid over a two-dimensional code through the quantiles of each unit, so that cells hold like mass.

    The levels are (i + 1/2) / side. The quantiles are the inverse cdf of a prior of independent units that has one
    (`StandardNormal`, `Laplace`), those of 10,000 draws from any other, and those of the codes where some are given:
    an autoencoder's `Flat` prior has none of its own. Units that depend on one another leave cells without mass.

    Parameters
    ----------
    vae
        A `VAE` with a two-dimensional code.
    side
        Points along each unit.
    *context
        What a conditional prior is given, each without leading dimensions.
    codes
        Codes (n, 2) whose quantiles to take instead.
    seed
        Of the draws.

    Returns
    -------
    Tensor
        (side, side, 2): columns from low to high z[0], rows from high z[1] to low, as `plots.manifold` draws them.

    Raises
    ------
    ValueError
        For a code that is not two-dimensional, fewer than one point, an improper prior without codes, a conditional
        one without its context, and a prior that is a mass, which has none between its codes.
    TypeError
        For an object that is no `VAE`.

    References
    ----------
    Kingma & Welling 2014, arXiv:1312.6114, figure 4.

    Examples
    --------
    >>> from ppl_vae import VAE, DiagonalNormal, Gaussian, StandardNormal
    >>> vae = VAE(StandardNormal(2), Gaussian(2, (5,)), DiagonalNormal((5,), 2))
    >>> code_grid(vae, 3)[0]
    tensor([[-0.9674,  0.9674],
            [ 0.0000,  0.9674],
            [ 0.9674,  0.9674]])
    """
    if _discrete(vae, context, seed):
        raise ValueError(
            f"code_grid expects a prior with a density, got {type(vae.prior).__name__}, a mass: a grid would lie "
            "between its codes, where the decoder was never trained; look at draws instead (vae.sample(n, mean=True))"
        )
    levels = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    units = _quantiles(codes, levels) if codes is not None else _prior_quantiles(vae, levels, context, seed)
    if units.shape[1] != 2:
        raise ValueError(
            f"code_grid expects codes of two units, got {units.shape[1]}; traverse the units one by one (`traverse`)"
        )
    first, second = units[:, 0], units[:, 1].flip(0)
    return torch.stack(torch.meshgrid(first, second, indexing="xy"), -1)


def _arc(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """From a to b (*leading, 1, dim) around the origin, at times t (steps, 1)."""
    norm_a, norm_b = a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True)
    tiny = torch.finfo(a.dtype).tiny
    u, v = a / norm_a.clamp_min(tiny), b / norm_b.clamp_min(tiny)
    u, v = torch.where(norm_a == 0, v, u), torch.where(norm_b == 0, u, v)  # from the origin: the other's direction
    cosine = (u * v).sum(-1, keepdim=True)
    across = v - cosine * u
    sine = across.norm(dim=-1, keepdim=True)
    opposite = (sine < 10 * torch.finfo(a.dtype).eps) & (cosine < 0)
    across = torch.where(opposite, _across(u), across)
    across = across / across.norm(dim=-1, keepdim=True).clamp_min(tiny)
    angle = t * torch.atan2(sine, cosine)
    return torch.lerp(norm_a, norm_b, t) * (angle.cos() * u + angle.sin() * across)


def _across(u: Tensor) -> Tensor:
    """A vector at right angles to the unit vectors u (..., dim): the axis they lean to least, made orthogonal."""
    axis = torch.zeros_like(u).scatter_(-1, u.abs().argmin(-1, keepdim=True), 1.0)
    return axis - (axis * u).sum(-1, keepdim=True) * u


def _broadcast(a: Tensor, b: Tensor) -> bool:
    return all(m == n or 1 in (m, n) for m, n in zip(a.shape[-2::-1], b.shape[-2::-1], strict=False))


def _quantiles(codes: Tensor, levels: Tensor) -> Tensor:
    return codes.quantile(levels.to(codes), dim=0)


def _discrete(vae: VAE, context: tuple[Tensor, ...], seed: int) -> bool:
    """Whether the prior is a mass; not known of one that lacks its context."""
    given = [c.expand(2, *c.shape) for c in vae.given_to("prior", context)]
    with evaluating(vae, seed), pyro.plate("data", 2, dim=-1), suppress(ValueError, RuntimeError, TypeError):
        sites = traces.latents(poutine.trace(vae.prior).get_trace(*given)).values()
        return any(map(traces.discrete, sites))
    return False


def _prior_quantiles(vae: VAE, levels: Tensor, context: tuple[Tensor, ...], seed: int) -> Tensor:
    """Quantiles (levels, latent_dim) of every unit of the prior."""
    like = next(vae.parameters())
    one, many = ([c.expand(size, *c.shape) for c in vae.given_to("prior", context)] for size in (1, NUM_DRAWS))
    with evaluating(vae, seed), pyro.plate("data", NUM_DRAWS, dim=-1):
        try:
            prior = None if isinstance(vae.prior, Chain) else vae.prior.given(*one)
            if isinstance(prior, Independent):
                with suppress(NotImplementedError):
                    return prior.base_dist.icdf(levels.to(like).unsqueeze(-1))
            return _quantiles(vae.prior(*many), levels)
        except (ValueError, RuntimeError, TypeError) as error:
            raise ValueError(
                f"code_grid expects a prior that can be sampled, given its context, got {type(vae.prior).__name__} "
                f"and contexts of shapes {[tuple(c.shape) for c in context]}; give codes=, of the training data for "
                "instance, or the context that the VAE was built for, without leading dimensions"
            ) from error
