"""Data made by code, whose factors are known: points on curved sheets, and pictures of sprites. No file is needed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppl_vae.arguments import Seed, checked
from ppl_vae.data.data import Data
from ppl_vae.data.parts import collect, whole
from ppl_vae.data.sprites import SHAPES, draw
from ppl_vae.domain import Domain
from ppl_vae.libraries import datasets
from ppl_vae.split import Split

__all__ = ["s_curve", "sprites", "swiss_roll"]

_SIZES = (2000, 500, 500)
_NOISE = 0.05
_SPRITES = (21_920, 2000, 2000)


@checked
def swiss_roll(root: Path, *, download: bool, seed: Seed) -> Data:
    """The swiss roll: 2,000 + 500 + 500 points of a rolled sheet in R^3, with noise of sd 0.05, drawn by `seed`.

    Factors: arc length along the spiral and height, the lengths of the sheet laid flat, of the point before its noise.
    The angle t that `sklearn.datasets.make_swiss_roll` gives is not among them: points are uniform in t and so, along
    the sheet, sparser outside.

    References
    ----------
    Tenenbaum, de Silva and Langford (2000), doi:10.1126/science.290.5500.2319.
    """
    return _sheet("swiss_roll", datasets.make_swiss_roll, spiral_length, seed)


@checked
def s_curve(root: Path, *, download: bool, seed: Seed) -> Data:
    """The S-curve: 2,000 + 500 + 500 points of a sheet bent to an S in R^3, with noise of sd 0.05, drawn by `seed`.

    Factors: arc length along the S and height, of the point before its noise.
    """
    return _sheet("s_curve", datasets.make_s_curve, s_length, seed)


def spiral_length(t: np.ndarray) -> np.ndarray:
    """Length of the spiral t (cos t, sin t) from t = 3 pi / 2, where the roll begins."""
    integral, start = ((a * np.sqrt(1 + a**2) + np.arcsinh(a)) / 2 for a in (t, np.float64(1.5 * math.pi)))
    return integral - start


def s_length(t: np.ndarray) -> np.ndarray:
    """Length of the S (sin t, sign(t) (cos t - 1)) from t = -3 pi / 2, where it begins: its speed is one."""
    return t + 1.5 * math.pi


def _sheet(name: str, make: Callable[..., Any], length: Callable[[np.ndarray], np.ndarray], seed: int) -> Data:
    size = sum(_SIZES)
    x, t = make(size, noise=_NOISE, random_state=seed)
    height = make(size, noise=0.0, random_state=seed)[0][:, 1]  # the noise is drawn last, so the points are the same
    factors = torch.from_numpy(np.stack([length(t), height], 1))
    return collect(
        name,
        *_parts(torch.from_numpy(x), factors, _SIZES),
        domain=Domain("real"),
        factors=["arc length", "height"],
        noise=_NOISE,
        split_seed=seed,
    )


@checked
def sprites(root: Path, *, download: bool, seed: Seed) -> Data:
    """Sprites: 21,920 + 2,000 + 2,000 pictures of one shape each, 1 x 32 x 32, binary, split at random by `seed`.

    Every combination of shape (square, ellipse, heart), scale (0.5, 0.6, ..., 1), orientation (0, 9, ..., 81 degrees,
    given in radians) and position (x to the right, y downwards, from 0 to 1 in 11 steps of a pixel) is one picture, as
    in the dSprites of Matthey et al. (2017). Those turn through 360 degrees, though a square looks the same every 90 of
    them and an ellipse every 180. Here the orientation stays below 90, so that each picture has its own; but a square
    at 81 degrees is next to one at 0, and the other shapes are not. The labels are the shapes.

    References
    ----------
    Matthey, Higgins, Hassabis and Lerchner (2017), dSprites: Disentanglement testing Sprites dataset,
    github.com/google-deepmind/dsprites-dataset.
    """
    steps = torch.arange(12) / 11
    values = (torch.arange(3), torch.arange(5, 11) / 10, torch.arange(10) * math.pi / 20, steps, steps)
    sizes = [len(v) for v in values]
    order = torch.randperm(math.prod(sizes), generator=torch.Generator().manual_seed(seed))
    cells = torch.unravel_index(order, sizes)
    factors = torch.stack([v[cell].double() for v, cell in zip(values, cells, strict=True)], 1)
    return collect(
        "sprites",
        *_parts(draw(*factors.T), factors, _SPRITES, cells[0]),
        domain=Domain("binary"),
        classes=SHAPES,
        factors=["shape", "scale", "orientation", "position x", "position y"],
        categorical=["shape"],
        split_seed=seed,
    )


def _parts(x: Tensor, factors: Tensor, sizes: tuple[int, ...], y: Tensor | None = None) -> list[Split]:
    """Data that were drawn independently, one part after the other."""
    split = replace(whole(x, y), factors=factors.to(torch.float32))
    return [split[start : start + size] for start, size in zip(np.cumsum((0, *sizes)), sizes, strict=False)]
