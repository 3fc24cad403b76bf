"""Networks of images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from ppl_vae.arguments import Count, checked
from ppl_vae.nets.dense import MLP
from ppl_vae.nets.network import Activation, Channels, Network, Shape, activation_of, halvings, leading_of

__all__ = ["ConvDecoder", "ConvEncoder"]


@checked
class ConvEncoder(Network):
    """Strided convolutions over an image of any shape, then dense layers.

    Parameters
    ----------
    in_shape
        (channels, height, width); height and width are halved, rounding up, by each convolution.
    out_shape
        Shape without leading dimensions.
    context
        Shapes of what else it is called with; it joins the dense layers.
    channels
        Channels after each convolution.
    hidden_dims
        Widths of the dense layers.
    activation
        Name of the function after each layer.
    """

    def __init__(
        self,
        in_shape: Shape,
        out_shape: Shape,
        *,
        context: Sequence[Shape] = (),
        channels: Sequence[Count] = (32, 64),
        hidden_dims: Sequence[Count] = (256,),
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        self.in_shape = _image("ConvEncoder", "in_shape", in_shape)
        depths = [self.in_shape[0], *channels]
        layers: list[nn.Module] = []
        for before, after in pairwise(depths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), activation_of(activation)]
        self.convolutions = nn.Sequential(*layers)
        features = (depths[-1], *halvings(self.in_shape[1:], len(channels))[-1])
        self.head = MLP(features, out_shape, context=context, hidden_dims=hidden_dims, activation=activation)

    def forward(self, first: Tensor, *context: Tensor) -> Tensor:
        leading = leading_of(first, self.in_shape)
        features = self.convolutions(first.reshape(-1, *self.in_shape))
        return self.head(features.reshape(*leading, *features.shape[1:]), *context)


@checked
class ConvDecoder(Network):
    """Dense layers, then transposed convolutions up to an image of any shape.

    Parameters
    ----------
    in_shape
        Shape without leading dimensions.
    out_shape
        (..., channels, height, width), such as the (rows, channels, height, width) a likelihood asks for.
    context
        Shapes of what else it is called with.
    channels
        Channels before each transposed convolution, the coarsest first.
    hidden_dims
        Widths of the dense layers.
    activation
        Name of the function after each layer.
    """

    def __init__(
        self,
        in_shape: Shape,
        out_shape: Shape,
        *,
        context: Sequence[Shape] = (),
        channels: Channels = (64, 32),
        hidden_dims: Sequence[Count] = (256,),
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        self.out_shape = tuple(out_shape)
        height_width = _image("ConvDecoder", "out_shape", self.out_shape[-3:])[1:]
        self.sizes = halvings(height_width, len(channels))[::-1]
        self.features = (channels[0], *self.sizes[0])
        self.stem = MLP(in_shape, self.features, context=context, hidden_dims=hidden_dims, activation=activation)
        depths = [*channels, math.prod(self.out_shape[:-2])]
        self.activation = activation_of(activation)
        self.convolutions = nn.ModuleList(
            nn.ConvTranspose2d(before, after, 4, stride=2, padding=1) for before, after in pairwise(depths)
        )

    def forward(self, first: Tensor, *context: Tensor) -> Tensor:
        h = self.stem(first, *context)
        leading = h.shape[:-3]
        h = h.reshape(-1, *self.features)
        for convolution, (height, width) in zip(self.convolutions, self.sizes[1:], strict=True):
            h = convolution(self.activation(h))[..., :height, :width]  # doubled, then cut to odd sizes
        return h.reshape(*leading, *self.out_shape)


def _image(owner: str, name: str, shape: Shape) -> tuple[int, ...]:
    if len(shape) != 3:
        raise ValueError(
            f"{owner} expects {name} to end in (channels, height, width), got {tuple(shape)}; "
            "reshape the data to images or use MLP"
        )
    return tuple(shape)
