"""Sylvester transforms: a step of a network of one hidden layer, whose determinant is one of few rows."""

from __future__ import annotations

import torch
from pyro.distributions import constraints
from torch import Tensor
from torch.distributions import Transform

__all__ = ["Sylvester", "frame"]

_MOST = 0.99
"""Bound of the products r_ii s_ii: at -1 the transform has no inverse."""

_HALVINGS = 60
"""Of an interval at most 2 long; float64 has no more digits."""


class Sylvester(Transform):
    """y = x + Q R tanh(S Q^T x + b), Q of M orthonormal columns, R and S upper triangular.

    A value and its Jacobian take one pass. The inverse solves M increasing equations of one unknown, the last first,
    by bisection, then by a step of Newton's method, through which gradients pass.

    Parameters
    ----------
    q
        Q, (*batch, dim, M).
    r, s
        R and S, (*batch, M, M); what is below the diagonals is not used, and the diagonals are made r_ii = tanh and
        s_ii = 0.99 tanh of those given, so that 1 + r_ii s_ii is positive.
    shift
        b, (*batch, M).

    References
    ----------
    van den Berg et al. 2018, arXiv:1803.05649.
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, q: Tensor, r: Tensor, s: Tensor, shift: Tensor) -> None:
        super().__init__(cache_size=1)
        self.q, self.shift = q, shift
        self.r = _with_diagonal(r, r.diagonal(dim1=-2, dim2=-1).tanh())
        self.s = _with_diagonal(s, _MOST * s.diagonal(dim1=-2, dim2=-1).tanh())

    def _hidden(self, x: Tensor) -> Tensor:
        """tanh(S Q^T x + b), (..., M)."""
        return (_times(self.s, self._inside(x)) + self.shift).tanh()

    def _inside(self, x: Tensor) -> Tensor:
        return torch.einsum("...dm,...d->...m", self.q, x)

    def _step(self, hidden: Tensor) -> Tensor:
        return _times(self.q, _times(self.r, hidden))

    def _call(self, x: Tensor) -> Tensor:
        return x + self._step(self._hidden(x))

    def _inverse(self, y: Tensor) -> Tensor:
        inside = self._inside(y)
        v: list[Tensor] = []  # of Q^T x, the last first
        hidden: list[Tensor] = []
        for i in reversed(range(self.q.shape[-1])):
            later = range(i + 1, self.q.shape[-1])
            given = inside[..., i] - sum(self.r[..., i, j] * h for j, h in zip(reversed(later), hidden, strict=True))
            bias = self.shift[..., i] + sum(self.s[..., i, j] * w for j, w in zip(reversed(later), v, strict=True))
            slope = self.s[..., i, i]
            v.append(_root(given, self.r[..., i, i], slope, bias))
            hidden.append((slope * v[-1] + bias).tanh())
        return y - self._step(torch.stack(hidden[::-1], -1))

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Sum of log(1 + r_ii s_ii (1 - tanh^2)), (...)."""
        product = self.r.diagonal(dim1=-2, dim2=-1) * self.s.diagonal(dim1=-2, dim2=-1)
        return torch.log1p(product * (1 - self._hidden(x).square())).sum(-1)


def frame(lower: Tensor) -> Tensor:
    """M orthonormal columns (*batch, dim, M): the first ones of a product of M reflections, as all such columns are.

    The normal of reflection i is the unit vector i and what is below the diagonal in column i of `lower`, which has the
    shape of the result.
    """
    unit = torch.eye(*lower.shape[-2:], dtype=lower.dtype, device=lower.device)
    normals = torch.nn.functional.normalize(lower.tril(-1) + unit, dim=-2)
    q = unit
    for v in reversed(normals.unbind(-1)):
        q = q - 2 * v.unsqueeze(-1) * torch.einsum("...d,...dm->...m", v, q).unsqueeze(-2)
    return q


def _root(given: Tensor, r: Tensor, slope: Tensor, bias: Tensor) -> Tensor:
    """v of v + r tanh(slope v + bias) = given, which increases in v."""
    given, r, slope, bias = torch.broadcast_tensors(given, r, slope, bias)
    with torch.no_grad():
        low, high = given - r.abs(), given + r.abs()
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            above = middle + r * (slope * middle + bias).tanh() > given
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        v = (low + high) / 2
    hidden = (slope * v + bias).tanh()
    return v - (v + r * hidden - given) / (1 + r * slope * (1 - hidden.square()))


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return torch.einsum("...dm,...m->...d", matrix, vector)


def _with_diagonal(matrix: Tensor, diagonal: Tensor) -> Tensor:
    return matrix.triu(1) + diagonal.diag_embed()
