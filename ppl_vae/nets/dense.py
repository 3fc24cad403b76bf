"""Networks of dense layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from ppl_vae.arguments import Count, checked
from ppl_vae.nets.network import Activation, Network, Shape, activation_of, joined, size_of

__all__ = ["MLP", "GatedMLP"]


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
        return self.layers(joined((first, *context), self.shapes)).unflatten(-1, self.out_shape)


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
    >>> import torch
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
        widths = [size_of(in_shape, context), *hidden_dims]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), activation_of(activation)]
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
        widths = [size_of(in_shape, context), *hidden_dims]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, 2 * after), nn.GLU()]
        super().__init__(in_shape, out_shape, context, layers, widths[-1])
