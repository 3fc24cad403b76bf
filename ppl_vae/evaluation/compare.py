"""Several evaluations in one table, and the check that they can be ranked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ppl_vae.arguments import checked
from ppl_vae.evaluation.result import Evaluation
from ppl_vae.libraries import pd

__all__ = ["MANY", "UNITS", "Comparable", "caution", "check_comparable", "compare", "named", "printed", "warning"]

MANY = 0.1  # share of data with an unreliable log p(x) above which a comparison warns
UNITS = {
    **dict.fromkeys(("nll", "nll_se", "difference", "difference_se", "elbo", "kl"), "nats per datum"),
    **{"unreliable": "share", "num_samples": "draws", "bits_per_dim": "bits"},
}


class Comparable(Protocol):
    """The attributes of a result that decide whether it can be ranked."""

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
        `unreliable`, the share of data whose log p(x) is unreliable; `num_samples`; and `caution`, a sentence where
        that share is above 10 %: the nll of such a run is an upper bound, and its rank may be due to its guide. NaN for
        what is not known. ``.attrs["units"]`` are those of the columns, ``.attrs["warning"]`` is what `printed` adds.

    Raises
    ------
    FileNotFoundError
        If a folder or path holds no evaluation.
    ValueError
        If the results are of different data, or of a mass and a density, or one is given the total of each row and
        another is not, or only as an exposure, or if one has no log p(x); if a file is no evaluation, or was changed
        since it was written.
    """
    if not results:
        raise ValueError("compare expects one evaluation or more, got none; give {name: evaluation}")
    loaded = {name: r if isinstance(r, Evaluation) else _read(Path(r)) for name, r in results.items()}
    check_comparable(loaded)
    best = min(loaded, key=lambda name: -loaded[name].per_datum["log_px"].mean())
    rows = {name: _row(result, loaded[best]) for name, result in loaded.items()}
    table = pd.DataFrame(rows.values(), index=pd.Index(rows, name="run")).sort_values("nll")
    table["caution"] = [
        "nll is minus the ELBO, an upper bound" if loaded[str(name)].one_code else caution(loaded[str(name)].unreliable)
        for name in table.index
    ]
    table.attrs["units"] = {name: unit for name, unit in UNITS.items() if name in table}
    table.attrs["warning"] = warning(table["caution"])
    return table


def printed(table: pd.DataFrame) -> str:
    """A table of `compare` as text: units in the header, and below it the warning."""
    units = table.attrs["units"]
    said = table.rename(columns={name: f"{name} ({unit})" for name, unit in units.items()}).drop(columns="caution")
    return "\n".join([said.to_string(float_format="{:.3f}".format), *filter(None, [table.attrs["warning"]])])


def caution(unreliable: float) -> str:
    """The consequence of a share of data with an unreliable log p(x); empty where it is small."""
    if not unreliable > MANY:
        return ""
    return f"nll is an upper bound: log p(x) cannot be believed for {unreliable:.0%} of the data"


def warning(cautions: Mapping[Any, str]) -> str:
    """The consequence of the cautions of several runs, by name, for their order; empty where there are none."""
    names = "; ".join(f"{name}: {said}" for name, said in cautions.items() if said)
    if not names:
        return ""
    return f"The order is not certain. {names}. A difference may come from the guides, not the models"


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
        If they are of different data, or of a mass and a density, or one is given the total of each row and another is
        not, or only as an exposure, or if one has no log p(x).
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
                f"{result.base_measure} for {name!r}: {_why(first.base_measure, result.base_measure)}; "
                "compare likelihoods of one kind"
            )
        if result.data["identity"] == first.data["identity"] and _tampered(first, result):
            raise ValueError(
                f"compare expects the same values, masks and contexts, got those of checksum "
                f"{first.data['checksum'][:8]} for {first_name!r} and {result.data['checksum'][:8]} for {name!r}, both "
                f"of {named(first)}; evaluate both under the same condition"
            )
        if result.data["identity"] != first.data["identity"]:
            raise ValueError(
                f"compare expects results on the same data, got {named(first)} for {first_name!r} and "
                f"{named(result)} for {name!r}; evaluate both on one test set, binarized or dequantized with one "
                "seed"
            )


def _why(a: str, b: str) -> str:
    """Why two base measures have no common scale."""
    if a.split()[0] != b.split()[0]:
        return "a probability and a density have no common scale"
    if " given " in a and " given " in b:
        return "a mass given the total adds up to 1 over the rows of that total, the other over rows of any"
    given = max(a, b, key=len).partition(" given ")[2]
    return f"what is given {given} leaves out what {given} costs"


def _tampered(a: Comparable, b: Comparable) -> bool:
    """Whether data in the same units, said to be the same, have other values."""
    steps = [[t for t in r.data["provenance"].get("transforms", []) if t["transform"] == "standardize"] for r in (a, b)]
    return steps[0] == steps[1] and a.data["checksum"] != b.data["checksum"]


def named(result: Comparable) -> str:
    """The name of the data of a result, for a message."""
    said = result.data["provenance"]
    return f"{said.get('name', 'data')} {said.get('split', '')} ({result.data['identity'][:8]})".replace("  ", " ")


def _read(path: Path) -> Evaluation:
    file = path / "evaluation.json" if path.is_dir() else path
    if not os.path.lexists(file):
        raise FileNotFoundError(
            f"compare expects an evaluation, got {str(path)!r} without an evaluation.json; run `ppl-vae evaluate` on it"
        )
    return Evaluation.load(file)
