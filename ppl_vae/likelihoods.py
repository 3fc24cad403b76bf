"""Likelihoods p(x | z), their parameters computed by a decoder."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import ClassVar, Literal

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_vae import distributions
from ppl_vae.arguments import Count, Name, Positive, checked
from ppl_vae.conditional import Amortized, Net
from ppl_vae.distributions import positive
from ppl_vae.nets import MLP

__all__ = ["Bernoulli", "Categorical", "ContinuousBernoulli", "DiscretizedLogistic", "Gaussian", "Likelihood"]

Shape = Sequence[Count]


@checked
class Likelihood(Amortized):
    """p(x | z, context), independent over the elements of x; the base of every likelihood.

    Parameters
    ----------
    latent_dim
        Dimension of z.
    x_shape
        Shape of one datum.
    net
        Decoder factory.
    context
        Shapes of what else the decoder sees.
    site
        Name of the Pyro sample site.
    num_params
        Number of parameters of one element's distribution.
    """

    kinds: ClassVar[tuple[str, ...]]
    """Kinds of `Domain` it is a distribution on, the most usual first."""

    base_measure: ClassVar[Literal["mass", "density"]]
    """What its probabilities are: a mass and a density may not be compared."""

    def __init__(
        self,
        latent_dim: Count,
        x_shape: Shape,
        net: Net = MLP,
        context: Sequence[Shape] = (),
        site: Name = "x",
        num_params: Count = 1,
    ) -> None:
        super().__init__((latent_dim,), (num_params, *x_shape), net, context, site)
        self.x_shape = tuple(x_shape)

    @abc.abstractmethod
    def elementwise(self, *params: Tensor) -> TorchDistribution:
        """Distribution of each element of x, from tensors (*leading, *x_shape); its `support` is the data domain."""

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From parameters (*leading, num_params, *x_shape)."""
        return self.elementwise(*params.unbind(-1 - len(self.x_shape)))

    def given(self, *context: Tensor, mask: Tensor | bool = True) -> TorchDistribution:
        """Distribution of x given z (*leading, latent_dim) and context; elements where `mask` is False do not count."""
        return super().given(*context).mask(mask).to_event(len(self.x_shape))

    def standardize(self, x: Tensor) -> Tensor:
        """x as an encoder should see it, in about [-1, 1]."""
        return x


class Bernoulli(Likelihood):
    """p(x_i | z) = Bernoulli(x_i; sigmoid(logit_i)), for x in {0, 1}. Grey levels are outside its support.

    Parameters
    ----------
    latent_dim, x_shape, net, context, site
        See `Likelihood`.
    """

    kinds = ("binary",)
    base_measure = "mass"

    def elementwise(self, *params: Tensor) -> TorchDistribution:
        """From logits."""
        (logits,) = params
        return distributions.Bernoulli(logits)


class ContinuousBernoulli(Likelihood):
    """p(x_i | z) = CB(x_i; sigmoid(logit_i)), a density for x in [0, 1].

    Parameters
    ----------
    latent_dim, x_shape, net, context, site
        See `Likelihood`.

    References
    ----------
    Loaiza-Ganem & Cunningham 2019, arXiv:1907.06845.
    """

    kinds = ("unit",)
    base_measure = "density"

    def elementwise(self, *params: Tensor) -> TorchDistribution:
        """From logits."""
        (logits,) = params
        return distributions.ContinuousBernoulli(logits)


@checked
class Gaussian(Likelihood):
    """p(x_i | z) = N(x_i; m_i, s_i^2), for real x.

    On data with finitely many levels a learned scale can make the density as large as it likes: dequantize first.

    Parameters
    ----------
    latent_dim, x_shape, net
        See `Likelihood`.
    scale
        A number; ``"learned"``, one for all elements; ``"elementwise"``, one learned for each element of x; or
        ``"decoder"``, computed from z.
    context, site
        See `Likelihood`.

    References
    ----------
    Rybkin et al. 2021, arXiv:2006.13202 (the learned scale).
    """

    kinds = ("real", "unit")
    base_measure = "density"

    def __init__(
        self,
        latent_dim: Count,
        x_shape: Shape,
        net: Net = MLP,
        scale: Positive | Literal["learned", "elementwise", "decoder"] = "learned",
        context: Sequence[Shape] = (),
        site: Name = "x",
    ) -> None:
        super().__init__(latent_dim, x_shape, net, context, site, 2 if scale == "decoder" else 1)
        self.scale = scale
        if scale == "learned":
            self.raw_scale = nn.Parameter(torch.zeros(()))
        if scale == "elementwise":
            self.raw_scale = nn.Parameter(torch.zeros(*x_shape))

    def elementwise(self, *params: Tensor) -> TorchDistribution:
        """From means, and unconstrained scales where the decoder computes them."""
        loc, *raw = params
        if raw:
            return dist.Normal(loc, positive(raw[0]))
        return dist.Normal(loc, self.scale if isinstance(self.scale, int | float) else positive(self.raw_scale))

    def settings(self) -> str:
        """What `formula` adds."""
        return f"scale={self.scale}"


@checked
class _OnLevels(Likelihood):
    """A likelihood of whole numbers 0, ..., levels - 1."""

    base_measure = "mass"

    def __init__(
        self,
        latent_dim: Count,
        x_shape: Shape,
        net: Net = MLP,
        levels: Count = 256,
        context: Sequence[Shape] = (),
        site: Name = "x",
    ) -> None:
        super().__init__(latent_dim, x_shape, net, context, site, num_params=self.rows(levels))
        self.levels = levels

    @staticmethod
    @abc.abstractmethod
    def rows(levels: int) -> int:
        """Number of parameters of one element's distribution."""

    def standardize(self, x: Tensor) -> Tensor:
        """Levels scaled to [0, 1]."""
        return x / max(self.levels - 1, 1)

    def settings(self) -> str:
        """What `formula` adds."""
        return f"levels={self.levels}"


class DiscretizedLogistic(_OnLevels):
    """p(x_i | z): a logistic's mass around the grey levels 0, ..., levels - 1.

    The scale is at least half a level: below that one level takes all the mass, and gradients vanish.

    Parameters
    ----------
    latent_dim, x_shape, net
        See `Likelihood`.
    levels
        Number of grey levels.
    context, site
        See `Likelihood`.

    References
    ----------
    Kingma et al. 2016, arXiv:1606.04934, section 5.2.
    """

    kinds = ("levels",)

    @staticmethod
    def rows(levels: int) -> int:
        """Location and scale."""
        return 2

    def elementwise(self, *params: Tensor) -> TorchDistribution:
        """From locations, 0 the middle and 2 the width of the range, and unconstrained scales."""
        raw_loc, raw_scale = params
        loc = (raw_loc + 1) * ((self.levels - 1) / 2)
        scale = 0.5 + positive(raw_scale) * (self.levels / 16)
        return distributions.DiscretizedLogistic(loc, scale, self.levels)


class Categorical(_OnLevels):
    """p(x_i | z) = Categorical(x_i; softmax(logits_i)), any distribution over the levels 0, ..., levels - 1.

    Parameters
    ----------
    latent_dim, x_shape, net
        See `Likelihood`.
    levels
        Number of levels; the decoder has that many outputs per element.
    context, site
        See `Likelihood`.

    References
    ----------
    van den Oord et al. 2016, arXiv:1601.06759.
    """

    kinds = ("levels", "binary")

    @staticmethod
    def rows(levels: int) -> int:
        """One logit a level."""
        return levels

    def elementwise(self, *params: Tensor) -> TorchDistribution:
        """From one logit a level."""
        return distributions.Levels(torch.stack(params, -1))
