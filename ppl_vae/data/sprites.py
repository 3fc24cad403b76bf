"""Pictures of one shape each, drawn from its shape, scale, orientation and position."""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_vae.arguments import Count, checked

__all__ = ["SHAPES", "draw"]

SHAPES = ("square", "ellipse", "heart")
_AT_ONCE = 2000  # pictures; bounds the memory


@checked
def draw(shape: Tensor, scale: Tensor, orientation: Tensor, x: Tensor, y: Tensor, *, side: Count = 32) -> Tensor:
    """Pictures with a one where the middle of a pixel lies in the shape, else a zero.

    Parameters
    ----------
    shape
        Positions in `SHAPES`, (n,).
    scale
        Size in (0, 1], (n,); at 1 no shape reaches further from its middle than a third of the side.
    orientation
        Anticlockwise as seen, in radians, (n,).
    x, y
        Position of the middle in [0, 1], (n,): to the right and downwards, with the whole shape in the picture.
    side
        Height and width in pixels.

    Returns
    -------
    Tensor
        (n, 1, side, side), boolean.

    Examples
    --------
    >>> one = torch.ones(1)
    >>> picture = draw(0 * one, one, 0 * one, 0.5 * one, 0.5 * one)
    >>> picture.shape, int(picture.sum())  # a square of 15 by 15 pixels
    (torch.Size([1, 1, 32, 32]), 225)
    """
    columns = torch.stack([c.double() for c in (shape, scale, orientation, x, y)], 1)
    return torch.cat([_draw(*some.T, side=side) for some in columns.split(_AT_ONCE)])


def _draw(shape: Tensor, scale: Tensor, orientation: Tensor, x: Tensor, y: Tensor, *, side: int) -> Tensor:
    pixel = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    # shapes at the edge are whole; middles off the middles and edges of pixels, where many angles would look the same
    middle_x, middle_y = (10.3 + 11 * x) / 32, (10.4 + 11 * y) / 32
    right = (pixel - middle_x[:, None])[:, None, :]  # (n, 1, width)
    up = (middle_y[:, None] - pixel)[:, :, None]  # (n, height, 1)
    cos, sin, unit = (f[:, None, None] for f in (orientation.cos(), orientation.sin(), scale / 32))
    u, v = (cos * right + sin * up) / unit, (cos * up - sin * right) / unit
    inside = torch.zeros_like(u, dtype=torch.bool)
    for number, within in enumerate((_square, _ellipse, _heart)):
        inside[shape == number] = within(u[shape == number], v[shape == number])
    return inside[:, None]


def _square(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(u.abs(), v.abs()) < 7.44


def _ellipse(u: Tensor, v: Tensor) -> Tensor:
    return (u / 10.3) ** 2 + (v / 5.65) ** 2 < 1


def _heart(u: Tensor, v: Tensor) -> Tensor:
    u, v = u / 7.3, v / 7.3
    away = u * u + v * v - 1
    return away * away * away < u * u * v * v * v
