"""Steps of `Data`, on one split at a time, and what they refuse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ppl_vae.domain import Domain
from ppl_vae.split import Split

__all__ = ["ROLES", "check_binarize", "first", "hidden", "loc_and_scale", "num_classes", "seed_of"]

ROLES = ("train", "validation", "test")
"""The splits of data, by name."""


def seed_of(role: str, seed: int) -> int:
    """The seed of one split, derived from that of the data, so that splits have independent noise."""
    return len(ROLES) * seed + ROLES.index(role)


def hidden(fraction: float, seed: int, role: str, split: Split) -> Split:
    """A split of which a fraction of the elements is missing completely at random."""
    generator = torch.Generator().manual_seed(seed_of(role, seed))
    mask = torch.rand(split.x.shape, generator=generator).to(split.x.device) >= fraction
    mask = mask if split.mask is None else mask & split.mask
    return replace(split, x=split.x.masked_fill(~mask, 0.0), mask=mask)


def first(sizes: Mapping[str, int | None], role: str, split: Split) -> Split:
    """The first data of a split, all where its size is `None`.

    Raises
    ------
    ValueError
        For a number that is not between 1 and the size of the split.
    """
    wanted = sizes[role]
    n = len(split) if wanted is None else wanted
    if not 1 <= n <= len(split):
        raise ValueError(
            f"take expects 1 to {len(split)} {role} data, got {n}; give a number in this range, or None for all"
        )
    return split[:n]


def num_classes(labels: Sequence[Tensor], classes: Sequence[str] | None, name: str) -> int:
    """Number of classes of some data, from their names or the labels of all splits.

    Raises
    ------
    ValueError
        Where a split has no labels.
    """
    if len(labels) < len(ROLES):
        raise ValueError(
            f"condition_on_labels expects a label for each datum, got none in {name!r}; "
            "give labels with the data (y=...), or train without a condition"
        )
    return len(classes) if classes else 1 + max(int(y.max()) for y in labels)


def check_binarize(domain: Domain, mode: str, threshold: float) -> float:
    """The largest value of grey data.

    Raises
    ------
    ValueError
        For data that are not grey, an unknown mode, or a threshold outside (0, 1).
    """
    if domain.kind not in ("levels", "unit"):
        advice = {
            "binary": "they are binary already, leave out this step",
            "real": "binarize before standardizing",
        }.get(domain.kind, "use a likelihood of these values as they are")
        raise ValueError(f"binarize expects levels or unit data, got {domain.kind}; {advice}")
    if mode not in ("dynamic", "static", "threshold") or not 0 < threshold < 1:
        raise ValueError(
            "binarize expects mode 'dynamic', 'static' or 'threshold' and a threshold in (0, 1), "
            f"got mode={mode!r} and threshold={threshold}; correct the one that is off"
        )
    return float(domain.levels - 1) if domain.kind == "levels" and domain.levels else 1.0


def loc_and_scale(train: Split, domain: Domain, seed: int) -> tuple[float, float]:
    """Mean and standard deviation of all observed elements.

    Raises
    ------
    ValueError
        For discrete data, on which a density is unbounded, and for constant data.
    """
    if domain.discrete:
        advice = "dequantize" if domain.kind == "levels" else "add continuous noise of your own"
        raise ValueError(
            f"standardize expects unit or real data, got {domain.kind}; {advice} first, because a "
            "density on discrete values is unbounded"
        )
    train = train.fixed(seed)
    x = train.x if train.mask is None else train.x[train.mask]
    if not len(x) or x.min() == x.max():
        raise ValueError(
            "standardize expects training data that vary, got "
            + (f"the value {float(x.flatten()[0])} everywhere" if len(x) else "no observed element")
            + "; leave out this step or check the data"
        )
    return float(x.mean()), float(x.std(correction=0))
