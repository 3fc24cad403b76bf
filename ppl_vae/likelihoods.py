"""Likelihoods p(x | z), their parameters computed by a decoder."""

from __future__ import annotations

import abc
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_vae import distributions
from ppl_vae.arguments import Count, Name, Positive, checked
from ppl_vae.conditional import Amortized, Net, by_position_still
from ppl_vae.distributions import positive
from ppl_vae.nets import MLP

__all__ = [
    "Bernoulli",
    "Categorical",
    "ContinuousBernoulli",
    "DiscretizedLogistic",
    "Gaussian",
    "Likelihood",
    "NegativeBinomial",
]

Shape = Sequence[Count]


@by_position_still
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
        Shapes of the decoder's further inputs.
    site
        Name of the Pyro sample site.
    num_params
        Deprecated: write `param_shape`.
    """

    kinds: ClassVar[tuple[str, ...]]
    """Kinds of `Domain` it is a distribution on, the default first."""

    base_measure: ClassVar[Literal["mass", "density"]]
    """``"mass"`` or ``"density"``; masses and densities cannot be compared."""

    def __init__(
        self,
        latent_dim: Count,
        x_shape: Shape,
        net: Net = MLP,
        *,
        context: Sequence[Shape] = (),
        site: Name = "x",
        num_params: Count | None = None,
    ) -> None:
        param_shape = self.param_shape(tuple(x_shape))
        if num_params is not None:  # until 0.2
            warnings.warn(
                f"num_params={num_params} is deprecated; write {type(self).__name__}.param_shape(self, x_shape) and "
                f"return ({num_params}, *x_shape)",
                DeprecationWarning,
                stacklevel=4,
            )
            param_shape = (num_params, *x_shape)
        super().__init__((latent_dim,), param_shape, net, context=context, site=site)
        self.x_shape = tuple(x_shape)

    def param_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the parameters of one datum's p(x | z), (k, *x_shape): by default one for each element, k = 1.

        Settings of the leaf that k depends on are assigned before `super().__init__`.
        """
        return 1, *x_shape

    @abc.abstractmethod
    def elementwise(self, *params: Any, **_: Any) -> TorchDistribution:  # leaves name theirs
        """Distribution of each element of x, from k tensors (*leading, *x_shape); its `support` is the data domain.

        In a class that `sees_context` the context, each (*leading, ...), comes after them: `(*params, *context)`.
        """

    def distribution(self, params: Tensor, *given: Any, **_: Any) -> TorchDistribution:
        """From parameters (*leading, k, *x_shape); `given` is z and the context, where the class `sees_context`."""
        return self.elementwise(*params.unbind(-1 - len(self.x_shape)), *given[1:])

    def given(self, *context: Tensor, mask: Tensor | bool = True) -> TorchDistribution:
        """Distribution of x given z (*leading, latent_dim) and context; elements where `mask` is False do not count."""
        return super().given(*context).mask(mask).to_event(len(self.x_shape))

    def standardize(self, x: Tensor) -> Tensor:
        """x as an encoder should see it, in about [-1, 1]."""
        return x


class Bernoulli(Likelihood):
    """p(x_i | z) = Bernoulli(x_i; sigmoid(logit_i)), for x in {0, 1}; not for grey levels, which are refused.

    Parameters
    ----------
    latent_dim, x_shape, net, context, site
        See `Likelihood`.
    """

    kinds = ("binary",)
    base_measure = "mass"

    def elementwise(self, logits: Tensor) -> TorchDistribution:
        """From logits."""
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

    def elementwise(self, logits: Tensor) -> TorchDistribution:
        """From logits."""
        return distributions.ContinuousBernoulli(logits)


@checked
class Gaussian(Likelihood):
    """p(x_i | z) = N(x_i; m_i, s_i^2), for real x.

    On data with finitely many levels the density with a learned scale is unbounded: dequantize first.

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
        *,
        context: Sequence[Shape] = (),
        site: Name = "x",
    ) -> None:
        self.scale = scale
        super().__init__(latent_dim, x_shape, net, context=context, site=site)
        if scale == "learned":
            self.raw_scale = nn.Parameter(torch.zeros(()))
        if scale == "elementwise":
            self.raw_scale = nn.Parameter(torch.zeros(*x_shape))

    def param_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Mean, and the scale where the decoder computes it."""
        return 2 if self.scale == "decoder" else 1, *x_shape

    def elementwise(self, loc: Tensor, *raw: Tensor) -> TorchDistribution:
        """From means, and unconstrained scales where the decoder computes them."""
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
        *,
        context: Sequence[Shape] = (),
        site: Name = "x",
    ) -> None:
        self.levels = levels
        super().__init__(latent_dim, x_shape, net, context=context, site=site)

    def standardize(self, x: Tensor) -> Tensor:
        """Levels scaled to [0, 1]."""
        return x / max(self.levels - 1, 1)

    def settings(self) -> str:
        """What `formula` adds."""
        return f"levels={self.levels}"


class DiscretizedLogistic(_OnLevels):
    """p(x_i | z): the mass of a logistic in the bins of the grey levels 0, ..., levels - 1.

    The scale is at least half a level: below that one level has all the mass, and gradients vanish.

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

    def param_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Location and scale."""
        return 2, *x_shape

    def elementwise(self, raw_loc: Tensor, raw_scale: Tensor) -> TorchDistribution:
        """From locations, with -1 and 1 the lowest and highest level, and unconstrained scales."""
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

    def param_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        """One logit per level."""
        return self.levels, *x_shape

    def elementwise(self, *logits: Tensor) -> TorchDistribution:
        """From one logit per level."""
        return distributions.Levels(torch.stack(logits, -1))


@checked
class NegativeBinomial(Likelihood):
    """p(x_i | z) = NB(x_i; m_i, r_i), a mass for counts of mean m_i and variance m_i + m_i^2 / r_i.

    Parameters
    ----------
    latent_dim, x_shape, net
        See `Likelihood`.
    exposure
        Whether the first context, of shape (1,), is the exposure e > 0 of a datum, such as the library size of a cell:
        means are then e m_i. The networks are given it too, so scale it to about 1.
    context, site
        See `Likelihood`.

    References
    ----------
    Lopez et al. 2018, doi:10.1038/s41592-018-0229-2 (counts of RNA, with a library size).
    """

    kinds = ("counts",)
    base_measure = "mass"
    sees_context = True

    def __init__(
        self,
        latent_dim: Count,
        x_shape: Shape,
        net: Net = MLP,
        exposure: bool = False,
        *,
        context: Sequence[Shape] = (),
        site: Name = "x",
    ) -> None:
        if exposure and [tuple(shape) for shape in context[:1]] != [(1,)]:
            raise ValueError(
                "NegativeBinomial expects an exposure to be the first context, of shape (1,), got contexts "
                f"{list(context)}; give the data a context (n, 1), or leave out exposure=True"
            )
        super().__init__(latent_dim, x_shape, net, context=context, site=site)
        self.exposure = exposure

    def param_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Mean and concentration."""
        return 2, *x_shape

    def elementwise(self, raw_mean: Tensor, raw_concentration: Tensor, *context: Tensor) -> TorchDistribution:
        """From unconstrained means and concentrations, and the context."""
        mean = positive(raw_mean)
        if self.exposure:
            mean = mean * context[0].reshape(*context[0].shape[:-1], *[1] * len(self.x_shape))
        return distributions.NegativeBinomial(mean, positive(raw_concentration))

    def standardize(self, x: Tensor) -> Tensor:
        """log(1 + x)."""
        return x.log1p()
