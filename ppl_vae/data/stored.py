"""Arrays that stay as they are stored: sparse matrices of scipy, and arrays that are mapped from disk."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppl_vae.data.parts import whole
from ppl_vae.domain import Domain
from ppl_vae.rows import MappedRows, Rows, SparseRows
from ppl_vae.split import Split
from ppl_vae.tensors import as_tensor

__all__ = ["check_stored", "dtype_of", "is_stored", "kind_of", "split_of_stored"]


def is_stored(x: Any) -> bool:
    """Whether an array stays as it is: a sparse matrix or array of scipy, or a memory map of numpy."""
    return isinstance(x, np.memmap) or type(x).__module__.startswith("scipy.sparse")


def dtype_of(x: Any) -> torch.dtype:
    """The dtype of an array as torch has it; of sparse floats that are all whole numbers that of integers.

    Counts are often stored as floats where a matrix is sparse.
    """
    dtype = as_tensor("x", np.empty(0, x.dtype)).dtype
    if isinstance(x, np.memmap) or not dtype.is_floating_point:
        return dtype
    values = x.tocsr().data
    return torch.int64 if bool((values == np.rint(values)).all()) else dtype


def split_of_stored(name: str, x: Any, mask: Any) -> Split:
    """The data as a split whose x are rows that become dense a batch at a time.

    Raises
    ------
    ValueError
        For no data, values that are not finite, and a mask, which would be as large as the dense data.
    """
    if len(x.shape) < 2 or not x.shape[0]:
        raise ValueError(
            f"{name} expects data of shape (n, *x_shape) with at least one datum, got shape {x.shape}; give one row "
            "for each datum"
        )
    if mask is not None:
        raise ValueError(
            f"{name} expects no mask where it is sparse or on disk, got one, which is as large as the dense data; give "
            "the part of it that fits into memory as a dense array"
        )
    rows: Rows = MappedRows(x, x.shape) if isinstance(x, np.memmap) else SparseRows(_csr(x), x.shape)
    if not rows.all(lambda part: bool(part.isfinite().all())):
        raise ValueError(
            f"{name} expects finite values where it is sparse or on disk, got NaN or infinity; give the part of it "
            "that fits into memory as a dense array, in which NaN is a missing value"
        )
    return whole(rows)  # type: ignore[arg-type]


def kind_of(dtype: torch.dtype, x: Tensor) -> Domain:
    """The domain that values suggest, or those of rows."""

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
    if domain.num_columns is not None or not rows.all(domain.contains):
        raise ValueError(
            f"the {role} data expect {domain.described} values, the same in every column where x is sparse or on disk, "
            "got others; give another domain, or a dense array"
        )


def _csr(x: Any) -> Any:
    """The matrix by rows, in float32, its values apart from those of the caller."""
    csr = x.tocsr().astype(np.float32, copy=True)
    csr.sum_duplicates()
    return csr
