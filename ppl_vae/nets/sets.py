"""Networks of sets: x of shape (n, d) or (n,), n elements in no order."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ppl_vae.arguments import Count, checked
from ppl_vae.nets.dense import MLP
from ppl_vae.nets.network import Activation, Shape
from ppl_vae.nets.sequences import OfSequences

__all__ = ["DeepSet"]


@checked
class DeepSet(OfSequences):
    """g(sum_i f(x_i) / n, context) of a set of n elements x_i: the same in every order of them.

    Elements of which nothing is known are left out of the sum, so that sets of several sizes share an array.

    Parameters
    ----------
    in_shape
        (n, d), or (n,) for numbers; with `masked` and `levels` their sum times n in place of n.
    out_shape
        Shape without leading dimensions.
    context
        Shapes of what else it is called with; it joins g.
    hidden_dims
        Widths of the layers of f.
    head_dims
        Widths of the hidden layers of g.
    activation
        Name of the function after each layer but the last.
    masked
        Whether the elements are followed by as many of a mask, 1 where a number is missing; `build` sets it.
    levels
        How many values there are for each number, those of an element together: of a category seen one-hot its levels;
        `build` sets it.

    References
    ----------
    Zaheer et al. 2017, arXiv:1703.06114.

    Examples
    --------
    >>> net, x = DeepSet((4, 3), (2,)), torch.arange(12.0).reshape(4, 3)
    >>> torch.allclose(net(x), net(x.flip(0)), atol=1e-5)
    True
    """

    def __init__(
        self,
        in_shape: Shape,
        out_shape: Shape,
        *,
        context: Sequence[Shape] = (),
        hidden_dims: Sequence[Count] = (128, 128),
        head_dims: Sequence[Count] = (128,),
        activation: Activation = "relu",
        masked: bool = False,
        levels: Count = 1,
    ) -> None:
        super().__init__()
        width, size = self._enter("DeepSet", in_shape, masked, levels), (hidden_dims or (128,))[-1]
        self.each = MLP((width,), (size,), hidden_dims=hidden_dims, activation=activation)
        self.head = MLP((size,), out_shape, context=context, hidden_dims=head_dims, activation=activation)

    def forward(self, first: Tensor, *context: Tensor) -> Tensor:
        leading, x = self._by_step(first)
        h = self.each(x)
        if self.masked:
            h = torch.where((x[..., -self.numbers :] == 0).any(-1, keepdim=True), h, 0.0)
        summed = h.sum(1) / self.steps
        return self.head(summed.reshape(*leading, summed.shape[-1]), *context)
