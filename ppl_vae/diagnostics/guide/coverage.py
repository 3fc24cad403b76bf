"""Coverage of the central intervals of q."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ppl_vae.arguments import checked
from ppl_vae.diagnostics.diagnostic import Diagnostic
from ppl_vae.diagnostics.guide.ranks import by_quantity
from ppl_vae.diagnostics.results import group, groups, with_units
from ppl_vae.libraries import xr

__all__ = ["COVERAGE_REAL", "COVERAGE_SIMULATED", "coverage"]

_CALIBRATED = ("prior_sbc", "posterior_pit")


@checked
def coverage(tree: Any, prob: float | Sequence[float] = (0.5, 0.9)) -> xr.Dataset:
    """Share of the central intervals of q, of nominal probability `prob`, that contain the true value.

    Below `prob` where q is too narrow or biased. It is an average over data: intervals too wide for some data may
    cancel intervals too narrow for others.

    Parameters
    ----------
    tree
        From `simulation_based_calibration`, of simulated data, or from `posterior_pit`, of real ones.
    prob
        Nominal probabilities, in (0, 1).

    Returns
    -------
    xarray.Dataset
        `coverage` and its standard error `coverage_mcse`, (prob, quantity), a quantity being a coordinate of a latent
        or log p(x, z). The error is binomial over simulations; over real data it is that of the mean of each datum's
        share, as the draws of one datum are dependent.

    Raises
    ------
    ValueError
        For a tree without such values, and for probabilities outside (0, 1).

    Examples
    --------
    >>> from ppl_vae.diagnostics.results import to_tree
    >>> z = np.linspace(0.05, 0.95, 10).reshape(1, 10, 1)
    >>> tree = to_tree({"prior_sbc": xr.Dataset({"z": (("chain", "draw", "latent"), z)})})
    >>> coverage(tree, prob=0.5)["coverage"].values
    array([[0.6]])
    """
    found = [name for name in groups(tree) if name in _CALIBRATED]
    if not found:
        raise ValueError(
            f"coverage expects a tree with the group {' or '.join(_CALIBRATED)}, got {groups(tree)}; make one with "
            "simulation_based_calibration or posterior_pit"
        )
    probs = np.atleast_1d(np.asarray(prob, dtype=float))
    if not probs.size:
        raise ValueError("coverage expects one probability or more, got none; give prob=0.9 for 90 %")
    if not ((probs > 0) & (probs < 1)).all():
        raise ValueError(f"coverage expects probabilities in (0, 1), got {probs.tolist()}; give prob=0.9 for 90 %")
    dataset = group(tree, found[0])
    values = by_quantity(dataset)
    unit = "obs" if "obs" in values.dims else "draw"
    inside = abs(values - 0.5) <= xr.DataArray(probs, dims="prob") / 2
    shares = inside.mean({"chain", "draw"} - {unit}).transpose("prob", "quantity", unit)
    free = shares.sizes[unit] - 1 or np.nan  # one datum has no standard error
    return with_units(
        {
            "coverage": (("prob", "quantity"), shares.mean(unit), "1"),
            "coverage_mcse": (("prob", "quantity"), shares.std(unit) / np.sqrt(free), "1"),
        },
        {"prob": probs, "quantity": values["quantity"].values},
        **{**dataset.attrs, "cannot_see": "intervals too wide for some data and too narrow for others"},
    )


def _of(name: str, **more: Any) -> Diagnostic:
    return Diagnostic(name=f"coverage_{name}", run=lambda _, results: coverage(results[name]), needs=(name,), **more)


COVERAGE_SIMULATED = _of("simulation_based_calibration")
COVERAGE_REAL = _of("posterior_pit", full=True)
