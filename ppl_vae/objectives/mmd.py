"""Maximum mean discrepancy (MMD) of two samples."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["squared_mmd"]

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def squared_mmd(a: Tensor, b: Tensor, base: Tensor | float) -> Tensor:
    """MMD^2 = E k(a, a') + E k(b, b') - 2 E k(a, b), unbiased: pairs of a draw with itself are left out.

    The kernel is a sum of inverse multiquadratics, k(a, b) = sum_s s c / (s c + ||a - b||^2), c the base scale and s
    from 0.1 to 10. Where the distributions are equal the mean is 0, and single values lie on both sides of it.

    Parameters
    ----------
    a, b
        Samples (*leading, n, dim) and (*leading, m, dim), n and m at least 2.
    base
        The base scale c, a squared distance.

    Returns
    -------
    Tensor
        (*leading,), at most 14.

    References
    ----------
    Gretton et al. 2012, jmlr.org/papers/v13/gretton12a.html, equation 3; Tolstikhin et al. 2018, arXiv:1711.01558 (the
    kernel, and its scales in their code).

    Examples
    --------
    >>> a, b = torch.randn(2, 500, 3, generator=torch.Generator().manual_seed(0))
    >>> bool(squared_mmd(a, b + 1, 6.0) > 10 * squared_mmd(a, b, 6.0).abs())
    True
    """
    centre = a.mean(-2, keepdim=True).detach()  # far from 0, `_kernel` would subtract large numbers from each other
    a, b = a - centre, b - centre
    return _within(a, base) + _within(b, base) - 2 * _kernel(a, b, base).mean((-2, -1))


def _within(a: Tensor, base: Tensor | float) -> Tensor:
    n = a.shape[-2]
    k = _kernel(a, a, base)
    return (k.sum((-2, -1)) - k.diagonal(dim1=-2, dim2=-1).sum(-1)) / (n * (n - 1))


def _kernel(a: Tensor, b: Tensor, base: Tensor | float) -> Tensor:
    inner = 2 * a @ b.mT
    distance = (a.square().sum(-1).unsqueeze(-1) + b.square().sum(-1).unsqueeze(-2) - inner).clamp_min(0)
    return torch.stack([s * base / (s * base + distance) for s in SCALES]).sum(0)
