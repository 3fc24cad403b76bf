"""From tensors to splits, and from splits to data."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ppl_vae.data.data import Data
from ppl_vae.domain import Domain
from ppl_vae.rows import Rows
from ppl_vae.split import Split

__all__ = ["collect", "cut", "whole"]


def whole(x: Tensor | Rows, y: Tensor | None = None, mask: Tensor | Rows | None = None) -> Split:
    """All data of one source, in its order.

    Parameters
    ----------
    x
        Data, (n, *x_shape), stored as float32; rows stay where they are.
    y
        Labels 0, 1, ..., (n,).
    mask
        True where x was observed, (n, *x_shape).

    Returns
    -------
    Split
        With `index` 0, ..., n - 1.
    """
    labels = None if y is None else y.long()
    used: Any = {"x": x.to(torch.float32), "mask": mask}  # rows are used as tensors
    return Split(index=torch.arange(len(x)), y=labels, **used)


def cut(split: Split, sizes: tuple[int, ...], seed: int) -> list[Split]:
    """Disjoint random parts of a split.

    Parameters
    ----------
    split
        What to cut.
    sizes
        Number of data of each part; together at most ``len(split)``.
    seed
        Of the order.

    Returns
    -------
    list of Split
        One for each size, their data in random order.
    """
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))
    return [split[rows] for rows in order[: sum(sizes)].split(sizes)]


def collect(
    name: str,
    train: Split,
    validation: Split,
    test: Split,
    *,
    domain: Domain,
    classes: tuple[str, ...] | None = None,
    **source: Any,
) -> Data:
    """Data of three splits, with the first entries of their provenance.

    Parameters
    ----------
    name
        Name of the data set.
    train, validation, test
        The splits.
    domain
        The values of x.
    classes
        Names of the labels.
    **source
        What else to note of the source: checksums, the seed of the split.

    Returns
    -------
    Data
        Without transforms.
    """
    sizes = {"train": len(train), "validation": len(validation), "test": len(test)}
    provenance = {"name": name, **source, "sizes": sizes, "transforms": []}
    return Data(name, train, validation, test, domain, classes, provenance)
