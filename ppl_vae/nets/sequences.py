"""Networks of sequences: x of shape (t,) or (t, d), t steps of one number or of d."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from ppl_vae.arguments import Count, checked
from ppl_vae.nets.convolutions import halving, through, transposed
from ppl_vae.nets.dense import MLP
from ppl_vae.nets.network import (
    Activation,
    Channels,
    Network,
    Shape,
    activation_of,
    halvings,
    joined,
    leading_of,
    size_of,
)

__all__ = ["Conv1dDecoder", "Conv1dEncoder", "GRUDecoder", "GRUEncoder", "OfSequences"]


class _Steps(NamedTuple):
    """Steps and numbers a step of a sequence, or of its parameters of `rows` kinds."""

    rows: int
    steps: int
    width: int


class OfSequences(Network):
    """A network that is given a sequence, and with `masked` below it, along time, 1 where a number is missing."""

    roles = ("encoder",)

    linked: ClassVar[tuple[str, ...]] = (*Network.linked, "masked", "levels")

    def _enter(self, owner: str, in_shape: Shape, masked: bool, levels: int) -> int:
        """Remember the shapes, and return the numbers that a step has."""
        self.in_shape, self.masked, self.levels = tuple(in_shape), masked, levels
        if len(in_shape) not in (1, 2) or in_shape[0] % (levels + masked):
            values = "t" if levels == 1 else f"{levels} t"
            expected = f"({values},) or ({values}, d)" + (", the values and then t of their mask" if masked else "")
            raise ValueError(
                f"{owner} expects in_shape to be {expected}, got {self.in_shape}; reshape the data to steps, or the "
                "elements of a set, and what is known of each, or use MLP"
            )
        self.steps, self.numbers = in_shape[0] // (levels + masked), math.prod(in_shape[1:])
        return (levels + masked) * self.numbers

    def _by_step(self, first: Tensor) -> tuple[torch.Size, Tensor]:
        """Leading dimensions, and values beside their mask, (n, t, width)."""
        leading = leading_of(first, self.in_shape)
        flat = first.reshape(-1, self.in_shape[0], self.numbers)
        values, mask = flat.tensor_split([self.levels * self.steps], 1)
        values = values.reshape(flat.shape[0], self.steps, self.levels * self.numbers)  # len would fix it in a graph
        return leading, torch.cat([values, mask], -1) if self.masked else values


@checked
class Conv1dEncoder(OfSequences):
    """Strided convolutions over the steps of a sequence, then dense layers.

    Parameters
    ----------
    in_shape
        (t,) or (t, d); with `masked` and `levels` their sum times t in place of t. t is halved,
        rounding up, by each convolution.
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
    masked
        Whether the steps are followed by as many of a mask, 1 where a number is missing; `build` sets it.
    levels
        How many values there are for each number, those of a step together: of a category seen one-hot its levels;
        `build` sets it.

    Examples
    --------
    >>> Conv1dEncoder((30, 2), (2, 5))(torch.zeros(7, 30, 2)).shape
    torch.Size([7, 2, 5])
    """

    def __init__(
        self,
        in_shape: Shape,
        out_shape: Shape,
        *,
        context: Sequence[Shape] = (),
        channels: Sequence[Count] = (32, 64),
        hidden_dims: Sequence[Count] = (128,),
        activation: Activation = "relu",
        masked: bool = False,
        levels: Count = 1,
    ) -> None:
        super().__init__()
        depths = [self._enter("Conv1dEncoder", in_shape, masked, levels), *channels]
        self.convolutions = halving(nn.Conv1d, depths, activation)
        steps = halvings((self.steps,), len(channels))[-1]
        self.head = MLP(
            (depths[-1], *steps), out_shape, context=context, hidden_dims=hidden_dims, activation=activation
        )

    def forward(self, first: Tensor, *context: Tensor) -> Tensor:
        leading, x = self._by_step(first)
        features = self.convolutions(x.mT)
        return self.head(features.reshape(*leading, *features.shape[1:]), *context)


@checked
class GRUEncoder(OfSequences):
    """A gated recurrent network over the steps of a sequence, then a dense layer.

    What it gives does not depend on missing steps at the end of a sequence: each is read up to the last step of which
    something is known, backwards from there.

    Parameters
    ----------
    in_shape
        (t,) or (t, d); with `masked` and `levels` their sum times t in place of t.
    out_shape
        Shape without leading dimensions.
    context
        Shapes of what else it is called with; it joins the dense layer.
    hidden_dim
        Width of the state, in each direction.
    num_layers
        Number of recurrent layers.
    bidirectional
        Whether the sequence is read backwards, too.
    masked
        Whether the steps are followed by as many of a mask, 1 where a number is missing; `build` sets it. Without one,
        every step is known.
    levels
        How many values there are for each number, those of a step together: of a category seen one-hot its levels;
        `build` sets it.

    Notes
    -----
    `torch.vmap` has no rule for recurrent networks, nor for `GRUDecoder`; `torch.func.jvp` and gradients have.

    References
    ----------
    Cho et al. 2014, arXiv:1406.1078.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> net = GRUEncoder((8,), (2,), masked=True)
    >>> x, missing = torch.tensor([0.3, 0.7, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0, 1.0])
    >>> other = torch.tensor([0.3, 0.7, 9.0, 9.0])
    >>> torch.equal(net(torch.cat([x, missing])), net(torch.cat([other, missing])))
    True
    """

    def __init__(
        self,
        in_shape: Shape,
        out_shape: Shape,
        *,
        context: Sequence[Shape] = (),
        hidden_dim: Count = 128,
        num_layers: Count = 1,
        bidirectional: bool = True,
        masked: bool = False,
        levels: Count = 1,
    ) -> None:
        super().__init__()
        width = self._enter("GRUEncoder", in_shape, masked, levels)
        self.gru = nn.GRU(width, hidden_dim, num_layers, batch_first=True, bidirectional=bidirectional)
        self.size = (1 + bidirectional) * hidden_dim
        self.head = MLP((self.size,), out_shape, context=context, hidden_dims=())

    def forward(self, first: Tensor, *context: Tensor) -> Tensor:
        leading, x = self._by_step(first)
        last = x.new_zeros(0, self.size)
        if x.shape[0]:
            _, states = self.gru(
                self._packed(x) if self.masked else x
            )  # (layers * directions, n, hidden_dim), those of the last layer last
            last = states[-self.size // self.gru.hidden_size :].movedim(0, 1)
        return self.head(last.reshape(*leading, self.size), *context)

    def _packed(self, x: Tensor) -> PackedSequence:
        return pack_padded_sequence(x, self._lengths(x).cpu(), batch_first=True, enforce_sorted=False)

    def _lengths(self, x: Tensor) -> Tensor:
        """Steps up to the last of which something is known, (n,), at least one."""
        known = (x[..., -self.numbers :] == 0).any(-1)
        return (known * torch.arange(1, x.shape[1] + 1, device=x.device)).amax(1).clamp_min(1)


class _ToSequences(Network):
    """A network that gives the parameters of a sequence, (k, t) or (k, t, d)."""

    roles = ("decoder",)

    def _leave(self, owner: str, out_shape: Shape) -> _Steps:
        self.out_shape = tuple(out_shape)
        if len(out_shape) not in (2, 3):
            raise ValueError(
                f"{owner} expects out_shape to be (k, t) or (k, t, d), k parameters of each number of a sequence, got "
                f"{self.out_shape}; reshape the data to steps and what is known at each, or use MLP"
            )
        return _Steps(out_shape[0], out_shape[1], math.prod(out_shape[2:]))

    def _by_row(self, made: Tensor, leading: torch.Size) -> Tensor:
        """From (n, t, k * d) to (*leading, *out_shape)."""
        return made.unflatten(-1, (self.out_shape[0], -1)).movedim(2, 1).reshape(*leading, *self.out_shape)


@checked
class Conv1dDecoder(_ToSequences):
    """Dense layers, then transposed convolutions up to a sequence of any length.

    Parameters
    ----------
    in_shape
        Shape without leading dimensions.
    out_shape
        (k, t) or (k, t, d), as a likelihood of x (t,) or (t, d) asks for.
    context
        Shapes of what else it is called with.
    channels
        Channels before each transposed convolution, the coarsest first.
    hidden_dims
        Widths of the dense layers.
    activation
        Name of the function after each layer.

    Examples
    --------
    >>> Conv1dDecoder((5,), (2, 30, 2))(torch.zeros(7, 5)).shape
    torch.Size([7, 2, 30, 2])
    """

    def __init__(
        self,
        in_shape: Shape,
        out_shape: Shape,
        *,
        context: Sequence[Shape] = (),
        channels: Channels = (64, 32),
        hidden_dims: Sequence[Count] = (128,),
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        rows, steps, width = self._leave("Conv1dDecoder", out_shape)
        self.sizes = halvings((steps,), len(channels))[::-1]
        self.features = (channels[0], *self.sizes[0])
        self.stem = MLP(in_shape, self.features, context=context, hidden_dims=hidden_dims, activation=activation)
        self.activation = activation_of(activation)
        self.convolutions = transposed(nn.ConvTranspose1d, [*channels, rows * width])

    def forward(self, first: Tensor, *context: Tensor) -> Tensor:
        h = self.stem(first, *context)
        made = through(h.reshape(-1, *self.features), self.convolutions, self.activation, self.sizes[1:])
        return self._by_row(made.mT, h.shape[:-2])


@checked
class GRUDecoder(_ToSequences):
    """A gated recurrent network that is given the same vector at every step, then a dense layer.

    The first steps do not depend on how many follow, and nor do its weights: it can be built for another length.

    Parameters
    ----------
    in_shape
        Shape without leading dimensions.
    out_shape
        (k, t) or (k, t, d), as a likelihood of x (t,) or (t, d) asks for.
    context
        Shapes of what else it is called with.
    hidden_dim
        Width of the state.
    num_layers
        Number of recurrent layers.

    Notes
    -----
    Given z, the steps are independent: what was drawn at a step is not given to the next one, which would make x
    depend on its past and let a decoder leave z unused (Bowman et al. 2016, arXiv:1511.06349).

    Examples
    --------
    >>> GRUDecoder((5,), (2, 30))(torch.zeros(7, 5)).shape
    torch.Size([7, 2, 30])
    """

    def __init__(
        self,
        in_shape: Shape,
        out_shape: Shape,
        *,
        context: Sequence[Shape] = (),
        hidden_dim: Count = 128,
        num_layers: Count = 1,
    ) -> None:
        super().__init__()
        rows, self.steps, width = self._leave("GRUDecoder", out_shape)
        self.shapes = [tuple(in_shape), *map(tuple, context)]
        size = size_of(in_shape, context)
        self.start = nn.Linear(size, num_layers * hidden_dim)
        self.gru = nn.GRU(size, hidden_dim, num_layers, batch_first=True)
        self.head = nn.Linear(hidden_dim, rows * width)

    def forward(self, first: Tensor, *context: Tensor) -> Tensor:
        given = joined((first, *context), self.shapes)
        leading, given = given.shape[:-1], given.reshape(-1, given.shape[-1])
        if not given.shape[0]:
            return given.new_zeros(*leading, *self.out_shape)
        state = self.start(given).tanh().unflatten(-1, (self.gru.num_layers, -1)).movedim(1, 0).contiguous()
        made, _ = self.gru(given[:, None].expand(-1, self.steps, -1), state)
        return self._by_row(self.head(made), leading)
