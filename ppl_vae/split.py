"""Tensors that belong together: data, what they are conditioned on, and where they came from."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ppl_vae.domain import Domain
from ppl_vae.isolation import recorded
from ppl_vae.precision import in_float64

__all__ = ["Split"]


@dataclass(frozen=True)
class Split:
    """Data of one split: training, validation or test.

    Parameters
    ----------
    x
        Data, (n, *x_shape).
    index
        Position of each datum in its data set, (n,); the coordinate `obs` of every result.
    domain
        The values x takes once `pending` has run; `None` where nothing is known of them.
    y
        Labels, (n,), or `None`. Only for pictures: a model sees them as `context`.
    context
        What the model is conditioned on, each (n, ...).
    mask
        True where an element of x was observed, (n, *x_shape); `None` where all were.
    pending
        Random preprocessing that is drawn afresh for every batch, in order: dynamic binarization,
        dequantization and what follows them.
    provenance
        Name, checksums, seed and transforms, ready for JSON.
    factors
        What each datum is known to be made from, its generative factors or true coordinates on a manifold, (n, F),
        named in order by `provenance["factors"]`; `None` where unknown. Only to judge codes by: no model sees them.

    Raises
    ------
    ValueError
        Where index, labels, mask, context or factors are not as many as x, or the factors not (n, F).
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

    def __post_init__(self) -> None:
        for name, tensor in [
            ("index", self.index),
            ("y", self.y),
            ("mask", self.mask),
            ("factors", self.factors),
            *((f"context[{i}]", c) for i, c in enumerate(self.context)),
        ]:
            if tensor is not None and len(tensor) != len(self.x):
                raise ValueError(
                    f"a split needs as many {name} as x, got {len(tensor)} for {len(self.x)} data; "
                    "give one for each datum"
                )
        if self.factors is not None and self.factors.dim() != 2:
            raise ValueError(
                f"a split needs factors of shape (n, F), got {tuple(self.factors.shape)}; give one column a factor"
            )

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: Tensor | slice) -> Split:
        """The split of some rows; a slice copies nothing."""
        return self._map(lambda tensor: tensor[rows])

    def to(self, device: torch.device | str) -> Split:
        """The split with its tensors on a device."""
        return self._map(lambda tensor: recorded(tensor).to(device))

    def drawn(self) -> Split:
        """The split with its preprocessing carried out, by torch's random numbers of the moment.

        Elements that were not observed are zero afterwards, whatever the preprocessing made of them.
        """
        x = self.x
        for transform in self.pending:
            x = transform(x)
        if self.mask is not None and self.pending:
            x = x.masked_fill(~self.mask, 0.0)
        return replace(self, x=x, pending=())

    def fixed(self, seed: int = 0) -> Split:
        """The split with its random preprocessing carried out once, from a seed that it records."""
        if not self.pending:
            return self
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed CUDA too
            drawn = self.to("cpu").drawn().to(self.x.device)
        return replace(drawn, provenance={**self.provenance, "seed": seed})

    @classmethod
    def of(cls, x: Tensor | Split, *context: Tensor, mask: Tensor | bool = True) -> Split:
        """A split of bare tensors, numbered from 0; a split stays what it is.

        Raises
        ------
        TypeError
            For a context or mask beside a split, which has its own.
        ValueError
            For no data, or for a mask that is not boolean or does not fit x.
        """
        if isinstance(x, Split):
            if context or mask is not True:
                raise TypeError("a split expects no context or mask beside it, got some; put them into the split")
            return x._finite()
        if not isinstance(x, Tensor):
            raise TypeError(
                f"data expect a tensor or a Split, got {type(x).__name__}; give data.test of a data set, or "
                "torch.as_tensor(x) of an array"
            )
        if len(x) == 0:
            raise ValueError("data expect at least one datum, got none; check the split or the selection")
        missing = None if mask is True else torch.as_tensor(mask)
        if missing is not None and missing.dtype != torch.bool:
            raise ValueError(
                f"mask expects booleans, True where an element was observed, got {missing.dtype}; convert it: mask > 0"
            )
        return cls(
            x,
            torch.arange(len(x)),
            context=context,
            mask=None if missing is None else missing.expand_as(x),
        )._finite()

    def _finite(self) -> Split:
        bad = ~self.x.isfinite()
        bad = bad if self.mask is None else bad & self.mask
        if bad.any():
            raise ValueError(
                f"data expect finite values, got {int(bad.sum())} of {bad.numel()} that are NaN or infinite; "
                "fill them, or mark them missing with mask="
            )
        return self

    @property
    def observed(self) -> Tensor:
        """Where elements of x were observed, (n, *x_shape)."""
        return torch.ones_like(self.x, dtype=torch.bool) if self.mask is None else self.mask

    @property
    def elements(self) -> Tensor:
        """Number of observed elements of each datum, (n,), in float64."""
        if self.mask is None:
            return torch.full((len(self),), math.prod(self.x.shape[1:]), dtype=torch.float64)
        return in_float64(self.mask.reshape(len(self), -1).sum(1)).cpu()

    @property
    def log_volume(self) -> Tensor:
        """What to subtract from a log density of x for one of the raw data, (n,), in nats and float64."""
        return self.elements * (self.domain.log_volume if self.domain else 0.0)

    @property
    def identity(self) -> str:
        """What two results must share to be of the same data, whatever units x is in.

        SHA-256 of where the data came from and every step since that left its mark on them; of the values, where
        that is unknown.
        """
        if "transforms" not in self.provenance:
            return self.checksum
        steps = [t for t in self.provenance["transforms"] if t["transform"] not in ("standardize", "take")]
        # what is drawn once is the same, whether or not the training data are drawn afresh
        steps = [{**t, "mode": "drawn"} if t.get("mode") in ("static", "dynamic") else t for t in steps]
        said = {k: v for k, v in self.provenance.items() if k not in ("transforms", "sizes", "path")}
        content = json.dumps([said, steps, self.index.tolist()], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def checksum(self) -> str:
        """SHA-256 over values and shape of x, its mask and its context."""
        digest = hashlib.sha256(repr((tuple(self.x.shape), str(self.x.dtype))).encode())
        for tensor in (self.x, *(() if self.mask is None else (self.mask,)), *self.context):
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

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
