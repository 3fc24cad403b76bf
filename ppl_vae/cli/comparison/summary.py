"""What the runs of a table found: a row a run, and a row a cell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ppl_vae.cli.comparison.cell import Cell, shown
from ppl_vae.cli.comparison.runs import Run
from ppl_vae.evaluation import Evaluation
from ppl_vae.evaluation.compare import check_comparable
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
    seconds
        Of its epochs.
    epochs
        How many it had.
    """

    def __init__(self, run: Run) -> None:
        self.result = Evaluation.load(run.folder / "evaluation.json")
        history = RunFolder(run.folder).history()
        self.seconds, self.epochs = sum(row["seconds"] for row in history), len(history)

    @property
    def numbers(self) -> dict[str, float]:
        """Means over the data in nats per datum, shares and counts; NaN where one is not known."""
        means = self.result.summary["mean"].to_dict()
        return {
            "nll": means.get("nll", UNKNOWN),
            "nll_se": self.result.summary["se"].to_dict().get("nll", UNKNOWN),
            "negative_elbo": -means.get("elbo", UNKNOWN),
            "kl_gap": means.get("kl_gap", UNKNOWN),
            "believed": 1 - self.result.unreliable,
            "active_units": self.result.num_active,
            "bits_per_dim": means.get("bits_per_dim", UNKNOWN),
            "elbo_bits_per_dim": self._elbo_bits(),
            "seconds": self.seconds,
            "num_epochs": self.epochs,
        }

    def _elbo_bits(self) -> float:
        """Bits per dimension by minus the ELBO, where log p(x) has some: stored results do not have the elements."""
        table = self.result.per_datum
        if "bits_per_dim" not in table:
            return UNKNOWN
        return float((table["bits_per_dim"] * table["elbo"] / table["log_px"]).mean())


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
        `seeds`, how many runs are complete; means over them of `nll`, `negative_elbo`, `kl_gap`, `believed`,
        `active_units`, `bits_per_dim` and `seconds`; `nll_se`, the standard error over the data of their mean over the
        seeds, and `nll_sd`, the standard deviation over the seeds; `difference`, of the NLL from that of the reference,
        `difference_se`, paired, over the data, and `difference_sd`, over the seeds; and `reason`, why a run is missing.
    """
    rows = {}
    for cell in dict.fromkeys(run.cell for run in runs):
        own = {run.seed: known[run] for run in runs if run.cell is cell and run in known}
        others = {run.seed: known[run] for run in runs if run.cell is reference[cell] and run in known}
        why = [run.reason for run in runs if run.cell is cell and run.reason]
        rows[cell.name] = {
            "seeds": len(own),
            **_means(list(own.values())),
            **_difference(own, others),
            "reason": "; ".join(dict.fromkeys(why)),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("cell")


def _means(several: Sequence[Found]) -> dict[str, float]:
    if not several:
        return {}
    numbers = pd.DataFrame([one.numbers for one in several])
    means: dict[str, float] = numbers.drop(columns="nll_se").mean().to_dict()
    if numbers["nll"].isna().any():
        return means
    log_px = _log_px(several)
    return means | {"nll_se": _se(log_px.mean(0)), "nll_sd": float(numbers["nll"].std(ddof=1))}


def _difference(own: Mapping[int, Found], others: Mapping[int, Found]) -> dict[str, float]:
    """NLL less that of the reference, over the seeds that both have; nothing where they cannot be compared."""
    seeds = [seed for seed in own if seed in others]
    pairs = [(own[seed], others[seed]) for seed in seeds]
    if not pairs or not all(_alike(a.result, b.result) for a, b in pairs):
        return {}
    difference = _log_px([b for _, b in pairs]) - _log_px([a for a, _ in pairs])
    if all(a is b for a, b in pairs):
        return {"difference": 0.0}
    return {
        "difference": float(difference.mean()),
        "difference_se": _se(difference.mean(0)),
        "difference_sd": float(difference.mean(1).std(ddof=1)) if len(seeds) > 1 else UNKNOWN,
    }


def _alike(a: Evaluation, b: Evaluation) -> bool:
    """Whether two results are log p(x) of the same data on the same scale."""
    try:
        check_comparable({"a": a, "b": b})
    except ValueError:
        return False
    return bool(a.per_datum.index.equals(b.per_datum.index))


def _log_px(several: Sequence[Found]) -> np.ndarray:
    """(seeds, data)."""
    return np.array([one.result.per_datum["log_px"].to_numpy(float) for one in several])


def _se(values: np.ndarray) -> float:
    """Standard error of a mean over data."""
    return float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else UNKNOWN
