"""Disentanglement of the latent units of a program against known factors of the data."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppl_vae.arguments import Count, Seed
from ppl_vae.calls import verb
from ppl_vae.draws import encoded
from ppl_vae.evaluation.factor_scores import FactorScores, factor_scores
from ppl_vae.isolation import evaluating
from ppl_vae.modelled import Modelled
from ppl_vae.split import Split

__all__ = ["disentanglement"]


@verb
def disentanglement(
    program: Modelled,
    x: Split,
    *,
    num_samples: Count = 100,
    seed: Seed | None = None,
    max_rows: Count = 10_000,
    **settings: Any,
) -> FactorScores:
    """MIG, SAP and DCI of a program's latent units against `Split.factors`; a code is a mean of draws from q(z | x).

    A mean carries more information than a draw: in a unit that has nearly collapsed it may vary with a factor by less
    than the standard deviation of q. `num_samples=1` scores draws. For the limits of the scores see `factor_scores`.

    Parameters
    ----------
    program
        A `VAE`, a `Program`, or a module of your own with `.model` and `.guide`. Of several latent sites the units of
        all are scored together.
    x
        Data whose factors are known, 100 or more.
    num_samples
        Number of draws averaged for a code: 1 for single draws, by which MIG is defined (Chen et al. 2018); many for
        means, which are usually scored (Locatello et al. 2019). The decoder is not run.
    seed
        Seed of the draws and the scores; fresh entropy, recorded, if `None`.
    max_rows
        Pairs of draw and datum held at once; bounds the memory, for all draws of one datum at least.
    **settings
        `num_bins`, `num_trees` and `num_bootstrap` of `factor_scores`.

    Returns
    -------
    FactorScores

    Raises
    ------
    TypeError
        For a program that is no module with `.model` and `.guide`, and for data that are no `Split`.
    ValueError
        For data whose factors are not known, fewer than one draw, fewer than two units, sites outside one plate over
        the data, and what `factor_scores` refuses.

    References
    ----------
    Chen et al. 2018, arXiv:1802.04942; Locatello et al. 2019, arXiv:1811.12359.

    Examples
    --------
    >>> from ppl_vae import build, data
    >>> curve = data.load("s_curve")
    >>> _ = torch.manual_seed(0)
    >>> found = disentanglement(build(curve, latent_dim=2), curve.test, num_bootstrap=0, seed=0)
    >>> found.importance.sum().round(6).to_dict()
    {'arc length': 1.0, 'height': 1.0}
    """
    if not isinstance(x, Split):
        raise TypeError(
            f"disentanglement expects a Split, got {type(x).__name__}; give data.test, or arrays to factor_scores"
        )
    if x.factors is None:
        raise ValueError(
            f"disentanglement expects data whose factors are known, got {x.provenance.get('name', 'data')!r} without; "
            "give Split(..., factors=...), or load 'sprites', 's_curve' or 'swiss_roll'"
        )
    with evaluating(program, seed) as used:
        codes = _codes(program, x.fixed(used), num_samples, max_rows)
    return factor_scores(
        np.concatenate(list(codes.values()), 1),
        x.factors.cpu().numpy(),
        names=x.provenance.get("factors"),
        units=[f"{site}[{j}]" for site, means in codes.items() for j in range(means.shape[1])],
        categorical=x.provenance.get("categorical", ()),
        seed=used,
        **settings,
    )


def _codes(program: Modelled, split: Split, num_samples: int, max_rows: int) -> dict[str, np.ndarray]:
    """Mean over draws for each datum, by site, (n, units)."""
    means: dict[str, list[Tensor]] = {}
    for _, draws in encoded(program, split, num_samples, max_rows):
        for name, z in draws.items():
            means.setdefault(name, []).append(z.mean(0).cpu())
    return {name: torch.cat(parts).numpy() for name, parts in means.items()}
