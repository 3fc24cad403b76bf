"""A mixture of diagonal normals whose draws have gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.autograd.function import once_differentiable

from ppl_vae.distributions.diagonal_normal import DiagonalNormal
from ppl_vae.distributions.mixture import Mixture
from ppl_vae.precision import has_float64

__all__ = ["NormalMixture"]

Shape = Sequence[int]


class NormalMixture(Mixture):
    """sum_k w_k N(m_k, diag(s_k)^2) with draws that have gradients by w, m and s, by implicit reparametrization.

    A draw z keeps u_d = F(z_d | z_1, ..., z_(d-1)) for every coordinate d, F the conditional distribution function, so
    that dz = -(du/dz)^-1 du at fixed z. Pyro's `MixtureOfDiagNormals` has a wrong gradient by the weights where the
    scales are not 1. A second derivative of a draw is refused. Where components lie many standard deviations apart, the
    gradient by w comes from the few draws between them and has a large variance: for two equal components 12 standard
    deviations apart, estimates of d E[z] / d logit = 3 from 20,000 draws differ by a factor of 3.

    Parameters
    ----------
    logits
        Unnormalized log weights, (*batch, K).
    loc, scale
        Of the components, (*batch, K, dim).

    References
    ----------
    Graves 2016, arXiv:1607.05690; Figurnov et al. 2018, arXiv:1805.08498.
    """

    has_rsample = True
    components: DiagonalNormal

    def __init__(self, logits: Tensor, loc: Tensor, scale: Tensor, validate_args: bool | None = None) -> None:
        super().__init__(logits, DiagonalNormal(loc, scale, validate_args=validate_args), validate_args)

    def expand(self, batch_shape: Shape, _instance: TorchDistribution | None = None) -> Mixture:
        """Expanded to `batch_shape`; the components are not copied."""
        return super().expand(batch_shape, self._get_checked_instance(NormalMixture, _instance))

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        """Draws of `sample`, with gradients."""
        z, normal = self.sample(sample_shape), self.components.base_dist
        params = (self.log_weights, normal.loc, normal.scale)
        if not (torch.is_grad_enabled() and any(p.requires_grad for p in params)):
            return z
        precise = torch.float64 if has_float64(z.device) else z.dtype
        u, jacobian = _conditional_probabilities(z.to(precise), *(p.to(precise) for p in params))
        return _Implicit.apply(z, u, jacobian)


def _conditional_probabilities(z: Tensor, log_weights: Tensor, loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """F(z_d | z_<d), or in the upper half 1 less it, (..., dim); and its Jacobian by z, triangular, (..., dim, dim).

    The smaller of both probabilities is precise in either tail; a sign of a row changes no solution.
    """
    t = (z.unsqueeze(-2) - loc) / scale  # (..., K, dim)
    log_density = -0.5 * t.square() - scale.log() - 0.9189385332046727
    before = log_density.cumsum(-1) - log_density
    weight = (log_weights.unsqueeze(-1) + before).softmax(-2)  # of each component given z_<d
    with torch.no_grad():
        upper = (weight * torch.special.ndtr(t)).sum(-2, keepdim=True) > 0.5
        sign = torch.where(upper, -1.0, 1.0)
    each = torch.special.ndtr(sign * t)
    u = (weight * each).sum(-2)
    with torch.no_grad():
        diagonal = (sign * weight * log_density.exp()).sum(-2)
        below = torch.einsum("...kd,...kj->...dj", weight * (each - u.unsqueeze(-2)), -t / scale).tril(-1)
    return u, below + diagonal.diag_embed()


class _Implicit(torch.autograd.Function):
    """z, whose gradient reaches the parameters through u: dz = -J^-1 du."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, u: Tensor, jacobian: Tensor) -> Tensor:
        ctx.save_for_backward(jacobian)
        return z.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, None]:
        (jacobian,) = ctx.saved_tensors
        grad = grads[0].to(jacobian.dtype).unsqueeze(-1)
        return None, -torch.linalg.solve_triangular(jacobian.mT, grad, upper=True).squeeze(-1), None
