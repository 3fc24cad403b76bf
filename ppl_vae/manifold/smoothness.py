"""The smoothness of walks in numbers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ppl_vae.arguments import Count
from ppl_vae.calls import verb
from ppl_vae.isolation import evaluating
from ppl_vae.libraries import pd
from ppl_vae.manifold.pullback import along, at_once, check_codes, decoded
from ppl_vae.memory import chunks
from ppl_vae.precision import in_float64
from ppl_vae.vae import VAE

__all__ = ["smoothness"]


@verb
def smoothness(vae: VAE, z: Tensor, *context: Tensor, max_rows: Count = 10_000) -> pd.DataFrame:
    """Lengths and evenness of decoded walks, in raw data units.

    Lengths are sums of chords, so that only walks of as many steps compare. A short walk with even steps is smooth.

    Parameters
    ----------
    vae
        A `VAE`, an autoencoder among them.
    z
        Walks, (*leading, steps, latent_dim).
    *context
        What the VAE is conditioned on, each (*leading, ...), constant along a walk.
    max_rows
        Number of points decoded at once; bounds the memory.

    Returns
    -------
    DataFrame
        A row for each walk, in the order of `z.flatten(0, -3)`: `length` of the decoded path, its `largest_step`,
        `unevenness`, the largest step over the mean step (1 is even), `distance` between the decoded ends, and
        `detour`, length over distance (1 is straight).

    Raises
    ------
    TypeError
        For an object that is no `VAE`, and for walks that are no tensor of floats.
    ValueError
        For walks of fewer than two steps.

    Examples
    --------
    >>> from ppl_vae.manifold import interpolate
    >>> from ppl_vae import VAE, DiagonalNormal, Gaussian, StandardNormal
    >>> _ = torch.manual_seed(0)
    >>> vae = VAE(StandardNormal(2), Gaussian(2, (5,)), DiagonalNormal((5,), 2))
    >>> walk = interpolate(torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 1.0]), 20)
    >>> bool((smoothness(vae, walk).detour >= 1).all())
    True
    """
    check_codes("smoothness", z)
    if z.dim() < 2 or z.shape[-2] < 2:
        raise ValueError(
            f"smoothness expects walks (*leading, steps, latent_dim) of two steps or more, got {tuple(z.shape)}; "
            "see `interpolate`"
        )
    leading, steps = z.shape[:-2], z.shape[-2]
    rank = len(leading)
    flat = z.reshape(-1, *z.shape[-2:])
    shared = [c.expand(*leading, *c.shape[rank:]).reshape(-1, *c.shape[rank:]) for c in context]
    parts = []
    with evaluating(vae):
        max_rows = at_once(vae, max_rows, flat[:1, 0], *(c[:1] for c in shared))
        for some in chunks(len(flat), steps, max_rows):
            x = decoded(vae, flat[some], *along(tuple(c[some] for c in shared), 1)).flatten(2)
            step = x.diff(dim=1).norm(dim=-1)
            parts.append(torch.stack([step.sum(1), step.amax(1), (x[:, -1] - x[:, 0]).norm(dim=-1)], 1).cpu())
    length, largest, distance = in_float64(torch.cat(parts)).numpy().T
    with np.errstate(divide="ignore", invalid="ignore"):
        return pd.DataFrame(
            {
                "length": length,
                "largest_step": largest,
                "unevenness": largest / length * (steps - 1),
                "distance": distance,
                "detour": length / distance,
            }
        ).rename_axis("walk")
