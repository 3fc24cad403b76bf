"""Decoded walks for a page: samples at several temperatures, and the latent explorer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ppl_vae.data.conditioned import conditions_told
from ppl_vae.isolation import evaluating
from ppl_vae.pages.decoder import NotExported, exported
from ppl_vae.pages.latents import context_of, prior_draws
from ppl_vae.pages.values import Looks, plain
from ppl_vae.split import Split
from ppl_vae.vae import VAE

__all__ = ["explorer", "samples"]

TEMPERATURES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
NUM_SAMPLES = 24
MOST_UNITS = 64
MOST_CONTEXTS = 20
WIDEST = 25
"""Decoded points along each side of a plane, at most."""


def samples(vae: VAE, split: Split, looks: Looks, share: float, seed: int) -> dict[str, Any]:
    """E[x | z] for the same draws z ~ p(z) at each temperature that the prior allows; or why there are none."""
    num = min(NUM_SAMPLES, looks.at_most(share / len(TEMPERATURES)))
    context = context_of(vae, split, num)
    made: dict[float, Any] = {}
    why = ""
    for temperature in sorted(TEMPERATURES, key=lambda t: abs(t - 1)):  # 1 first, which the others need
        try:
            z, _ = prior_draws(vae, context, num, seed, temperature)
            made[temperature] = looks.shown(_decoded(vae, z, *context))
        except ValueError as reason:
            why = why or str(reason).partition(";")[0]
    given = conditions_told(split[torch.arange(num) % len(split)])
    shown = [made[t] for t in sorted(made)]
    return {"temperatures": sorted(made), "num": num, "shown": shown, "why": why, "given": given}


def explorer(
    vae: VAE, split: Split, looks: Looks, codes: Tensor, order: Sequence[int], share: float, most: int
) -> dict[str, Any]:
    """What the latent explorer needs: ranges of the units, a decoded plane, and the decoder where the page can run it.

    Parameters
    ----------
    vae, split, looks
        Of the run.
    codes
        (n, latent_dim), of the data.
    order
        The units, the most active first.
    share
        Of what the page holds.
    most
        Number of weights of a decoder that the page holds.
    """
    contexts, named = _contexts(vae, split)
    like = next(vae.parameters())
    centre = codes.mean(0)
    low, high = codes.quantile(0.005, dim=0), codes.quantile(0.995, dim=0)
    wide = 0.25 * (high - low).clamp_min(1e-3)
    low, high = low - wide, high + wide
    graph, why = None, ""
    if len(order) > MOST_UNITS:
        why = f"the latent has {len(order)} units, and sliders are shown for at most {MOST_UNITS}"
    else:
        try:
            graph = exported(vae, centre[None].to(like), *(c[:1] for c in contexts), most=most)
        except NotExported as reason:
            why = str(reason)
    away = codes.double() - centre.double()
    directions = torch.linalg.svd(away, full_matrices=False).Vh[:2]
    reach = 1.25 * (away @ directions.T).abs().quantile(0.99, dim=0).clamp_min(1e-3)
    plane = _plane(vae, looks, centre, (low, high), order, [c[:1] for c in contexts], share)
    return {
        "order": order,
        "low": plain(low),
        "high": plain(high),
        "centre": plain(centre),
        "directions": plain(directions),
        "reach": plain(reach),
        "contexts": [plain(c.double().cpu()) for c in contexts],
        "named": named,
        "plane": plane,
        "graph": graph,
        "why": why,
    }


def _plane(
    vae: VAE,
    looks: Looks,
    centre: Tensor,
    bounds: tuple[Tensor, Tensor],
    order: Sequence[int],
    context: Sequence[Tensor],
    share: float,
) -> dict[str, Any]:
    """The plane of the two most active units, decoded; the line of the one, where there is one."""
    axes = sorted(order) if len(order) == 2 else list(order[:2])
    side = max(2, min(WIDEST, int(looks.at_most(share) ** (1 / len(axes)))))
    steps = [torch.linspace(float(bounds[0][j]), float(bounds[1][j]), side) for j in axes]
    grid = (
        torch.cartesian_prod(*reversed(steps)).reshape(side ** len(axes), len(axes)).flip(1)
    )  # the first axis moves first
    z = centre.repeat(len(grid), 1)
    z[:, axes] = grid.to(z)
    given = (c.expand(len(z), *c.shape[1:]) for c in context)
    shown = looks.shown(_decoded(vae, z.to(next(vae.parameters())), *given))
    if "png" in shown:
        shown["across"] = math.ceil(math.sqrt(len(z)))
    return {"axes": axes, "steps": [plain(s) for s in steps], "shown": shown}


def _decoded(vae: VAE, z: Tensor, *context: Tensor) -> Tensor:
    """What stands for p(x | z) in raw units, (n, *x_shape), on the CPU."""
    with evaluating(vae):
        found: Tensor = vae.raw(vae.likelihood.typical(vae.decode(z, *context))).cpu()
    return found


def _contexts(vae: VAE, split: Split) -> tuple[list[Tensor], list[str]]:
    """Different contexts among the data, each (m, ...), and what they are called."""
    if not split.context or "decoder" not in vae.context_to:
        return list(context_of(vae, split, 1)), []
    given = context_of(vae, split)
    flat = torch.cat([c.reshape(len(c), -1).double() for c in given], 1)
    _, first = flat.unique(dim=0, return_inverse=True)
    rows = [int((first == i).nonzero()[0, 0]) for i in range(min(MOST_CONTEXTS, int(first.max()) + 1))]
    one_hot = bool(((flat == 0) | (flat == 1)).all() and (flat.sum(1) == 1).all())
    classes = split.classes
    if one_hot:
        rows = sorted(rows, key=lambda row: int(flat[row].argmax()))
        codes = [int(flat[row].argmax()) for row in rows]
        named = [str(classes[code]) if classes else f"label {code}" for code in codes]
    else:
        named = [f"as datum {int(split.index[row])}" for row in rows]
    return [c[rows] for c in given], named
