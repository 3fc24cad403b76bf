"""Affine autoregressive transforms of a vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import constraints
from pyro.nn import ConditionalAutoRegressiveNN
from torch import Tensor, nn
from torch.distributions import Transform

__all__ = ["AutoregressiveFlow"]


class AutoregressiveFlow(nn.Module):
    """A composition of affine autoregressive transforms, with the coordinates reversed between them.

    The modules hold the networks only; `transforms` creates new, caching transforms from them, so that a flow can be
    copied and stored.

    Parameters
    ----------
    dim
        Dimension of the space.
    context_dim
        Dimension of the context; 0 for none.
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
        self.orders = [list(range(dim))[:: 1 if i % 2 == 0 else -1] for i in range(num_transforms)]
        asked: Any = torch.tensor  # Pyro asks for the legacy type LongTensor
        self.nets = nn.ModuleList(
            ConditionalAutoRegressiveNN(dim, max(context_dim, 1), [max(hidden_dim, dim)], permutation=asked(order))
            for order in self.orders
        )

    def transforms(self, context: Tensor | None = None) -> list[Transform]:
        """The transforms given a context (*leading, context_dim)."""
        return [_AffineAutoregressive(*each, context) for each in zip(self.nets, self.orders, strict=True)]

    def start_from(self, scale: Tensor) -> None:
        """Initialize near x / scale (dim,), split equally between the n transforms; they reach e^(1.8 n) at most."""
        step = (-scale.log() / len(self.nets) / 2).clamp(-0.9, 0.9)
        with torch.no_grad():
            for net in self.nets:
                layers: Any = net.layers
                layers[0].weight[:, -len(scale) :] /= scale  # the columns of x, after those of the context
                scale = scale * (2 * step).exp()
                layers[-1].weight[: len(scale)] *= scale.unsqueeze(-1)  # the shift
                layers[-1].bias.view(2, -1).copy_(torch.stack([torch.zeros_like(scale), 2 * step.atanh()]))


class _AffineAutoregressive(Transform):
    """y_i = m_i + s_i x_i, where m_i and s_i depend on x_1, ..., x_(i-1): one pass; the inverse takes dim passes."""

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, net: Any, order: Sequence[int], context: Tensor | None) -> None:
        super().__init__(cache_size=1)
        self.net, self.order, self.context = net, order, context
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
        if self.context is not None:  # y may need broadcasting against the contexts, which the network does not do
            y = y.expand(torch.broadcast_shapes(y.shape, (*self.context.shape[:-1], 1)))
        x = list(torch.zeros_like(y).unbind(-1))
        for i in self.order:
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
