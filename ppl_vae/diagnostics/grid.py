"""An even grid over the unconstrained latents, at which every datum's log p(x, u) is known."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from torch import Tensor
from tqdm import tqdm

from ppl_vae.diagnostics.log_joint import LogJoint, log_joints
from ppl_vae.split import Split

__all__ = ["Grid"]


@dataclass(frozen=True)
class Grid:
    """Evenly spaced points in a box.

    Attributes
    ----------
    low, high
        Corners of the box, (dim,).
    num_points
        Along each axis; odd, so that every other point is a grid over the same box.
    """

    low: Tensor
    high: Tensor
    num_points: int

    @classmethod
    def over(cls, caller: str, program: Any, split: Split, num_points: int | None, max_rows: int) -> Grid:
        """A box with room for prior and posterior of all data, as far as draws from the prior and from q show them.

        Raises
        ------
        ValueError
            For more than two latent dimensions; for a number of points that is even or below 9.
        """
        num = max(25, math.ceil(2000 / len(split)))
        corners = []
        for _, joint in log_joints(program, split, num, max_rows=max_rows):
            if joint.dim > 2:
                raise ValueError(
                    f"{caller} expects one or two latent dimensions, all sites together, got {joint.dim}: a grid would "
                    "be too large; use log_marginal_likelihood(method='ais'), or hmc for the posterior"
                )
            u = torch.cat([joint.from_prior(num), joint.from_guide(num)]).flatten(0, 1)
            corners.append(torch.stack([u.amin(0), u.amax(0)]))
        low, high = torch.stack(corners)[:, 0].amin(0), torch.stack(corners)[:, 1].amax(0)
        room = (high - low) / (1 if len(low) == 1 else 4)  # points along one axis cost little
        num_points = (2049 if len(low) == 1 else 257) if num_points is None else num_points
        if num_points < 9 or num_points % 2 == 0:
            raise ValueError(
                f"{caller} expects an odd number of points along each axis, 9 or more, got {num_points}; every other "
                "one makes the coarser grid that the error is seen from: give 257, say"
            )
        return cls(low - room, high + room, num_points)

    @property
    def dim(self) -> int:
        """Of u."""
        return len(self.low)

    @property
    def axes(self) -> list[Tensor]:
        """Coordinates along each axis, (num_points,) each."""
        pairs = zip(self.low.tolist(), self.high.tolist(), strict=True)
        return [torch.linspace(a, b, self.num_points, dtype=torch.float64).to(self.low) for a, b in pairs]

    @property
    def step(self) -> Tensor:
        """Distance of neighbours, (dim,)."""
        return (self.high - self.low) / (self.num_points - 1)

    @property
    def points(self) -> Tensor:
        """All points, (num_points ** dim, dim)."""
        return torch.cartesian_prod(*self.axes).reshape(-1, self.dim)

    @property
    def log_parts(self) -> Tensor:
        """Log weights of the points in estimates of an integral by every other point, and in that over the border.

        (num_points ** dim, 2 ** dim + 1): there are as many grids of every other point as the box has corners.
        """
        i = torch.arange(self.num_points, device=self.low.device)
        index = torch.cartesian_prod(*[i] * self.dim).reshape(-1, self.dim)
        which = (index % 2 * 2 ** torch.arange(self.dim, device=i.device)).sum(-1)
        coarse = 2**self.dim * torch.nn.functional.one_hot(which, 2**self.dim)
        border = ((index == 0) | (index == self.num_points - 1)).any(-1, keepdim=True)
        log_cell = self.step.double().log().sum()
        return torch.cat([coarse, border], -1).double().log() + log_cell

    def integral(self, log_sums: Tensor) -> tuple[Tensor, Tensor]:
        """From sums with the weights `log_parts`, (2 ** dim + 1, n), the log integral over the box and its error."""
        coarse, border = log_sums[:-1], log_sums[-1]
        log_integral = coarse.logsumexp(0) - self.dim * math.log(2)
        outside = (border - log_integral).exp() * self.num_points / 10  # were the box a tenth larger at equal density
        return log_integral, (coarse - log_integral).abs().amax(0) + outside

    def log_joint(self, joint: LogJoint, max_rows: int, bar: tqdm) -> Iterator[tuple[slice, Tensor]]:
        """log p(x, u) of all of `joint`'s data at some points at a time, (points, n), in float64.

        A decoder that sees nothing but z is run once for each point, not for each datum. Where a model has no value,
        as at parameters no distribution takes, the density counts as zero.
        """
        points = self.points
        size = max(1, max_rows // joint.size)
        for start in range(0, len(points), size):
            rows = slice(start, min(start + size, len(points)))
            with pyro.validation_enabled(False):
                log_f = joint(points[rows].unsqueeze(1)).log_joint.double()
            yield rows, log_f.nan_to_num(-torch.inf, torch.inf, -torch.inf)
            bar.update(rows.stop - rows.start)
