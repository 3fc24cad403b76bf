"""Networks of images."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from ppl_vae.arguments import Count, checked
from ppl_vae.nets.convolutions import channels_last, encoded, halving, through, transposed, usual_channels
from ppl_vae.nets.dense import MLP
from ppl_vae.nets.network import Activation, Channels, Network, Shape, activation_of, halvings

__all__ = ["ConvDecoder", "ConvEncoder", "image_shape"]


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
        Channels after each convolution. If `None` 32 and 64, and as many more of 64 as it takes until no side is longer
        than 8: the cost follows the pixels.
    hidden_dims
        Widths of the dense layers.
    activation
        Name of the function after each layer.
    """

    roles = ("encoder",)

    def __init__(
        self,
        in_shape: Shape,
        out_shape: Shape,
        *,
        context: Sequence[Shape] = (),
        channels: Sequence[Count] | None = None,
        hidden_dims: Sequence[Count] = (256,),
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        self.in_shape = image_shape("ConvEncoder", "in_shape", in_shape)
        channels = usual_channels(self.in_shape[1:], at_least=2) if channels is None else channels
        depths = [self.in_shape[0], *channels]
        self.convolutions = halving(nn.Conv2d, depths, activation)
        features = (depths[-1], *halvings(self.in_shape[1:], len(channels))[-1])
        self.head = MLP(features, out_shape, context=context, hidden_dims=hidden_dims, activation=activation)

    def forward(self, first: Tensor, *context: Tensor) -> Tensor:
        return encoded(first, self.in_shape, self.convolutions, self.head, context)


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
        Channels before each transposed convolution, the coarsest first; if `None` those of `ConvEncoder`.
    hidden_dims
        Widths of the dense layers.
    activation
        Name of the function after each layer.
    """

    roles = ("decoder",)

    def __init__(
        self,
        in_shape: Shape,
        out_shape: Shape,
        *,
        context: Sequence[Shape] = (),
        channels: Channels | None = None,
        hidden_dims: Sequence[Count] = (256,),
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        self.out_shape = tuple(out_shape)
        height_width = image_shape("ConvDecoder", "out_shape", self.out_shape[-3:])[1:]
        channels = usual_channels(height_width, at_least=2)[::-1] if channels is None else channels
        self.sizes = halvings(height_width, len(channels))[::-1]
        self.features = (channels[0], *self.sizes[0])
        self.stem = MLP(in_shape, self.features, context=context, hidden_dims=hidden_dims, activation=activation)
        self.activation = activation_of(activation)
        self.convolutions = transposed(nn.ConvTranspose2d, [*channels, math.prod(self.out_shape[:-2])])

    def forward(self, first: Tensor, *context: Tensor) -> Tensor:
        h = self.stem(first, *context)
        made = through(channels_last(h.reshape(-1, *self.features)), self.convolutions, self.activation, self.sizes[1:])
        return made.reshape(*h.shape[:-3], *self.out_shape)


def image_shape(owner: str, name: str, shape: Shape) -> tuple[int, ...]:
    """A shape (channels, height, width), for a network of this name.

    Raises
    ------
    ValueError
        For another number of dimensions.
    """
    if len(shape) != 3:
        raise ValueError(
            f"{owner} expects {name} to end in (channels, height, width), got {tuple(shape)}; "
            "reshape the data to images or use MLP"
        )
    return tuple(shape)
