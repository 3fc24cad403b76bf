"""Residual networks of images of any size, without batch statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from ppl_vae.arguments import Count, Whole, checked
from ppl_vae.nets.convolutions import channels_last, encoded, transposed
from ppl_vae.nets.dense import MLP
from ppl_vae.nets.images import image_shape
from ppl_vae.nets.network import Activation, Network, Shape, activation_of, halvings, joined, size_of

__all__ = ["ResNetDecoder", "ResNetEncoder"]

SMALLEST = 8
"""Images are halved until no side is longer: the dense layers then have as many weights for all sizes."""


class _Block(nn.Module):
    """h + convolution(f(convolution(f(h) + skip))) / sqrt(depth): a variance that grows at most e-fold over all blocks.

    Parameters
    ----------
    channels
        Channels of h.
    depth
        Number of blocks of the network.
    activation
        Name of f.
    """

    def __init__(self, channels: int, depth: int, activation: Activation) -> None:
        super().__init__()
        self.activation = activation_of(activation)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.scale = depth**-0.5

    def forward(self, h: Tensor) -> Tensor:
        return h + self.scale * self.second(self.activation(self.first(self.activation(h))))


@checked
class ResNetEncoder(Network):
    """Residual blocks at each of the sizes that halving an image passes through, then a dense layer.

    The image is halved, rounding up, until no side is longer than 8 pixels: 28 twice, 32 twice, 64 three times, 96 and
    128 four times. All sizes have as many channels, so that the cost is that of the first, and follows the pixels.
    Without batch statistics, which would let data see each other: the branches are divided by the square root of their
    number.

    Parameters
    ----------
    in_shape
        (channels, height, width).
    out_shape
        Shape without leading dimensions.
    context
        Shapes of what else it is called with; it joins the dense layers.
    channels
        Channels at every size.
    blocks
        Residual blocks at each size.
    hidden_dims
        Widths of dense layers before the last.
    activation
        Name of the function in each block.

    References
    ----------
    He et al. 2016, arXiv:1603.05027 (the blocks); Zhang et al. 2019, arXiv:1901.09321 and Hayou et al. 2021,
    arXiv:2010.12859 (their scale).

    Examples
    --------
    >>> import torch
    >>> ResNetEncoder((3, 96, 96), (2, 5), channels=8)(torch.zeros(7, 3, 96, 96)).shape
    torch.Size([7, 2, 5])
    """

    roles = ("encoder",)

    def __init__(
        self,
        in_shape: Shape,
        out_shape: Shape,
        *,
        context: Sequence[Shape] = (),
        channels: Count = 32,
        blocks: Whole = 1,
        hidden_dims: Sequence[Count] = (),
        activation: Activation = "silu",
    ) -> None:
        super().__init__()
        self.in_shape = image_shape("ResNetEncoder", "in_shape", in_shape)
        sizes = _sizes(self.in_shape[1:])
        strides = [2] * (len(sizes) - 1) or [1]  # no convolution of the whole image, if halved
        layers: list[nn.Module] = []
        for i, stride in enumerate(strides):
            layers.append(nn.Conv2d(channels if i else self.in_shape[0], channels, 3, stride, padding=1))
            layers += [_Block(channels, blocks * len(strides), activation) for _ in range(blocks)]
        self.layers = nn.Sequential(*layers, activation_of(activation))
        features = (channels, *sizes[-1])
        self.head = MLP(features, out_shape, context=context, hidden_dims=hidden_dims, activation=activation)

    def forward(self, first: Tensor, *context: Tensor) -> Tensor:
        return encoded(first, self.in_shape, self.layers, self.head, context)


@checked
class ResNetDecoder(Network):
    """A dense layer, then residual blocks at each size up to an image; z and the context enter again at each size.

    The sizes are those of `ResNetEncoder`, backwards. The skip connections from z are dense layers whose results are
    added to every pixel; they keep the decoder from leaving z unused.

    Parameters
    ----------
    in_shape
        Shape without leading dimensions.
    out_shape
        (..., channels, height, width), such as the (rows, channels, height, width) a likelihood asks for.
    context
        Shapes of what else it is called with.
    channels
        Channels at every size.
    blocks
        Residual blocks at each size.
    activation
        Name of the function in each block.

    References
    ----------
    Dieng et al. 2019, arXiv:1807.04863 (the skip connections from z); see also `ResNetEncoder`.

    Examples
    --------
    >>> import torch
    >>> ResNetDecoder((5,), (2, 3, 28, 28), channels=8)(torch.zeros(7, 5)).shape
    torch.Size([7, 2, 3, 28, 28])
    """

    roles = ("decoder",)

    def __init__(
        self,
        in_shape: Shape,
        out_shape: Shape,
        *,
        context: Sequence[Shape] = (),
        channels: Count = 32,
        blocks: Whole = 1,
        activation: Activation = "silu",
    ) -> None:
        super().__init__()
        self.out_shape = tuple(out_shape)
        self.sizes = _sizes(image_shape("ResNetDecoder", "out_shape", self.out_shape[-3:])[1:])[::-1]
        self.shapes = [tuple(in_shape), *map(tuple, context)]
        levels, size = max(len(self.sizes) - 1, 1), size_of(in_shape, context)
        self.features = (channels, *self.sizes[0])
        self.stem = nn.Linear(size, math.prod(self.features))
        self.skips = nn.ModuleList(nn.Linear(size, channels) for _ in range(levels - 1))
        made = [_Block(channels, blocks * levels, activation) for _ in range(blocks * levels)]
        self.blocks = nn.ModuleList(nn.Sequential(*made[i * blocks : (i + 1) * blocks]) for i in range(levels))
        rows = math.prod(self.out_shape[:-2])
        self.up = transposed(nn.ConvTranspose2d, [*[channels] * levels, rows])[: len(self.sizes) - 1]
        self.last = None if len(self.up) else nn.Conv2d(channels, rows, 3, padding=1)
        self.activation = activation_of(activation)

    def forward(self, first: Tensor, *context: Tensor) -> Tensor:
        given = joined((first, *context), self.shapes)
        z = given.reshape(-1, given.shape[-1])
        h = self.blocks[0](channels_last(self.stem(z).unflatten(-1, self.features)))
        for up, blocks, skip, size in zip(self.up, self.blocks[1:], self.skips, self.sizes[1:], strict=False):
            h = blocks(_cut(up(self.activation(h)), size) + skip(z)[..., None, None])
        h = self.activation(h)
        made = _cut(self.up[-1](h), self.sizes[-1]) if self.last is None else self.last(h)
        return made.reshape(*given.shape[:-1], *self.out_shape)


def _cut(h: Tensor, size: tuple[int, ...]) -> Tensor:
    """The pixels of an odd size, of an image (n, channels, height, width) that was doubled."""
    return h[..., : size[0], : size[1]]


def _sizes(size: Shape) -> list[tuple[int, ...]]:
    """A size, and what halving it makes until no side is longer than `SMALLEST`."""
    return halvings(size, max(0, (max(size) - 1) // SMALLEST).bit_length())
