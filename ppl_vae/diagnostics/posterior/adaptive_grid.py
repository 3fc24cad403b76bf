"""A grid for each datum, refined to its posterior mass, starting from a coarser grid over all data."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from tqdm import tqdm

from ppl_vae.diagnostics.posterior.grid import Grid, log_density
from ppl_vae.modelled import Modelled
from ppl_vae.precision import in_float64
from ppl_vae.split import Split
from ppl_vae.unconstrained.log_joint import LogJoint, log_joints

__all__ = ["adaptive_grid"]

DEPTH = 30.0  # nats below the highest density at which a point is left out: 7.7 standard deviations of a Gaussian
NUM_DRAWS = 25  # from q, to locate a posterior that lies between the points
MAX_ROUNDS = 4
MAX_BYTES = 2**27  # of the densities on the coarser grid


def adaptive_grid(
    program: Modelled, split: Split, coarse: Grid, num_points: int | None, max_rows: int, bar: tqdm
) -> Iterator[tuple[slice, LogJoint, Grid, Tensor]]:
    """Refine each datum's box to its posterior mass.

    A box holds every point of the coarser grid and every draw from q within `DEPTH` nats of the highest density, so it
    spans all modes found. Call it inside `session.diagnosing`. Points differ between the data, so the decoder is run
    for each datum.

    Yields
    ------
    rows : slice
        Positions of the data.
    joint : LogJoint
        Their joint density.
    grid : Grid
        One box per datum; `num_points` along each axis, or if `None` 2049 for one dimension and 129 for two.
    log_f : Tensor
        log p(x, u), (points, n), in float64.
    """
    num_points = (2049 if coarse.dim == 1 else 129) if num_points is None else num_points
    at_once = NUM_DRAWS * max(1, MAX_BYTES // (8 * max(len(coarse), num_points**coarse.dim)))
    for rows, joint in log_joints(program, split, NUM_DRAWS, max_rows=min(max_rows, at_once)):
        drawn = joint.from_guide(NUM_DRAWS)
        at_drawn = log_density(joint, drawn)
        grid = _around(coarse, _values(coarse, joint, max_rows, bar), drawn, at_drawn, num_points)
        log_f = _values(grid, joint, max_rows, bar)
        for _ in range(MAX_ROUNDS):
            closer = _around(grid, log_f, drawn, at_drawn, num_points)
            if (closer.high - closer.low > (grid.high - grid.low) / 2).all():
                break
            grid = closer
            log_f = _values(grid, joint, max_rows, bar)
        yield rows, joint, grid, log_f


def _values(grid: Grid, joint: LogJoint, max_rows: int, bar: tqdm) -> Tensor:
    """log p(x, u) at all points, (points, n)."""
    log_f = torch.empty(len(grid), joint.size, dtype=torch.float64, device=in_float64(grid.low).device)
    for here, some in grid.log_joint(joint, max_rows, bar):
        log_f[here] = some
    return log_f


def _around(grid: Grid, log_f: Tensor, drawn: Tensor, at_drawn: Tensor, num_points: int) -> Grid:
    """The boxes around all points within `DEPTH` nats of the highest density, one grid step wider on each side."""
    least = torch.maximum(log_f.amax(0), at_drawn.amax(0)) - DEPTH
    held = (log_f >= least).unflatten(0, [grid.num_points] * grid.dim)
    axes = grid.axes.expand(-1, log_f.shape[1], -1)
    along = [held.movedim(i, 0).reshape(grid.num_points, -1, log_f.shape[1]).any(1) for i in range(grid.dim)]
    some = torch.cat([torch.stack(along, -1), (at_drawn >= least).unsqueeze(-1).expand(drawn.shape)])
    where = torch.cat([axes, drawn])
    low = torch.where(some, where, torch.inf).amin(0) - grid.step
    high = torch.where(some, where, -torch.inf).amax(0) + grid.step
    return Grid(low, high, num_points)
