"""Data from arrays in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ppl_vae.arguments import Seed, checked
from ppl_vae.data.context import contexts
from ppl_vae.data.data import Data
from ppl_vae.data.layout import ask_about_levels, channels_first
from ppl_vae.data.parts import collect, cut, whole
from ppl_vae.data.ragged import aligned
from ppl_vae.data.stored import check_stored, dtype_of, is_stored, kind_of, split_of_stored
from ppl_vae.domain import Domain
from ppl_vae.rows import Rows
from ppl_vae.split import Split
from ppl_vae.tensors import as_mask, as_tensor, check_precision, missing_in, whole_mask

__all__ = ["from_arrays", "read"]

Context = ArrayLike | Tensor | tuple[ArrayLike | Tensor, ...]


@checked
def from_arrays(
    x: ArrayLike | Tensor,
    y: ArrayLike | Tensor | None = None,
    *,
    x_validation: ArrayLike | Tensor | None = None,
    y_validation: ArrayLike | Tensor | None = None,
    x_test: ArrayLike | Tensor | None = None,
    y_test: ArrayLike | Tensor | None = None,
    mask: ArrayLike | Tensor | None = None,
    mask_validation: ArrayLike | Tensor | None = None,
    mask_test: ArrayLike | Tensor | None = None,
    context: Context = (),
    context_validation: Context = (),
    context_test: Context = (),
    standardize_context: bool = True,
    domain: Domain | None = None,
    seed: Seed = 0,
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
    name: str = "arrays",
) -> Data:
    """Data from arrays of numpy or torch.

    Parameters
    ----------
    x
        Data, (n, *x_shape); images as (n, channels, height, width), in 8 bits also (n, height, width) of one channel,
        and (n, height, width, 3), whose channels are moved first. A sparse matrix of scipy and a memory map of numpy
        stay what they are, and become dense, in float32, a batch at a time. What a sparse matrix does not store is an
        observed 0, and NaN that it stores is missing. A list of sequences (t_i, ...) of different lengths becomes an
        array (n, t, ...) with NaN after the end of each, which the repr says.
    y
        Labels, (n,): whole numbers or strings, numbered in sorted order. `classes` keeps their names.
    x_validation, y_validation, x_test, y_test
        Further splits; one that is not given is drawn at random from x.
    mask, mask_validation, mask_test
        True where an element was observed, of the shape of x. Without one, NaN is what was not observed, and so is what
        a masked array of numpy hides. It becomes 0, a place holder that nothing scores. A datum without any observed
        element is kept: log p of nothing is 0. In a table, a column of NaN is refused; one that a mask hides is kept.
    context, context_validation, context_test
        What the model is conditioned on: an array (n, ...), or a tuple of several.
    standardize_context
        Whether contexts (n,) and (n, c) become numbers standardized by the training data, and one-hot codes of text and
        booleans; else they stay as they are.
    domain
        The values of x. By default they decide: {0, 1} is binary, uint8 are 256 levels, other integers from 0
        on counts, and so are sparse floats that are all whole, floats in [0, 1] unit, and all others real. Whole
        numbers up to 255 in the shape of images that are not in 8 bits may be either, and are asked about.
    seed
        Of the random split.
    fractions
        Fractions of x for training, validation and test; those of splits that were given are not used.
    name
        Name of the data set.

    Returns
    -------
    Data
        The data in float32, with SHA-256 checksums in its provenance, and under ``"rounded"`` what they were in if
        that was another precision.

    Raises
    ------
    TypeError
        For arrays that are not of numbers, or labels that are neither whole numbers nor strings.
    ValueError
        For no data, one-dimensional x, lengths or shapes that differ, a mask that is not boolean, infinite values, NaN
        that a mask calls observed, a column of a table of NaN alone, values outside `domain`, labels or context for
        some splits only, or fractions that leave a split empty.

    Warns
    -----
    UserWarning
        Where float32 loses more than rounding: values that become 0, whole numbers that become others.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(100, 5))
    >>> from_arrays(x)
    Data('arrays', 80 + 10 + 10 data, x_shape=(5,), real)
    >>> from_arrays(x > 0, domain=Domain("binary"), fractions=(0.5, 0.2, 0.3))
    Data('arrays', 50 + 20 + 30 data, x_shape=(5,), binary)
    """
    arrays, steps = aligned({"x": x, "x_validation": x_validation, "x_test": x_test})
    dtype, x = dtype_of(x), arrays["x"]
    given = {"train": read("x", x, mask, every_column=True)}
    others = {"validation": (arrays["x_validation"], mask_validation), "test": (arrays["x_test"], mask_test)}
    given |= {role: read(f"x_{role}", *values) for role, values in others.items() if values[0] is not None}
    conditions = {"train": context, "validation": context_validation, "test": context_test}
    given, records = _conditioned(given, conditions, standardize_context)
    given, classes = _labelled(given, {"train": y, "validation": y_validation, "test": y_test})
    known = domain or _inferred(dtype, given["train"].x, ask=not steps)
    for role, split in given.items():
        _check(role, split, given["train"], known, inferred=domain is None)
    source: dict[str, Any] = {"sha256": {role: split.checksum for role, split in given.items()}}
    source |= {"rounded": "float64 to float32"} if dtype == torch.float64 else {}
    source |= steps | ({"conditions": records} if records else {})
    source |= {"channels": "moved first"} if np.ndim(x) == 4 and np.shape(x)[1:] != given["train"].x.shape[1:] else {}
    if len(given) < 3:
        source["split_seed"] = seed
        given |= _missing(given, fractions, seed)
    return collect(name, **given, domain=known, classes=classes, **source)


def read(name: str, x: Any, mask: Any = None, *, every_column: bool = False) -> Split:
    """An array as a split in float32, NaN without a mask being what was not observed; see `from_arrays`.

    With `every_column`, a table whose NaN leave nothing of a column is refused.
    """
    if is_stored(x):
        return split_of_stored(name, x, mask, every_column=every_column)
    values, missing = as_tensor(name, x).detach().cpu(), missing_in(x)
    if values.dim() < 2 or not values.numel():
        raise ValueError(
            f"{name} expects data of shape (n, *x_shape) with at least one datum, got shape {tuple(values.shape)}; "
            "give one row for each datum (x[:, None] for scalars)"
        )
    observed = as_mask(f"the mask of {name}", mask, values)
    gaps = values.isnan() if mask is None and values.is_floating_point() else torch.zeros((), dtype=torch.bool)
    if missing is not None:
        gaps = gaps | torch.from_numpy(missing)
    if gaps.any():
        observed = ~gaps if observed is None else ~gaps & observed
    if every_column and gaps.any() and values.dim() == 2 and observed is not None and not observed.any(0).all():
        column = int(observed.any(0).int().argmin())
        raise ValueError(
            f"{name} expects an observed value in every column, got none in column {column}; leave it out: "
            "x[:, ~np.isnan(x).all(0)]"
        )
    bad = ~values.isfinite() & (whole_mask(values) if observed is None else observed)
    if bad.any():
        first = tuple(bad.nonzero()[0].tolist())
        raise ValueError(
            f"{name} expects finite values in float32, got {int(bad.sum())} NaN or infinite of "
            f"{bad.numel()}, the first at {first}; make them NaN without a mask, or False in it, to treat them "
            "as not observed, or leave these data out"
        )
    check_precision(name, values, torch.float32, observed)
    dtype = values.dtype
    values = values.to(torch.float32, copy=True)
    values = channels_first(values if observed is None else values.masked_fill(~observed, 0.0), dtype)
    return whole(values, mask=None if observed is None else channels_first(observed, dtype))


def _check(role: str, split: Split, train: Split, domain: Domain, *, inferred: bool) -> None:
    if split.x.shape[1:] != train.x.shape[1:]:
        raise ValueError(
            f"the {role} data expect the shape of the training data, got {tuple(split.x.shape[1:])} for "
            f"{tuple(train.x.shape[1:])}; give all splits data of one shape"
        )
    if isinstance(split.x, Rows):
        check_stored(role, split, domain)
    elif domain.num_columns is not None:
        domain.columns(split.x.shape[-1])
    if not isinstance(split.x, Rows) and bool((outside := domain.outside(split.x, split.mask)).any()):
        why = "as x suggests; give `domain` yourself" if inferred else "as `domain` says; correct one of them"
        column = int(outside.nonzero()[0, -1]) if domain.num_columns else None
        one = domain if column is None else domain.columns(split.x.shape[-1])[column]
        x, where = (split.x, "") if column is None else (split.x[..., column], f" in column {column}")
        levels = f" (0 to {one.levels - 1})" if isinstance(one.levels, int) else ""
        raise ValueError(
            f"the {role} data expect {one.kind} values{levels}{where}, got values from {float(x.min()):g} "
            f"to {float(x.max()):g} with {len(x.unique())} distinct ones, {why}"
        )


def _inferred(dtype: torch.dtype, x: Tensor, *, ask: bool) -> Domain:
    if ask and not isinstance(x, Rows):
        ask_about_levels("x", dtype, x)
    return kind_of(dtype, x)


def _conditioned(
    given: dict[str, Split], conditions: dict[str, Any], standardize: bool
) -> tuple[dict[str, Split], list[Any]]:
    arrays = {role: c if isinstance(c, tuple) else (c,) for role, c in conditions.items()}
    if strange := [role for role in arrays if arrays[role] and role not in given]:
        raise ValueError(f"context expects data beside it, got none for {strange[0]}; give x_{strange[0]} too")
    if not any(arrays.values()):
        return given, []
    made, records = contexts({role: arrays[role] for role in given}, standardize)
    return {role: replace(split, context=made[role]) for role, split in given.items()}, records


def _labelled(
    given: dict[str, Split], by_role: Mapping[str, ArrayLike | Tensor | None]
) -> tuple[dict[str, Split], tuple[str, ...] | None]:
    labels = {role: y for role, y in by_role.items() if y is not None}
    if not labels:
        return given, None
    if labels.keys() != given.keys():
        raise ValueError(
            f"labels are expected for every split that is given, or for none, got them for {sorted(labels)} "
            f"where x is given for {sorted(given)}; give y, y_validation and y_test as you give x"
        )
    arrays = [_classes(role, labels[role], len(split)) for role, split in given.items()]
    names, codes = np.unique(np.concatenate(arrays), return_inverse=True)
    parts = torch.from_numpy(codes).split([len(y) for y in arrays])
    splits = {role: replace(given[role], y=y) for role, y in zip(given, parts, strict=True)}
    return splits, tuple(str(n) for n in names)


def _classes(role: str, y: ArrayLike | Tensor, n: int) -> np.ndarray:
    if missing_in(y) is not None:
        raise ValueError(f"the {role} data expect a label for each datum, got a masked array; leave out such data")
    array = np.array(np.asarray(y.cpu() if isinstance(y, Tensor) else y).tolist())  # a table holds strings as objects
    if array.shape != (n,):
        raise ValueError(
            f"the {role} data expect labels of shape ({n},), got {array.shape}; give one label for each datum"
        )
    if array.dtype.kind == "f" and (array == array.round()).all():
        array = array.astype(int)
    if array.dtype.kind not in "buiUS":
        raise TypeError(
            f"labels are expected to be whole numbers or strings, got dtype {array.dtype} for {role}; give "
            "class labels, or set a continuous condition as the `context` of each split"
        )
    return array


def _missing(given: dict[str, Split], fractions: tuple[float, float, float], seed: int) -> dict[str, Split]:
    share = dict(zip(("train", "validation", "test"), fractions, strict=True))
    if min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(
            f"fractions are expected to be positive with sum 1, got {fractions}; give one each for training, "
            "validation and test"
        )
    n = len(given["train"])
    absent = [role for role in share if role not in given]
    sizes = {role: max(1, round(share[role] * n)) for role in absent}
    rest = n - sum(sizes.values())
    if rest < 1:
        raise ValueError(
            f"x expects at least {len(sizes) + 1} data to draw {' and '.join(absent)} from, got {n}; give "
            "more data, or give these splits yourself"
        )
    parts = cut(given["train"], (rest, *sizes.values()), seed)
    return dict(zip(("train", *absent), parts, strict=True))
