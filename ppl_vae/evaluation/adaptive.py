"""log p(x) by proposals fitted to single data, where importance sampling with q is not believed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ppl_vae.adaptive import Density, Improved, Settings, improve, missed_by_q
from ppl_vae.evaluation.estimates import errors, reliability
from ppl_vae.evaluation.wording import data
from ppl_vae.find_plates import find_plates
from ppl_vae.group import Group
from ppl_vae.importance import FEWEST, doubtful, few_error
from ppl_vae.isolation import frozen, reseeded
from ppl_vae.memory import chunks
from ppl_vae.modelled import Modelled
from ppl_vae.progress import progress_bar
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
            some = data(self.undefined)
            said.append(
                f"log p(x, z) was NaN at some draws of {some}, which are not believed, or all their draws coincide"
            )
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
    narrow: bool,
    settings: Settings,
    max_rows: int,
    progress: bool,
    group: Group,
    log_volume: Tensor,
) -> Belief:
    """Estimate log p(x) anew, in place, where k-hat is high or q misses a mode, and say which data are believed.

    Parts of the data are worked on one by one, each with a seed of its own: each process of the group does some.

    Parameters
    ----------
    program, split, max_rows, progress, group
        See `evaluate`.
    columns
        Of `per_datum`, in the units of the raw data.
    highest
        The highest log weight of q's draws, (n,), in nats and the units of x.
    narrow
        Whether q has a smaller support than the prior: no number from its draws is good then.
    settings
        See `improve`.
    log_volume
        Of `per_datum`.
    """
    if "log_px" not in columns:
        raise ValueError(
            "evaluate(method='adaptive') expects a posterior and a prior with densities, got a point mass (Point) or "
            "an improper prior (Flat), under which x has no log p(x); use method='importance', which gives the "
            "reconstruction"
        )
    n = len(split)
    k, error = columns["pareto_k"], columns["log_px_mcse"]
    good = ~doubtful(k, settings.num_samples) & ~error.isnan() & (~k.isnan() | (error == 0))
    good &= torch.tensor(not narrow) | _empty(columns, split)
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
        parts = _parts(good, _empty(columns, split), settings, density.max_rows)
        with progress_bar("log p(x) by proposals", n, shown=progress) as bar:
            own = _own(density, parts, good, columns["log_px"] + log_volume, highest, settings, group, bar)
            for found in group.merged(own, lambda f: f.number):
                found.enter(columns, belief, log_volume)
    return belief


def _own(
    density: Density,
    parts: list[Tensor],
    good: Tensor,
    log_px: Tensor,
    highest: Tensor,
    settings: Settings,
    group: Group,
    bar: tqdm,
) -> Iterator[_Found]:
    """What is found for the parts of this process."""
    seeds = torch.randint(2**31 - 1, (len(parts),)).tolist()
    for number in range(group.rank, len(parts), group.size):
        rows = parts[number]
        reseeded(density.program, seeds[number])
        if good[rows[0]]:
            yield _where_missed(number, density, rows, log_px[rows], highest[rows], settings)
        else:
            yield _Found.of(number, rows, improve(density, rows, settings))
        bar.update(len(rows) * group.size)


def _empty(columns: dict[str, Tensor], split: Split) -> Tensor:
    """Of which data nothing was observed, so that log p(x) is known, (n,)."""
    return (columns["log_px_mcse"] == 0) & (columns["pareto_k"] == 0) & (split.elements == 0)


def _probes(settings: Settings) -> int:
    """Draws of the prior for each datum, in search of modes that q misses."""
    return max(10, settings.num_samples // 10)


def _parts(good: Tensor, empty: Tensor, settings: Settings, max_rows: int) -> list[Tensor]:
    """Positions of the data to work on together: those with a good k-hat first, then those with a high one."""
    few = _probes(settings)
    chosen = [((good & ~empty).nonzero().flatten(), few), ((~good).nonzero().flatten(), max(100, few))]
    return [rows[some] for rows, each in chosen for some in chunks(len(rows), each, max_rows)]


def _where_missed(
    number: int, density: Density, rows: Tensor, log_px: Tensor, highest: Tensor, settings: Settings
) -> _Found:
    """New numbers of those data with a good k-hat for which q misses a mode."""
    seen = missed_by_q(density, rows, log_px, highest, _probes(settings))
    some = seen.missed.nonzero().flatten()
    if not len(some):
        return _Found(number, rows, seen.evaluations)
    found = _Found.of(number, rows[some.cpu()], improve(density, rows[some.cpu()], settings, seen.of(some)))
    return replace(found, probed=rows, probes=seen.evaluations)


@dataclass(frozen=True)
class _Found:
    """What a part of the data has in the place of the numbers from q.

    Attributes
    ----------
    number
        Of the part.
    probed, probes
        Positions of data for which modes were looked for that q misses, and the evaluations that it took for each.
    rows
        Positions of the data with new numbers.
    columns
        These: of `per_datum` in the units of x, and `believed`, `annealed` and `evaluations` of `Belief`.
    counts
        Numbers of data of `Belief`, by name.
    """

    number: int
    probed: Tensor
    probes: Tensor
    rows: Tensor | None = None
    columns: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, number: int, rows: Tensor, found: Improved) -> _Found:
        """The numbers of what was found for data at `rows`."""
        log_w = found.adapted.log_w
        none = torch.zeros(len(rows), dtype=torch.bool, device=log_w.device)
        new = errors(log_w, none) | reliability(log_w, True)
        if len(found.annealed):
            chains = errors(found.log_chains, none[found.annealed]) | reliability(found.log_chains, False)
            chains["log_px_mcse"] = few_error(found.log_chains)
            for name, values in chains.items():
                new[name][found.annealed] = values
        annealed = none.scatter(0, found.annealed, True)
        more = {"believed": found.believed, "annealed": annealed, "evaluations": found.evaluations}
        counts = {
            "missed": int(found.missed.sum()),
            "recovered": int((found.missed & found.believed).sum()),
            "diverged": int(found.adapted.diverged.sum()),
            "undefined": int(found.adapted.undefined.sum()),
        }
        nowhere = rows[:0]
        return cls(number, nowhere, nowhere, rows, {k: v.cpu() for k, v in (new | more).items()}, counts)

    def enter(self, columns: dict[str, Tensor], belief: Belief, log_volume: Tensor) -> None:
        """Put the new numbers in the place of those from q, and record which data are believed.

        Where they are not believed, and are lower than those from q, the latter stay, which are a lower bound, too.
        """
        belief.evaluations[self.probed.numpy()] += self.probes.numpy()
        if self.rows is None:
            return
        found, new = self.columns["log_px"] - log_volume[self.rows], self.columns
        at = self.rows.numpy()
        belief.believed[at] = new["believed"].numpy()
        belief.evaluations[at] += new["evaluations"].numpy()
        for name, count in self.counts.items():
            setattr(belief, name, getattr(belief, name) + count)
        taken = new["believed"] | ~(found < columns["log_px"][self.rows])  # of two lower bounds the higher; NaN is none
        rows, log_px = self.rows[taken], found[taken]
        columns["kl_gap_mcse"][rows] = torch.hypot(columns["elbo_mcse"][rows], new["log_px_mcse"][taken])
        columns["kl_gap"][rows] = log_px - columns["elbo"][rows]
        columns["log_px"][rows] = log_px
        for name in ("log_px_mcse", "log_px_bias", "ess", "pareto_k"):
            columns[name][rows] = new[name][taken]
        belief.method[rows.numpy()] = np.where(new["annealed"][taken].numpy(), "annealing", "adaptive")
