"""Gated convolutions over images of any size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from ppl_vae.arguments import Count, checked
from ppl_vae.nets.convolutions import channels_last, encoded, usual_channels
from ppl_vae.nets.dense import MLP, GatedMLP
from ppl_vae.nets.images import image_shape
from ppl_vae.nets.network import Channels, Network, Shape, halvings

__all__ = ["GatedConvDecoder", "GatedConvEncoder"]


class _Gated(nn.Sequential):
    """A convolution of 5 x 5 pixels and its gate, (A * h + a) sigmoid(B * h + b).

    Weights have a variance of 2 / fan_in: no layer then makes the variance of what passes larger, nor less than half.

    Parameters
    ----------
    before, after
        Channels.
    stride
        1, or 2 to halve the size.
    """

    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        convolution = nn.Conv2d(before, 2 * after, 5, stride, padding=2)
        nn.init.kaiming_normal_(convolution.weight)
        super().__init__(convolution, nn.GLU(dim=1))


class _Doubled(nn.Sequential):
    """A transposed convolution that doubles the size, and its gate, with the variances of `_Gated`."""

    def __init__(self, before: int, after: int) -> None:
        convolution = nn.ConvTranspose2d(before, 2 * after, 5, 2, padding=2, output_padding=1)
        # a pixel is a sum over a quarter of the weights
        nn.init.normal_(convolution.weight, std=math.sqrt(2 * 4 / (25 * before)))
        super().__init__(convolution, nn.GLU(dim=1))


@checked
class GatedConvEncoder(Network):
    """Two gated convolutions at each size of an image, the second of which halves it; one more, and gated dense layers.

    Of 28 x 28 pixels it is the encoder of van den Berg et al. 2018, which many papers on flows as posteriors use.

    Parameters
    ----------
    in_shape
        (channels, height, width); height and width are halved, rounding up, by each second convolution.
    out_shape
        Shape without leading dimensions.
    context
        Shapes of what else it is called with; it joins the dense layers.
    channels
        Channels of the two convolutions at each size. If `None` 32, then 64 at each further size, until no side is
        longer than 8.
    hidden_dims
        Widths of the dense layers.

    References
    ----------
    van den Berg et al. 2018, arXiv:1803.05649; Dauphin et al. 2017, arXiv:1612.08083 (the gates).

    Examples
    --------
    >>> import torch
    >>> GatedConvEncoder((3, 28, 20), (2, 5))(torch.zeros(7, 3, 28, 20)).shape
    torch.Size([7, 2, 5])
    """

    roles = ("encoder",)

    def __init__(
        self,
        in_shape: Shape,
        out_shape: Shape,
        *,
        context: Sequence[Shape] = (),
        channels: Channels | None = None,
        hidden_dims: Sequence[Count] = (256,),
    ) -> None:
        super().__init__()
        self.in_shape = image_shape("GatedConvEncoder", "in_shape", in_shape)
        channels = usual_channels(self.in_shape[1:], at_least=1) if channels is None else channels
        layers: list[nn.Module] = []
        for before, after in pairwise([self.in_shape[0], *channels]):
            layers += [_Gated(before, after), _Gated(after, after, stride=2)]
        self.layers = nn.Sequential(*layers, _Gated(channels[-1], channels[-1]))
        features = (channels[-1], *halvings(self.in_shape[1:], len(channels))[-1])
        self.head = GatedMLP(features, out_shape, context=context, hidden_dims=hidden_dims)

    def forward(self, first: Tensor, *context: Tensor) -> Tensor:
        return encoded(first, self.in_shape, self.layers, self.head, context)


@checked
class GatedConvDecoder(Network):
    """A gated dense layer, two gated convolutions for each doubling of the size up to an image, and one of 1 x 1 pixel.

    Parameters
    ----------
    in_shape
        Shape without leading dimensions.
    out_shape
        (..., channels, height, width), such as the (rows, channels, height, width) a likelihood asks for.
    context
        Shapes of what else it is called with.
    channels
        Channels at each size but the last, the coarsest first; the last has as many as the one before. If `None` those
        of `GatedConvEncoder`, backwards.

    References
    ----------
    As of `GatedConvEncoder`.

    Examples
    --------
    >>> import torch
    >>> GatedConvDecoder((5,), (2, 3, 28, 20))(torch.zeros(7, 5)).shape
    torch.Size([7, 2, 3, 28, 20])
    """

    roles = ("decoder",)

    def __init__(
        self,
        in_shape: Shape,
        out_shape: Shape,
        *,
        context: Sequence[Shape] = (),
        channels: Channels | None = None,
    ) -> None:
        super().__init__()
        self.out_shape = tuple(out_shape)
        height_width = image_shape("GatedConvDecoder", "out_shape", self.out_shape[-3:])[1:]
        channels = usual_channels(height_width, at_least=1)[::-1] if channels is None else channels
        self.sizes = halvings(height_width, len(channels))[::-1]
        depths = [*channels, channels[-1]]
        features = (2 * channels[0], *self.sizes[0])
        self.stem = MLP(in_shape, features, context=context, hidden_dims=())
        self.gate = nn.GLU(dim=1)
        self.before = nn.ModuleList(_Gated(depth, depth) for depth in channels)
        self.up = nn.ModuleList(_Doubled(before, after) for before, after in pairwise(depths))
        self.last = nn.Sequential(
            _Gated(depths[-1], depths[-1]), nn.Conv2d(depths[-1], math.prod(self.out_shape[:-2]), 1)
        )

    def forward(self, first: Tensor, *context: Tensor) -> Tensor:
        stem = self.stem(first, *context)
        h = self.gate(channels_last(stem.reshape(-1, *stem.shape[-3:])))
        for convolution, up, size in zip(self.before, self.up, self.sizes[1:], strict=True):
            h = up(convolution(h))[(..., *map(slice, size))]  # doubled, then cut to odd sizes
        return self.last(h).reshape(*stem.shape[:-3], *self.out_shape)
