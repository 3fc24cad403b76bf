"""log p(x) by proposals fitted to single data, where importance sampling with q is unreliable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ppl_vae.adaptive import Density, Improved, Probe, Settings, improve, missed_by_q
from ppl_vae.draws import chunks
from ppl_vae.evaluation.estimates import errors, reliability
from ppl_vae.evaluation.wording import data
from ppl_vae.find_plates import find_plates
from ppl_vae.importance import FEWEST, doubtful, few_error
from ppl_vae.isolation import frozen
from ppl_vae.modelled import Modelled
from ppl_vae.split import Split

__all__ = ["METHODS", "Belief", "believable", "check_method"]

METHODS = ("importance", "adaptive")


@dataclass
class Belief:
    """Which method gave each datum its log p(x), whether it is believed, and what it cost.

    Attributes
    ----------
    method
        ``"importance"`` (with q), ``"adaptive"`` or ``"annealing"``, (n,).
    believed, evaluations
        (n,); evaluations of log p(x, z), one with its gradient counted as 3.
    missed, recovered
        Number of data with a mode that q misses, and number of these whose fitted proposals cover it.
    diverged, undefined
        Number of data whose gradient steps were undone, and number of those for which the model gave NaN.
    left
        Why nothing but q was tried, a sentence; empty otherwise.
    """

    method: np.ndarray
    believed: np.ndarray
    evaluations: np.ndarray
    settings: Settings
    missed: int = 0
    recovered: int = 0
    diverged: int = 0
    undefined: int = 0
    left: str = ""

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """Columns of `Evaluation.per_datum`."""
        return {"method": self.method, "believed": self.believed, "evaluations": self.evaluations}

    @property
    def said(self) -> dict[str, Any]:
        """`Evaluation.adaptation`."""
        budgets = {"num_rounds": self.settings.num_rounds, "num_temperatures": self.settings.num_temperatures}
        return budgets | {"notes": self._notes()}

    def _notes(self) -> list[str]:
        """What happened on the way, a sentence each."""
        said = []
        if self.left:
            said.append(f"only q was tried: {self.left}")
        if self.missed:
            said.append(
                f"from the prior, more than 5 % of p(x) was found where q's draws have none, for {data(self.missed)}; "
                f"the proposals now reach it for {self.recovered}"
            )
        if self.diverged:
            said.append(f"gradient steps lowered the ELBO of {data(self.diverged)}, which went on from q itself")
        if self.undefined:
            said.append(f"log p(x, z) was NaN at some draws of {data(self.undefined)}, which are not believed")
        return said


def check_method(caller: str, method: str, num_samples: int) -> None:
    """Refuse an unknown method, and too few draws for ``"adaptive"``.

    Raises
    ------
    ValueError
        For another method, and for fewer than 25 draws.
    """
    if method not in METHODS:
        raise ValueError(f"{caller} expects a method among {list(METHODS)}, got {method!r}; choose one of them")
    if method == "adaptive" and num_samples < FEWEST:
        raise ValueError(
            f"{caller}(method='adaptive') expects num_samples of {FEWEST} or more, got {num_samples}: k-hat, by which "
            "it judges, has no tail in fewer; give 1000, say"
        )


def believable(
    program: Modelled,
    split: Split,
    columns: dict[str, Tensor],
    highest: Tensor,
    settings: Settings,
    max_rows: int,
    progress: bool,
) -> Belief:
    """Estimate log p(x) anew, in place, where k-hat is high or q misses a mode, and say which data are believed.

    Parameters
    ----------
    program, split, max_rows, progress
        See `evaluate`.
    columns
        Of `per_datum`, in the units of the raw data.
    highest
        The highest log weight of q's draws, (n,), in nats and the units of x.
    settings
        See `improve`.
    """
    if "log_px" not in columns:
        raise ValueError(
            "evaluate(method='adaptive') expects a posterior and a prior with densities, got a point mass (Point) or "
            "an improper prior (Flat), under which x has no log p(x); use method='importance', which gives the "
            "reconstruction"
        )
    n = len(split)
    k, error = columns["pareto_k"], columns["log_px_mcse"]
    good = ~doubtful(k, settings.num_samples) & (~k.isnan() | (error == 0))
    belief = Belief(
        np.full(n, "importance", dtype=object), good.numpy().copy(), np.full(n, settings.num_samples), settings
    )
    with frozen(program):
        where = find_plates(program, split)
        density = Density(program, split, where, where.rows(max_rows))
        try:
            density.of(torch.zeros(1, dtype=torch.long))
        except ValueError as refused:
            belief.left = str(refused).split("; ")[0]
            return belief
        bar = tqdm(total=n, unit="datum", disable=None if progress else True, leave=False)
        with bar:
            cost = torch.from_numpy(belief.evaluations)
            for rows, found in _improved(density, columns, good, highest, settings, cost, bar):
                _enter(columns, belief, rows, found, split.log_volume)
    return belief


def _improved(
    density: Density,
    columns: dict[str, Tensor],
    good: Tensor,
    highest: Tensor,
    settings: Settings,
    evaluations: Tensor,
    bar: tqdm,
) -> Iterator[tuple[Tensor, Improved]]:
    """First the data with a good k-hat for which q misses a mode, then those with a high k-hat."""
    log_px = columns["log_px"] + density.split.log_volume
    empty = (columns["log_px_mcse"] == 0) & (columns["pareto_k"] == 0) & (density.split.elements == 0)
    missed: list[tuple[Tensor, Probe]] = []
    num_draws = max(10, settings.num_samples // 10)
    good_rows = (good & ~empty).nonzero().flatten()
    for rows in _parts(good_rows, num_draws, density.max_rows):
        seen = missed_by_q(density, rows, log_px[rows], highest[rows], num_draws)
        evaluations[rows] += seen.evaluations
        bar.update(len(rows))
        some = seen.missed.nonzero().flatten()
        if len(some):
            missed.append((rows[some.cpu()], seen.of(some)))
    for rows, seen in missed:
        yield rows, improve(density, rows, settings, seen)
    for rows in _parts((~good).nonzero().flatten(), max(100, num_draws), density.max_rows):
        yield rows, improve(density, rows, settings)
        bar.update(len(rows))


def _parts(rows: Tensor, rows_each: int, max_rows: int) -> Iterator[Tensor]:
    for some in chunks(len(rows), rows_each, max_rows):
        yield rows[some]


def _enter(columns: dict[str, Tensor], belief: Belief, rows: Tensor, found: Improved, log_volume: Tensor) -> None:
    """Put new numbers of some data in the place of those from q, and record which are believed."""
    log_w = found.adapted.log_w
    none = torch.zeros(len(rows), dtype=torch.bool, device=log_w.device)
    new = errors(log_w, none) | reliability(log_w, True)
    if len(found.annealed):
        chains = errors(found.log_chains, none[found.annealed]) | reliability(found.log_chains, False)
        chains["log_px_mcse"] = few_error(found.log_chains)
        for name, values in chains.items():
            new[name][found.annealed] = values
    new["log_px"] = new["log_px"] - log_volume[rows].to(log_w.device)
    columns["kl_gap_mcse"][rows] = torch.hypot(columns["elbo_mcse"][rows], new["log_px_mcse"].cpu())
    columns["kl_gap"][rows] = new["log_px"].cpu() - columns["elbo"][rows]
    for name in ("log_px", "log_px_mcse", "log_px_bias", "ess", "pareto_k"):
        columns[name][rows] = new[name].cpu()
    at = rows.numpy()
    belief.method[at] = "adaptive"
    belief.method[at[found.annealed.cpu().numpy()]] = "annealing"
    belief.believed[at] = found.believed.cpu().numpy()
    belief.evaluations[at] += found.evaluations.numpy()
    belief.missed += int(found.missed.sum())
    belief.recovered += int((found.missed & found.believed).sum())
    belief.diverged += int(found.adapted.diverged.sum())
    belief.undefined += int(found.adapted.undefined.sum())
