"""Normal likelihoods of real x."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_vae import distributions
from ppl_vae.arguments import Count, Name, Positive, checked
from ppl_vae.conditional import Net
from ppl_vae.distributions import positive, unconstrained
from ppl_vae.likelihoods.likelihood import Rowwise, Shape
from ppl_vae.likelihoods.marginals import mean_and_variance
from ppl_vae.likelihoods.scales import Scaled
from ppl_vae.nets import MLP

__all__ = ["CorrelatedGaussian", "Gaussian"]

DECAY = 0.99
"""Of the running mean of squared residuals, per batch."""


@checked
class Gaussian(Scaled):
    """p(x_i | z) = N(x_i; m_i, s_i^2), for real x.

    On data with finitely many levels the density with a learned scale is unbounded: dequantize first.

    Parameters
    ----------
    latent_dim, x_shape, net
        See `Likelihood`.
    scale
        A number; ``"learned"``, one for all elements; ``"elementwise"``, one learned for each element of x;
        ``"decoder"``, computed from z; or ``"optimal"``, one for all elements, which no gradient has to find: in
        training the s of a batch is the root of the mean of (x_i - m_i)^2 over its observed elements and particles,
        which maximizes the batch's log p(x | z) over s. That s is chosen on the data it is scored on, so that the
        training ELBO lies above that of a fixed s, by half a nat for a whole batch in the mean. In eval mode, where
        bounds and log p(x) are computed, s is fixed: the root of a running mean of the batches' mean squares (the mean
        of the first 100, then with a decay of 0.99 a batch), which is stored with the weights; it is 1 before training.
    context, site
        See `Likelihood`.

    References
    ----------
    Rybkin et al. 2021, arXiv:2006.13202 (the learned and the optimal scale).
    """

    kinds = ("real", "unit", "positive")
    base_measure = "density"
    mean_square: Tensor
    num_batches: Tensor

    def __init__(
        self,
        latent_dim: Count,
        x_shape: Shape,
        net: Net = MLP,
        scale: Positive | Literal["learned", "elementwise", "decoder", "optimal"] = "learned",
        *,
        context: Sequence[Shape] = (),
        site: Name = "x",
    ) -> None:
        super().__init__(latent_dim, x_shape, net, 1.0 if scale == "optimal" else scale, context=context, site=site)
        self.scale = scale
        if scale == "optimal":
            self.sees_x = True
            self.register_buffer("mean_square", torch.ones(()))
            self.register_buffer("num_batches", torch.zeros(()))

    def elementwise(
        self, loc: Tensor, *raw: Tensor, x: Tensor | None = None, mask: Tensor | bool = True
    ) -> TorchDistribution:
        """From means, and unconstrained scales where the decoder computes them."""
        if self.scale != "optimal":
            return distributions.Normal(loc, self.scale_of(loc, *raw))
        square = self.mean_square
        if x is not None and self.training and torch.is_grad_enabled():
            square = self._learned((x - loc.detach()).square(), mask)
        return distributions.Normal(loc, square.clamp_min(1e-8).sqrt())

    def _learned(self, square: Tensor, mask: Tensor | bool) -> Tensor:
        """The mean of a batch's squares, (*leading, batch, *x_shape), which the running mean takes in."""
        seen = torch.as_tensor(mask, device=square.device).expand(square.shape)
        mean = torch.where(seen, square, 0.0).sum() / seen.sum().clamp_min(1)
        self.num_batches += 1
        self.mean_square.lerp_(mean.to(self.mean_square), (1 / self.num_batches).clamp_min(1 - DECAY))
        return mean


@checked
class CorrelatedGaussian(Rowwise):
    """p(x | z) = N(x; m(z), S(z)), a density of a row of real x whose elements are correlated given z.

    Where elements are missing, it is the density of the others, exactly: m and S without their rows and columns.

    Parameters
    ----------
    latent_dim, x_shape, net
        See `Likelihood`.
    covariance
        ``"full"``: S = L L^T with L = diag(s) (I + N), N strictly lower triangular, as in `FullRankNormal`: the decoder
        gives 1 + d numbers for each of d elements, and a datum costs d^2, with missing elements d^3. Or a rank r:
        S = W W^T + diag(s)^2, W (d, r): 2 + r numbers for each element, and a datum costs d r^2.
    context, site
        See `Likelihood`.
    """

    kinds = ("real", "unit", "positive")
    base_measure = "density"

    def __init__(
        self,
        latent_dim: Count,
        x_shape: Shape,
        net: Net = MLP,
        covariance: Count | Literal["full"] = "full",
        *,
        context: Sequence[Shape] = (),
        site: Name = "x",
    ) -> None:
        self.covariance = covariance
        super().__init__(latent_dim, x_shape, net, context=context, site=site)

    def param_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Mean; and rows of L, or scale and columns of W."""
        return 1 + (torch.Size(x_shape).numel() if self.covariance == "full" else 1 + self.covariance), *x_shape

    def elementwise(self, loc: Tensor, *rest: Tensor, **_: Any) -> distributions.Row:
        """From means, and unconstrained parameters of the covariance."""
        dims = len(self.x_shape)
        matrix = torch.stack([part.flatten(-dims) for part in rest], -1)  # (*leading, d, d or 1 + r)
        if self.covariance != "full":
            return distributions.LowRankNormal(loc, matrix[..., 1:], positive(matrix[..., 0]), dims)
        scale = positive(matrix.diagonal(dim1=-2, dim2=-1))
        unit = matrix.tril(-1) + torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
        return distributions.CorrelatedNormal(loc, scale.unsqueeze(-1) * unit, dims)

    def start_from(self, x: Tensor, mask: Tensor, *context: Tensor) -> Tensor:
        """Mean and standard deviation of each element, and no correlations."""
        mean, variance = mean_and_variance(x, mask)
        raw = unconstrained(variance.sqrt()).flatten()
        scale = raw.diag() if self.covariance == "full" else torch.stack([raw, *[raw * 0] * self.covariance])
        return torch.cat([mean.unsqueeze(0), scale.reshape(-1, *self.x_shape)])

    def settings(self) -> str:
        """What `formula` adds."""
        return f"covariance={self.covariance}"
