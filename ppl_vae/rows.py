"""Data that stay as they are stored, sparse or on disk, and become dense tensors a few rows at a time."""

from __future__ import annotations

import abc
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

__all__ = ["MappedRows", "Rows", "SparseRows", "dense"]

_MOST_BYTES = 2**30
_ADVICE = "take a part of the data, split[:1000], or give a smaller batch"


class Rows(abc.ABC):
    """Rows of stored data, used as the tensor x (n, *x_shape) of a `Split`, in float32 on the CPU.

    ``rows[positions]`` are other rows and copies nothing; `dense` makes the tensor. Wherever a tensor is needed it is
    made by itself, up to a gibibyte.

    Parameters
    ----------
    stored
        All rows.
    shape
        (n, *x_shape) of all rows.
    positions
        Which rows these are, (n,); by default all.
    """

    dtype = torch.float32
    device = torch.device("cpu")
    layout = torch.strided
    requires_grad = False

    def __init__(self, stored: Any, shape: Sequence[int], positions: Tensor | None = None) -> None:
        self._stored = stored
        self._positions = torch.arange(shape[0]) if positions is None else positions
        self.shape = torch.Size((len(self._positions), *shape[1:]))

    @abc.abstractmethod
    def _gathered(self, positions: np.ndarray) -> np.ndarray:
        """Some rows as a dense array."""

    @abc.abstractmethod
    def parts(self, most: int = 2**24) -> Any:
        """The values of these rows in arrays of some size, zeros of sparse rows left out: for checks and checksums."""

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, rows: Any) -> Self:
        made = self.__new__(type(self))
        made.__dict__ |= self.__dict__ | {"_positions": self._positions[rows]}
        if made._positions.dim() != 1:
            raise IndexError(f"rows expect a slice, positions or booleans, got {rows!r}; give rows[i : i + 1], say")
        made.shape = torch.Size((len(made._positions), *self.shape[1:]))
        return made

    def dense(self) -> Tensor:
        """The tensor, (n, *x_shape) in float32.

        Raises
        ------
        ValueError
            Above a gibibyte.
        """
        if self.nbytes > _MOST_BYTES:
            raise ValueError(
                f"x of shape {tuple(self.shape)} is stored and expects to be used a few rows at a time, got a call "
                f"that needs {self.nbytes / 2**30:.1f} GiB at once; {_ADVICE}"
            )
        array = self._gathered(self._positions.numpy())
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).reshape(self.shape)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """These rows, which stay where they are."""
        return self

    def dim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the dense tensor."""
        return 4 * self.numel()

    def is_floating_point(self) -> bool:
        """True."""
        return True

    def is_complex(self) -> bool:
        """False."""
        return False

    def all(self, holds: Callable[[Tensor], bool]) -> bool:
        """Whether something holds of all values, zeros of sparse rows left out."""
        return all(holds(torch.from_numpy(part)) for part in self.parts())

    @property
    def checksum(self) -> str:
        """SHA-256 of the values, as they are stored."""
        digest = hashlib.sha256(repr((type(self).__name__, tuple(self.shape))).encode())
        for part in self.parts():
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.dense().numpy()
        return array if dtype is None else array.astype(dtype)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(Tensor, name):
            raise AttributeError(name)
        return getattr(self.dense(), name)

    @classmethod
    def __torch_function__(
        cls, f: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return f(*map(_dense_within, args), **{k: _dense_within(v) for k, v in (kwargs or {}).items()})


class SparseRows(Rows):
    """Rows of a matrix of scipy in CSR format."""

    def _gathered(self, positions: np.ndarray) -> np.ndarray:
        array: np.ndarray = self._stored[positions].toarray()
        return array

    def parts(self, most: int = 2**24) -> Any:
        """Values that are stored, and where, of some rows at a time."""
        for positions in self._positions.split(max(1, most // max(1, self.shape[1]))):
            some = self._stored[positions.numpy()]
            yield some.data

    @property
    def checksum(self) -> str:
        """SHA-256 of the values and where they are."""
        some = self._stored[self._positions.numpy()]
        digest = hashlib.sha256(repr(tuple(self.shape)).encode())
        for part in (some.data, some.indices.astype(np.int64), some.indptr.astype(np.int64)):
            digest.update(part.tobytes())
        return digest.hexdigest()


class MappedRows(Rows):
    """Rows of an array on disk that is mapped into memory."""

    def _gathered(self, positions: np.ndarray) -> np.ndarray:
        array: np.ndarray = self._stored[positions]
        return array

    def parts(self, most: int = 2**24) -> Any:
        """Values of some rows at a time."""
        for positions in self._positions.split(max(1, most // max(1, math.prod(self.shape[1:])))):
            yield self._stored[positions.numpy()]


def dense(x: Tensor | Rows) -> Tensor:
    """A tensor of x, made where it is stored otherwise."""
    return x.dense() if isinstance(x, Rows) else x


def _dense_within(value: Any) -> Any:
    return type(value)(map(_dense_within, value)) if type(value) in (tuple, list) else dense(value)
