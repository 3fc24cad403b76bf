"""MIG, SAP and DCI against codes whose scores are known, and what they refuse."""

import math

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppl_vae import Bernoulli, Program, build, plots
from ppl_vae.data import load
from ppl_vae.evaluation import disentanglement, factor_scores, factor_vae_score

NAMES = ["shape", "scale", "angle", "x"]
SIZES = (3, 4, 10, 30)
GRID = np.indices(SIZES).reshape(4, -1).T.astype(float)  # every combination once: the factors are independent
V = np.random.default_rng(6).normal(size=(120, 2))
DCI = ["disentanglement", "completeness", "informativeness"]


def grid_scores(codes, **settings):
    settings = {"names": NAMES, "categorical": ["shape"], "num_bootstrap": 0, "num_trees": 10} | settings
    return factor_scores(codes, GRID, **settings)


def rotation(angle):
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


@pytest.fixture(scope="module")
def permuted():
    rng = np.random.default_rng(0)
    units = np.stack([-2 * GRID[:, 3], np.zeros(len(GRID)), GRID[:, 0], 5 + GRID[:, 2], 0.1 * GRID[:, 1]], 1)
    return grid_scores(np.concatenate([units, rng.normal(size=(len(GRID), 1))], 1))


def test_a_permutation_of_the_factors_is_disentangled(permuted):
    """Scaled, reversed and shifted, beside a unit that never varies and one of noise."""
    scores = permuted.summary.score
    # of noise in 20 bins, a mutual information of about (20 - 1) (values - 1) / 2n nats is estimated
    noise = sum(19 * (min(v, 20) - 1) / (2 * len(GRID)) / math.log(min(v, 20)) for v in SIZES) / 4
    assert scores["mig"] == pytest.approx(1 - noise, abs=0.005)
    # one category of three is predicted by chance, and alone has no correlation
    assert scores["sap"] == pytest.approx((1 - 1 / 3 + 3) / 4, abs=0.02)
    np.testing.assert_allclose(scores[DCI], 1, atol=0.01)
    assert permuted.importance.idxmax().to_dict() == {"shape": "z[2]", "scale": "z[4]", "angle": "z[3]", "x": "z[0]"}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("unit", [1e-30, 1e-6, 1e38])
def test_scores_do_not_depend_on_units(unit):
    """Of the codes and of the factors: forests take codes in float32, and stop at a variance of 2e-16."""
    codes = GRID / GRID.std(0) @ (np.eye(4) + 0.2) + 0.3 * np.random.default_rng(7).normal(size=GRID.shape)
    plain, *others = (
        factor_scores(units * codes, factors * GRID, num_bootstrap=0, num_trees=10).summary.score
        for units, factors in ((1, 1), (unit, 1), (1, unit))
    )
    assert plain["disentanglement"] > 0.2
    for scores in others:
        np.testing.assert_allclose(scores, plain, atol=0.01)  # rounding decides between splits that are as good


def test_a_dead_unit_scores_nothing(permuted):
    for table in (permuted.mutual_information, permuted.importance):
        assert (table.loc["z[1]"] == 0).all()
    np.testing.assert_allclose(permuted.predictability.loc["z[1]"], [1 / 3, 0, 0, 0], rtol=1e-12)
    np.testing.assert_allclose(permuted.importance.sum(), 1)


def test_codes_that_have_collapsed_altogether_score_nothing():
    scores = grid_scores(np.ones((len(GRID), 3))).summary.score
    np.testing.assert_allclose(scores, 0, atol=0.01)  # the mean of a part misses that of another by little


def test_random_codes_score_nothing():
    found = grid_scores(np.random.default_rng(1).normal(size=(len(GRID), 4)))
    assert (found.summary.score[["mig", "sap"]].abs() < 0.02).all()
    assert (found.summary.score[["disentanglement", "completeness"]] < 0.02).all()
    assert found.summary.score["informativeness"] < 0.05


@pytest.mark.parametrize("score", ["mig", "sap", "disentanglement", "completeness"])
def test_the_further_the_factors_are_turned_the_lower_the_score(score):
    factors = np.indices((40, 40)).reshape(2, -1).T
    straight, turned, diagonal = (
        factor_scores(factors @ rotation(angle), factors, num_bootstrap=0).summary.score
        for angle in (0.0, math.pi / 12, math.pi / 4)
    )
    assert straight[score] > 0.97
    assert straight[score] - 0.1 > turned[score] > diagonal[score] + 0.1
    assert abs(diagonal[score]) < 0.05
    assert diagonal["informativeness"] > 0.95  # nothing is lost by turning


def test_mig_is_the_gap_of_discrete_mutual_information():
    """By sums over the joint table in float64; of units that tell a factor in part, together and not at all."""
    v = np.indices((4, 3, 50)).reshape(3, -1)[:2].T.astype(float)
    codes = np.stack([v[:, 0] // 2, v[:, 0] % 2 + 2 * v[:, 1], v[:, 1]], 1)
    found = factor_scores(codes, v, num_bootstrap=0)
    for j, k in np.ndindex(3, 2):
        joint = pd.crosstab(codes[:, j], v[:, k], normalize=True).to_numpy()
        product = joint.sum(1, keepdims=True) * joint.sum(0)
        some = joint > 0
        information = (joint[some] * np.log(joint[some] / product[some])).sum()
        p = joint.sum(0)
        assert found.mutual_information.iloc[j, k] == pytest.approx(information / -(p @ np.log(p)), abs=1e-12)
    # v_0 has 2 bits, of which z_0 and z_1 determine one each; both z_1 and z_2 determine v_1
    np.testing.assert_allclose(found.per_factor.mig, [0, 0], atol=1e-12)
    only = factor_scores(codes[:, [0, 2]], v, num_bootstrap=0)
    np.testing.assert_allclose(only.per_factor.mig, [0.5, 1], atol=1e-12)


def test_sap_is_the_gap_of_squared_correlations():
    rng = np.random.default_rng(2)
    v = rng.normal(size=(500, 2))
    codes = v @ rng.normal(size=(2, 3)) + rng.normal(size=(500, 3))
    squared = np.corrcoef(codes.T, v.T)[:3, 3:] ** 2
    found = factor_scores(codes, v, num_bootstrap=0)
    np.testing.assert_allclose(found.predictability, squared, rtol=1e-9)
    top = np.sort(squared, 0)
    assert found.summary.score["sap"] == pytest.approx((top[2] - top[1]).mean(), rel=1e-9)


def test_dci_is_one_less_entropies_of_the_importance():
    rng = np.random.default_rng(3)
    v = rng.normal(size=(400, 3))
    found = factor_scores(v @ rng.normal(size=(3, 4)), v, num_bootstrap=0)
    R = found.importance.to_numpy()
    rows, columns = R / R.sum(1, keepdims=True), R / R.sum(0)
    of_units = 1 + (rows * np.log(rows)).sum(1) / math.log(3)
    of_factors = 1 + (columns * np.log(columns)).sum(0) / math.log(4)
    assert found.summary.score["disentanglement"] == pytest.approx(R.sum(1) @ of_units / R.sum())
    np.testing.assert_allclose(found.per_factor.completeness, of_factors)


def test_units_of_z_do_not_matter():
    rng = np.random.default_rng(4)
    codes = GRID + rng.normal(size=GRID.shape)
    one, other = (grid_scores(z, num_trees=3) for z in (codes, codes * [1e-3, -1, 1e3, 64]))
    np.testing.assert_allclose(one.summary.score, other.summary.score, atol=0.02)
    np.testing.assert_allclose(one.predictability, other.predictability, atol=1e-6)


def test_errors_are_those_over_the_data():
    """The bootstrap's against the spread over data sets drawn anew; both from 20, so within a factor of two."""

    def drawn(seed, **settings):
        rng = np.random.default_rng(seed)
        v = rng.normal(size=(200, 2))
        codes = v @ rotation(0.3) + 0.5 * rng.normal(size=v.shape)
        return factor_scores(codes, v, num_trees=5, **settings).summary

    anew = pd.DataFrame([drawn(seed, num_bootstrap=0).score for seed in range(20)]).std()
    ratio = drawn(100, num_bootstrap=20).se / anew
    assert ratio.between(0.5, 2).all(), ratio


def test_the_seed_decides():
    codes = V + np.random.default_rng(5).normal(size=V.shape)
    a, b, c = (factor_scores(codes, V, num_trees=3, num_bootstrap=2, seed=seed) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(a.summary, b.summary)
    assert not a.summary.equals(c.summary)
    assert "informativeness" in repr(a)
    assert a.seed == 0
    assert factor_scores(codes, V, num_bootstrap=0).summary.se.isna().all()


@pytest.mark.parametrize(
    ("codes", "factors", "settings", "message"),
    [
        (V[:, 0], V, {}, r"finite codes of shape \(n, units\), units >= 2, got shape \(120,\)"),
        (V[:, :1], V, {}, r"units >= 2, got shape \(120, 1\)"),
        (V, V[:, :1], {}, r"finite factors of shape \(n, F\), F >= 2, got shape \(120, 1\)"),
        (V * np.nan, V, {}, "got shape .* with 240 values that are not finite"),
        (V[:90], V[:90], {}, "the same 100 data or more, got 90 and 90"),
        (V[:110], V, {}, "the same 100 data or more, got 110 and 120"),
        (V, V * [1, 0], {}, r"factors that vary, got \['v\[1\]'\] with fewer than 20 data that differ"),
        (V, V > [0, 3], {}, r"factors that vary, got \['v\[1\]'\] with fewer"),
        (V, V, {"names": ["a"]}, "expects 2 names, got 1; give one for each"),
        (V, V, {"units": ["a"] * 3}, "expects 2 units, got 3"),
        (V, V, {"names": ["a", "b"], "categorical": ["c"]}, r"among \['a', 'b'\], got \['c'\]"),
        (
            V,
            V,
            {"names": ["a", "b"], "categorical": ["b"]},
            "20 data or more of every category, got as few as {'b': 1}",
        ),
        (V, V, {"num_bins": 1}, "num_bins=1, num_bootstrap=10; correct"),
        (V, V, {"num_trees": 0}, "num_trees to be a whole number from 1 on, got 0"),
        (V, V, {"num_bootstrap": 1}, "num_bootstrap=1"),
    ],
)
def test_arrays_that_cannot_be_scored_are_refused(codes, factors, settings, message):
    with pytest.raises(ValueError, match=message):
        factor_scores(codes, factors, **settings)


@pytest.fixture(scope="module")
def curve():
    return load("s_curve")


def reads(columns, scale):
    """A program whose codes are linear in some columns of x, with noise."""
    weights = nn.Parameter(torch.ones(()))

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True).expand(*z.shape[:-1], 3), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(weights * x[:, columns], scale).to_event(1))

    module = nn.Module()
    module.weights = weights
    return Program(model, guide, module)


def test_a_program_is_scored_by_the_means_of_its_draws(curve):
    program = reads([2, 1], scale=0.5)
    found = disentanglement(program, curve.test, num_samples=4000, num_bootstrap=0, seed=0)
    direct = factor_scores(
        curve.test.x[:, [2, 1]], curve.test.factors, names=["arc length", "height"], num_bootstrap=0, seed=0
    )
    assert list(found.importance.index) == ["z[0]", "z[1]"]
    assert list(found.importance.columns) == ["arc length", "height"]
    np.testing.assert_allclose(found.predictability, direct.predictability, atol=0.01)
    np.testing.assert_allclose(found.importance, direct.importance, atol=0.02)
    draws = disentanglement(program, curve.test, num_samples=1, num_bootstrap=0, seed=0)
    assert draws.summary.score["informativeness"] < found.summary.score["informativeness"] - 0.1


@pytest.mark.parametrize("rows", [7, 10_000])
def test_a_vae_is_scored_in_pieces_and_left_as_it_was(curve, rows):
    vae = build(curve, latent_dim=3, seed=0)
    state = torch.get_rng_state()
    found = disentanglement(vae, curve.test[:120], num_samples=5, num_bootstrap=0, num_trees=3, max_rows=rows, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert vae.training
    assert found.importance.shape == (3, 2)
    assert found.seed == 1


def test_sprites_bring_names_and_categories():
    data = load("sprites").take(train=100, test=600)
    vae = build(data, latent_dim=2, likelihood=Bernoulli, seed=0)
    found = disentanglement(vae, data.test, num_samples=10, num_bootstrap=0, num_trees=3, seed=0)
    assert list(found.importance.columns) == data.provenance["factors"]
    assert 0.2 < found.predictability["shape"].min() < 0.6  # an accuracy, and no squared correlation


def test_what_has_no_factors_is_refused(curve):
    vae = build(curve, latent_dim=2)
    with pytest.raises(TypeError, match="expects x to be a Split, got Tensor"):
        disentanglement(vae, curve.test.x)
    with pytest.raises(ValueError, match="factors are known, got 'digits' without; give Split"):
        disentanglement(vae, load("digits").test)
    with pytest.raises(ValueError, match="num_samples to be a whole number from 1 on, got 0"):
        disentanglement(vae, curve.test, num_samples=0)
    with pytest.raises(TypeError, match="disentanglement expects a module with"):
        disentanglement(object(), curve.test)
    with pytest.raises(ValueError, match=r"units >= 2, got shape \(500, 1\)"):
        disentanglement(build(curve, latent_dim=1), curve.test)


def test_a_plot_takes_names_from_the_table(permuted):
    ax = plots.factor_importance(permuted.importance)
    assert [label.get_text() for label in ax.get_xticklabels()] == NAMES
    assert [label.get_text() for label in ax.get_yticklabels()] == [f"z[{j}]" for j in range(6)]
    np.testing.assert_array_equal(ax.get_images()[0].get_array(), permuted.importance)
    assert ax.get_images()[0].get_clim() == (0, 1)
    assert ax.texts[0].get_text() == "0.00"
    many = plots.factor_importance(np.full((30, 5), 0.5), units=range(30), vmax=0.5)
    assert not many.texts
    assert many.get_yticklabels()[29].get_text() == "29"
    with pytest.raises(ValueError, match="expects 2 factors, got 1; give one for each"):
        plots.factor_importance(np.eye(2), factors=["x"])
    with pytest.raises(ValueError, match="finite values, got 1 of 2"):
        plots.factor_importance([[np.nan, 1.0]])


def test_factor_vae_of_known_codes():
    """A permutation is told apart, a unit of two factors is not, noise is chance; a dead unit does not vote."""
    shuffled = np.stack([-3 * GRID[:, 2], 0 * GRID[:, 0], GRID[:, 0], GRID[:, 3], 5 + GRID[:, 1]], 1)
    assert factor_vae_score(shuffled, GRID, num_groups=400) == 1
    noise = np.random.default_rng(0).normal(size=(len(GRID), 4))
    assert factor_vae_score(noise, GRID) == pytest.approx(1 / 4, abs=4 * (3 / 16 / 1000) ** 0.5 + 0.03)
    # the third factor is in no unit, so that its groups vote for one of the others
    without = factor_vae_score(GRID[:, [0, 1, 3]], GRID, num_groups=2000)
    assert without == pytest.approx(3 / 4, abs=4 * (3 / 16 / 1000) ** 0.5)
