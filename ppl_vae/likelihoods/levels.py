"""Likelihoods of whole numbers 0, ..., levels - 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_vae import distributions
from ppl_vae.arguments import Count, Name, Range, checked
from ppl_vae.conditional import Net
from ppl_vae.distributions import positive, unconstrained
from ppl_vae.likelihoods.likelihood import Likelihood, Shape
from ppl_vae.likelihoods.marginals import frequencies, mean_and_variance
from ppl_vae.nets import MLP
from ppl_vae.support import unwrapped

__all__ = ["Categorical", "DiscretizedLogistic", "DiscretizedLogisticMixture", "OrderedLogistic"]


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
        return _logistic(raw_loc, raw_scale, self.levels)

    def start_from(self, x: Tensor, mask: Tensor, *context: Tensor) -> Tensor:
        """The logistic with the mean and variance of the data."""
        mean, variance = mean_and_variance(x, mask)
        scale = (3 * variance).sqrt() / math.pi
        raw_loc = mean * 2 / max(self.levels - 1, 1) - 1
        return torch.stack([raw_loc, unconstrained((scale - 0.5) * (16 / self.levels))])


@checked
class DiscretizedLogisticMixture(_OnLevels):
    """p(x_i | z) = sum_k w_ik DiscretizedLogistic(x_i; m_ik, s_ik), for grey levels with several likely values.

    Each element has a mixture of its own, all of its parameters from the decoder. The colours of a pixel are
    independent given z: the coupling of channels of PixelCNN++ is left out.

    Parameters
    ----------
    latent_dim, x_shape, net
        See `Likelihood`.
    levels
        Number of grey levels.
    num_components
        Number of logistics an element; the decoder has three outputs for each.
    context, site
        See `Likelihood`.

    References
    ----------
    Salimans et al. 2017, arXiv:1701.05517.
    """

    kinds = ("levels",)

    def __init__(
        self,
        latent_dim: Count,
        x_shape: Shape,
        net: Net = MLP,
        levels: Count = 256,
        num_components: Count = 5,
        *,
        context: Sequence[Shape] = (),
        site: Name = "x",
    ) -> None:
        self.num_components = num_components
        super().__init__(latent_dim, x_shape, net, levels, context=context, site=site)
        # spread over the levels, so that the components do not start as copies of each other
        self.register_buffer("start", torch.linspace(-1, 1, num_components + 2)[1:-1])

    def param_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Logit, location and scale of each component."""
        return 3 * self.num_components, *x_shape

    def elementwise(self, *params: Tensor) -> TorchDistribution:
        """From logits, locations with -1 and 1 the lowest and highest level, and unconstrained scales."""
        logits, raw_loc, raw_scale = torch.stack(params, -1).unflatten(-1, (3, -1)).unbind(-2)
        return distributions.Mixture(logits, _logistic(raw_loc + self.start, raw_scale, self.levels))

    def settings(self) -> str:
        """What `formula` adds."""
        return f"{super().settings()}, {self.num_components}"


@checked
class OrderedLogistic(_OnLevels):
    """P(x_i <= k | z) = sigmoid(c_ik - m_i), for ordered levels without distances: grades, answers from no to yes.

    The decoder gives one number m_i an element; the cutpoints c_i0 < c_i1 < ... are learned, own ones for each element
    of x. They start where all levels have the same probability at m_i = 0. Pyro's distribution of this
    name is a difference of cumulative probabilities, which in float32 gives no level less than 1e-7.

    Parameters
    ----------
    latent_dim, x_shape, net
        See `Likelihood`.
    levels
        Number of levels, 2 or more.
    context, site
        See `Likelihood`.

    References
    ----------
    McCullagh 1980, doi:10.1111/j.2517-6161.1980.tb01109.x (the proportional-odds model).
    """

    kinds = ("levels",)

    def __init__(
        self,
        latent_dim: Count,
        x_shape: Shape,
        net: Net = MLP,
        levels: Annotated[int, Range(2)] = 5,
        *,
        context: Sequence[Shape] = (),
        site: Name = "x",
    ) -> None:
        super().__init__(latent_dim, x_shape, net, levels, context=context, site=site)
        start = torch.logit(torch.arange(1, levels) / levels)
        shape = tuple(x_shape)
        self.first = nn.Parameter(start[0].expand(shape).clone())
        gaps = unconstrained(start.diff()).reshape(*[1] * len(shape), -1)
        self.raw_gaps = nn.Parameter(gaps.expand(*shape, -1).clone())

    def elementwise(self, loc: Tensor) -> TorchDistribution:
        """From locations."""
        gaps = positive(self.raw_gaps)
        cutpoints = torch.cat([self.first.unsqueeze(-1), self.first.unsqueeze(-1) + gaps.cumsum(-1)], -1)
        above = cutpoints - loc.unsqueeze(-1)
        # log(sigmoid(b) - sigmoid(a)) = log sigmoid(b) + log sigmoid(-a) + log(1 - e^(a - b))
        below, inner = F.logsigmoid(-above), F.logsigmoid(above)
        between = inner[..., 1:] + below[..., :-1] + (-torch.expm1(-gaps)).log()
        return distributions.Levels(torch.cat([inner[..., :1], between, below[..., -1:]], -1))

    def start_from(self, x: Tensor, mask: Tensor, *context: Tensor) -> Tensor:
        """Cutpoints with the frequencies of the data at m_i = 0."""
        cutpoints = frequencies(x, mask, self.levels).cumsum(0)[:-1].logit()
        with torch.no_grad():
            self.first.copy_(cutpoints[0])
            self.raw_gaps.copy_(unconstrained(cutpoints.diff(dim=0)).movedim(0, -1))
        return torch.zeros_like(cutpoints[:1])


@checked
class Categorical(_OnLevels):
    """p(x_i | z) = Categorical(x_i; softmax(logits_i)), any distribution over the levels 0, ..., levels - 1.

    The levels may have an order or none (categories). The encoder sees them scaled to [0, 1], or, where they have none,
    one-hot along the first dimension of a datum; then the most probable one stands for p(x_i | z), not the mean.

    Parameters
    ----------
    latent_dim, x_shape, net
        See `Likelihood`.
    levels
        Number of levels; or a sequence, the number of levels of each column, the last dimension of x: the levels that a
        column lacks have no mass. The decoder has as many outputs per element as the largest.
    ordered
        Whether the levels have an order; `build` says no where some of the data are categories.
    context, site
        See `Likelihood`.

    References
    ----------
    van den Oord et al. 2016, arXiv:1601.06759.
    """

    kinds = ("levels", "binary", "categories")
    lacking: Tensor | None
    top: Tensor

    def __init__(
        self,
        latent_dim: Count,
        x_shape: Shape,
        net: Net = MLP,
        levels: Count | Sequence[Count] = 256,
        ordered: bool = True,
        *,
        context: Sequence[Shape] = (),
        site: Name = "x",
    ) -> None:
        self.ordered = ordered
        each = torch.as_tensor(levels)
        if each.dim() and each.shape != tuple(x_shape)[-1:]:
            raise ValueError(
                f"Categorical expects one number of levels, or one for each of the {x_shape[-1]} columns, got "
                f"{len(each)}; give as many as x has columns"
            )
        super().__init__(latent_dim, x_shape, net, int(each.max()), context=context, site=site)
        lacking = torch.arange(self.levels) >= each.unsqueeze(-1) if each.dim() else None
        self.register_buffer("lacking", lacking, persistent=False)
        self.register_buffer("top", (each - 1).clamp_min(1), persistent=False)

    def param_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        """One logit per level."""
        return self.levels, *x_shape

    def elementwise(self, *logits: Tensor) -> TorchDistribution:
        """From one logit per level."""
        stacked = torch.stack(logits, -1)
        return distributions.Levels(stacked if self.lacking is None else stacked.masked_fill(self.lacking, -torch.inf))

    def standardize(self, x: Tensor) -> Tensor:
        """Levels scaled to [0, 1], or one-hot, (*leading, *seen_shape)."""
        if self.ordered:
            return x / self.top
        dims = len(self.x_shape)
        one_hot = x.unsqueeze(-dims) == torch.arange(self.levels).to(x).reshape(-1, *[1] * (dims - 1))
        return one_hot.to(x.dtype).flatten(-dims - 1, -dims)

    @property
    def seen_shape(self) -> tuple[int, ...]:
        """Of one-hot codes, as many along the first dimension as there are levels."""
        first, *rest = self.x_shape
        return self.x_shape if self.ordered else (first * self.levels, *rest)

    def seen_mask(self, mask: Tensor) -> Tensor:
        """The mask of each element, repeated for its levels."""
        return mask if self.ordered else mask.repeat_interleave(self.levels, -len(self.x_shape))

    def typical(self, fn: TorchDistribution) -> Tensor:
        """The mean, or the most probable level where they have no order."""
        if self.ordered:
            return super().typical(fn)
        logits: Tensor = unwrapped(fn).logits
        return logits.argmax(-1).to(logits)

    def start_from(self, x: Tensor, mask: Tensor, *context: Tensor) -> Tensor:
        """Log frequencies."""
        return frequencies(x, mask, self.levels).log()


def _logistic(raw_loc: Tensor, raw_scale: Tensor, levels: int) -> distributions.DiscretizedLogistic:
    """From locations, with -1 and 1 the lowest and highest level, and unconstrained scales."""
    loc = (raw_loc + 1) * ((levels - 1) / 2)
    scale = 0.5 + positive(raw_scale) * (levels / 16)
    return distributions.DiscretizedLogistic(loc, scale, levels)
