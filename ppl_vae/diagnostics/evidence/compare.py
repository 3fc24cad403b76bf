"""Models ranked by held-out log p(x), with a warning where a difference is not reliable."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ppl_vae.arguments import checked
from ppl_vae.diagnostics.evidence.elpd import Elpd, is_training
from ppl_vae.diagnostics.results import arviz_io
from ppl_vae.evaluation import Evaluation
from ppl_vae.evaluation.compare import MANY, check_comparable, named
from ppl_vae.libraries import pd

__all__ = ["compare"]


@checked
def compare(results: Mapping[str, Elpd | Evaluation]) -> pd.DataFrame:
    """Rank models by held-out log p(x) with ArviZ's `compare`; the same table with ArviZ 0.23 and 1.x.

    Parameters
    ----------
    results
        Results of `elpd` or `evaluate`, by name; one or more.

    Returns
    -------
    DataFrame
        The best first, in nats over all data. `rank`; `elpd` and `se`, its standard error over the data; `elpd_diff`
        = elpd - that of the best, never positive, and `dse`, its paired standard error; `weight`, by stacking; `mcse`
        and `bias`, the Monte Carlo standard error and bias of `elpd`; `unreliable`, the share of data whose k-hat is
        too high; `method` and `num_samples`. NaN for what a method does not have. ``.attrs["warning"]`` says which
        conclusion is not reliable; it is empty if all are.

    Raises
    ------
    ValueError
        For no results; for those of different data, or of a mass and a density, or without a finite log p(x); and
        for those of the training data.

    References
    ----------
    Yao et al. 2018, arXiv:1704.02030 (stacking).

    Examples
    --------
    >>> from ppl_vae import build, data, evaluate
    >>> digits = data.load("digits").binarize("threshold").take(test=20)
    >>> vaes = {d: build(digits, latent_dim=d, seed=0) for d in (1, 2)}
    >>> table = compare({str(d): evaluate(vae, digits.test, num_samples=50, seed=0) for d, vae in vaes.items()})
    >>> bool((table.elpd_diff <= 0).all())
    True
    """
    if not results:
        raise ValueError("compare expects one result or more, got none; give {name: elpd}")
    check_comparable(results)
    for name, result in results.items():
        _check_comparison(name, result)
    found = {name: r if isinstance(r, Elpd) else Elpd.of(r) for name, r in results.items()}
    table = arviz_io.compare({name: e.per_datum["log_px"].to_numpy() for name, e in found.items()})
    for column in ("mcse", "bias", "unreliable", "method", "num_samples"):
        table[column] = [getattr(found[str(name)], column) for name in table.index]
    table.index.name = "run"
    table.attrs["warning"] = _warning(table, len(next(iter(found.values())).per_datum))
    return table


def _check_comparison(name: str, result: Elpd | Evaluation) -> None:
    fitted = isinstance(result, Elpd) and not result.held_out
    if fitted or is_training(result.data["provenance"]):
        raise ValueError(
            f"compare expects held-out data, got the training data ({named(result)}) for {name!r}, which favour the "
            "model that overfits them; evaluate on the test data"
        )
    bad = ~np.isfinite(result.per_datum["log_px"])
    if bad.any():
        raise ValueError(
            f"compare expects a finite log p(x) for each datum, got {int(bad.sum())} of {len(bad)} of {name!r} that "
            f"are not, obs {result.per_datum.index[bad][0]} first; "
            "find out why the model or its guide has no finite density there"
        )


def _warning(table: pd.DataFrame, size: int) -> str:
    """Which differences are not reliable; empty if all are."""
    high = table[table["unreliable"] > MANY]
    if not len(high):
        return ""
    shares = ", ".join(f"{share:.0%} of the data for {name!r}" for name, share in high["unreliable"].items())
    bias = -table["bias"].min()
    return (
        f"k-hat is too high for {shares}, or the error not known: log p(x) there may lie too low by more than its "
        f"bias says. A difference below the mean bias, {bias / size:.2g} nats a datum or {bias:.2g} in all, is no "
        "evidence for a model: it may be its guide that is better; repeat with method='ais'"
    )
