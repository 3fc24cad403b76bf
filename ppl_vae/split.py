"""One split of a data set: data, context, mask, labels and provenance."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ppl_vae.arguments import Seed, checked
from ppl_vae.assumed import in_vmap
from ppl_vae.domain import Domain
from ppl_vae.isolation import recorded
from ppl_vae.precision import in_float64
from ppl_vae.rows import Rows, dense
from ppl_vae.tensors import LEAVE, as_mask, as_tensor, check_finite, is_array, missing_in, whole_mask
from ppl_vae.transform import Transform

__all__ = ["Split"]


@checked
@dataclass(frozen=True)
class Split:
    """Data of one split: training, validation or test.

    Parameters
    ----------
    x
        Data, (n, *x_shape); `Rows` of data that are sparse or on disk are used as a tensor, with a mask of their own.
    index
        Position of each datum in its data set, (n,); the coordinate `obs` of every result.
    domain
        The values x takes after `pending` has run; `None` if unknown.
    y
        Labels, (n,), or `None`. For plots and scores only: a model is given labels as `context`.
    context
        What the model is conditioned on, each (n, ...).
    mask
        True where an element of x was observed, (n, *x_shape); `None` if all were. A numpy masked array as x has its
        own. Missing elements that are not finite become 0.
    pending
        Random preprocessing applied anew to every batch, in order: dynamic binarization, dequantization and the
        transforms after them.
    provenance
        Name, checksums, seed and transforms, ready for JSON.
    factors
        Known generative factors, or true coordinates on a manifold, (n, F), named in order by
        `provenance["factors"]`; `None` if unknown. For scores only: no model is given them.
    classes
        Names of the labels 0, 1, ...; `None` if unknown. For plots only: no part of the identity.

    Arrays of numpy and tables of pandas become tensors of the same values, see `tensors.as_tensor`.

    Raises
    ------
    TypeError
        For values that are not numeric.
    ValueError
        For a single number as x; where index, labels, mask, context or factors are not as many as x, the factors
        are not (n, F), or the domain is one of another number of columns.
    """

    x: Tensor
    index: Tensor
    domain: Domain | None = None
    y: Tensor | None = None
    context: tuple[Tensor, ...] = ()
    mask: Tensor | None = None
    pending: tuple[Callable[[Tensor], Tensor], ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
    factors: Tensor | None = None
    classes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        stored = isinstance(self.x, Rows)
        x, missing = (self.x, None) if stored else (as_tensor("x", self.x), missing_in(self.x))
        given = isinstance(self.mask, Tensor | Rows)
        if self.index is None:
            raise TypeError("a split expects the index of each datum, got None; give torch.arange(len(x))")
        if x.dim() == 0:
            raise ValueError(f"data expect x of shape (n, *x_shape), got the single number {x.item():g}; give x[None]")
        _set(self, "x", x)
        _set(self, "context", tuple(_complete(f"context[{i}]", c) for i, c in enumerate(self.context)))
        for name in ("index", "y", "factors"):
            _set(self, name, None if getattr(self, name) is None else _complete(name, getattr(self, name)))
        for name, tensor in [
            ("index", self.index),
            ("y", self.y),
            ("mask", self.mask if given else None),
            ("factors", self.factors),
            *((f"context[{i}]", c) for i, c in enumerate(self.context)),
        ]:
            if tensor is not None and len(tensor) != len(x):
                raise ValueError(
                    f"a split needs as many {name} as x, got {len(tensor)} for {len(x)} data; give one for each datum"
                )
        if self.domain is not None and self.domain.num_columns is not None:
            self.domain.columns(x.shape[-1] if x.dim() > 1 else 1)
        if self.factors is not None and self.factors.dim() != 2:
            raise ValueError(
                f"a split needs factors of shape (n, F), got {tuple(self.factors.shape)}; give one column a factor"
            )
        mask = self.mask if given else as_mask("mask", self.mask, x)
        if missing is not None:
            mask = torch.from_numpy(~missing) & (whole_mask(x) if mask is None else mask)
        _set(self, "mask", mask)
        if (
            stored or in_vmap() or mask is None or mask.dtype != torch.bool or mask.shape != x.shape
        ):  # refused where it is used
            return
        mask = dense(mask)
        if bool((nothing := ~(x.isfinite() | mask.to(x.device))).any()):
            _set(self, "x", x.masked_fill(nothing, 0.0))

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        kind = [] if self.domain is None else [self.domain.described]
        there = {"labels": self.y, "context": self.context, "a mask": self.mask, "steps pending": self.pending}
        beside = [what for what, values in there.items() if values is not None and len(values)]
        about = [f"x_shape={tuple(self.x.shape[1:])}", *kind, *([f"with {', '.join(beside)}"] if beside else [])]
        return f"Split({len(self)} data, {', '.join(about)})"

    def __getitem__(self, rows: Tensor | slice) -> Split:
        """The split of some rows; a slice copies nothing."""
        try:
            return self._map(lambda tensor: tensor[rows])
        except (IndexError, RuntimeError, TypeError) as error:
            raise ValueError(
                f"a split of {len(self)} data expects rows as a slice, positions from 0 or booleans, got {rows!r} "
                f"({error}); give split[:10], say"
            ) from error

    def to(self, device: torch.device | str) -> Split:
        """The split with its tensors on a device."""
        try:
            return self._map(lambda tensor: tensor if isinstance(tensor, Rows) else recorded(tensor).to(device))
        except (RuntimeError, AssertionError) as error:
            raise ValueError(f"a split expects a device of this machine, got {device!r}; give 'cpu', say") from error

    def drawn(self) -> Split:
        """The split with its preprocessing applied; uses torch's global generator.

        Missing elements are 0 afterwards, a placeholder. A `VAE` replaces them by a value in the likelihood's support,
        and its encoder is given 0.
        """
        x, mask = self.x, self.mask
        for transform in self.pending:
            if isinstance(x, Rows) and isinstance(transform, Transform) and transform.deterministic:
                x = x.then(transform)
            else:
                x = transform(dense(x))
        if mask is not None and self.pending and not isinstance(x, Rows):
            mask = dense(mask)
            x = x.masked_fill(~mask, 0.0)
        return replace(self, x=x, mask=mask, pending=())

    @checked
    def fixed(self, seed: Seed = 0) -> Split:
        """The split with its random preprocessing applied once, with a seed that it records."""
        if not self.pending:
            return self
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed CUDA too
            drawn = self.to("cpu").drawn().to(self.x.device)
        return replace(drawn, provenance={**self.provenance, "seed": seed})

    @classmethod
    def of(cls, x: Tensor | Split, *context: Tensor, mask: Tensor | bool = True) -> Split:
        """A split of bare tensors, arrays or tables, numbered from 0; a split is returned unchanged.

        Raises
        ------
        TypeError
            For a context or mask beside a split, which has its own, and for values that are not numeric.
        ValueError
            For no data, for values and context that are not finite, or for a mask that is not boolean or does not
            fit x; `None` is no mask, as True.
        """
        if isinstance(x, Split):
            if context or mask is not True:
                raise TypeError("a split expects no context or mask beside it, got some; put them into the split")
            return x._checked()
        if not is_array(x):
            raise TypeError(
                f"data expect a tensor or a Split, got {type(x).__name__}; give data.test of a data set, or "
                "torch.as_tensor(x) of an array"
            )
        split = cls(x, torch.arange(_length(x)), context=context, mask=mask)  # type: ignore[arg-type]
        if len(split) == 0:
            raise ValueError("data expect at least one datum, got none; check the split or the selection")
        return split._checked()

    def _checked(self) -> Split:
        if not isinstance(self.mask, Rows):
            as_mask("mask", self.mask, self.x)
        if not isinstance(self.x, Rows):  # which are checked as they are made
            check_finite("data", self.x, dense(self.mask))
        for context in self.context:
            check_finite("context", context, fix=LEAVE)
        return self

    @property
    def observed(self) -> Tensor:
        """Where elements of x were observed, (n, *x_shape)."""
        return whole_mask(self.x) if self.mask is None else dense(self.mask)

    @property
    def elements(self) -> Tensor:
        """Number of observed elements of each datum, (n,), in float64."""
        if self.mask is None:
            return torch.full((len(self),), math.prod(self.x.shape[1:]), dtype=torch.float64)
        some = self.mask.pieces() if isinstance(self.mask, Rows) else [self.mask]
        return torch.cat([in_float64(dense(mask).reshape(len(mask), -1).sum(1)).cpu() for mask in some])

    @property
    def log_volume(self) -> Tensor:
        """log |d raw / d x|, (n,), in nats and float64, over observed elements: log p(raw) = log p(x) - log_volume."""
        each = self.domain.log_volume if self.domain else 0.0
        if not isinstance(each, tuple):
            return self.elements * each
        volumes = torch.tensor(each, dtype=torch.float64)
        if self.mask is None:
            return volumes.expand(self.x.shape).flatten(1).sum(1)
        some = self.mask.pieces() if isinstance(self.mask, Rows) else [self.mask]
        return torch.cat([(in_float64(dense(mask)).cpu() * volumes).flatten(1).sum(1) for mask in some])

    @property
    def identity(self) -> str:
        """Identifier of the data, equal for the same raw data in any units of x.

        SHA-256 of the source and of all steps that change the raw data; of the values, if the source is unknown.
        """
        if "transforms" not in self.provenance:
            return self.checksum
        steps = [t for t in self.provenance["transforms"] if t["transform"] not in ("standardize", "take")]
        # data drawn once are the same, whether or not the training data are drawn anew per batch
        steps = [{**t, "mode": "drawn"} if t.get("mode") in ("static", "dynamic") else t for t in steps]
        said = {k: v for k, v in self.provenance.items() if k not in _NO_SOURCE}
        content = json.dumps([said, steps, self.index.tolist()], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def checksum(self) -> str:
        """SHA-256 over values and shape of x, its mask and its context."""
        digest = hashlib.sha256(repr((tuple(self.x.shape), str(self.x.dtype))).encode())
        if isinstance(self.x, Rows):
            digest.update(self.x.checksum.encode())
        for tensor in (
            *(() if isinstance(self.x, Rows) else (self.x,)),
            *(() if self.mask is None or isinstance(self.mask, Rows) else (self.mask,)),  # which the rows say
            *self.context,
        ):
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def record(self) -> dict[str, Any]:
        """What a result notes of its data; `missing` is a SHA-256 of the mask, empty where nothing is missing."""
        masks = [] if self.mask is None else self.mask.pieces() if isinstance(self.mask, Rows) else [self.mask]
        digest, every = hashlib.sha256(), True
        for mask in map(dense, masks):
            digest.update(mask.detach().cpu().contiguous().numpy().tobytes())
            every = every and bool(mask.all())
        missing = "" if every else digest.hexdigest()
        return {
            "identity": self.identity,
            "checksum": self.checksum,
            "missing": missing,
            "provenance": self.provenance,
        }

    def _map(self, f: Callable[[Tensor], Tensor]) -> Split:
        return replace(
            self,
            x=f(self.x),
            index=f(self.index),
            y=None if self.y is None else f(self.y),
            context=tuple(map(f, self.context)),
            mask=None if self.mask is None else f(self.mask),
            factors=None if self.factors is None else f(self.factors),
        )


_NO_SOURCE = ("transforms", "sizes", "path", "rounded", "grey_levels")
"""Entries of the provenance that are no part of the identity."""


def _set(split: Split, name: str, value: Any) -> None:
    object.__setattr__(split, name, value)  # a frozen dataclass sets its own fields this way


def _length(x: Any) -> int:
    return len(x) if getattr(x, "shape", (1,)) else 1


def _complete(name: str, values: Any) -> Tensor:
    """Values as a tensor, none of them missing."""
    if missing_in(values) is not None:
        raise ValueError(f"{name} expects a value for each datum, got a masked array; fill it, or leave out such data")
    return as_tensor(name, values)
