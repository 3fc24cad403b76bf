"""Networks: maps between tensors with any leading dimensions and any context.

Each is built by `net(in_shape, out_shape)` and called as `net(first, *context)`, where `first` is
(*leading, *in_shape) and every context is (*leading, *its_shape); leading dimensions broadcast.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn

from ppl_vae.arguments import Count, Rule, checked

__all__ = ["MLP", "ConvDecoder", "ConvEncoder", "GatedMLP", "Network"]

Shape = Sequence[Count]
Channels = Annotated[Sequence[Count], Rule("and one or more of them", lambda given: len(given) > 0)]
Activation = Literal["relu", "elu", "gelu", "silu", "softplus", "tanh"]


class Network(nn.Module, abc.ABC):
    """Base of the networks offered on the command line; elsewhere any `net(in_shape, out_shape)` can be used."""

    linked: ClassVar[tuple[str, ...]] = ("in_shape", "out_shape", "context")
    """Parameters of constructors that are no options on the command line: the component sets them."""

    @abc.abstractmethod
    def forward(self, first: Tensor, *context: Tensor) -> Tensor:
        """(*leading, *in_shape) and contexts to (*leading, *out_shape)."""


class _Dense(Network):
    """Dense layers over all inputs, flattened and concatenated."""

    def __init__(
        self, in_shape: Shape, out_shape: Shape, context: Sequence[Shape], layers: Sequence[nn.Module], width: int
    ) -> None:
        super().__init__()
        self.shapes = [tuple(in_shape), *map(tuple, context)]
        self.out_shape = tuple(out_shape)
        self.layers = nn.Sequential(*layers, nn.Linear(width, math.prod(self.out_shape)))

    def forward(self, first: Tensor, *context: Tensor) -> Tensor:
        return self.layers(_joined((first, *context), self.shapes)).unflatten(-1, self.out_shape)


@checked
class MLP(_Dense):
    """A multilayer perceptron.

    Parameters
    ----------
    in_shape, out_shape
        Shapes without leading dimensions.
    context
        Shapes of what else it is called with.
    hidden_dims
        Widths of the hidden layers.
    activation
        Name of the function after each hidden layer.

    Examples
    --------
    >>> net = MLP((1, 8, 8), (2, 5), context=[(10,)])
    >>> net(torch.zeros(7, 1, 8, 8), torch.zeros(3, 7, 10)).shape
    torch.Size([3, 7, 2, 5])
    """

    def __init__(
        self,
        in_shape: Shape,
        out_shape: Shape,
        *,
        context: Sequence[Shape] = (),
        hidden_dims: Sequence[Count] = (400,),
        activation: Activation = "relu",
    ) -> None:
        widths = [_size(in_shape, context), *hidden_dims]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), _activation(activation)]
        super().__init__(in_shape, out_shape, context, layers, widths[-1])


@checked
class GatedMLP(_Dense):
    """A multilayer perceptron of gated layers, (A h + a) * sigmoid(B h + b).

    Parameters
    ----------
    in_shape, out_shape
        Shapes without leading dimensions.
    context
        Shapes of what else it is called with.
    hidden_dims
        Widths of the hidden layers.

    References
    ----------
    Dauphin et al. 2017, arXiv:1612.08083; used for VAEs by Tomczak & Welling 2018, arXiv:1705.07120.
    """

    def __init__(
        self,
        in_shape: Shape,
        out_shape: Shape,
        *,
        context: Sequence[Shape] = (),
        hidden_dims: Sequence[Count] = (300, 300),
    ) -> None:
        widths = [_size(in_shape, context), *hidden_dims]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, 2 * after), nn.GLU()]
        super().__init__(in_shape, out_shape, context, layers, widths[-1])


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
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), _activation(activation)]
        self.convolutions = nn.Sequential(*layers)
        features = (depths[-1], *_halvings(self.in_shape[1:], len(channels))[-1])
        self.head = MLP(features, out_shape, context=context, hidden_dims=hidden_dims, activation=activation)

    def forward(self, first: Tensor, *context: Tensor) -> Tensor:
        leading = _leading(first, self.in_shape)
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
        self.sizes = _halvings(height_width, len(channels))[::-1]
        self.features = (channels[0], *self.sizes[0])
        self.stem = MLP(in_shape, self.features, context=context, hidden_dims=hidden_dims, activation=activation)
        depths = [*channels, math.prod(self.out_shape[:-2])]
        self.activation = _activation(activation)
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


def _size(in_shape: Shape, context: Sequence[Shape]) -> int:
    return sum(math.prod(shape) for shape in (in_shape, *context))


def _activation(name: str) -> nn.Module:
    modules = {
        "relu": nn.ReLU,
        "elu": nn.ELU,
        "gelu": nn.GELU,
        "silu": nn.SiLU,
        "softplus": nn.Softplus,
        "tanh": nn.Tanh,
    }
    return modules[name]()


def _image(owner: str, name: str, shape: Shape) -> tuple[int, ...]:
    if len(shape) != 3:
        raise ValueError(
            f"{owner} expects {name} to end in (channels, height, width), got {tuple(shape)}; "
            "reshape the data to images or use MLP"
        )
    return tuple(shape)


def _halvings(size: Shape, times: int) -> list[tuple[int, ...]]:
    sizes = [tuple(size)]
    for _ in range(times):
        sizes.append(tuple(-(-n // 2) for n in sizes[-1]))
    return sizes


def _leading(tensor: Tensor, shape: tuple[int, ...]) -> torch.Size:
    """The leading dimensions of a tensor that must end in a shape."""
    leading = tensor.dim() - len(shape)
    if tensor.shape[leading:] != shape:
        raise ValueError(
            f"the network expects an input that ends in {shape}, got {tuple(tensor.shape)}; "
            "build it with the shape of one datum"
        )
    return tensor.shape[:leading]


def _joined(given: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]) -> Tensor:
    """All inputs flattened to vectors, leading dimensions broadcast, and concatenated."""
    if len(given) != len(shapes):
        raise ValueError(
            f"the network expects inputs of shapes {shapes}, got {len(given)} inputs; "
            "give model and guide every context, and build with context= for each"
        )
    vectors = []
    for tensor, shape in zip(given, shapes, strict=True):
        vectors.append(tensor.reshape(*_leading(tensor, shape), math.prod(shape)))
    if len(vectors) == 1:
        return vectors[0]
    leading_shape = torch.broadcast_shapes(*(v.shape[:-1] for v in vectors))
    return torch.cat([v.to(vectors[0].dtype).expand(*leading_shape, -1) for v in vectors], dim=-1)
