"""Distributions that Pyro lacks, or whose density costs less here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution, constraints
from pyro.nn import ConditionalAutoRegressiveNN
from torch import Tensor, nn
from torch.distributions import Transform

__all__ = [
    "AutoregressiveFlow",
    "DiagonalNormal",
    "DiscretizedLogistic",
    "Improper",
    "Levels",
    "Mixture",
    "positive",
    "unconstrained",
]

Shape = Sequence[int]


def positive(raw: Tensor) -> Tensor:
    """A scale from an unconstrained number: softplus, 1 at 0, with gradient everywhere and never 0.

    >>> positive(torch.tensor([-100.0, 0.0, 100.0]))
    tensor([1.0000e-04, 1.0001e+00, 1.0054e+02])
    """
    return F.softplus(raw + math.log(math.e - 1)) + 1e-4


def unconstrained(scale: Tensor) -> Tensor:
    """The number that `positive` makes a scale of; scales below 1.01e-4 are taken for that.

    >>> unconstrained(positive(torch.tensor([-3.0, 1.0, 50.0])))
    tensor([-3.,  1., 50.])
    """
    y = (scale - 1e-4).clamp_min(1e-6)
    return y + (-torch.expm1(-y)).log() - math.log(math.e - 1)


class DiagonalNormal(dist.Independent):
    """Normal with independent coordinates, event_shape (dim,).

    As the components of a `Mixture` its K densities at a value come from one matrix product instead of a
    (values, K, dim) array.

    Parameters
    ----------
    loc, scale
        Mean and standard deviation, (*batch, dim).
    """

    def __init__(self, loc: Tensor, scale: Tensor, validate_args: bool | None = None) -> None:
        super().__init__(dist.Normal(loc, scale, validate_args=validate_args), 1, validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: TorchDistribution | None = None) -> DiagonalNormal:
        new = self._get_checked_instance(DiagonalNormal, _instance)
        base = self.base_dist.expand(torch.Size(batch_shape) + self.event_shape)
        super(DiagonalNormal, new).__init__(base, 1, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob_each(self, value: Tensor) -> Tensor:
        """Log density of values (*leading, dim) under each component of a batch (*batch, K), in nats.

        Expanding (v - m)^2 / s^2 subtracts large numbers from each other, so it is done in float64.
        """
        loc, scale = self.base_dist.loc.double(), self.base_dist.scale.double()
        precision, v = scale.square().reciprocal(), value.double().unsqueeze(-2)  # (*leading, 1, dim)
        quadratic = torch.cat([precision, -2 * loc * precision], -1).mT  # (*batch, 2 dim, K)
        distance = (torch.cat([v.square(), v], -1) @ quadratic).squeeze(-2) + (loc.square() * precision).sum(-1)
        constant = scale.log().sum(-1) + 0.5 * loc.shape[-1] * math.log(2 * math.pi)
        return (-0.5 * distance - constant).to(value.dtype)


class Mixture(TorchDistribution):
    """sum_k w_k p_k, a mixture over the last batch dimension of its components.

    Unlike `MixtureSameFamily` it scores any family of components that can score a foreign value, flows
    included, and it keeps K parameters however far it is expanded.

    Parameters
    ----------
    logits
        Unnormalized log weights, (K,) or (*batch, K).
    components
        Distribution with batch_shape (*batch, K) and a density.

    Raises
    ------
    ValueError
        Where the components are points: the density of their mixture is infinite.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, logits: Tensor, components: TorchDistribution, validate_args: bool | None = None) -> None:
        if isinstance(components, dist.Delta):
            raise ValueError(
                "a mixture expects components with a density, got point masses (Point or VectorQuantized): their "
                "mixture has an infinite density; use another posterior or another prior (VectorQuantized: CodePrior)"
            )
        self.log_weights = logits.log_softmax(-1)
        self.components = components
        batch_shape = torch.broadcast_shapes(logits.shape, components.batch_shape)[:-1]
        super().__init__(batch_shape, components.event_shape, validate_args=validate_args)

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        return self.components.support

    def expand(self, batch_shape: Shape, _instance: TorchDistribution | None = None) -> Mixture:
        new = self._get_checked_instance(Mixture, _instance)
        new.log_weights, new.components = self.log_weights, self.components
        super(Mixture, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return (self.log_weights + self._each(value)).logsumexp(-1).expand(self._extended(value))

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        with torch.no_grad():
            shape = torch.Size(sample_shape) + self.batch_shape
            choice = dist.Categorical(logits=self.log_weights).expand(self.batch_shape).sample(torch.Size(sample_shape))
            z = self.components.expand((*self.batch_shape, self.log_weights.shape[-1])).sample(torch.Size(sample_shape))
            index = choice.reshape(*shape, 1, *(1 for _ in self.event_shape)).expand(*shape, 1, *self.event_shape)
            return z.gather(len(shape), index).squeeze(len(shape))

    @property
    def mean(self) -> Tensor:
        weights = self.log_weights.exp().reshape(*self.log_weights.shape, *(1 for _ in self.event_shape))
        mean = (weights * self.components.mean).sum(-1 - len(self.event_shape))
        return mean.expand(*self.batch_shape, *self.event_shape)

    def _each(self, value: Tensor) -> Tensor:
        if isinstance(self.components, DiagonalNormal):
            return self.components.log_prob_each(value)
        # expanded, because a flow inverts a value together with the context of its component
        value = value.unsqueeze(value.dim() - len(self.event_shape))
        shape = torch.broadcast_shapes(value.shape[: value.dim() - len(self.event_shape)], self.components.batch_shape)
        return self.components.log_prob(value.expand(*shape, *self.event_shape))

    def _extended(self, value: Tensor) -> torch.Size:
        return torch.broadcast_shapes(value.shape[: value.dim() - len(self.event_shape)], self.batch_shape)


class Improper(dist.ImproperUniform):
    """The improper flat density 1 on R^dim, which nothing can be sampled from."""

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        """Refused."""
        raise ValueError(
            "sampling expects a proper prior, got Flat, which is none: an autoencoder has no prior to sample; fit one "
            "to its codes (ppl_vae.fit_prior, or ppl-vae fit-prior), or build with StandardNormal"
        )

    def expand(self, batch_shape: Shape, _instance: TorchDistribution | None = None) -> Improper:
        return super().expand(batch_shape, _instance=self._get_checked_instance(Improper, _instance))

    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(value).to(value)


class DiscretizedLogistic(TorchDistribution):
    """A logistic distribution whose mass is gathered on the levels 0, ..., levels - 1.

    P(k) is the logistic's mass in [k - 1/2, k + 1/2], and the first and last level take all that lies beyond.

    Parameters
    ----------
    loc, scale
        Location and scale in levels, (*batch,).
    levels
        Number of levels.

    References
    ----------
    Kingma et al. 2016, arXiv:1606.04934, section 5.2; Salimans et al. 2017, arXiv:1701.05517.

    Examples
    --------
    >>> p = DiscretizedLogistic(torch.tensor(1.2), torch.tensor(0.7), levels=4)
    >>> round(p.log_prob(torch.arange(4.0)).exp().sum().item(), 6)
    1.0
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "loc": constraints.real,
        "scale": constraints.positive,
    }

    def __init__(self, loc: Tensor, scale: Tensor, levels: int, validate_args: bool | None = None) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        self.levels = levels
        super().__init__(self.loc.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        return constraints.integer_interval(0, self.levels - 1)

    def expand(self, batch_shape: Shape, _instance: TorchDistribution | None = None) -> DiscretizedLogistic:
        new = self._get_checked_instance(DiscretizedLogistic, _instance)
        new.loc, new.scale, new.levels = self.loc.expand(batch_shape), self.scale.expand(batch_shape), self.levels
        super(DiscretizedLogistic, new).__init__(torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        low, high = (value - 0.5 - self.loc) / self.scale, (value + 0.5 - self.loc) / self.scale
        # log(sigmoid(high) - sigmoid(low)) without a difference of near-equal numbers
        inner = torch.log(-torch.expm1(-1 / self.scale))
        from_below = torch.where(value > 0, F.logsigmoid(-low), torch.zeros_like(low))
        to_above = torch.where(value < self.levels - 1, F.logsigmoid(high), torch.zeros_like(high))
        return from_below + to_above + torch.where((value > 0) & (value < self.levels - 1), inner, 0.0)

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        with torch.no_grad():
            u = torch.rand(self._extended_shape(torch.Size(sample_shape)), dtype=self.loc.dtype, device=self.loc.device)
            return (self.loc + self.scale * torch.logit(u, eps=1e-7)).round().clamp(0, self.levels - 1)

    @property
    def mean(self) -> Tensor:
        # E[k] = sum of P(k > j), one level at a time: the table over all levels may not fit in memory
        mean = torch.zeros_like(self.loc)
        for level in range(self.levels - 1):
            mean = mean + torch.sigmoid((self.loc - level - 0.5) / self.scale)
        return mean


class Levels(dist.Categorical):
    """A categorical distribution over the levels 0, ..., K - 1, which unlike a label has a mean."""

    @property
    def mean(self) -> Tensor:
        return (self.probs * torch.arange(self.probs.shape[-1], device=self.probs.device)).sum(-1)

    @property
    def variance(self) -> Tensor:
        levels = torch.arange(self.probs.shape[-1], device=self.probs.device)
        return (self.probs * levels.square()).sum(-1) - self.mean.square()

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        """Levels as a network takes them: in the floating type of the probabilities."""
        return super().sample(torch.Size(sample_shape)).to(self._param.dtype)

    def expand(self, batch_shape: Shape, _instance: TorchDistribution | None = None) -> Levels:
        return super().expand(batch_shape, _instance=self._get_checked_instance(Levels, _instance))


class AutoregressiveFlow(nn.Module):
    """Affine autoregressive transforms in a row, the order of the coordinates reversed from one to the next.

    The modules hold the networks only; `transforms` makes fresh, caching transforms of them, so that a flow can
    be copied and stored.

    Parameters
    ----------
    dim
        Dimension of the space.
    context_dim
        Dimension of what the transforms are conditioned on; 0 for nothing.
    num_transforms
        Number of transforms.
    hidden_dim
        Width of the one hidden layer of each network.

    References
    ----------
    Kingma et al. 2016, arXiv:1606.04934; Germain et al. 2015, arXiv:1502.03509 (the masked network).
    """

    def __init__(self, dim: int, context_dim: int, num_transforms: int, hidden_dim: int) -> None:
        super().__init__()
        if dim < 2:
            raise ValueError(
                f"an autoregressive flow expects two or more dimensions, got {dim}; use latent_dim >= 2, or "
                "DiagonalNormal or GaussianMixture in one dimension"
            )
        order = torch.arange(dim)
        self.nets = nn.ModuleList(
            ConditionalAutoRegressiveNN(
                dim, max(context_dim, 1), [max(hidden_dim, dim)], permutation=order if i % 2 == 0 else order.flip(0)
            )
            for i in range(num_transforms)
        )

    def transforms(self, context: Tensor | None = None) -> list[Transform]:
        """The transforms given a context (*leading, context_dim)."""
        return [_AffineAutoregressive(net, context) for net in self.nets]

    def start_from(self, scale: Tensor) -> None:
        """Begin as about x / scale (dim,), in equal steps; the transforms together reach e^(2 n) at most."""
        step = (-scale.log() / len(self.nets) / 2).clamp(-0.9, 0.9)
        with torch.no_grad():
            for net in self.nets:
                layers: Any = net.layers
                layers[0].weight[:, -len(scale) :] /= scale  # what the network sees of x, after the context
                scale = scale * (2 * step).exp()
                layers[-1].weight[: len(scale)] *= scale.unsqueeze(-1)  # the shift
                layers[-1].bias.view(2, -1).copy_(torch.stack([torch.zeros_like(scale), 2 * step.atanh()]))


class _AffineAutoregressive(Transform):
    """y_i = m_i + s_i x_i, where m_i and s_i depend on the coordinates before i: one pass; the inverse takes dim."""

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, net: Any, context: Tensor | None) -> None:
        super().__init__(cache_size=1)
        self.net, self.context = net, context
        self._scored: tuple[Tensor | None, Tensor | None] = (None, None)

    def _shift_and_log_scale(self, x: Tensor) -> tuple[Tensor, Tensor]:
        context = x.new_zeros(1) if self.context is None else self.context
        shift, raw = self.net(x, context)
        return shift, 2 * torch.tanh(raw / 2)  # scales within [1/e^2, e^2]: always invertible, identity near raw = 0

    def _call(self, x: Tensor) -> Tensor:
        shift, log_scale = self._shift_and_log_scale(x)
        self._scored = (x, log_scale)
        return shift + log_scale.exp() * x

    def _inverse(self, y: Tensor) -> Tensor:
        if self.context is not None:  # the same y may be asked of many contexts, which the network does not broadcast
            y = y.expand(torch.broadcast_shapes(y.shape, (*self.context.shape[:-1], 1)))
        x = list(torch.zeros_like(y).unbind(-1))
        for i in self.net.permutation.tolist():
            shift, log_scale = self._shift_and_log_scale(torch.stack(x, -1))
            x[i] = (y[..., i] - shift[..., i]) * torch.exp(-log_scale[..., i])
        inverse = torch.stack(x, -1)
        self._scored = (inverse, log_scale)  # coordinate i of log_scale never depended on x_i or later
        return inverse

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        scored, log_scale = self._scored
        if scored is not x or log_scale is None:
            _, log_scale = self._shift_and_log_scale(x)
        return log_scale.sum(-1)
