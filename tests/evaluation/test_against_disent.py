"""MIG, SAP, DCI and FactorVAE beside those of the package disent (MIT licence), which is not installed with the others.

Its scores are stored in `disent.json`, so that the tests need no disent; where it is installed they are computed anew,
and compared with what is stored.

    pip install disent                                  # brings Lightning, and packages called `tests` and `experiment`
    python tests/evaluation/test_against_disent.py      # writes disent.json

Where the definitions are the same the numbers are, to 1e-6:

* MIG: factors of up to 20 values, units in 20 bins of equal width.
* SAP of numerical factors: squared correlations. For categorical ones disent counts the share of correct predictions of
  a support vector machine on units as they are; here they are standardized, and the accuracy is balanced.
* DCI: disentanglement and completeness of one table of importances. The tables themselves are of gradient boosting
  there, of random forests here; informativeness is an accuracy there, R^2 or an accuracy above chance here.
* FactorVAE: the same groups of data, drawn by the same random numbers.
"""

import importlib
import json
import warnings
from importlib.metadata import version
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from ppl_vae._torchvision import torchvision
from ppl_vae.evaluation import factor_scores, factor_vae_score
from ppl_vae.evaluation.factor_tables import FactorTables

STORED = Path(__file__).with_name("disent.json")
SEEDS = range(3)
SIZES = (3, 4, 5, 6)
GRID = np.indices(SIZES).reshape(4, -1).T.astype(float)


def turned(seed):
    """Codes of five units: factors turned in two planes, noise in all, and one unit of noise alone."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, np.pi / 4, 2)
    units = np.concatenate([GRID / GRID.std(0), np.zeros((len(GRID), 1))], 1)
    for plane, a in zip(((0, 1), (2, 3)), angle, strict=True):
        units[:, plane] = units[:, plane] @ [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]
    return units + rng.normal(scale=0.3, size=units.shape)


def mixed(seed):
    """Codes of which the scores of FactorVAE are below one: with more noise some votes are wrong."""
    return turned(seed) + np.random.default_rng(seed).normal(size=(len(GRID), 5))


def importances(seed):
    """A table of importances (5, 4), of sum 1 for each factor: some units matter for one alone, some for several."""
    table = np.random.default_rng(seed).gamma(0.5, size=(5, 4))
    return table / table.sum(0)


class Replayed:
    """A data set of disent that draws what `factor_vae_score` draws."""

    num_factors = GRID.shape[1]

    def __init__(self, codes, seed):
        self.codes, self.gt_data, self.rng = codes, self, np.random.default_rng(seed)

    def randint(self, number):
        self.factor = self.rng.integers(number)
        return self.factor

    def sample_factors(self, size):
        value = GRID[self.rng.integers(len(GRID)), self.factor]
        self.rows = self.rng.choice(np.flatnonzero(GRID[:, self.factor] == value), size)
        return GRID[self.rows]

    def dataset_batch_from_factors(self, factors, mode):
        return self.codes[self.rows]

    def dataset_sample_batch(self, size, mode):
        return self.codes


def imported():
    """Import disent's metrics; skip the test where it is not installed."""
    pytest.importorskip("disent", reason="disent is not installed")
    torchvision()  # also where its operators are missing
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of Lightning about itself
        importlib.import_module("disent.metrics")


def by_disent(seed):
    """What disent computes of the codes and the importances of a seed."""
    imported()
    from disent.metrics import metric_factor_vae
    from disent.metrics._dci import _completeness, _disentanglement
    from disent.metrics._mig import _compute_mig
    from disent.metrics._sap import _compute_sap

    codes, noisy, table = turned(seed), mixed(seed), importances(seed)
    data = Replayed(noisy, seed)
    numbers = {"num_train": 200, "num_eval": 200, "num_variance_estimate": len(codes), "batch_size": 16}
    with mock.patch.object(np.random, "randint", data.randint):
        votes = metric_factor_vae(data, lambda x: x, **numbers)
    found = {
        "mig": _compute_mig(codes.T, GRID.T.astype(int))["mig.discrete_score"],
        "sap": _compute_sap(codes.T, GRID.T, codes.T, GRID.T, continuous_factors=True)["sap.score"],
        "disentanglement": _disentanglement(table),
        "completeness": _completeness(table),
        "factor_vae": votes["factor_vae.eval_accuracy"],
    }
    return {name: float(value) for name, value in found.items()}


@pytest.fixture(params=SEEDS)
def seed(request):
    return request.param


@pytest.fixture
def disents(seed):
    """Its scores, none of them at an end of the range, where definitions that differ would agree."""
    found = json.loads(STORED.read_text())["scores"][seed]
    assert all(0.02 < value < 0.98 for value in found.values())
    return found


@pytest.fixture
def ours(seed):
    return factor_scores(turned(seed), GRID, num_bootstrap=0, num_trees=5, seed=seed)


@pytest.mark.parametrize("score", ["mig", "sap"])  # the factors are numbers, of up to six values
def test_mig_and_sap(ours, disents, score):
    assert ours.summary.score[score] == pytest.approx(disents[score], abs=1e-6)


@pytest.mark.parametrize("score", ["disentanglement", "completeness"])
def test_dci_of_one_table_of_importances(seed, disents, score):
    others = np.zeros((5, 4))
    found = FactorTables(others, others, importances(seed), others[0]).scores[score]
    assert found == pytest.approx(disents[score], abs=1e-6)


def test_dci_of_the_importances_of_forests(ours):
    imported()
    from disent.metrics._dci import _completeness, _disentanglement

    importance = ours.importance.to_numpy()
    assert ours.summary.score["disentanglement"] == pytest.approx(_disentanglement(importance), abs=1e-6)
    assert ours.summary.score["completeness"] == pytest.approx(_completeness(importance), abs=1e-6)
    assert 0.02 < ours.summary.score["completeness"] < 0.98


def test_factor_vae(seed, disents):
    found = factor_vae_score(mixed(seed), GRID, group_size=16, num_groups=400, seed=seed)
    assert found == pytest.approx(disents["factor_vae"], abs=1e-6)


def test_what_is_stored_is_what_disent_computes(seed, disents):
    assert by_disent(seed) == pytest.approx(disents, abs=1e-9)


if __name__ == "__main__":
    stored = {
        "command": "python tests/evaluation/test_against_disent.py",
        "disent": version("disent"),
        "scores": [by_disent(seed) for seed in SEEDS],
    }
    STORED.write_text(json.dumps(stored, indent=1) + "\n")
