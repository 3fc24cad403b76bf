"""Regular grids over the unconstrained latents u, for the quadrature of p(x, u)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import pyro
import torch
from torch import Tensor
from tqdm import tqdm

from ppl_vae.memory import chunks
from ppl_vae.modelled import Modelled
from ppl_vae.precision import in_float64
from ppl_vae.split import Split
from ppl_vae.unconstrained.log_joint import LogJoint, log_joints

__all__ = ["Grid"]


@dataclass(frozen=True)
class Grid:
    """Evenly spaced points in a box, the same for all data or one for each.

    Attributes
    ----------
    low, high
        Corners of the box, (1, dim), or of each datum's, (n, dim).
    num_points
        Along each axis; odd, so that every other point is a coarser grid over the same box, for the error estimate.
    shared
        Whether the program accepts points shared by all data, (points, 1, dim).
    """

    low: Tensor
    high: Tensor
    num_points: int
    shared: bool = True

    @classmethod
    def over(cls, caller: str, program: Modelled, split: Split, num_points: int | None, max_rows: int) -> Grid:
        """A box around draws from the prior and from q of all data, with a margin.

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
        room = (high - low) / (1 if len(low) == 1 else 4)  # in one dimension points are cheap
        num_points = (2049 if len(low) == 1 else 257) if num_points is None else num_points
        check_points(caller, num_points)
        return cls((low - room)[None], (high + room)[None], num_points, _shares(program, split, max_rows))

    def __len__(self) -> int:
        return int(self.num_points**self.dim)

    @property
    def dim(self) -> int:
        """Of u."""
        return self.low.shape[-1]

    @property
    def axes(self) -> Tensor:
        """Coordinates along each axis, (num_points, 1 or n, dim)."""
        return self.at(self._fractions.expand(-1, self.dim))

    @property
    def step(self) -> Tensor:
        """Distance between neighbouring points, (1 or n, dim)."""
        return (self.high - self.low) / (self.num_points - 1)

    @property
    def points(self) -> Tensor:
        """All points as fractions of the box, (num_points ** dim, dim), in float64."""
        return torch.cartesian_prod(*[self._fractions[:, 0]] * self.dim).reshape(-1, self.dim)

    @property
    def _fractions(self) -> Tensor:
        return torch.linspace(0, 1, self.num_points, dtype=torch.float64, device=in_float64(self.low).device)[:, None]

    def at(self, fractions: Tensor) -> Tensor:
        """u at fractions of the boxes, which are (points, dim), or (points, n, dim): (points, 1 or n, dim)."""
        fractions = fractions.unsqueeze(1) if fractions.dim() == 2 else fractions
        return torch.lerp(in_float64(self.low), in_float64(self.high), fractions).to(self.low)

    @property
    def log_parts(self) -> Tensor:
        """Log weights of the points in the integrals over the 2^dim subgrids of every other point, and over the border.

        (num_points ** dim, 2 ** dim + 1), for cells of size 1.
        """
        i = torch.arange(self.num_points, device=self.low.device)
        index = torch.cartesian_prod(*[i] * self.dim).reshape(-1, self.dim)
        which = (index % 2 * 2 ** torch.arange(self.dim, device=i.device)).sum(-1)
        coarse = 2**self.dim * torch.nn.functional.one_hot(which, 2**self.dim)
        border = ((index == 0) | (index == self.num_points - 1)).any(-1, keepdim=True)
        return in_float64(torch.cat([coarse, border], -1)).log()

    def integral(self, log_sums: Tensor) -> tuple[Tensor, Tensor]:
        """From sums with the weights `log_parts`, (2 ** dim + 1, n), the log integral over the box and its error."""
        log_sums = log_sums + in_float64(self.step).log().sum(-1).to(log_sums.device)
        coarse, border = log_sums[:-1], log_sums[-1]
        log_integral = self.log_total(log_sums)
        outside = (border - log_integral).exp() * self.num_points / 10  # mass of a tenth more box at border density
        return log_integral, (coarse - log_integral).abs().amax(0) + outside

    @property
    def log_moments(self) -> Tensor:
        """Log weights of the points for the first and second moments of their fractions of the box, (points, 2 dim)."""
        log_fractions = self.points.log()
        return torch.cat([log_fractions, 2 * log_fractions], -1)

    def log_total(self, log_sums: Tensor) -> Tensor:
        """From sums with the weights `log_parts`, (2 ** dim + 1, n), the log of the sum over all points, (n,)."""
        return log_sums[:-1].logsumexp(0) - self.dim * math.log(2)

    def least_sd(self, log_total: Tensor, log_moments: Tensor) -> Tensor:
        """The smallest standard deviation along an axis, in steps, (n,), from sums with `log_moments`, (2 dim, n)."""
        mean, square = (log_moments - log_total).exp().chunk(2)
        return (square - mean.square()).clamp_min(0).sqrt().amin(0) * (self.num_points - 1)

    def integral_of(self, log_f: Tensor) -> tuple[Tensor, Tensor]:
        """The same from log p(x, u) at all points, (points, n)."""
        return self.integral(torch.stack([(log_f + part.unsqueeze(-1)).logsumexp(0) for part in self.log_parts.T]))

    def log_joint(self, joint: LogJoint, max_rows: int, bar: tqdm) -> Iterator[tuple[slice, Tensor]]:
        """log p(x, u) of all of `joint`'s data, a batch of points at a time, (points, n), in float64.

        Where points are shared, a decoder that depends on z alone is run once per point, not per pair of point and
        datum.
        """
        points = self.points
        for rows in chunks(len(points), joint.size, joint.where.rows(max_rows)):
            u = self.at(points[rows])
            yield rows, log_density(joint, u if self.shared else u.expand(-1, joint.size, -1))
            bar.update(rows.stop - rows.start)


def log_density(joint: LogJoint, u: Tensor) -> Tensor:
    """log p(x, u), in float64; -inf where it is not finite, as at invalid parameters of a distribution."""
    with pyro.validation_enabled(False):
        return in_float64(joint(u).log_joint).nan_to_num(-torch.inf, torch.inf, -torch.inf)


def check_points(caller: str, num_points: int) -> None:
    """Refuse a number of points whose every other point is no grid over the same box.

    Raises
    ------
    ValueError
        For an even number of points, or one below 9.
    """
    if num_points < 9 or num_points % 2 == 0:
        raise ValueError(
            f"{caller} expects an odd number of points along each axis, 9 or more, got {num_points}; the "
            "error is estimated from the grid of every other point: give 257, say"
        )


def _shares(program: Modelled, split: Split, max_rows: int) -> bool:
    """Whether a program broadcasts points shared by all data, (points, 1, dim), against the data.

    Not every model does: one may concatenate z with a context, which needs as many z as data.
    """
    few = split[torch.arange(3, device=split.x.device) % len(split)]
    _, joint = next(log_joints(program, few, 1, max_rows=max_rows))
    u = joint.from_prior(2)[:, :1]
    repeated = log_density(joint, u.expand(-1, joint.size, -1))
    try:
        return torch.allclose(log_density(joint, u), repeated, rtol=1e-3, atol=1e-3)
    except (RuntimeError, ValueError, LookupError):  # shapes that do not broadcast
        return False
