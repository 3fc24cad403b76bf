"""What the runs of a table found: a row a run, and a row a cell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ppl_vae.cli.comparison.cell import Cell, shown
from ppl_vae.cli.comparison.reading import QUANTITIES
from ppl_vae.cli.comparison.runs import Run
from ppl_vae.evaluation import Evaluation
from ppl_vae.evaluation.compare import check_alike, check_comparable
from ppl_vae.libraries import pd
from ppl_vae.training.run_folder import RunFolder

__all__ = ["Found", "found", "of_cells", "of_runs"]

UNKNOWN = math.nan


class Found:
    """What a complete run found.

    Attributes
    ----------
    result
        Its evaluation.
    of_data
        Of each datum, as far as they are known: the NLL and minus the ELBO, in nats and in bits per dimension.
    seconds
        Of its epochs.
    epochs
        How many it had.
    """

    def __init__(self, run: Run) -> None:
        self.result = Evaluation.load(run.folder / "evaluation.json")
        self.of_data = _of_data(self.result.per_datum)
        history = RunFolder(run.folder).history()
        self.seconds, self.epochs = sum(row["seconds"] for row in history), len(history)

    @property
    def numbers(self) -> dict[str, float]:
        """Means over the data in nats per datum, shares and counts; NaN where one is not known."""
        known = self.of_data.mean().to_dict()
        return {
            **{name: known.get(name, UNKNOWN) for name in QUANTITIES},
            **{f"{name}_se": _se(self.of_data[name]) for name in self.of_data},
            "kl_gap": self.result.summary["mean"].to_dict().get("kl_gap", UNKNOWN),
            "believed": 1 - self.result.unreliable,
            "active_units": self.result.num_active,
            "seconds": self.seconds,
            "num_epochs": self.epochs,
        }


def _of_data(table: pd.DataFrame) -> pd.DataFrame:
    """Quantities of each datum; bits by minus the ELBO from those of log p(x), as results do not have the elements."""
    known = {"nll": "log_px", "negative_elbo": "elbo"}
    values = {name: -table[column] for name, column in known.items() if column in table}
    if "bits_per_dim" in table:
        bits = table["bits_per_dim"]
        values |= {"bits_per_dim": bits, "elbo_bits_per_dim": bits * table["elbo"] / table["log_px"]}
    return pd.DataFrame(values, index=table.index)


def found(runs: Sequence[Run]) -> dict[Run, Found]:
    """What the complete ones among some runs found."""
    return {run: Found(run) for run in runs if run.state == "complete"}


def of_runs(runs: Sequence[Run], known: Mapping[Run, Found]) -> pd.DataFrame:
    """A row a run: cell, seed, settings as text, numbers, and why there are none."""
    rows = [
        {
            "cell": run.cell.name,
            "seed": run.seed,
            **{name: shown(value) for name, value in run.cell.settings.items()},
            **(known[run].numbers if run in known else {}),
            **({"num_data": len(known[run].result.per_datum)} if run in known else {}),
            "folder": str(Path(*run.folder.parts[-2:])),
            "reason": run.reason,
        }
        for run in runs
    ]
    return pd.DataFrame(rows)


def of_cells(runs: Sequence[Run], known: Mapping[Run, Found], reference: Mapping[Cell, Cell]) -> pd.DataFrame:
    """A row a cell, indexed by its name.

    Returns
    -------
    DataFrame
        `seeds`, how many runs are complete; means over them of `nll`, `negative_elbo`, `bits_per_dim`,
        `elbo_bits_per_dim`, `kl_gap`, `believed`, `active_units`, `seconds` and `num_epochs`; for each of the first
        four the standard error over the data of that mean, as `nll_se`, and the standard deviation over the seeds, as
        `nll_sd`; `difference`, of the NLL from that of the reference, `difference_se`, paired, over the data, and
        `difference_sd`, over the seeds; and `reason`, why a run, the means or the difference are missing.
    """
    rows = {}
    for cell in dict.fromkeys(run.cell for run in runs):
        own = {run.seed: known[run] for run in runs if run.cell is cell and run in known}
        others = {run.seed: known[run] for run in runs if run.cell is reference[cell] and run in known}
        why = [run.reason for run in runs if run.cell is cell and run.reason]
        row: dict[str, Any] = {"seeds": len(own)}
        try:
            row |= _means(own)
            row |= _difference(cell.name, own, reference[cell].name, others)
        except ValueError as error:
            why.append(str(error))
        rows[cell.name] = {**row, "reason": "; ".join(dict.fromkeys(why))}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("cell")


def _means(own: Mapping[int, Found]) -> dict[str, float]:
    """Means over the seeds; nothing where there are none.

    Raises
    ------
    ValueError
        For seeds that were evaluated on different data.
    """
    several = list(own.values())
    if not several:
        return {}
    try:
        check_alike({f"seed {seed}": one.result for seed, one in own.items()})
    except ValueError as error:
        raise ValueError(f"there is no mean over the seeds: {error}") from None
    numbers = pd.DataFrame([one.numbers for one in several])
    known = [name for name in QUANTITIES if numbers[name].notna().all()]
    means: dict[str, float] = numbers[[name for name in numbers if not name.endswith("_se")]].mean().to_dict()
    means |= {f"{name}_se": _se(sum(one.of_data[name] for one in several) / len(several)) for name in known}
    return means | {f"{name}_sd": float(numbers[name].std(ddof=1)) for name in known}


def _difference(name: str, own: Mapping[int, Found], reference: str, others: Mapping[int, Found]) -> dict[str, float]:
    """NLL less that of the reference, over the seeds that both have; nothing where there are none.

    Raises
    ------
    ValueError
        For seeds that cannot be compared with those of the reference.
    """
    seeds = [seed for seed in own if seed in others]
    pairs = [(own[seed], others[seed]) for seed in seeds]
    if not pairs:
        return {}
    if all(a is b for a, b in pairs):
        return {"difference": 0.0} if all("log_px" in a.result.per_datum for a, _ in pairs) else {}
    named = {f"{reference}, seed {seed}": others[seed].result for seed in seeds}
    named |= {f"{name}, seed {seed}": own[seed].result for seed in seeds}
    try:
        check_comparable(named)
    except ValueError as error:
        raise ValueError(f"there is no difference from the reference: {error}") from None
    difference = _log_px([b for _, b in pairs]) - _log_px([a for a, _ in pairs])
    return {
        "difference": float(difference.mean()),
        "difference_se": _se(difference.mean(0)),
        "difference_sd": float(difference.mean(1).std(ddof=1)) if len(seeds) > 1 else UNKNOWN,
    }


def _log_px(several: Sequence[Found]) -> np.ndarray:
    """(seeds, data)."""
    return np.array([one.result.per_datum["log_px"].to_numpy(float) for one in several])


def _se(values: pd.Series | np.ndarray) -> float:
    """Standard error of a mean over data; those without a number, of which no element was observed, are left out."""
    known = pd.Series(values)
    with np.errstate(invalid="ignore"):  # where a datum has log p(x) = -inf there is none
        return float(known.std(ddof=1) / known.count() ** 0.5) if known.count() > 1 else UNKNOWN
