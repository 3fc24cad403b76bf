"""MIG, SAP, DCI and FactorVAE beside those of the package disent (MIT licence), which is not installed with the others.

    pip install disent

It brings Lightning along, and two more packages of the names `tests` and `experiment`; without it this is skipped.
Where the definitions are the same the numbers are, to 1e-6:

* MIG: factors of up to 20 values, units in 20 bins of equal width.
* SAP of numerical factors: squared correlations. For categorical ones disent counts the share of correct predictions of
  a support vector machine on units as they are; here they are standardized, and the accuracy is balanced.
* DCI: disentanglement and completeness of one table of importances. The tables themselves are of gradient boosting
  there, of random forests here; informativeness is an accuracy there, R^2 or an accuracy above chance here.
* FactorVAE: the same groups of data, drawn by the same random numbers.
"""

import importlib
import warnings

import numpy as np
import pytest

from ppl_vae._torchvision import torchvision
from ppl_vae.evaluation import factor_scores, factor_vae_score

pytest.importorskip("disent", reason="disent is not installed")

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


@pytest.fixture(scope="module", autouse=True)
def imported():
    torchvision()  # also where its operators are missing
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of Lightning about itself
        importlib.import_module("disent.metrics")


@pytest.fixture(params=range(3))
def both(request):
    codes = turned(request.param)
    return codes, factor_scores(codes, GRID, num_bootstrap=0, num_trees=5, seed=request.param)


def test_mig(both):
    from disent.metrics._mig import _compute_mig

    codes, found = both
    expected = _compute_mig(codes.T, GRID.T.astype(int))["mig.discrete_score"]
    assert 0.02 < expected < 0.9
    assert found.summary.score["mig"] == pytest.approx(expected, abs=1e-6)


def test_sap_of_numbers(both):
    from disent.metrics._sap import _compute_sap

    codes, found = both
    expected = _compute_sap(codes.T, GRID.T, codes.T, GRID.T, continuous_factors=True)["sap.score"]
    assert 0.02 < expected < 0.98
    assert found.summary.score["sap"] == pytest.approx(expected, abs=1e-6)


def test_dci_of_one_table_of_importances(both):
    from disent.metrics._dci import _completeness, _disentanglement

    _, found = both
    importance = found.importance.to_numpy()
    assert found.summary.score["disentanglement"] == pytest.approx(_disentanglement(importance), abs=1e-6)
    assert found.summary.score["completeness"] == pytest.approx(_completeness(importance), abs=1e-6)
    assert 0.02 < found.summary.score["completeness"] < 0.98


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


@pytest.mark.parametrize("seed", range(3))
def test_factor_vae(seed, monkeypatch):
    from disent.metrics import metric_factor_vae

    codes = turned(seed) + np.random.default_rng(seed).normal(size=(len(GRID), 5))  # so that some votes are wrong
    data = Replayed(codes, seed)
    monkeypatch.setattr(np.random, "randint", data.randint)
    numbers = {"num_train": 200, "num_eval": 200, "num_variance_estimate": len(codes), "batch_size": 16}
    expected = metric_factor_vae(data, lambda x: x, **numbers)["factor_vae.eval_accuracy"]
    assert 0.3 < expected < 1
    assert factor_vae_score(codes, GRID, group_size=16, num_groups=400, seed=seed) == pytest.approx(expected, abs=1e-6)
