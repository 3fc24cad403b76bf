"""Steps of `Data`, on one split at a time, and what they refuse."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ppl_vae.data import moments
from ppl_vae.data.moments import Moments
from ppl_vae.domain import Domain
from ppl_vae.split import Split

__all__ = [
    "ROLES",
    "ROLE_OF",
    "Standard",
    "by_column",
    "check_binarize",
    "first",
    "grey",
    "hidden",
    "labelled",
    "levels_of",
    "noted",
    "num_classes",
    "over_all",
    "seed_of",
]

ROLES = ("train", "validation", "test")
"""The splits of data, by name."""

ROLE_OF = {"train": "train", "training": "train", "test": "test", "testing": "test"}
ROLE_OF |= dict.fromkeys(("validation", "valid", "val", "dev"), "validation")
"""The split that a folder or a value of a column means, by its name in small letters."""


def seed_of(role: str, seed: int) -> int:
    """The seed of one split, derived from that of the data, so that splits have independent noise."""
    return len(ROLES) * seed + ROLES.index(role)


def hidden(fraction: float, seed: int, role: str, split: Split) -> Split:
    """A split of which a fraction of the elements is missing completely at random."""
    generator = torch.Generator().manual_seed(seed_of(role, seed))
    mask = torch.rand(split.x.shape, generator=generator).to(split.x.device) >= fraction
    mask = mask if split.mask is None else mask & split.mask
    return replace(split, x=split.x.masked_fill(~mask, 0.0), mask=mask)


def noted(splits: Collection[Split], provenance: Mapping[str, Any]) -> str:
    """What a reader of data should know: the share that is missing, data without any element, what they are given."""
    masked = [split for split in splits if split.mask is not None]
    gaps = sum(split.x.numel() - int(split.elements.sum()) for split in masked)
    empty = sum(int((split.elements == 0).sum()) for split in masked)
    over = provenance.get("background")
    said = [f"{100 * gaps / sum(split.x.numel() for split in splits):.1f} % missing"] if gaps else []
    said += [f"{empty} data without an observed element"] if empty else []
    if size := provenance.get("read", {}).get("size"):
        said += [f"cropped and scaled to {' x '.join(map(str, size))}"]
    said += [f"without {', '.join(provenance['left_out'])}"] if provenance.get("left_out") else []
    said += [f"padded to {provenance['padded']} steps"] if provenance.get("padded") else []
    said += ["channels moved first"] if provenance.get("channels") else []
    said += [f"transparent pixels laid on {over}"] if over else []
    given = [_given(one) for several in provenance.get("conditions", []) for one in several]
    said += [f"given {', '.join(given)}"] if given else []
    return "".join(f", {one}" for one in said)


def _given(record: Mapping[str, Any]) -> str:
    """A column of a context, and what was done to it."""
    column = record["column"]
    scaled = "over its geometric mean" if column["kind"] == "positive" else "standardized"
    return f"{column['name']} ({'one-hot' if column.get('categories') else scaled})"


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


def labelled(num: int, role: str, split: Split) -> Split:
    """A split whose last context is its label, one of `num`, one-hot."""
    assert split.y is not None
    return replace(split, context=(*split.context, F.one_hot(split.y, num).to(split.x.dtype)))


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


def check_binarize(domain: Domain, threshold: float) -> float:
    """The largest value of grey data.

    Raises
    ------
    ValueError
        For data that are not grey, or a threshold outside (0, 1).
    """
    if domain.kind not in ("levels", "unit") or isinstance(domain.levels, tuple):
        advice = {
            "binary": "they are binary already, leave out this step",
            "real": "binarize before standardizing",
        }.get(domain.kinds[0] if len(domain.kinds) == 1 else "", "use a likelihood of these values as they are")
        raise ValueError(f"binarize expects levels or unit data, got {', '.join(domain.kinds)}; {advice}")
    if not 0 < threshold < 1:
        raise ValueError(
            f"binarize expects a threshold in (0, 1), got threshold={threshold}; give a share of the largest grey "
            "value, 0.5, say"
        )
    return float(domain.levels - 1) if domain.kind == "levels" and isinstance(domain.levels, int) else 1.0


def grey(domain: Domain, record: Mapping[str, Any]) -> dict[str, int]:
    """What the provenance notes of the raw values before a step: how many grey levels were binarized."""
    levels = domain.levels if domain.kind == "levels" and record["transform"] == "binarize" else None
    return {"grey_levels": levels} if isinstance(levels, int) else {}


def levels_of(domain: Domain, step: str, advice: str) -> int:
    """The number of grey levels of some data, for a step that needs them.

    Raises
    ------
    ValueError
        For other data, and for columns that differ in their levels.
    """
    if domain.kind != "levels" or not isinstance(domain.levels, int):
        raise ValueError(f"{step} expects grey levels, got {domain.described} data; {advice}")
    return domain.levels


class Standard(NamedTuple):
    """How data are standardized: x becomes (x - loc) / scale, of a kind; each one value, or one for each column.

    `left` says in words which columns are treated otherwise than the rest; empty if none is.
    """

    loc: float | tuple[float, ...]
    scale: float | tuple[float, ...]
    kind: Any
    left: str = ""

    def record(self, seed: int) -> dict[str, Any]:
        """The step as JSON gives it back; only one by column says `per`, which 0.1 did not have."""
        by_column = isinstance(self.loc, tuple)
        said = {name: list(v) if isinstance(v := getattr(self, name), tuple) else v for name in ("loc", "scale")}
        more = {"left": self.left} if self.left else {}
        return {"transform": "standardize", **({"per": "column"} if by_column else {}), **said, "seed": seed, **more}


def over_all(train: Split, domain: Domain, seed: int) -> Standard:
    """Mean and standard deviation of all observed elements; of positive ones 0 and their geometric mean.

    Raises
    ------
    ValueError
        For discrete data, on which a density is unbounded, for columns of different kinds, and for constant data.
    """
    if not domain.discrete and not set(domain.kinds) <= {"real", "unit"} and domain.kind != "positive":
        raise ValueError(
            f"standardize by one scale for all expects columns that are all real, unit, or all positive, got "
            f"{domain.described}; give per='column'"
        )
    _refuse_discrete(domain)
    found = moments.of_all(train, seed)
    if not found.number or found.low == found.high:
        raise _constant(found)
    if domain.kind == "positive":
        return Standard(0.0, found.geometric, "positive")
    return Standard(found.mean, found.sd, "real")


def by_column(train: Split, domain: Domain, seed: int) -> Standard:
    """Mean and standard deviation of each column of real values; of a positive one 0 and the geometric mean.

    Discrete columns stay as they are, and so do shares (unit) beside columns of other kinds, which somebody called so;
    where all columns are unit, they become real. A constant column is shifted to 0 and not scaled, one without an
    observed element stays as it is.

    Raises
    ------
    ValueError
        For data that are no table, for a table of discrete columns only, and for one without shares whose other columns
        are all constant.
    """
    if train.x.dim() != 2:
        raise ValueError(
            f"standardize by column expects a table, x of shape (n, columns), got {tuple(train.x.shape)}; give "
            "per='all', one mean and scale for all elements"
        )
    _refuse_discrete(domain)
    columns, domains = moments.of_columns(train, seed), domain.columns(train.x.shape[1])
    shares = len(domain.kinds) > 1
    found = [_of_column(*both, shares) for both in zip(domains, columns, strict=True)]
    if all(one.left for one in found) and not any(one.left == _SHARE for one in found):
        raise _constant(next((one for one in columns if one.number), columns[0]))
    alike = {said: [str(j) for j, one in enumerate(found) if one.left == said] for said in _LEFT}
    left = "; ".join(f"{'columns'[: 6 + (len(js) > 1)]} {', '.join(js)} {said}" for said, js in alike.items() if js)
    loc, scale, kind, _ = zip(*found, strict=True)
    return Standard(loc, scale, kind, left)


_DISCRETE, _CONSTANT, _EMPTY, _SHARE = _LEFT = (
    "discrete, as before",
    "constant, only shifted",
    "without an observed element, as before",
    "of shares, as before",
)


def _of_column(domain: Domain, seen: Moments, shares: bool) -> Standard:
    """How a column is standardized, by the moments of its observed values; unit ones stay as they are if `shares`."""
    kind = domain.kind
    if domain.discrete:
        return Standard(0.0, 1.0, kind, _DISCRETE)
    if kind == "unit" and shares:
        return Standard(0.0, 1.0, kind, _SHARE)
    if not seen.number:
        return Standard(0.0, 1.0, kind, _EMPTY)
    if kind == "positive":
        return Standard(0.0, seen.geometric, kind)
    if seen.low == seen.high:
        return Standard(seen.low, 1.0, "real", _CONSTANT)
    return Standard(seen.mean, seen.sd, "real")


def _refuse_discrete(domain: Domain) -> None:
    if domain.discrete:
        advice = "dequantize" if domain.kind == "levels" else "add continuous noise of your own"
        raise ValueError(
            f"standardize expects unit or real data, got {', '.join(domain.kinds)}; {advice} first, because a "
            "density on discrete values is unbounded"
        )


def _constant(seen: Moments) -> ValueError:
    came = f"the value {seen.low} everywhere" if seen.number else "no observed element"
    return ValueError(f"standardize expects training data that vary, got {came}; leave out this step or check the data")
