"""Several evaluations in one table, and the refusal to rank what cannot be ranked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from ppl_vae.arguments import checked
from ppl_vae.evaluation.result import Evaluation

__all__ = ["Comparable", "check_comparable", "compare", "named"]


class Comparable(Protocol):
    """What is asked of results before they are ranked."""

    @property
    def per_datum(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def base_measure(self) -> str: ...  # noqa: D102
    @property
    def data(self) -> dict[str, Any]: ...  # noqa: D102


@checked
def compare(results: Mapping[str, Evaluation | str | Path]) -> pd.DataFrame:
    """Rank evaluations of the same data by their negative log-likelihood, best first.

    Parameters
    ----------
    results
        Evaluations by name; a path stands for what `Evaluation.save` wrote, or a run folder with its
        `evaluation.json`.

    Returns
    -------
    DataFrame
        Indexed by name: `nll` and `nll_se`, in nats per datum; `difference` from the best and `difference_se`, over
        the data, paired; `elbo`; `kl`, over all sites; `bits_per_dim`, where there are any; `active_units`;
        `unreliable`, the share of data whose k-hat is too high; `num_samples`. NaN for what is not known.

    Raises
    ------
    ValueError
        If the results are of different data, or of a mass and a density, or if one has no log p(x).
    """
    if not results:
        raise ValueError("compare expects one evaluation or more, got none; give {name: evaluation}")
    loaded = {name: r if isinstance(r, Evaluation) else _read(Path(r)) for name, r in results.items()}
    check_comparable(loaded)
    best = min(loaded, key=lambda name: -loaded[name].per_datum["log_px"].mean())
    rows = {name: _row(result, loaded[best]) for name, result in loaded.items()}
    return pd.DataFrame(rows.values(), index=pd.Index(rows, name="run")).sort_values("nll")


def _row(result: Evaluation, best: Evaluation) -> dict[str, float]:
    summary, table = result.summary, result.per_datum
    difference = best.per_datum["log_px"] - table["log_px"]  # aligned by obs
    row = {
        "nll": summary.loc["nll", "mean"],
        "nll_se": summary.loc["nll", "se"],
        "difference": difference.mean(),
        "difference_se": difference.std(ddof=1) / np.sqrt(len(difference)),
        "elbo": summary.loc["elbo", "mean"],
        "kl": table.filter(regex="^kl_(?!gap(_mcse)?$)").sum(axis=1).mean(),
        "active_units": sum(result.active_units.values()),
        "unreliable": result.unreliable,
        "num_samples": result.num_samples,
    }
    if "bits_per_dim" in summary.index:
        row["bits_per_dim"] = summary.loc["bits_per_dim", "mean"]
    return row


def check_comparable(results: Mapping[str, Comparable]) -> None:
    """Refuse results that cannot be ranked.

    Raises
    ------
    ValueError
        If they are of different data, or of a mass and a density, or if one has no log p(x).
    """
    (first_name, first), *others = results.items()
    for name, result in results.items():
        if "log_px" not in result.per_datum:
            raise ValueError(
                f"compare expects log p(x) for every run, got none for {name!r}: a point-mass posterior has a "
                "reconstruction only; leave it out"
            )
    for name, result in others:
        if result.base_measure != first.base_measure:
            raise ValueError(
                f"compare expects one base measure, got a {first.base_measure} for {first_name!r} and a "
                f"{result.base_measure} for {name!r}: a probability and a density have no common scale; "
                "compare likelihoods of one kind"
            )
        if result.data["identity"] != first.data["identity"] or _tampered(first, result):
            raise ValueError(
                f"compare expects results on the same data, got {named(first)} for {first_name!r} and "
                f"{named(result)} for {name!r}; evaluate both on one test set, binarized or dequantized with one "
                "seed, under the same condition"
            )


def _tampered(a: Comparable, b: Comparable) -> bool:
    """Whether data in the same units, said to be the same, have other values."""
    steps = [[t for t in r.data["provenance"].get("transforms", []) if t["transform"] == "standardize"] for r in (a, b)]
    return steps[0] == steps[1] and a.data["checksum"] != b.data["checksum"]


def named(result: Comparable) -> str:
    """Of which data a result is, for a message."""
    said = result.data["provenance"]
    return f"{said.get('name', 'data')} {said.get('split', '')} ({result.data['identity'][:8]})".replace("  ", " ")


def _read(path: Path) -> Evaluation:
    file = path / "evaluation.json" if path.is_dir() else path
    if not file.exists():
        raise FileNotFoundError(
            f"compare expects an evaluation, got {str(path)!r} without an evaluation.json; run `ppl-vae evaluate` on it"
        )
    return Evaluation.load(file)
