"""Results on the same data in one table, and the check that they can be ranked."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ppl_vae.arguments import checked
from ppl_vae.checksums import has_weights
from ppl_vae.evaluation.comparable import Comparable
from ppl_vae.evaluation.result import Evaluation
from ppl_vae.evaluation.stacking import stacking_weights
from ppl_vae.evaluation.wording import data
from ppl_vae.importance import FEWEST
from ppl_vae.libraries import pd

__all__ = ["UNITS", "caution", "check_alike", "check_comparable", "compare", "printed", "warning"]

_MANY = 0.1  # share of data whose log p(x) is not believed above which a comparison warns
UNITS = {
    **dict.fromkeys(("nll", "nll_se", "nll_mcse", "nll_bias"), "nats per datum"),
    **dict.fromkeys(("difference", "difference_se", "elbo", "kl"), "nats per datum"),
    **{"weight": "share", "unreliable": "share", "num_samples": "draws", "bits_per_dim": "bits"},
}


@checked
def compare(results: Mapping[str, Comparable | str | Path]) -> pd.DataFrame:
    """Rank models of the same data by their negative log-likelihood, best first.

    Of two equal models, the one with the better q scores higher, unless log p(x) is believed for all data.

    Parameters
    ----------
    results
        Results of `evaluate` or `elpd` by name; a path stands for what `Evaluation.save` wrote, or a run folder with
        its `evaluation.json`.

    Returns
    -------
    DataFrame
        Indexed by name: `difference` of the negative log-likelihood from the best, and `difference_se`, its standard
        error over the data, paired; `nll` and `nll_se`, the same of the model alone; all in nats per datum; `elbo`;
        `kl`, over all sites; `bits_per_dim`, where there are any; `active_units`; `weight` of the model in the mixture
        of all with the highest log score, by stacking; `nll_mcse`, the Monte Carlo standard error of `nll`, and
        `nll_bias`, its bias to first order, never negative: both too small where k-hat is high; `unreliable`, the share
        of data whose log p(x) is not believed; `method` that gave log p(x), ``"iwae"`` for importance sampling;
        `num_samples`; and `caution`, a sentence. It is not empty where that share is above 10 % (nll is then an upper
        bound, and the rank may be due to the guide), for results on the training data, and where log p(x) is not
        finite. Unknown values are NaN. ``.attrs["units"]`` are the units of the columns; ``.attrs["warning"]`` is the
        text that `printed` adds.

    Raises
    ------
    FileNotFoundError
        If a folder or path holds no evaluation.
    ValueError
        If the results are of different data or of different base measures (a mass and a density; a mass given the
        total of each row, or given it as an exposure, and one that is not); if one has no log p(x); if a file is no
        evaluation, or was changed since it was written; if it is one of weights that the run no longer has.

    References
    ----------
    Yao et al. 2018, arXiv:1704.02030 (stacking).

    Examples
    --------
    >>> from ppl_vae import build, data, evaluate
    >>> digits = data.load("digits").binarize("threshold").take(test=20)
    >>> vaes = {f"{d} units": build(digits, latent_dim=d, seed=0) for d in (1, 2)}
    >>> table = compare({name: evaluate(vae, digits.test, num_samples=50, seed=0) for name, vae in vaes.items()})
    >>> bool((table.difference >= 0).all()), float(table.weight.sum().round(6))
    (True, 1.0)
    """
    if not results:
        raise ValueError("compare expects one result or more, got none; give {name: evaluation}")
    loaded = {name: r if isinstance(r, Comparable) else _read(Path(r)) for name, r in results.items()}
    check_comparable(loaded)
    best = min(loaded, key=lambda name: -loaded[name].per_datum["log_px"].mean())
    rows = {name: _row(result, loaded[best]) for name, result in loaded.items()}
    table = pd.DataFrame(rows.values(), index=pd.Index(rows, name="run"))
    table["weight"] = stacking_weights(np.array([r.per_datum["log_px"].to_numpy(float) for r in loaded.values()]))
    table = table.sort_values("nll")
    table["caution"] = [_caution(loaded[str(name)]) for name in table.index]
    table.attrs["units"] = {name: unit for name, unit in UNITS.items() if name in table}
    table.attrs["warning"] = warning(table["caution"]) + _least(table) + _of_precisions(loaded)
    return table


def _of_precisions(results: Mapping[str, Comparable]) -> str:
    """That some results, not all, are of products in bfloat16; empty where they are alike."""
    rounded = [name for name, result in results.items() if getattr(result, "rounded", None)]
    if len(rounded) in (0, len(results)):
        return ""
    return f" Products of {', '.join(rounded)} are in bfloat16, of the others not: see their `rounded`."


def printed(table: pd.DataFrame) -> str:
    """A table of `compare` as text: units in the header, and below it the warning."""
    units = table.attrs["units"]
    said = table.rename(columns={name: f"{name} ({unit})" for name, unit in units.items()}).drop(columns="caution")
    return "\n".join([said.to_string(float_format="{:.3f}".format), *filter(None, [table.attrs["warning"]])])


def caution(unreliable: float) -> str:
    """The consequence of a share of data whose log p(x) is not believed; empty where it is small."""
    if not unreliable > _MANY:
        return ""
    return f"nll is an upper bound: log p(x) cannot be believed for {unreliable:.0%} of the data"


def warning(cautions: Mapping[Any, str]) -> str:
    """The consequence of the cautions of several runs, by name, for their order; empty where there are none."""
    names = "; ".join(f"{name}: {said}" for name, said in cautions.items() if said)
    if not names:
        return ""
    return f"The order is not certain. {names}. A difference may come from the guides, not the models"


def _least(table: pd.DataFrame) -> str:
    """Which differences are no evidence, where the order is not certain."""
    bias = table["nll_bias"][table["unreliable"] > _MANY].max()
    return f"; one as small as {bias:.2g} nats per datum, the largest bias, is no evidence" if bias > 0 else ""


def _caution(result: Comparable) -> str:
    """What limits the rank of a result, in a sentence; empty where nothing does."""
    said = ["nll is minus the ELBO, an upper bound" if result.one_code else caution(result.unreliable)]
    error = result.per_datum.get("log_px_mcse", pd.Series([np.nan]))
    if result.estimator == "iwae" and not result.one_code and math.isnan(result.good_k) and error.ne(0).any():
        said.append(f"nll is an upper bound: whether it is close is not known from fewer than {FEWEST} draws a datum")
    if result.fitted:
        said.append("these are the training data, which favour the model that overfits")
    infinite = ~np.isfinite(result.per_datum["log_px"])
    if infinite.any():
        said.append(f"log p(x) is not finite for {data(int(infinite.sum()))}, obs {infinite.index[infinite][0]} first")
    return "; ".join(filter(None, said))


def _row(result: Comparable, best: Comparable) -> dict[str, Any]:
    table, log_px = result.per_datum, result.per_datum["log_px"]
    with np.errstate(invalid="ignore"):  # where a datum has log p(x) = -inf, errors are NaN
        difference = best.per_datum["log_px"] - log_px  # aligned by obs
        row = {
            "difference": difference.mean(),  # first, as pandas leaves out the middle of a table that is too wide
            "difference_se": difference.std(ddof=1) / np.sqrt(len(difference)),
            "nll": -log_px.mean(),
            "nll_se": log_px.std(ddof=1) / np.sqrt(log_px.count()),
        }
    mcse, bias = (table.get(f"log_px_{name}", pd.Series([np.nan])) for name in ("mcse", "bias"))
    row |= {
        "elbo": table["elbo"].mean() if "elbo" in table else np.nan,
        "kl": table.filter(regex="^kl_(?!gap(_mcse)?$)").sum(axis=1).mean() if "elbo" in table else np.nan,
        "active_units": result.num_active,
        "nll_mcse": np.sqrt((mcse**2).sum(skipna=False)) / len(table),
        "nll_bias": -bias.mean(skipna=False),
        "unreliable": result.unreliable,
        "method": result.estimator,
        "num_samples": result.num_samples,
    }
    if "bits_per_dim" in table:
        row["bits_per_dim"] = table["bits_per_dim"].mean()
    return row


def check_comparable(results: Mapping[str, Comparable]) -> None:
    """Refuse results that cannot be ranked.

    Raises
    ------
    ValueError
        For results without log p(x), of different base measures, and of different data.
    """
    for name, result in results.items():
        if "log_px" not in result.per_datum:
            raise ValueError(
                f"compare expects log p(x) for every run, got none for {name!r}: a point-mass posterior has a "
                "reconstruction only; leave it out"
            )
    check_alike(results)


def check_alike(results: Mapping[str, Comparable]) -> None:
    """Refuse results whose numbers cannot be set beside each other, whether or not there is a log p(x) among them.

    Raises
    ------
    ValueError
        For results of different base measures, and of different data.
    """
    (first_name, first), *others = results.items()
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
                f"of {_named(first)}; evaluate both under the same condition"
            )
        if result.data["identity"] != first.data["identity"]:
            raise ValueError(
                f"compare expects results on the same data, got {_named(first)} for {first_name!r} and "
                f"{_named(result)} for {name!r}; {_cause(first, result)}"
            )


def _why(a: str, b: str) -> str:
    """Why two base measures have no common scale."""
    if a.split()[0] != b.split()[0]:
        return "a probability and a density have no common scale"
    if " given " not in a and " given " not in b:
        return "columns are masses in one and densities in the other"
    if " given " in a and " given " in b:
        return "a mass given the total adds up to 1 over the rows of that total, the other over rows of any"
    given = max(a, b, key=len).partition(" given ")[2]
    return f"what is given {given} leaves out what {given} costs"


def _tampered(a: Comparable, b: Comparable) -> bool:
    """Whether data said to be the same miss other elements, or have other values in the same units."""
    if a.data.get("missing", "") != b.data.get("missing", "") and "missing" in a.data and "missing" in b.data:
        return True
    steps = [[t for t in r.data["provenance"].get("transforms", []) if t["transform"] == "standardize"] for r in (a, b)]
    return steps[0] == steps[1] and a.data["checksum"] != b.data["checksum"]


def _named(result: Comparable) -> str:
    """The name of the data of a result, for a message."""
    said = result.data["provenance"]
    return f"{said.get('name', 'data')} {said.get('split', '')} ({result.data['identity'][:8]})".replace("  ", " ")


def _cause(first: Comparable, other: Comparable) -> str:
    """In what the data of two results differ, as far as it is known, and what to do."""
    n, m = len(first.per_datum), len(other.per_datum)
    if n != m:
        return f"one is of {n} data, the other of {m}: evaluate both on the same data"
    steps = [[step["transform"] for step in r.data["provenance"].get("transforms", [])] for r in (first, other)]
    alone = [step for mine, theirs in (steps, steps[::-1]) for step in mine if step not in theirs]
    if "condition_on_labels" in alone:
        return "log p(x | c) is another quantity than log p(x): condition both models, or none"
    if alone:
        return f"one alone was prepared by {alone[0]}: prepare both alike"
    if all(first.data[known] == other.data[known] for known in ("checksum", "provenance")):
        return "an earlier version counted the rows of data with a column of the split otherwise: evaluate both again"
    if first.data["provenance"].get("conditions") != other.data["provenance"].get("conditions"):
        return "they were given other contexts, and log p(x | c) is another quantity than log p(x): give both the same"
    return "evaluate both on one test set, binarized or dequantized with one seed"


def _read(path: Path) -> Evaluation:
    file = path / "evaluation.json" if path.is_dir() else path
    if not os.path.lexists(file):
        raise FileNotFoundError(
            f"compare expects an evaluation, got {str(path)!r} without an evaluation.json; run `ppl-vae evaluate` on it"
        )
    found = Evaluation.load(file)
    if path.is_dir() and not has_weights(path, found.weights):
        raise ValueError(
            f"compare expects an evaluation of the weights that {str(path)!r} has, got one of weights from before the "
            "run was trained further; run `ppl-vae evaluate` on it again"
        )
    return found
