"""A warning of tables whose columns have scales that differ by orders of magnitude."""

from __future__ import annotations

import math
import warnings

import torch

from ppl_vae.precision import in_float64
from ppl_vae.rows import dense
from ppl_vae.vae.data_spec import DataSpec
from ppl_vae.vae.seen import rows_for_statistics

__all__ = ["warn_of_scales"]

_MOST = 100.0  # ratio of ranges: a sparse column may have a small standard deviation on the same scale


def warn_of_scales(data: DataSpec) -> None:
    """Warn if the columns of a table are not on one scale.

    Warns
    -----
    UserWarning
        Where the ranges of its real, unit and positive columns differ by a factor above 100.
    """
    if data.train is None or len(data.x_shape) != 1 or data.domain.discrete:
        return
    split = rows_for_statistics(data.train)
    x, seen = in_float64(dense(split.x)), split.observed
    continuous = torch.tensor([not one.discrete for one in data.domain.columns(x.shape[1])])
    span = (x.where(seen, -math.inf).amax(0) - x.where(seen, math.inf).amin(0)).cpu()
    varies = (continuous & (span > 0)).nonzero().flatten().tolist()
    if not varies:
        return
    low, high = min(varies, key=lambda j: span[j]), max(varies, key=lambda j: span[j])
    if span[high] > _MOST * span[low]:
        warnings.warn(
            f"the columns of x have ranges from {span[low]:.3g} (column {low}) to {span[high]:.3g} (column {high}), so "
            "that the networks see and fit the widest alone; standardize them: data.standardize()",
            stacklevel=4,
        )
