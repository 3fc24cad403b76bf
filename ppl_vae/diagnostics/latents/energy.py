"""Two-sample test by energy distance, in any dimension."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ppl_vae.precision import in_float64

__all__ = ["EnergyTest", "energy_test"]


_TINY = torch.finfo(torch.float64).tiny


class EnergyTest(NamedTuple):
    """Result of `energy_test`.

    Attributes
    ----------
    distance
        sqrt(2 E|X - Y| - E|X - X'| - E|Y - Y'|), in the units of the square root of the samples.
    mcse
        Its standard error, to first order; not valid where `p_value` is not small.
    p_value
        Probability of a distance at least as large if both samples come from one distribution.
    p_value_mcse
        Monte Carlo standard error of `p_value`, from the finite number of permutations.
    null
        95 % quantile of the distance between permuted samples.
    """

    distance: float
    mcse: float
    p_value: float
    p_value_mcse: float
    null: float


def energy_test(
    x: Tensor,
    y: Tensor,
    *,
    num_permutations: int = 500,
    max_samples: int = 1000,
    generator: torch.Generator | None = None,
) -> EnergyTest:
    """Two-sample permutation test by energy distance; low power against small differences in small samples.

    The p-value is exact for independent samples: (1 + number of permutations with as large a distance) / (1 + B).

    Parameters
    ----------
    x, y
        Samples, (n, dim) and (m, dim), with independent rows: draws for the same datum are not.
    num_permutations
        Number B of permutations; no p-value is below 1 / (1 + B).
    max_samples
        Larger samples are subsampled at random to this many rows: memory is quadratic in it.
    generator
        Generator of the permutations, on the CPU; if `None`, uses torch's global generator.

    Returns
    -------
    EnergyTest

    Raises
    ------
    ValueError
        For fewer than two rows, columns that do not match, or no permutations.

    References
    ----------
    Szekely & Rizzo 2013, doi:10.1016/j.jspi.2013.03.018.

    Examples
    --------
    >>> g = torch.Generator().manual_seed(0)
    >>> x, y = torch.randn(2, 200, 3, generator=g)
    >>> energy_test(x, y, generator=g).p_value > 0.05, energy_test(x, y + 0.5, generator=g).p_value < 0.01
    (True, True)
    """
    if x.dim() != 2 or y.dim() != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2 or num_permutations < 1:
        raise ValueError(
            f"energy_test expects samples (n, dim) and (m, dim) of two rows or more and one permutation or more, got "
            f"{tuple(x.shape)}, {tuple(y.shape)} and {num_permutations}; give more draws"
        )
    x, y = (in_float64(_some(sample, max_samples, generator)) for sample in (x, y))
    pooled = torch.cat([x, y])
    apart = torch.cdist(pooled, pooled, compute_mode="donot_use_mm_for_euclid_dist")
    weight = torch.cat([x.new_full((len(x),), 1 / len(x)), y.new_full((len(y),), -1 / len(y))])
    order = torch.rand(num_permutations, len(pooled), generator=generator).argsort(-1)
    permuted = weight[order.to(weight.device)]
    null = -((permuted @ apart) * permuted).sum(-1)
    pull = -apart @ weight  # for x_i: E|x_i - Y| - E|x_i - X'|; for y_j with the opposite sign
    squared = weight @ pull
    variance = 4 * (pull[: len(x)].var() / len(x) + pull[len(x) :].var() / len(y))
    distance = squared.clamp_min(0).sqrt()
    rounding = 1e-12 * apart.mean()  # in the units of the samples: sums in another order are as large
    p_value = (1 + int((null >= squared - rounding).sum())) / (1 + num_permutations)
    return EnergyTest(
        distance=distance.item(),
        mcse=(variance.sqrt() / (2 * torch.maximum(distance, rounding.sqrt()).clamp_min(_TINY))).item(),
        p_value=p_value,
        p_value_mcse=(p_value * (1 - p_value) / (1 + num_permutations)) ** 0.5,
        null=null.clamp_min(0).sqrt().quantile(0.95).item(),
    )


def _some(sample: Tensor, most: int, generator: torch.Generator | None) -> Tensor:
    if len(sample) <= most:
        return sample
    return sample[torch.randperm(len(sample), generator=generator)[:most].to(sample.device)]
