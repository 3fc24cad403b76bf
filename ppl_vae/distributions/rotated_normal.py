"""A normal distribution whose independent coordinates are reflected."""

from __future__ import annotations

import pyro.distributions as dist
from pyro.distributions.transforms.householder import ConditionedHouseholder
from torch import Tensor

from ppl_vae.distributions.diagonal_normal import DiagonalNormal

__all__ = ["RotatedNormal", "rotated_normal"]


class RotatedNormal(dist.TransformedDistribution):  # type: ignore[misc]
    """N(loc, H diag(scale)^2 H^T), H a product of reflections, as `rotated_normal` makes it."""

    @property
    def mean(self) -> Tensor:
        """(*batch, dim)."""
        loc: Tensor = self.transforms[-1].loc
        return loc.expand(self.shape())

    @property
    def variance(self) -> Tensor:
        """Of each coordinate, (*batch, dim)."""
        reflected, scale = self.transforms[0], self.base_dist.base_dist.scale
        each = reflected(scale.diag_embed().movedim(-2, 0))  # (dim, *batch, dim), one for each coordinate of the base
        variance: Tensor = each.square().sum(0)
        return variance.expand(self.shape())


def rotated_normal(loc: Tensor, scale: Tensor, normals: Tensor) -> RotatedNormal:
    """N(loc, H diag(scale)^2 H^T), H = H_T ... H_1, where H_t = I - 2 v_t v_t^T / |v_t|^2 reflects on a plane.

    A draw, and a density at any value, costs T products of vectors; |det H| = 1.

    Parameters
    ----------
    loc, scale
        (*batch, dim).
    normals
        v_1, ..., v_T, not 0, (*batch, T, dim).

    Examples
    --------
    >>> import torch
    >>> p = rotated_normal(torch.zeros(2), torch.tensor([1.0, 2.0]), torch.tensor([[1.0, -1.0]]))  # exchanges the axes
    >>> p.variance
    tensor([4.0000, 1.0000])
    """
    base = DiagonalNormal(loc.new_zeros(()).expand_as(loc), scale)
    moved = dist.transforms.AffineTransform(loc, loc.new_ones(()), event_dim=1, cache_size=1)
    return RotatedNormal(base, [ConditionedHouseholder(normals), moved])
