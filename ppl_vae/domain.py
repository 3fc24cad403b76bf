"""The domain of the data: which values they take, and their affine map from the raw units."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from torch import Tensor

from ppl_vae.arguments import Count, Positive, Rule, checked

__all__ = ["Domain"]

Kind = Literal["binary", "levels", "unit", "real", "counts"]
Values = Annotated[Tensor, Rule("of real numbers", lambda v: torch.is_tensor(v) and not v.is_complex())]


@checked
@dataclass(frozen=True)
class Domain:
    """The values an element of x may take: x = (raw - shift) / span.

    Parameters
    ----------
    kind
        ``"binary"`` {0, 1}, ``"levels"`` {0, ..., levels - 1}, ``"unit"`` [0, 1], ``"real"``, or
        ``"counts"`` {0, 1, 2, ...}.
    levels
        Number of grey levels of the raw values: 256 for 8-bit images, 17 for scikit-learn's digits.
        Kept when the levels are dequantized, so that densities can be reported in bits per dimension.
    shift, span
        The affine map from raw values to x, in raw units.

    Raises
    ------
    ValueError
        For another kind, and for levels without their number.

    Examples
    --------
    >>> Domain("levels", levels=256).rescaled(0.0, 256.0, kind="unit").log_volume
    5.545...
    """

    kind: Kind
    levels: Count | None = None
    shift: float = 0.0
    span: Positive = 1.0

    def __post_init__(self) -> None:
        if self.kind == "levels" and (self.levels is None or self.levels < 2):
            raise ValueError(
                f"Domain('levels') expects at least 2 levels, got {self.levels}; "
                "give their number, 256 for 8-bit images"
            )

    @property
    def log_volume(self) -> float:
        """Volume log |d raw / d x| per element, in nats: log p(raw) = log p(x) - log_volume."""
        return math.log(self.span)

    @property
    def discrete(self) -> bool:
        """Whether x, as it stands, takes countably many values."""
        return self.kind in ("binary", "levels", "counts")

    @checked
    def contains(self, x: Values) -> bool:
        """Whether every element of x is a value of this domain; NaN and infinity never are."""
        top = {"binary": 1, "unit": 1, "levels": (self.levels or 0) - 1}.get(self.kind, math.inf)
        inside = torch.isfinite(x) & (x <= top)
        if self.kind != "real":
            inside &= x >= 0
        if self.discrete:
            inside &= x == x.round()
        return bool(inside.all())

    @checked
    def raw(self, x: Values) -> Tensor:
        """Values x in the units of the file it came from."""
        return x * self.span + self.shift

    @checked
    def rescaled(self, shift: float, span: Positive, *, kind: Literal["unit", "real"]) -> Domain:
        """The domain of (x - shift) / span."""
        return replace(self, kind=kind, shift=self.shift + self.span * shift, span=self.span * span)
