"""A Student t with the moments of weighted draws."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ppl_vae.adaptive.student import Student
from ppl_vae.importance import log_marginal, psis
from ppl_vae.precision import in_float64

__all__ = ["matched", "of_draws"]


def matched(u: Tensor, log_w: Tensor, around: Student) -> Student:
    """The Student t with the mean and, as its scale matrix, the covariance of weighted draws; wider than they are.

    The weights are Pareto-smoothed, then tempered to an effective sample of two draws a dimension at least: w^b with
    the largest b up to 1 that has it. In coordinates in which `around` is standard, correlations are shrunk towards 0
    by the share of their sum of squares that is noise.

    Parameters
    ----------
    u
        Draws, (draws, n, dim).
    log_w
        Log weights, (draws, n), in nats; -inf for some draws of a datum at most.
    around
        A proposal near the result, of the same degrees of freedom.

    References
    ----------
    Cappé et al. 2008, arXiv:0710.4242 (moment matching); Schäfer & Strimmer 2005, doi:10.2202/1544-6115.1175 (the
    shrinkage); Vehtari et al. 2024, arXiv:1507.02646 (the smoothing).
    """
    v = around.standardized(u)
    none = ~log_w.max(0).values.isfinite()  # no draw has a density: all weigh the same
    log_w = _tempered(psis(log_w, coarse=none)[0], min(2.0 * v.shape[-1], len(v) / 2))
    ess = log_marginal(log_w).ess
    weights = (log_w - log_w.logsumexp(0)).exp()
    mean = torch.einsum("sn,snl->nl", weights, v)
    centred = v - mean
    covariance = torch.einsum("snl,snk->nlk", weights.unsqueeze(-1) * centred, centred)
    loc = around.loc + torch.einsum("nij,nj->ni", around.tril, mean)
    return Student(loc, around.tril @ _cholesky(_shrunk(covariance, ess)), around.df)


def of_draws(u: Tensor, df: float) -> Student:
    """`matched` for draws (draws, n, dim) of equal weight."""
    u = in_float64(u)
    around = Student(u.mean(0), u.std(0).clamp_min(_TINY).diag_embed(), df)
    return matched(u, torch.zeros_like(u[..., 0]), around)


def _tempered(log_w: Tensor, fewest: float) -> Tensor:
    """b log w of each datum, with the largest b in [0, 1] for which the ESS is `fewest` draws or more."""
    low, high = torch.zeros_like(log_w[0]), torch.ones_like(log_w[0])
    log_w = log_w - log_w.max(0).values
    log_w = log_w.clamp_min(-1e4)  # 0 * -inf is NaN
    b = high
    for _ in range(20):
        enough = log_marginal(b * log_w).ess >= fewest
        low, high = torch.where(enough, b, low), torch.where(enough, high, b)
        b = torch.where(low == 1, 1.0, (low + high) / 2)
    return torch.where(low == 1, 1.0, low) * log_w


def _shrunk(covariance: Tensor, ess: Tensor) -> Tensor:
    """Covariances (n, dim, dim) with correlations times 1 - sum var(r) / sum r^2, of an effective sample (n,)."""
    sd = covariance.diagonal(dim1=-2, dim2=-1).clamp_min(_TINY).sqrt()
    r = covariance / (sd.unsqueeze(-1) * sd.unsqueeze(-2))
    eye = torch.eye(r.shape[-1], dtype=torch.bool, device=r.device)
    r = r.masked_fill(eye, 0.0)
    noise = ((1 - r.square()).square().masked_fill(eye, 0.0)).sum((-2, -1)) / ess
    kept = (1 - noise / r.square().sum((-2, -1)).clamp_min(_TINY)).clamp(0.0, 1.0)
    r = (kept[:, None, None] * r).masked_fill(eye, 1.0)
    return r * (sd.unsqueeze(-1) * sd.unsqueeze(-2))


def _cholesky(covariance: Tensor) -> Tensor:
    """Of covariances (n, dim, dim); of the diagonal where one is not positive definite."""
    tril, failed = torch.linalg.cholesky_ex(covariance)
    diagonal = covariance.diagonal(dim1=-2, dim2=-1).clamp_min(_TINY).sqrt().diag_embed()
    return torch.where((failed > 0)[:, None, None] | ~tril.isfinite().all((-2, -1), keepdim=True), diagonal, tril)


_TINY = math.exp(-200)
