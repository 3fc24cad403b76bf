"""Multivariate Student t of each datum, and their mixture with the prior: the proposals that are fitted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ppl_vae.precision import in_float64

__all__ = ["Defensive", "Student"]


@dataclass(frozen=True)
class Student:
    """t(u; m_n, C_n C_n^T, df) for each of n data, over their unconstrained latents u.

    Attributes
    ----------
    loc
        (n, dim), in float64.
    tril
        Cholesky factor C of the scale matrix, (n, dim, dim).
    df
        Degrees of freedom.
    """

    loc: Tensor
    tril: Tensor
    df: float

    def __getitem__(self, rows: Tensor) -> Student:
        """Of some of the data."""
        return Student(self.loc[rows], self.tril[rows], self.df)

    def sample(self, num: int) -> Tensor:
        """Draws, (num, n, dim)."""
        normal = torch.randn(num, *self.loc.shape, dtype=self.loc.dtype, device=self.loc.device)
        half = torch.full((num, len(self.loc)), self.df / 2, dtype=self.loc.dtype, device=self.loc.device)
        scale = (torch._standard_gamma(half) / half[0, 0]).rsqrt()
        return self.loc + scale.unsqueeze(-1) * torch.einsum("nij,snj->sni", self.tril, normal)

    def standardized(self, u: Tensor) -> Tensor:
        """C^-1 (u - m), (draws, n, dim), in float64; one inverse of each datum serves all draws."""
        eye = torch.eye(self.loc.shape[-1]).to(self.tril)
        inverse = torch.linalg.solve_triangular(self.tril, eye, upper=False)
        return torch.einsum("nij,snj->sni", inverse, in_float64(u) - self.loc)

    def log_prob(self, u: Tensor) -> Tensor:
        """Log density at u, (draws, n, dim) to (draws, n), in float64."""
        dim = self.loc.shape[-1]
        square = self.standardized(u).square().sum(-1)
        constant = math.lgamma((self.df + dim) / 2) - math.lgamma(self.df / 2) - dim / 2 * math.log(self.df * math.pi)
        log_det = self.tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return constant - log_det - (self.df + dim) / 2 * torch.log1p(square / self.df)


@dataclass(frozen=True)
class Defensive:
    """A mixture of Student t in equal shares and of the prior, whose share bounds the weights by p(x | z) / share.

    Attributes
    ----------
    students
        At least one, each of the same n data.
    share
        Of the prior.

    References
    ----------
    Hesterberg 1995, doi:10.1080/00401706.1995.10484303.
    """

    students: Sequence[Student]
    share: float

    def __getitem__(self, rows: Tensor) -> Defensive:
        """Of some of the data."""
        return Defensive([student[rows] for student in self.students], self.share)

    def counts(self, num: int) -> list[int]:
        """How many of num draws each student gets, and then the prior."""
        prior = math.ceil(self.share * num)
        each, more = divmod(num - prior, len(self.students))
        return [*(each + (k < more) for k in range(len(self.students))), prior]

    def sample(self, from_prior: Tensor, num: int) -> Tensor:
        """Draws with these counts, (num, n, dim), the last of which are given, (counts(num)[-1], n, dim)."""
        *counts, _ = self.counts(num)
        drawn = [student.sample(count) for student, count in zip(self.students, counts, strict=True)]
        return torch.cat([*(u.to(from_prior) for u in drawn), from_prior])

    def log_prob(self, u: Tensor, log_prior: Tensor, num: int) -> Tensor:
        """Log density at u with the shares of `counts(num)`, (draws, n), in float64, where log p(u) is given."""
        densities = [*(student.log_prob(u) for student in self.students), in_float64(log_prior)]
        parts = [d + math.log(c / num) for d, c in zip(densities, self.counts(num), strict=True) if c]
        return torch.stack(parts).logsumexp(0)
