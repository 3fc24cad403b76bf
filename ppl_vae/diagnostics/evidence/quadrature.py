"""log p(x) by quadrature on a grid: near exact in one or two latent dimensions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ppl_vae.arguments import Count, Seed
from ppl_vae.calls import verb
from ppl_vae.diagnostics.posterior import Grid, adaptive_grid, log_joints
from ppl_vae.diagnostics.results import attributes, with_units
from ppl_vae.diagnostics.session import diagnosing
from ppl_vae.libraries import xr
from ppl_vae.modelled import Modelled
from ppl_vae.progress import progress_bar
from ppl_vae.raw_units import log_volume
from ppl_vae.split import Split

__all__ = ["quadrature"]

COARSE = 0.01  # the error, in nats, above which a datum gets an adaptive grid
NARROW = 1.0  # steps; a narrower posterior too, as a peak midway between two points has no error by every other one
FEW = 2 * (2 * math.pi**0.5)  # points that carry a posterior, for each dimension: those of two such peaks


@verb
def quadrature(
    program: Modelled,
    x: Tensor | Split,
    *context: Tensor,
    mask: Tensor | bool = True,
    seed: Seed | None = None,
    num_points: Count | None = None,
    max_rows: Count = 10_000,
    progress: bool = True,
) -> xr.Dataset:
    """log p(x) of each datum by quadrature on a grid; wrong where a mode lies between its points.

    The grid covers the unconstrained latents in a box around draws from the prior and from q of all data. It is shared
    by all data, so a decoder that depends on z alone is run once per point; a model that needs as many z as data is run
    for each pair, which is slower. Data for which the grid is too coarse, or
    whose posterior few of its points carry, get an adaptive grid around their posterior.

    Parameters
    ----------
    program, x, *context, mask, seed, max_rows, progress
        See `check_guide`. The program has one or two latent dimensions in all. `seed` is that of the draws that
        determine the box; `max_rows` counts pairs of point and datum.
    num_points
        Along each axis, an odd number; 2049 for one latent dimension and 257 for two if `None`.

    Returns
    -------
    xarray.Dataset
        By `obs`, in nats: `log_px`, for x in its original units, and `log_px_error`, the largest difference from the
        estimates by every other point, plus the mass outside the box extrapolated from the density at its border. Where
        it is below 0.1 for all data, true errors are smaller by orders of magnitude; elsewhere use more points.

    Raises
    ------
    ValueError
        For more than two latent dimensions, an even `num_points` or one below 9; for discrete latents, a point mass
        or an improper prior; for whatever `session.diagnosing` refuses.
    TypeError
        For a program that is no module with `.model` and `.guide`, and for data that are no tensor or `Split`.

    References
    ----------
    Trefethen & Weideman 2014, doi:10.1137/130932132: the trapezoidal rule converges exponentially for analytic
    functions.

    Examples
    --------
    >>> from ppl_vae import build, data
    >>> digits = data.load("digits").binarize("threshold").take(test=3)
    >>> _ = torch.manual_seed(0)
    >>> found = quadrature(build(digits, latent_dim=2), digits.test, seed=0)
    >>> bool((found.log_px_error < 1e-3).all())
    True
    """
    with diagnosing(program, x, *context, mask=mask, seed=seed) as (split, used):
        grid = Grid.over("quadrature", program, split, num_points, max_rows)
        moments = grid.log_moments
        parts = torch.cat([grid.log_parts, moments], -1)
        log_sums = torch.empty(parts.shape[1], len(split), dtype=torch.float64)
        log_squares = torch.empty(len(split), dtype=torch.float64)
        with progress_bar("log p(x) on grids", None, "point", shown=progress) as bar:
            for rows, joint in log_joints(program, split, 1, max_rows=max_rows):
                sums = parts.new_full((parts.shape[1], joint.size), -torch.inf)
                squares = sums[0]
                for here, log_f in grid.log_joint(joint, max_rows, bar):
                    sums = sums.logaddexp((log_f.unsqueeze(1) + parts[here].unsqueeze(-1)).logsumexp(0))
                    squares = squares.logaddexp((2 * log_f).logsumexp(0))
                log_sums[:, rows], log_squares[rows] = sums.cpu(), squares.cpu()
            sums, moments = log_sums.split([parts.shape[1] - moments.shape[1], moments.shape[1]])
            log_px, error = grid.integral(sums)
            again = ((error > COARSE) | _unresolved(grid, sums, log_squares, moments)).nonzero().flatten()
            if len(again):
                some = split[again.to(split.x.device)]
                for rows, _, own, log_f in adaptive_grid(program, some, grid, None, max_rows, bar):
                    log_px[again[rows]], error[again[rows]] = (part.cpu() for part in own.integral_of(log_f))
        return with_units(
            {
                "log_px": (("obs",), log_px - log_volume(program, split), "nats"),
                "log_px_error": (("obs",), error, "nats"),
            },
            {"obs": split.index.tolist()},
            cannot_see="a mode between two points of the grid, or outside the box that the prior's and q's draws span",
            **attributes(program, split, used, num_points=grid.num_points),
        )


def _unresolved(grid: Grid, log_sums: Tensor, log_squares: Tensor, log_moments: Tensor) -> Tensor:
    """Which posteriors are narrower than a step along an axis, or carried by few points, (n,)."""
    total = grid.log_total(log_sums)
    few: Tensor = (2 * total - log_squares).exp() < FEW**grid.dim
    return few | (grid.least_sd(total, log_moments) < NARROW)
