"""A normal distribution whose density over many elements takes few passes."""

from __future__ import annotations

import math

import pyro.distributions as dist
from torch import Tensor

from ppl_vae.distributions.once import once

__all__ = ["Normal"]


class Normal(dist.Normal):
    """N(x; loc, scale^2).

    Parameters
    ----------
    loc, scale
        Mean and standard deviation, (*batch,).
    """

    def log_prob_sum(self, value: Tensor, num_dims: int) -> Tensor:
        """Log density summed over the last `num_dims` dimensions, in nats, in fewer passes than `log_prob`.

        What is the same for several elements, as a scale that all share, is computed once.
        """
        scale, size = once(self.scale), math.prod(self.scale.shape[self.scale.dim() - num_dims :])
        squares = ((value - self.loc) / scale).square().flatten(-num_dims).sum(-1)
        log_scale = scale.log().flatten(-num_dims).mean(-1)  # of the repeated elements it is the same
        return -0.5 * squares - size * (log_scale + 0.5 * math.log(2 * math.pi))
