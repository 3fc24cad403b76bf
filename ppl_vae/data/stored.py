"""Arrays that stay as they are stored: sparse matrices of scipy, and arrays that are mapped from disk."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppl_vae.data.layout import mapped_channels_first
from ppl_vae.data.parts import whole
from ppl_vae.data.ragged import is_ragged
from ppl_vae.domain import Domain
from ppl_vae.rows import MappedRows, Rows, SparseRows
from ppl_vae.split import Split
from ppl_vae.tensors import as_tensor, check_parts

__all__ = ["check_stored", "dtype_of", "is_stored", "kind_of", "split_of_stored"]

_AT_ONCE = 2**22


def is_stored(x: Any) -> bool:
    """Whether an array stays as it is: a sparse matrix or array of scipy, a memory map of numpy, or rows already."""
    return isinstance(x, np.memmap | Rows) or type(x).__module__.startswith("scipy.sparse")


def dtype_of(x: Any) -> torch.dtype:
    """The dtype of an array as torch has it; of sparse floats that are all whole numbers, or missing, that of integers.

    Counts are often stored as floats where a matrix is sparse.
    """
    if is_ragged(x):
        return reduce(torch.promote_types, (as_tensor("x", one).dtype for one in x))
    if not is_stored(x):
        return as_tensor("x", x).dtype
    dtype = x.dtype if isinstance(x, Rows) else as_tensor("x", np.empty(0, x.dtype)).dtype
    if isinstance(x, np.memmap | Rows) or not dtype.is_floating_point:
        return dtype
    values = x.tocsr().data
    return torch.int64 if bool(((values == np.rint(values)) | np.isnan(values)).all()) else dtype


def split_of_stored(name: str, x: Any, mask: Any, *, every_column: bool = False) -> Split:
    """The data as a split whose x are rows that become dense a batch at a time; a stored NaN is a missing element.

    With `every_column`, a table whose NaN leave nothing of a column is refused.

    Raises
    ------
    ValueError
        For no data, infinite values, and a mask, which would be as large as the dense data.

    Warns
    -----
    UserWarning
        Where float32 loses more than rounding.
    """
    if len(x.shape) < 2 or not x.shape[0]:
        raise ValueError(
            f"{name} expects data of shape (n, *x_shape) with at least one datum, got shape {x.shape}; give one row "
            "for each datum"
        )
    if mask is not None:
        raise ValueError(
            f"{name} expects no mask where it is sparse or on disk, got one, which is as large as the dense data; "
            "store NaN where an element is missing, or give the part that fits into memory as a dense array"
        )
    rows = _rows(name, mapped_channels_first(x) if isinstance(x, np.memmap) else x)
    if isinstance(x, Rows):  # which were checked as they were made
        return whole(rows, mask=rows.observed)
    if not rows.all(lambda part, seen: bool((part.isfinite() | part.isnan()).all())):
        raise ValueError(
            f"{name} expects finite values where it is sparse or on disk, and NaN where an element is missing, got "
            "infinity; replace it"
        )
    rows.gaps = not rows.all(lambda part, seen: not bool(part.isnan().any()))
    if every_column and rows.gaps and rows.dim() == 2:
        _every_column(name, rows)
    return whole(rows, mask=rows.observed)


def _rows(name: str, x: Any) -> Rows:
    """Rows of an array that is stored, after a check of what float32 loses of it."""
    if isinstance(x, Rows):
        return x
    rows: Rows = MappedRows(x, x.shape)
    values = rows.parts() if isinstance(x, np.memmap) else np.array_split(x.tocsr().data, 1 + x.nnz // _AT_ONCE)
    parts = (as_tensor(name, part) for part in values)
    check_parts(name, ((part, ~part.isnan()) for part in parts), torch.float32, stacklevel=6)
    return rows if isinstance(x, np.memmap) else SparseRows(_csr(x), x.shape)


def _every_column(name: str, rows: Rows) -> None:
    assert rows.observed is not None
    seen = torch.zeros(rows.shape[1], dtype=torch.bool)
    for some in rows.observed.pieces():
        seen |= some.dense().any(0)
    if not seen.all():
        raise ValueError(
            f"{name} expects an observed value in every column, got none in column {int(seen.int().argmin())}; leave "
            "it out"
        )


def kind_of(dtype: torch.dtype, x: Tensor) -> Domain:
    """The domain that values suggest, or the observed ones of rows."""

    def holds(domain: Domain) -> bool:
        return x.all(domain.contains) if isinstance(x, Rows) else domain.contains(x)

    if holds(Domain("binary")):
        return Domain("binary")
    if dtype == torch.uint8:
        return Domain("levels", levels=256)
    if not dtype.is_floating_point and holds(Domain("counts")):
        return Domain("counts")
    if dtype.is_floating_point and holds(Domain("unit")):
        return Domain("unit")
    return Domain("real")


def check_stored(role: str, split: Split, domain: Domain) -> None:
    """Refuse rows with values outside a domain.

    Raises
    ------
    ValueError
        For such values.
    """
    rows: Any = split.x
    sparse = isinstance(rows, SparseRows)
    refused = sparse and (domain.num_columns is not None or not domain.contains(torch.zeros(1)))
    if refused or not rows.all(domain.contains):
        raise ValueError(
            f"the {role} data expect {domain.described} values, the same in every column and 0 among them where x is "
            "sparse, got others; give another domain, or a dense array"
        )


def _csr(x: Any) -> Any:
    """The matrix by rows, in float32, its values apart from those of the caller."""
    csr = x.tocsr().astype(np.float32, copy=True)
    csr.sum_duplicates()
    return csr
