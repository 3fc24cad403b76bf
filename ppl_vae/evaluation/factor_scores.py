"""MIG, SAP and DCI of arrays: scores of disentanglement of codes against known factors."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from ppl_vae.arguments import Count, Numbers, Seed, Whole, checked
from ppl_vae.evaluation.factor_tables import FactorTables, Given
from ppl_vae.libraries import pd

__all__ = ["FactorScores", "factor_scores"]

_FEWEST = 100  # data
_FEWEST_EACH = 20  # of a category: so many that some are in every part, and in every bootstrap replicate


@checked
@dataclass(frozen=True, eq=False)
class FactorScores:
    """Scores of a code against known factors, and the tables of units by factors that they are made of.

    Attributes
    ----------
    summary
        Indexed by `mig`, `sap`, `disentanglement`, `completeness` and `informativeness`. Columns `score` and `se`, the
        standard deviation over bootstrap replicates, NaN without any. A score is 1 at best (SAP of a categorical
        factor: 1 minus the accuracy at chance) and 0 at chance; few data bias it upwards.
    per_factor
        Indexed by factor: the same scores without `disentanglement`, which is defined for units.
    mutual_information
        I(z_j; v_k) / H(v_k), the share of a factor's entropy that one unit explains, (units, factors).
    predictability
        SAP's S_jk, how well one unit alone predicts a factor, (units, factors).
    importance
        DCI's R_jk, the share of each unit in the prediction of a factor from all of them, (units, factors).
    seed
        Of the data kept for testing, the forests and the bootstrap.
    """

    summary: pd.DataFrame
    per_factor: pd.DataFrame
    mutual_information: pd.DataFrame
    predictability: pd.DataFrame
    importance: pd.DataFrame
    seed: int

    def __repr__(self) -> str:
        errors = (f" ± {se:.3f}" if np.isfinite(se) else "" for se in self.summary.se)
        lines = (f"  {name:<16}{s:>7.3f}{e}" for (name, s), e in zip(self.summary.score.items(), errors, strict=True))
        return "\n".join([f"{len(self.importance)} units against {', '.join(self.importance.columns)}:", *lines])


@checked
def factor_scores(
    codes: Numbers,
    factors: Numbers,
    *,
    names: Sequence[str] | None = None,
    units: Sequence[str] | None = None,
    categorical: Collection[str] = (),
    num_bins: Count = 20,
    num_trees: Count = 30,
    num_bootstrap: Whole = 10,
    seed: Seed = 0,
) -> FactorScores:
    """MIG, SAP and DCI of codes against known factors: whether each factor is encoded in one unit, and vice versa.

    The scores depend on the axes: they are low for a code that is a rotation of the factors, or that encodes an angle
    by its sine and cosine. They rank codes differently from each other, and for models of one objective they vary over
    the seeds of training about as much as over objectives (Locatello et al. 2019). A high score does not show that a
    code is useful, nor that data with unknown factors would be disentangled as well.

    Parameters
    ----------
    codes
        (n, units), two units or more; one that never varies scores nothing.
    factors
        (n, F), two or more that vary; a categorical one numbered.
    names, units
        Names of the factors and units.
    categorical
        Names of the factors whose numbers have no order: they are classified, others regressed on.
    num_bins
        Bins of equal width for the mutual information, for variables with more different values than that; 2 or more.
        An estimate from n data is too large by about (bins - 1) (values - 1) / 2n nats, which cancels in the gap.
    num_trees
        Trees of each random forest of DCI.
    num_bootstrap
        Replicates for the errors over the data, 0 or at least 2; each costs as much as the scores.
    seed
        Of the third of the data kept for testing, the forests and the bootstrap.

    Returns
    -------
    FactorScores

    Raises
    ------
    ValueError
        For other shapes; for fewer than 100 data; for values that are not finite; for factors that have one value for
        all but fewer than 20 data; for a category with fewer than 20 data; for names that do not fit; and for numbers
        out of range.

    Notes
    -----
    MIG is the gap between the two largest I(z_j; v_k) / H(v_k) of a factor. SAP is that between the two largest S_jk,
    the squared correlation with a numerical factor, or the balanced accuracy of a linear support vector machine for a
    categorical one. Of DCI, R_jk is the importance of unit j in a random forest that predicts factor k: disentanglement
    is one less the entropy of a row of R, with the row's share of R as weight, completeness one less that of a column;
    informativeness is the forest's R^2, or its balanced accuracy above chance. Accuracies and informativeness are those
    on the data kept for testing.

    References
    ----------
    Chen et al. 2018, arXiv:1802.04942 (MIG); Kumar et al. 2018, arXiv:1711.00848 (SAP); Eastwood and Williams 2018,
    openreview.net/forum?id=By-7dz-AZ (DCI); Locatello et al. 2019, arXiv:1811.12359 (their limits).

    Examples
    --------
    >>> factors = np.indices((30, 30)).reshape(2, -1).T
    >>> swapped, turned = factors[:, ::-1], factors @ [[1, -1], [1, 1]]
    >>> found = [factor_scores(codes, factors, num_bootstrap=0) for codes in (swapped, turned)]
    >>> [each.summary.score.round(1).tolist() for each in found]
    [[1.0, 1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0, 1.0]]
    """
    if num_bins < 2 or num_bootstrap == 1:
        raise ValueError(
            "factor_scores expects 2 bins or more, and no or at least 2 bootstrap replicates, got "
            f"num_bins={num_bins}, num_bootstrap={num_bootstrap}; correct the one that is off"
        )
    z, v = _matrix("codes", "units", codes), _matrix("factors", "F", factors)
    names = _named("names", names, [f"v[{k}]" for k in range(v.shape[1])])
    units = _named("units", units, [f"z[{j}]" for j in range(z.shape[1])])
    given = Given(z, v, np.array([name in categorical for name in names]))
    _check(given, names, categorical)
    rng = np.random.default_rng(seed)
    test, train = np.split(rng.permutation(len(z)), [len(z) // 3])
    settings = {"num_bins": num_bins, "num_trees": num_trees, "seed": seed}
    tables = FactorTables.of(given, train, test, **settings)
    replicates = [
        FactorTables.of(given, rng.choice(train, len(train)), rng.choice(test, len(test)), **settings).scores
        for _ in range(num_bootstrap)
    ]
    score = tables.scores
    index, columns = pd.Index(units, name="unit"), pd.Index(names, name="factor")
    return FactorScores(
        summary=pd.DataFrame({"score": score, "se": pd.DataFrame(replicates, columns=score.index).std(ddof=1)}),
        per_factor=tables.per_factor.set_index(columns),
        mutual_information=pd.DataFrame(tables.mutual_information, index, columns),
        predictability=pd.DataFrame(tables.predictability, index, columns),
        importance=pd.DataFrame(tables.importance, index, columns),
        seed=seed,
    )


def _matrix(what: str, columns: str, values: Numbers) -> np.ndarray:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 2 or found.shape[1] < 2 or not np.isfinite(found).all():
        raise ValueError(
            f"factor_scores expects finite {what} of shape (n, {columns}), {columns} >= 2, got shape {found.shape} "
            f"with {np.sum(~np.isfinite(found))} values that are not finite; a gap and an entropy need two columns"
        )
    return found


def _named(what: str, given: Sequence[str] | None, default: list[str]) -> list[str]:
    names = default if given is None else list(given)
    if len(names) != len(default):
        raise ValueError(f"factor_scores expects {len(default)} {what}, got {len(names)}; give one for each column")
    return names


def _check(given: Given, names: list[str], categorical: Collection[str]) -> None:
    if not len(given.codes) == len(given.factors) >= _FEWEST:
        raise ValueError(
            f"factor_scores expects codes and factors of the same {_FEWEST} data or more, got {len(given.codes)} and "
            f"{len(given.factors)}; give more data"
        )
    if not set(categorical) <= set(names):
        raise ValueError(
            f"factor_scores expects categorical factors among {names}, got {sorted(categorical)}; correct the names"
        )
    counts = {k: np.unique(factor, return_counts=True)[1] for k, factor in zip(names, given.factors.T, strict=True)}
    constant = [name for name, count in counts.items() if len(given.factors) - count.max() < _FEWEST_EACH]
    if constant:
        raise ValueError(
            f"factor_scores expects factors that vary, got {constant} with fewer than {_FEWEST_EACH} data that differ "
            "from the others; leave these out"
        )
    rare = {name: int(count.min()) for name, count in counts.items() if name in categorical}
    if min(rare.values(), default=_FEWEST_EACH) < _FEWEST_EACH:
        raise ValueError(
            f"factor_scores expects {_FEWEST_EACH} data or more of every category, got as few as {rare}; give more "
            "data, or leave rare categories out"
        )
