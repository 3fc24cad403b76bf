"""The base of all networks, and what they share."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn

from ppl_vae.arguments import Count, Rule

__all__ = [
    "Activation",
    "Channels",
    "Network",
    "Shape",
    "activation_of",
    "halvings",
    "joined",
    "leading_of",
    "size_of",
    "widths",
]

Shape = Sequence[Count]
Channels = Annotated[Sequence[Count], Rule("and one or more of them", lambda given: len(given) > 0)]
Activation = Literal["relu", "elu", "gelu", "silu", "softplus", "tanh"]


class Network(nn.Module, abc.ABC):
    """Base of the networks offered on the command line; elsewhere any `net(in_shape, out_shape)` can be used."""

    linked: ClassVar[tuple[str, ...]] = ("in_shape", "out_shape", "context")
    """Parameters of constructors that are no options on the command line: the component sets them."""

    roles: ClassVar[tuple[str, ...]] = ("encoder", "decoder")
    """What it can be in a VAE; `ppl_vae.build` refuses another use."""

    @abc.abstractmethod
    def forward(self, first: Tensor, *context: Tensor) -> Tensor:
        """(*leading, *in_shape) and contexts to (*leading, *out_shape)."""


def size_of(in_shape: Shape, context: Sequence[Shape]) -> int:
    """Number of elements of all inputs."""
    return widths((in_shape, *context))


def widths(shapes: Sequence[Shape]) -> int:
    """Number of elements of tensors of these shapes together."""
    return sum(map(math.prod, shapes))


def activation_of(name: str) -> nn.Module:
    """The function of a name."""
    modules = {
        "relu": nn.ReLU,
        "elu": nn.ELU,
        "gelu": nn.GELU,
        "silu": nn.SiLU,
        "softplus": nn.Softplus,
        "tanh": nn.Tanh,
    }
    return modules[name]()


def halvings(size: Shape, times: int) -> list[tuple[int, ...]]:
    """A size, and what so many halvings make of it, rounding up."""
    sizes = [tuple(size)]
    for _ in range(times):
        sizes.append(tuple(-(-n // 2) for n in sizes[-1]))
    return sizes


def leading_of(tensor: Tensor, shape: tuple[int, ...]) -> torch.Size:
    """The leading dimensions of a tensor that must end in a shape."""
    leading = tensor.dim() - len(shape)
    if tensor.shape[leading:] != shape:
        raise ValueError(
            f"the network expects an input that ends in {shape}, got {tuple(tensor.shape)}; "
            "build it with the shape of one datum"
        )
    return tensor.shape[:leading]


def joined(given: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]) -> Tensor:
    """All inputs flattened to vectors, leading dimensions broadcast, and concatenated."""
    if len(given) != len(shapes):
        raise ValueError(
            f"the network expects inputs of shapes {shapes}, got {len(given)} inputs; "
            "give model and guide every context, and build with context= for each"
        )
    vectors = []
    for tensor, shape in zip(given, shapes, strict=True):
        vectors.append(tensor.reshape(*leading_of(tensor, shape), math.prod(shape)))
    if len(vectors) == 1:
        return vectors[0]
    leading_shape = torch.broadcast_shapes(*(v.shape[:-1] for v in vectors))
    return torch.cat([v.to(vectors[0].dtype).expand(*leading_shape, -1) for v in vectors], dim=-1)
