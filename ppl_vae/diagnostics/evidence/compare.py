"""The table of `ppl_vae.compare` as `ppl_vae.diagnostics.compare` gave it; until 0.2."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ppl_vae import evaluation
from ppl_vae.arguments import checked
from ppl_vae.evaluation.comparable import Comparable
from ppl_vae.libraries import pd

__all__ = ["compare"]


@checked
def compare(results: Mapping[str, Comparable]) -> pd.DataFrame:
    """`ppl_vae.compare` in nats over all data: `elpd` = -n nll, `se`, `elpd_diff` = -n difference, `dse`.

    Raises
    ------
    ValueError
        For what `ppl_vae.compare` refuses, for results of the training data, and without a finite log p(x).
    """
    table = evaluation.compare(results)
    for name, result in results.items():
        if result.fitted or not np.isfinite(result.per_datum["log_px"]).all():
            raise ValueError(
                f"compare expects a finite log p(x) of held-out data, got for {name!r}: "
                f"{table.loc[name, 'caution']}; use ppl_vae.compare, whose table says so"
            )
    n = len(next(iter(results.values())).per_datum)
    found = pd.DataFrame({"rank": range(len(table))}, index=table.index)
    for old, new in {"elpd": "nll", "se": "nll_se", "elpd_diff": "difference", "dse": "difference_se"}.items():
        found[old] = n * table[new] * (1 if new.endswith("_se") else -1) + 0.0
    found["weight"], found["mcse"], found["bias"] = table["weight"], n * table["nll_mcse"], -n * table["nll_bias"]
    found = found.join(table[["unreliable", "method", "num_samples"]])
    found.attrs["warning"] = table.attrs["warning"]
    return found
