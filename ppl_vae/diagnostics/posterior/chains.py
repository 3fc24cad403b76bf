"""Draws of the chains of `hmc`, and their convergence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ppl_vae.diagnostics.results import ess, of_draws, rhat, with_units
from ppl_vae.libraries import xr
from ppl_vae.precision import in_float64
from ppl_vae.split import Split
from ppl_vae.unconstrained.log_joint import LogJoint

__all__ = ["CANNOT_SEE", "RELIABLE", "Chains"]

RELIABLE = 1.05  # the largest R-hat at which chains agree
CANNOT_SEE = (
    "a mode that no chain came to; where reliable is false the chains disagree, and their draws are no sample of the "
    "posterior"
)


@dataclass(frozen=True)
class Chains:
    """Draws and diagnostics of all data, allocated once and filled in batch by batch.

    Attributes
    ----------
    z
        Latents by site, (chains, draws, n, ...).
    stats
        Sampler statistics of each transition, (chains, draws, n).
    verdict
        Convergence diagnostics of each datum, (n,).
    """

    z: dict[str, Tensor]
    stats: dict[str, Tensor]
    verdict: dict[str, Tensor]

    @classmethod
    def laid_out(cls, joint: LogJoint, split: Split, num_chains: int, num_samples: int, max_bytes: int) -> Chains:
        """Allocated for all data; refuses more than `max_bytes`."""
        n, draws = len(split), (num_chains, num_samples)
        z = {name: value[0, 0].cpu() for name, value in joint.values(joint.from_guide(1)).items()}
        real = next(iter(z.values())).dtype
        per_obs = math.prod(draws) * (sum(v.nbytes for v in z.values()) + 3 * real.itemsize + 1)
        if n * per_obs > max_bytes:
            raise ValueError(
                f"hmc expects a tree of at most {max_bytes / 2**20:.0f} MiB, got {n} data of {per_obs / 2**20:.2f} MiB "
                f"each; give {max(1, max_bytes // per_obs)} data or fewer, lower num_samples, or raise max_bytes"
            )
        return cls(
            {name: torch.empty(*draws, n, *v.shape, dtype=v.dtype) for name, v in z.items()},
            {name: torch.empty(*draws, n, dtype=torch.bool if name == "diverging" else real) for name in _STATS},
            {name: torch.empty(n, dtype=torch.float64) for name in ("rhat", "ess", "step_size")},
        )

    def keep(self, draw: int, rows: slice, values: Mapping[str, Tensor], stats: Mapping[str, Tensor]) -> None:
        """One draw of every chain for some data, each (chains, n, ...)."""
        for name, value in values.items():
            self.z[name][:, draw, rows] = value.cpu()
        for name, value in stats.items():
            self.stats[name][:, draw, rows] = value.cpu()

    def judge(self, rows: slice, u: Tensor, step_size: Tensor) -> None:
        """Convergence diagnostics of some data, from their unconstrained draws u, (chains, draws, n, dim).

        The latents z themselves may have constant entries without an R-hat, such as a corner of a Cholesky factor.
        """
        self.verdict["rhat"][rows] = torch.from_numpy(rhat(u.numpy())).amax(-1)
        self.verdict["ess"][rows] = torch.from_numpy(ess(u.numpy())).amin(-1)
        self.verdict["step_size"][rows] = in_float64(step_size).cpu()

    def datasets(self, split: Split) -> dict[str, xr.Dataset]:
        """As the groups of a tree."""
        obs = {"obs": split.index.tolist()}
        stats = of_draws(self.stats, ("chain", "draw", "obs"), obs)
        for name, variable in stats.data_vars.items():
            variable.attrs["units"] = "nats" if name in ("energy", "lp") else "1"
        variables = {
            "rhat": (("obs",), self.verdict["rhat"], "1"),
            "ess": (("obs",), self.verdict["ess"], "draws"),
            "reliable": (("obs",), self.verdict["rhat"] <= RELIABLE, "1"),
            "step_size": (("obs",), self.verdict["step_size"], "posterior widths"),
            "divergences": (("obs",), self.stats["diverging"].sum((0, 1)), "draws"),
        }
        return {
            "posterior": of_draws(self.z, ("chain", "draw", "obs"), obs),
            "sample_stats": stats,
            "diagnostics": with_units(variables, obs, cannot_see=CANNOT_SEE),
        }


_STATS = ("acceptance_rate", "diverging", "energy", "lp")
