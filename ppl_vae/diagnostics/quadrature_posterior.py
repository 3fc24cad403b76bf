"""p(z | x) on a grid: the reference for q where there are one or two latent dimensions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ppl_vae.diagnostics.arviz_io import to_tree
from ppl_vae.diagnostics.datasets import attributes, of_draws, with_units
from ppl_vae.diagnostics.grid import Grid
from ppl_vae.diagnostics.log_joint import log_joints
from ppl_vae.diagnostics.session import diagnosing
from ppl_vae.split import Split

__all__ = ["quadrature_posterior"]

RELIABLE = 0.1  # the largest error of log p(x), in nats, at which a grid is a reference


def quadrature_posterior(
    program: nn.Module,
    x: Tensor | Split,
    *context: Tensor,
    mask: Tensor | bool = True,
    seed: int | None = None,
    num_points: int | None = None,
    num_draws: int = 1000,
    num_chains: int = 4,
    max_rows: int = 10_000,
    max_bytes: int = 2**29,
    progress: bool = True,
) -> Any:
    """The posterior p(z | x) of each datum from a grid, as a density and as draws; wrong where `quadrature` is.

    Parameters
    ----------
    program, x, *context, mask, seed, num_points, max_rows, progress
        As for `quadrature`.
    num_draws, num_chains
        Draws a chain, and chains. All draws are independent; the chains are there for what expects some.
    max_bytes
        Largest density that is kept, over all data.

    Returns
    -------
    arviz.InferenceData or xarray.DataTree
        `posterior` with the latents by site, (chain, draw, obs, ...), each drawn evenly from the cell around a point.
        `density` with `log_density` (obs, u_0) or (obs, u_0, u_1), in nats: log p(u | x) of the unconstrained latents,
        which are z itself where z may take any value; the axes are its coordinates. `diagnostics`, (obs), with
        `log_px_error` as that of `quadrature`, in nats, and `reliable`, whether it is at most 0.1: elsewhere give
        more points.

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
    ({'obs': 3, 'u_0': 65, 'u_1': 65}, {'chain': 4, 'draw': 1000, 'obs': 3, 'latent': 2})
    """
    if num_draws < 1 or num_chains < 1:
        raise ValueError(
            f"quadrature_posterior expects one draw and one chain or more, got {num_draws} and {num_chains}; give "
            "num_draws=1000 and num_chains=4, say"
        )
    with diagnosing("quadrature_posterior", program, x, *context, mask=mask, seed=seed) as (split, used):
        grid = Grid.over("quadrature_posterior", program, split, num_points, max_rows)
        points, parts = grid.points, grid.log_parts
        if 8 * len(points) * len(split) > max_bytes:
            raise ValueError(
                f"quadrature_posterior expects densities of at most {max_bytes / 2**20:.0f} MiB, got {len(split)} data "
                f"of {len(points) / 2**17:.2f} MiB each; give fewer data or points, or raise max_bytes"
            )
        log_f = torch.empty(len(points), len(split), dtype=torch.float64)
        drawn: dict[str, list[Tensor]] = {}
        with tqdm(unit="point", disable=None if progress else True, leave=False) as bar:
            for rows, joint in log_joints(program, split, 1, max_rows=max_rows):
                for here, part in grid.log_joint(joint, max_rows, bar):
                    log_f[here, rows] = part.cpu()
                probs = log_f[:, rows].softmax(0).T.to(points.device)
                index = torch.multinomial(probs, num_chains * num_draws, replacement=True).T  # (draws, n)
                u = points[index]
                u = u + (torch.rand_like(u) - 0.5) * grid.step
                few = [joint.values(some) for some in u.split(max(1, max_rows // joint.size))]
                for name in joint.layout:
                    drawn.setdefault(name, []).append(torch.cat([values[name] for values in few]).cpu())
        log_sums = torch.stack([(log_f + part.unsqueeze(-1)).logsumexp(0) for part in parts.T.cpu()])
        log_px, error = grid.integral(log_sums)
        attrs = attributes(program, split, used, num_points=grid.num_points)
        joined = {name: torch.cat(z, 1).unflatten(0, (num_chains, num_draws)) for name, z in drawn.items()}
        log_density = (log_f - log_px).T.unflatten(1, [grid.num_points] * grid.dim)
    obs = {"obs": split.index.tolist()}
    along = {f"u_{i}": axis.tolist() for i, axis in enumerate(grid.axes)}
    unseen = "a mode between two points of the grid, or outside the box that the prior's and q's draws span"
    density = with_units(
        {"log_density": (("obs", *along), log_density, "nats")}, {**obs, **along}, cannot_see=unseen, **attrs
    )
    verdict = with_units(
        {"log_px_error": (("obs",), error, "nats"), "reliable": (("obs",), error <= RELIABLE, "1")},
        obs,
        cannot_see=unseen,
        **attrs,
    )
    posterior = of_draws(joined, ("chain", "draw", "obs"), obs).assign_attrs(attrs)
    return to_tree({"posterior": posterior, "density": density, "diagnostics": verdict})
