"""Data that stay as they are stored, sparse or on disk, and become dense tensors a few rows at a time."""

from __future__ import annotations

import abc
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self, overload

import numpy as np
import torch
from torch import Tensor

__all__ = ["MappedRows", "Observed", "Rows", "SparseRows", "dense"]

_MOST_BYTES = 2**30
_CHUNK_BYTES = 2**22
_AT_ONCE = 2**22
BUFFER = 2**28
"""Bytes of dense rows within which data on disk are shuffled."""
_ADVICE = "take a part of the data, split[:1000], or give a smaller batch"


class Rows(abc.ABC):
    """Rows of stored data, used as the tensor x (n, *x_shape) of a `Split`, in float32 on the CPU.

    ``rows[positions]`` are other rows and copies nothing; `dense` makes the tensor. Wherever a tensor is needed it is
    made by itself, up to a gibibyte. A stored NaN is a missing element: it becomes 0, and `observed` is False there.

    Parameters
    ----------
    stored
        All rows.
    shape
        (n, *x_shape) of all rows.
    gaps
        Whether elements may be missing.
    """

    dtype = torch.float32
    _numpy: Any = np.float32
    device = torch.device("cpu")
    layout = torch.strided
    requires_grad = False

    def __init__(self, stored: Any, shape: Sequence[int], *, gaps: bool = False) -> None:
        self._stored, self.gaps = stored, gaps
        self._positions = torch.arange(shape[0])
        self._steps: tuple[Callable[[Tensor], Tensor], ...] = ()
        self.shape = torch.Size(shape)

    @abc.abstractmethod
    def gathered(self, positions: Tensor) -> np.ndarray:
        """The rows stored at some positions, as a dense array."""

    @property
    def chunk_starts(self) -> Tensor | None:
        """Positions where chunks of the file begin, and that of its end; `None` for rows in memory."""
        return None

    def chunks_of(self, positions: Tensor) -> Tensor:
        """Which chunk of the file a row lies in, (n,), for positions in it."""
        assert self.chunk_starts is not None
        return torch.searchsorted(self.chunk_starts, positions, right=True) - 1

    def parts(self, most: int = _AT_ONCE) -> Iterator[np.ndarray]:
        """The stored values of these rows in arrays of some size, zeros of sparse rows left out."""
        for some in self.pieces(most):
            yield self.gathered(some._positions)

    def pieces(self, most: int = _AT_ONCE) -> Iterator[Self]:
        """These rows in order, some at a time, each of about so many elements."""
        step = max(1, most // max(1, math.prod(self.shape[1:])))
        for start in range(0, len(self), step):
            yield self[start : start + step]

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
        with np.errstate(over="ignore"):  # such values are refused where the data are read
            array = np.ascontiguousarray(self.gathered(self._positions), dtype=self._numpy)
        x = torch.from_numpy(array).reshape(self.shape)
        missing = x.isnan() if self.gaps else None
        x = x if missing is None else x.masked_fill(missing, 0.0)
        for step in self._steps:
            x = step(x)
        return x if missing is None else x.masked_fill(missing, 0.0)

    def then(self, step: Callable[[Tensor], Tensor]) -> Self:
        """These rows after a step that maps each element alike whenever it is made dense, such as `Standardize`."""
        made = self[:]
        made._steps = (*self._steps, step)
        return made

    @property
    def observed(self) -> Observed | None:
        """True where an element was observed, as rows; `None` where all were."""
        return Observed(self, self.shape) if self.gaps else None

    def shuffled(self) -> Tensor:
        """A random order of the rows, (n,), by torch's global generator.

        Every order is as likely for rows in memory, and for those that fit into `BUFFER`. Others are read by chunks of
        the file: the chunks are visited in random order, and within as many of them as fit into `BUFFER`, one at least,
        rows are shuffled.
        """
        starts = self.chunk_starts
        if starts is None or self.nbytes <= BUFFER:
            return torch.randperm(len(self))
        chunks = self.chunks_of(self._positions)
        numbers, sizes = chunks.unique(return_counts=True)
        whole = (starts.diff()[numbers] * (self.nbytes // len(self))).tolist()  # a chunk is read as a whole
        by_chunk = chunks.argsort(stable=True).split(sizes.tolist())
        order: list[Tensor] = []
        buffer: list[Tensor] = []
        held = 0
        for number in torch.randperm(len(by_chunk)).tolist():
            if buffer and held + whole[number] > BUFFER:
                order.append(_mixed(buffer))
                buffer, held = [], 0
            buffer.append(by_chunk[number])
            held += whole[number]
        return torch.cat([*order, _mixed(buffer)])

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

    def all(self, holds: Callable[[Tensor, Tensor | None], bool]) -> bool:
        """Whether something holds of all values and their mask; zeros of sparse rows are left out where they stay 0."""
        if self._steps:
            return all(holds(some.dense(), dense(some.observed)) for some in self.pieces())
        parts = map(_tensor, self.parts())
        return all(holds(part, ~part.isnan() if self.gaps else None) for part in parts)

    @property
    def checksum(self) -> str:
        """SHA-256 of the values, as they are stored, and of what is done to them."""
        digest = hashlib.sha256(repr((type(self).__name__, tuple(self.shape), *self._steps)).encode())
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
    """Rows of a matrix of scipy in CSR format; what is not stored is an observed 0."""

    def gathered(self, positions: Tensor) -> np.ndarray:
        """Dense rows."""
        array: np.ndarray = self._stored[positions.numpy()].toarray()
        return array

    def parts(self, most: int = _AT_ONCE) -> Iterator[np.ndarray]:
        """Values that are stored, of some rows at a time."""
        for some in self.pieces(most):
            yield self._stored[some._positions.numpy()].data

    @property
    def checksum(self) -> str:
        """SHA-256 of the values, where they are, and what is done to them."""
        digest = hashlib.sha256("".join(map(repr, (tuple(self.shape), *self._steps))).encode())
        for part in self.parts():
            digest.update(part.tobytes())
        ends = [np.zeros(1, dtype=np.int64)]
        for some in self.pieces():
            matrix = self._stored[some._positions.numpy()]
            digest.update(matrix.indices.astype(np.int64).tobytes())
            ends.append(ends[-1][-1] + matrix.indptr[1:].astype(np.int64))
        digest.update(np.concatenate(ends).tobytes())
        return digest.hexdigest()


class MappedRows(Rows):
    """Rows of an array on disk that is mapped into memory."""

    def gathered(self, positions: Tensor) -> np.ndarray:
        """Rows read from the file."""
        array: np.ndarray = self._stored[positions.numpy()]
        return array

    @property
    def chunk_starts(self) -> Tensor:
        """Of pieces of some megabytes."""
        rows, size = max(1, _CHUNK_BYTES // max(1, self._stored[:1].nbytes)), len(self._stored)
        return torch.cat([torch.arange(0, size, rows), torch.tensor([size])])


class Observed(Rows):
    """Where elements of other rows were observed, as booleans."""

    dtype = torch.bool
    _numpy = bool

    def gathered(self, positions: Tensor) -> np.ndarray:
        """False where NaN is stored."""
        rows: Rows = self._stored
        there: np.ndarray = ~np.isnan(rows.gathered(rows._positions[positions]))
        return there


@overload
def dense(x: Tensor | Rows) -> Tensor: ...


@overload
def dense(x: Tensor | Rows | None) -> Tensor | None: ...


def dense(x: Tensor | Rows | None) -> Tensor | None:
    """A tensor of x, made where it is stored otherwise; `None` of `None`."""
    return x.dense() if isinstance(x, Rows) else x


def _dense_within(value: Any) -> Any:
    return type(value)(map(_dense_within, value)) if type(value) in (tuple, list) else dense(value)


def _tensor(part: np.ndarray) -> Tensor:
    """Values in a dtype and byte order that torch calculates with."""
    dtype = np.dtype(np.int64) if part.dtype.kind in "ui" else part.dtype.newbyteorder("=")
    return torch.from_numpy(np.require(part.astype(dtype, copy=False), requirements=["C", "W"]))


def _mixed(buffer: Sequence[Tensor]) -> Tensor:
    """The rows of some chunks in random order."""
    rows = torch.cat(list(buffer))
    return rows[torch.randperm(len(rows))]
