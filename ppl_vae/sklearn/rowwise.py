"""Codes and log p(x) of each row with common random numbers, so that a row's value does not depend on other rows."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import torch
from pyro import poutine
from torch import Tensor

from ppl_vae import traces
from ppl_vae.casting import arguments
from ppl_vae.find_plates import find_plates
from ppl_vae.importance import log_marginal
from ppl_vae.isolation import evaluating, frozen
from ppl_vae.memory import chunks
from ppl_vae.rows import dense
from ppl_vae.split import Split
from ppl_vae.vae import VAE

__all__ = ["ROW", "codes", "each", "log_px", "log_weights", "posterior_sites"]

ROW = traces.Plates(size=1, data=-1, depth=1)


def codes(vae: VAE, data: Split, num_samples: int, seed: int) -> Tensor:
    """The mean of q(z | x), exact where it is known and else that of `num_samples` draws; (n, latent_dim)."""
    try:
        with torch.no_grad():
            return torch.cat([vae.encode(data[rows]).mean for rows in chunks(len(data), 1, _at_once(vae, data))])
    except (NotImplementedError, TypeError):  # a flow's mean has no formula, a Chain has no single distribution

        def mean(x: Tensor, mask: Tensor | bool = True) -> Tensor:
            with traces.particles(num_samples, ROW.depth):
                return vae.latent_draw(x, mask=mask).mean((0, 1))

        return each(mean, vae, data, num_samples, seed, *_masks(data))


def log_px(vae: VAE, data: Split, num_samples: int, seed: int) -> Tensor:
    """log p(x) by importance sampling with `num_samples` draws from q, (n,), in nats and in the raw data's units.

    For rows with missing elements, log p(x_observed); 0 where nothing was observed.
    """
    found = log_marginal(log_weights(vae, data, num_samples, seed)).estimate.cpu() - data.log_volume
    return found.masked_fill(data.elements == 0, 0.0)


def log_weights(vae: VAE, data: Split, num_samples: int, seed: int) -> Tensor:
    """log p(x, z) - log q(z | x) of `num_samples` draws from q, (num_samples, n), in nats and the units of x."""

    def of_one(x: Tensor, mask: Tensor | bool = True) -> Tensor:
        with traces.particles(num_samples, ROW.depth):
            model, guide = traces.pair(vae, x, mask=mask)
        return traces.log_weights(model, guide, ROW, num_samples)[:, 0]

    return each(of_one, vae, data, num_samples, seed, *_masks(data)).T


def posterior_sites(vae: VAE, data: Split) -> list[traces.Site]:
    """The sites of one draw from the guide."""
    with evaluating(vae, 0):
        return list(traces.latents(poutine.trace(vae.guide).get_trace(*arguments(vae, data)[0])).values())


def _masks(data: Split) -> tuple[Tensor, ...]:
    """The mask of data with missing elements, a row (1, *x_shape) each."""
    return () if data.mask is None else (dense(data.mask)[:, None],)


def _at_once(vae: VAE, data: Split) -> int:
    with evaluating(vae, 0):
        return find_plates(vae, data).rows(10_000)


def each(f: Callable[..., Tensor], vae: VAE, data: Split, rows_each: int, seed: int, *more: Tensor) -> Tensor:
    """f of each row (1, *x_shape), and of its part of `more`, separately, all with the same random numbers."""
    (x,), _ = arguments(vae, data)

    def of_one(row: Tensor, *rest: Tensor) -> Tensor:
        return f(row[None], *rest)

    mapped = torch.vmap(of_one, randomness="same")
    done = []
    for rows in chunks(len(x), rows_each, _at_once(vae, data)):
        # inside vmap no parameter with a gradient can be registered, and validation cannot branch on values
        with evaluating(vae, seed), frozen(vae), pyro.validation_enabled(False):
            done.append(mapped(x[rows], *(part[rows] for part in more)))
    return torch.cat(done)
