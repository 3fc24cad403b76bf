"""What a datum looks like on a page: a picture, or a row of named values."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppl_vae.data.columns import Columns
from ppl_vae.rows import dense
from ppl_vae.split import Split
from ppl_vae.vae import VAE

__all__ = ["Looks", "plain"]

_PIXELS = 600_000
_NUMBERS = 60_000


@dataclass(frozen=True)
class Looks:
    """How the data of a run are shown, in raw units.

    Attributes
    ----------
    shape
        Of a datum.
    names
        Of the elements of a row.
    columns
        What is known of each column of a table.
    low, high
        The values that are black and white in a picture.
    """

    shape: tuple[int, ...]
    names: tuple[str, ...]
    columns: tuple[dict[str, Any], ...]
    low: float
    high: float

    @classmethod
    def of(cls, vae: VAE, split: Split) -> Looks:
        """Of the data of a VAE."""
        x = raw(vae, split)
        seen = x[x.isfinite()]
        low, high = (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 1.0)
        shape = tuple(x.shape[1:])
        columns = Columns.of(split.provenance.get("columns", ()))
        names = columns.names or vae.likelihood.names or tuple(map(str, range(math.prod(shape))))
        return cls(shape, names, tuple(map(_column, columns)), low, high if high > low else low + 1.0)

    @property
    def picture(self) -> bool:
        """Whether a datum is a picture, grey or in colour."""
        return len(self.shape) == 3 and self.shape[0] in (1, 3)

    def at_most(self, share: float = 1.0) -> int:
        """How many data a page holds, of a share of what it holds in all."""
        limit = _PIXELS if self.picture else _NUMBERS
        return max(1, int(share * limit / max(1, math.prod(self.shape))))

    def described(self) -> dict[str, Any]:
        """For the page's JavaScript."""
        kind = {"kind": "picture" if self.picture else "row", "low": self.low, "high": self.high}
        return {**kind, "shape": self.shape, "names": [] if self.picture else self.names, "columns": self.columns}

    def shown(self, x: Tensor) -> dict[str, Any]:
        """Data (n, *shape) in raw units, for the page's JavaScript: one PNG of all pictures, or rows of numbers."""
        if not self.picture:
            return {"rows": plain(x.reshape(len(x), -1))}
        across = math.ceil(math.sqrt(len(x)))
        return {"across": across, "png": _png(_mosaic(self._grey(x), across))}

    def _grey(self, x: Tensor) -> np.ndarray:
        """Pictures as (n, height, width, channels) of 8 bits, the last of which is 0 where an element is missing."""
        values = x.permute(0, 2, 3, 1).double().numpy()
        there = np.isfinite(values).all(-1, keepdims=True)
        scaled = np.nan_to_num((values - self.low) / (self.high - self.low))
        return np.concatenate([(255 * scaled.clip(0, 1)).round(), 255.0 * there], -1).astype(np.uint8)


def raw(vae: VAE, split: Split) -> Tensor:
    """Data in raw units, on the CPU; NaN where an element is missing."""
    x: Tensor = vae.raw(dense(split.x)).cpu()
    return x if split.mask is None else torch.where(dense(split.mask).cpu(), x, math.nan)


def plain(values: Any) -> Any:
    """Numbers of five digits in nested lists, for JSON; what is not finite is `None`."""
    if isinstance(values, Tensor | np.ndarray):
        values = values.tolist()
    if isinstance(values, list | tuple):
        return [plain(value) for value in values]
    if not isinstance(values, float):
        return values
    return float(f"{values:.5g}") if math.isfinite(values) else None


def _column(column: Any) -> dict[str, Any]:
    whole = column.kind == "counts" or column.dtype.lower().startswith(("int", "uint"))
    categories = None if column.categories is None else list(map(str, column.categories))
    # by the clock of its zone: JavaScript writes dates in UTC
    origin = column.origin and f"{column.origin[:19]}{'Z' * (len(column.origin) > 10)}"
    return {"categories": categories, "origin": origin, "whole": whole}


def _mosaic(tiles: np.ndarray, across: int) -> np.ndarray:
    """Tiles (n, height, width, channels) row by row in one array (rows * height, across * width, channels)."""
    n, height, width, channels = tiles.shape
    rows = math.ceil(n / across)
    whole = np.zeros((rows * across, height, width, channels), np.uint8)
    whole[:n] = tiles
    grid = whole.reshape(rows, across, height, width, channels).swapaxes(1, 2)
    return grid.reshape(rows * height, across * width, channels)


def _png(picture: np.ndarray) -> str:
    """A picture as a data URI; the last channel is dropped where nothing is missing."""
    from PIL import Image

    opaque = bool((picture[..., -1] == 255).all()) or not (picture[..., -1] == 0).any()
    picture = picture[..., :-1] if opaque else picture
    buffer = io.BytesIO()
    Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
