"""Strided convolutions and their transposes, in one dimension and in two."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count, pairwise

from torch import Tensor, nn

from ppl_vae.nets.network import Activation, Shape, activation_of, halvings, leading_of

__all__ = ["channels_last", "encoded", "halving", "through", "transposed", "usual_channels"]

Convolution = type[nn.Conv1d] | type[nn.Conv2d]
Transposed = type[nn.ConvTranspose1d] | type[nn.ConvTranspose2d]


def halving(kind: Convolution, channels: Sequence[int], activation: Activation) -> nn.Sequential:
    """Convolutions from each number of channels to the next, each halving the size and followed by an activation."""
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        layers += [kind(before, after, 3, stride=2, padding=1), activation_of(activation)]
    return nn.Sequential(*layers)


def transposed(kind: Transposed, channels: Sequence[int]) -> nn.ModuleList:
    """Transposed convolutions from each number of channels to the next, each doubling the size."""
    return nn.ModuleList(kind(before, after, 4, stride=2, padding=1) for before, after in pairwise(channels))


def through(h: Tensor, convolutions: nn.ModuleList, activation: nn.Module, sizes: Iterable[tuple[int, ...]]) -> Tensor:
    """h (n, channels, *size) after an activation and a transposed convolution for each of the sizes that follow."""
    for convolution, size in zip(convolutions, sizes, strict=True):
        h = convolution(activation(h))[(..., *map(slice, size))]  # doubled, then cut to odd sizes
    return h


def encoded(
    first: Tensor, in_shape: tuple[int, ...], layers: nn.Module, head: nn.Module, context: Sequence[Tensor]
) -> Tensor:
    """What a head makes of images (*leading, *in_shape) after layers that keep them images, and of contexts."""
    leading = leading_of(first, in_shape)
    features = layers(channels_last(first.reshape(-1, *in_shape)))
    made: Tensor = head(features.reshape(*leading, *features.shape[1:]), *context)
    return made


def channels_last(h: Tensor) -> Tensor:
    """h (n, channels, height, width), on a CPU stored with the channels of each pixel side by side.

    What convolutions make of it is stored so too. There oneDNN takes less time; results agree up to rounding.
    """
    if h.device.type != "cpu":
        return h
    # of one channel it is the same numbers, and only such strides tell oneDNN of which order they are
    pixels = h.squeeze(1).unsqueeze(-1) if h.shape[1] == 1 else h.movedim(1, -1).contiguous()
    return pixels.movedim(-1, 1)


def usual_channels(size: Shape, *, at_least: int) -> tuple[int, ...]:
    """Channels after as many halvings of an image as leave no side longer than 8, and after so many or more."""
    times = next(times for times in count(at_least) if max(halvings(size, times)[-1]) <= 8)
    return (32, *[64] * (times - 1))
