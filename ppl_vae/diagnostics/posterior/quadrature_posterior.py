"""p(z | x) on a grid, the reference for q in one or two latent dimensions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ppl_vae.arguments import Count, Seed
from ppl_vae.calls import verb
from ppl_vae.diagnostics.diagnostic import Diagnostic, Subject
from ppl_vae.diagnostics.posterior.adaptive_grid import adaptive_grid
from ppl_vae.diagnostics.posterior.grid import Grid
from ppl_vae.diagnostics.results import attributes, group, of_draws, to_tree, with_units
from ppl_vae.diagnostics.session import diagnosing
from ppl_vae.memory import chunks
from ppl_vae.modelled import Modelled
from ppl_vae.progress import progress_bar
from ppl_vae.split import Split

__all__ = ["QUADRATURE_POSTERIOR", "quadrature_posterior"]

RELIABLE = 0.1  # the largest error of log p(x), in nats, at which a grid is reliable
FEWEST_STEPS = 2  # per standard deviation: the standard deviation of the draws is then at most 1 % too large


@verb
def quadrature_posterior(
    program: Modelled,
    x: Tensor | Split,
    *context: Tensor,
    mask: Tensor | bool = True,
    seed: Seed | None = None,
    num_points: Count | None = None,
    num_draws: Count = 1000,
    num_chains: Count = 4,
    max_rows: Count = 10_000,
    max_bytes: Count = 2**29,
    progress: bool = True,
) -> Any:
    """The posterior p(z | x) of each datum on a grid, as a density and as draws; wrong where a mode is not found.

    A coarse grid over all data and draws from q locate each datum's posterior mass. A second grid per datum is refined
    to that mass, so that a posterior may be far narrower than a step of the coarse grid.

    Parameters
    ----------
    program, x, *context, mask, seed, max_rows, progress
        See `check_guide`; `max_rows` counts pairs of point and datum.
    num_points
        Along each axis of both grids, an odd number; if `None`, 2049 for one latent dimension, and for two 257 on the
        coarse grid and 129 on the second.
    num_draws, num_chains
        Draws per chain, and chains. All draws are independent; the chain axis is there for ArviZ.
    max_bytes
        Largest size of the stored densities, over all data.

    Returns
    -------
    arviz.InferenceData or xarray.DataTree
        `posterior`: the latents by site, (chain, draw, obs, ...); a draw picks a cell by its mass and is uniform in it.
        `density`: `log_density` (obs, point_0) or (obs, point_0, point_1), in nats, which is log p(u | x) of the
        unconstrained latents u (z itself where its support is real), and the axes of each datum's grid, `u_0`
        (obs, point_0) and `u_1` (obs, point_1). `diagnostics`, (obs,): `log_px_error`, in nats, as in `quadrature`, and
        `reliable`, whether it is at most 0.1 and the step at most half a standard deviation; elsewhere give more
        points.

    Raises
    ------
    ValueError
        If the densities would be larger than `max_bytes`; for no draws or chains; for whatever `quadrature` refuses.
    TypeError
        For a program that is no module with `.model` and `.guide`, and for data that are no tensor or `Split`.

    Examples
    --------
    >>> from ppl_vae import build, data
    >>> digits = data.load("digits").binarize("threshold").take(test=3)
    >>> _ = torch.manual_seed(0)
    >>> tree = quadrature_posterior(build(digits, latent_dim=2), digits.test, num_points=65, seed=0)
    >>> dict(tree["density"].sizes), dict(tree["posterior"].sizes)
    ({'obs': 3, 'point_0': 65, 'point_1': 65}, {'chain': 4, 'draw': 1000, 'obs': 3, 'latent': 2})
    """
    with diagnosing(program, x, *context, mask=mask, seed=seed) as (split, used):
        coarse = Grid.over("quadrature_posterior", program, split, num_points, max_rows)
        columns: dict[str, Tensor] = {}
        drawn: dict[str, list[Tensor]] = {}
        with progress_bar("posterior on grids", None, "point", shown=progress) as bar:
            for rows, joint, grid, log_f in adaptive_grid(program, split, coarse, num_points, max_rows, bar):
                if not columns:
                    _check_size(len(grid), len(split), max_bytes)
                for name, part in _described(grid, log_f).items():
                    empty = torch.empty(len(split), *part.shape[1:], dtype=part.dtype)
                    columns.setdefault(name, empty)[rows] = part.cpu()
                at_once = joint.where.rows(max_rows)
                u = _drawn(grid, log_f, num_chains * num_draws)
                few = [joint.values(u[some]) for some in chunks(len(u), joint.size, at_once)]
                for name in joint.layout:
                    drawn.setdefault(name, []).append(torch.cat([values[name] for values in few]).cpu())
        joined = {name: torch.cat(z, 1).unflatten(0, (num_chains, num_draws)) for name, z in drawn.items()}
        attrs = attributes(program, split, used, num_points=grid.num_points)
    attrs["cannot_see"] = "a mode between the points of the coarser grid that q never visits, or outside its box"
    return _tree(joined, columns, grid, {"obs": split.index.tolist()}, attrs)


def _tree(
    joined: dict[str, Tensor], columns: dict[str, Tensor], grid: Grid, obs: dict[str, Any], attrs: dict[str, Any]
) -> Any:
    """Draws by site (chain, draw, n, ...), densities on the grids, and their reliability."""
    points = tuple(f"point_{i}" for i in range(grid.dim))
    along = {f"u_{i}": (("obs", points[i]), columns[f"u_{i}"], "1") for i in range(grid.dim)}
    log_density = columns["log_density"].unflatten(1, [grid.num_points] * grid.dim)
    density = with_units({"log_density": (("obs", *points), log_density, "nats"), **along}, obs, **attrs)
    units = {"log_px_error": "nats", "reliable": "1"}
    diagnostics = with_units({name: (("obs",), columns[name], unit) for name, unit in units.items()}, obs, **attrs)
    seen = {name: value for name, value in attrs.items() if name != "cannot_see"}
    posterior = of_draws(joined, ("chain", "draw", "obs"), obs).assign_attrs(seen)
    return to_tree({"posterior": posterior, "density": density, "diagnostics": diagnostics})


def _check_size(num_points: int, num_data: int, max_bytes: int) -> None:
    if 8 * num_points * num_data > max_bytes:
        raise ValueError(
            f"quadrature_posterior expects densities of at most {max_bytes / 2**20:.0f} MiB, got {num_data} data of "
            f"{num_points / 2**17:.2f} MiB each; give fewer data or points, or raise max_bytes"
        )


def _described(grid: Grid, log_f: Tensor) -> dict[str, Tensor]:
    """Density, axes and reliability of each datum, (n, ...)."""
    log_px, error = grid.integral_of(log_f)
    first, second = (log_f.softmax(0).T @ power for power in (grid.points, grid.points.square()))
    sd = (second - first.square()).clamp_min(0).sqrt() * (grid.num_points - 1)  # in steps
    return {
        "log_density": (log_f - log_px).T,
        **{f"u_{i}": axis.T for i, axis in enumerate(grid.axes.unbind(-1))},
        "log_px_error": error,
        "reliable": (error <= RELIABLE) & (sd >= FEWEST_STEPS).all(-1),
    }


def _drawn(grid: Grid, log_f: Tensor, num: int) -> Tensor:
    """Draws u, (num, n, dim), uniform within the cells around the points."""
    index = torch.multinomial(log_f.softmax(0).T, num, replacement=True).T
    u = grid.at(grid.points[index])
    return u + (torch.rand_like(u) - 0.5) * grid.step


def _num_units(subject: Subject) -> int:
    """Latent units of a datum, over all sites."""
    return sum(z[0, 0, 0].size for z in group(subject.tree, "posterior").values())


QUADRATURE_POSTERIOR = Diagnostic(
    name="quadrature_posterior",
    run=lambda subject, _: quadrature_posterior(subject.program, subject.chosen, **subject.options),
    full=True,
    fits=lambda subject: _num_units(subject) <= 2,
    apart=True,
)
