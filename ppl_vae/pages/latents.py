"""Latents of a run for its page: codes, draws of the prior, quantiles of q for each datum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae import traces
from ppl_vae.draws import encoded
from ppl_vae.isolation import evaluating
from ppl_vae.pages.values import plain
from ppl_vae.split import Split
from ppl_vae.vae import VAE

__all__ = ["Tempered", "codes_of", "context_of", "latents", "posteriors", "prior_draws"]

MOST_UNITS = 64
LEVELS = (0.05, 0.5, 0.95)


class Tempered(Messenger):
    """Moves each latent that is sampled towards the mean of its distribution: z = mean + temperature (z - mean).

    Of a normal distribution these are draws of its density to the power of 1 / temperature^2. A distribution without a
    mean is given that of its draws.

    Raises
    ------
    ValueError
        For a latent that leaves the support of its distribution: codes, points on a sphere.
    """

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def _pyro_post_sample(self, msg: dict[str, Any]) -> None:
        if self.temperature == 1 or msg["is_observed"] or poutine.util.site_is_subsample(msg):
            return
        fn, value = msg["fn"], msg["value"]
        try:
            mean = fn.mean
        except NotImplementedError:
            mean = value.mean(0)
        moved = mean + self.temperature * (value - mean)
        if not bool(fn.support.check(moved).all()):
            raise ValueError(
                f"a temperature expects latents that may take any value between their draws and their mean, got "
                f"{msg['name']!r} of another support; use temperature 1"
            )
        msg["value"] = moved


def context_of(vae: VAE, split: Split, num: int | None = None) -> tuple[Tensor, ...]:
    """The contexts of a split where the parameters are; with `num`, in turn for so many data."""
    like = next(vae.parameters())
    rows = slice(None) if num is None else torch.arange(num) % len(split)
    return tuple(c[rows].to(like.device, like.dtype if c.is_floating_point() else None) for c in split.context)


def codes_of(vae: VAE, split: Split, seed: int, at_once: int = 1000) -> Tensor:
    """One draw of what the likelihood is given for each datum, (n, latent_dim), on the CPU."""
    parts = [split[i : i + at_once] for i in range(0, len(split), at_once)]
    with evaluating(vae, seed):
        return torch.cat([vae.posterior_draw(part) for part in parts]).cpu()


def prior_draws(
    vae: VAE, context: Sequence[Tensor], num: int, seed: int, temperature: float = 1.0
) -> tuple[Tensor, dict[str, Tensor]]:
    """Draws of what the likelihood is given under p(z), (num, latent_dim), and of every site, (num, units).

    Raises
    ------
    ValueError
        For an improper prior, and see `Tempered`.
    """
    with evaluating(vae, seed), Tempered(temperature), pyro.plate("data", num, dim=-1):
        trace = poutine.trace(vae.prior).get_trace(*vae.given_to("prior", context))
    found: Tensor = trace.nodes["_RETURN"]["value"]
    sites = {name: site["value"].reshape(num, -1).cpu() for name, site in traces.latents(trace).items()}
    return found, sites


def posteriors(vae: VAE, split: Split, prior: dict[str, Tensor], seed: int, num_samples: int = 1000) -> dict[str, Any]:
    """Quantiles of each unit under q(z | x) for each datum, and under the prior, for the page's JavaScript."""
    each: dict[str, list[Tensor]] = {}
    with evaluating(vae, seed):
        levels = torch.tensor(LEVELS, dtype=torch.float64)
        for _, z in encoded(vae, split, num_samples):
            for name, draws in z.items():
                each.setdefault(name, []).append(draws.cpu().quantile(levels.to(draws.device), 0).permute(1, 2, 0))
    q = torch.cat([torch.cat(parts) for parts in each.values()], 1)[:, :MOST_UNITS]
    names = [f"{name}[{j}]" for name, parts in each.items() for j in range(parts[0].shape[1])]
    found = {"names": names[:MOST_UNITS], "left": max(0, len(names) - MOST_UNITS), "q": plain(q), "prior": None}
    if set(prior) == set(each):
        p = torch.cat([prior[name].double() for name in each], 1)[:, :MOST_UNITS]
        found["prior"] = plain(p.quantile(levels, 0).T)
    return found


def latents(codes: Tensor, prior: Tensor | None, names: Sequence[str], order: Sequence[int]) -> dict[str, Any]:
    """Codes (n, latent_dim), one a datum, and draws of the prior, of the most active units, the first one first."""
    kept = list(order[:MOST_UNITS])
    return {
        "names": [names[j] for j in kept],
        "left": len(order) - len(kept),
        "codes": plain(codes[:, kept]),
        "prior": None if prior is None else plain(prior[:, kept].cpu()),
    }
