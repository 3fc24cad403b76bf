"""Corruptions of the encoder's input in training, for denoising autoencoders and VAEs."""

from __future__ import annotations

import abc
from typing import ClassVar

import torch
from torch import Tensor, nn

from ppl_vae.arguments import Positive, Rate, checked

__all__ = ["Corruption", "GaussianNoise", "Masking", "SaltAndPepper"]


class Corruption(nn.Module, abc.ABC):
    """x~ ~ C(x~ | x), a new draw at each call in train mode; x itself in eval mode. The base of every corruption.

    A `VAE` passes x~ to its posterior and scores the clean x. For each x~, E_q(z | x~)[log p(x, z) - log q(z | x~)] is
    at most log p(x), so the ELBO stays a bound; the particles of one step share an x~.

    References
    ----------
    Vincent et al. 2010, JMLR 11:3371 (denoising autoencoders); Im et al. 2015, arXiv:1511.06406 (denoising VAEs).
    """

    linked: ClassVar[tuple[str, ...]] = ("x_shape", "context")
    """Parameters of constructors that `build` sets, and that are no options on the command line."""

    @abc.abstractmethod
    def corrupt(self, x: Tensor) -> Tensor:
        """x~ for x as the encoder sees it, of any shape, on its device, drawn with torch's global generator."""

    def forward(self, x: Tensor) -> Tensor:
        """x~ in train mode, x in eval mode.

        Raises
        ------
        TypeError
            For x that is not of floating point, in train mode.
        """
        if not self.training:
            return x
        if not (isinstance(x, Tensor) and x.is_floating_point()):
            came = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(
                f"{type(self).__name__} expects x to be a tensor of floating point, got {came}; convert it: x.float()"
            )
        return self.corrupt(x)

    def formula(self, x: str) -> str:
        """The corruption as a paper writes it: `Name(x; settings)`."""
        return f"{type(self).__name__}({'; '.join(part for part in (x, self.extra_repr()) if part)})"


@checked
class GaussianNoise(Corruption):
    """x~_i = x_i + scale * e_i, e_i ~ N(0, 1). x~ may leave the interval of bounded data.

    Parameters
    ----------
    scale
        Standard deviation of the noise, above 0, in units of x as the encoder sees it.

    Raises
    ------
    TypeError
        For a scale that is no number.
    ValueError
        For one that is not finite and above 0.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> noise = GaussianNoise(scale=0.1)
    >>> round(noise(torch.zeros(100_000)).std().item(), 3)
    0.1
    >>> noise.eval()(torch.zeros(2))
    tensor([0., 0.])
    """

    def __init__(self, scale: Positive = 0.5) -> None:
        super().__init__()
        self.scale = scale

    def corrupt(self, x: Tensor) -> Tensor:
        """x with noise added."""
        return x + self.scale * torch.randn_like(x)

    def extra_repr(self) -> str:
        """What `formula` adds."""
        return f"scale={self.scale:g}"


@checked
class Masking(Corruption):
    """x~_i = 0 with probability `rate`, else x_i: masking noise, without the rescaling of dropout.

    Parameters
    ----------
    rate
        Probability of each element to be set to 0, in (0, 1].

    Raises
    ------
    TypeError
        For a rate that is no number.
    ValueError
        For one outside (0, 1].

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> Masking(rate=0.5)(torch.ones(8))
    tensor([0., 1., 0., 0., 0., 1., 0., 1.])
    """

    def __init__(self, rate: Rate = 0.5) -> None:
        super().__init__()
        self.rate = rate

    def corrupt(self, x: Tensor) -> Tensor:
        """x with elements set to 0."""
        return x.masked_fill(torch.rand_like(x) < self.rate, 0.0)

    def extra_repr(self) -> str:
        """What `formula` adds."""
        return f"rate={self.rate:g}"


@checked
class SaltAndPepper(Corruption):
    """x~_i = low or high, with probability rate / 2 each, else x_i.

    Parameters
    ----------
    rate
        Probability of each element to be replaced, in (0, 1].
    low, high
        The darkest and the brightest value, low < high, in units of x as the encoder sees it.

    Raises
    ------
    TypeError
        For settings that are no numbers.
    ValueError
        For a rate outside (0, 1], and where low is not below high.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> SaltAndPepper(rate=0.5)(torch.full((8,), 0.5))
    tensor([1.0000, 0.5000, 0.0000, 0.0000, 1.0000, 0.5000, 1.0000, 0.5000])
    """

    def __init__(self, rate: Rate = 0.5, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__()
        if not low < high:
            raise ValueError(f"SaltAndPepper expects low < high, got low={low} and high={high}; exchange them")
        self.rate, self.low, self.high = rate, low, high

    def corrupt(self, x: Tensor) -> Tensor:
        """x with elements replaced."""
        u = torch.rand_like(x)
        return x.masked_fill(u < self.rate, self.high).masked_fill(u < self.rate / 2, self.low)

    def extra_repr(self) -> str:
        """What `formula` adds."""
        return f"rate={self.rate:g}, low={self.low:g}, high={self.high:g}"
