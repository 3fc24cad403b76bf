import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from ppl_vae import plots

RNG = np.random.default_rng(0)
IMAGES = RNG.random((6, 1, 4, 5))
GRID = RNG.random((3, 4, 1, 4, 5))
Z = RNG.normal(size=(60, 3))
HISTORY = pd.DataFrame(
    {
        "epoch": np.arange(30),
        **{f"train_{term}": RNG.normal(size=30) for term in ("elbo", "reconstruction", "kl_z1", "kl_z2")},
        **{f"validation_{term}": RNG.normal(size=30) for term in ("elbo", "reconstruction", "kl_z1", "kl_z2")},
        "beta": 1.0,
    }
)
TABLE = pd.DataFrame({"nll": [99.0, 97.0, 98.0], "nll_se": [0.5, 0.4, np.nan]}, index=["a", "b", "c"])
POINTS = np.linspace(0.01, 0.99, 99)
BAND = (POINTS, POINTS - 0.2, POINTS + 0.2)
LOG_PRIOR = -0.5 * (np.linspace(-5, 5, 41)[:, None] ** 2 + np.linspace(-4, 4, 31) ** 2)

CALLS = {
    "elbo_curves": lambda **kw: plots.elbo_curves(HISTORY, **kw),
    "images": lambda **kw: plots.images(IMAGES, **kw),
    "samples": lambda **kw: plots.samples(IMAGES, **kw),
    "reconstructions": lambda **kw: plots.reconstructions(IMAGES, IMAGES**2, **kw),
    "manifold": lambda **kw: plots.manifold(GRID, extent=(-2, 2, -3, 3), **kw),
    "traversals": lambda **kw: plots.traversals(GRID, values=[-1, 0, 1, 2], **kw),
    "denoising": lambda **kw: plots.denoising(
        IMAGES.reshape(1, 2, 3, 1, 4, 5), rows=["sd 0.5"], columns=["noisy", "PCA"], psnr=[[6.0, np.nan]], **kw
    ),
    "latent_space": lambda **kw: plots.latent_space(Z, np.arange(60) % 12, **kw),
    "latent_space, colour bar": lambda **kw: plots.latent_space(Z, Z[:, 0], **kw),
    "aggregate_posterior": lambda **kw: plots.aggregate_posterior(Z[:, :2], LOG_PRIOR, extent=(-4, 4, -5, 5), **kw),
    "kl_per_unit": lambda **kw: plots.kl_per_unit([0.1, 2.0], threshold=0.2, active=[False, True], **kw),
    "pareto_k": lambda **kw: plots.pareto_k([0.1, np.inf, np.nan], **kw),
    "gap_decomposition": lambda **kw: plots.gap_decomposition([0.1, 2.0, np.nan], [0.2, -0.1, 0.3], **kw),
    "gap_decomposition, many": lambda **kw: plots.gap_decomposition(RNG.random(500), RNG.random(500), **kw),
    "gaps_by_guide": lambda **kw: plots.gaps_by_guide({"mean field": ([0.1, 2.0], [0.2, 0.1])}, **kw),
    "posterior_against_reference": lambda **kw: plots.posterior_against_reference(
        Z[:, :2], Z[:, 1:], log_density=LOG_PRIOR, extent=(-4, 4, -5, 5), **kw
    ),
    "sbc_ecdf_difference": lambda **kw: plots.sbc_ecdf_difference({"z": RNG.random((50, 40))}, BAND, **kw),
    "coverage": lambda **kw: plots.coverage([0.5, 0.9], RNG.random((2, 40)), np.full((2, 40), 0.1), **kw),
    "aggregate_marginals": lambda **kw: plots.aggregate_marginals(0.5 * Z, Z, **kw),
    "unit_activity": lambda **kw: plots.unit_activity([0.5, 0.4, 0.0], [0.9, 1e-9, -1e-18], **kw),
    "predictive_check": lambda **kw: plots.predictive_check(1.0, Z[:, 0], label="ink", p_value=1e-4, **kw),
    "worst_fitted": lambda **kw: plots.worst_fitted(IMAGES, {"gap (nats)": np.arange(6)}, x_hat=IMAGES**2, **kw),
    "bounds": lambda **kw: plots.bounds([-3.0, -2.0, np.nan], [-2.0, -2.5, 0.0], **kw),
    "walk": lambda **kw: plots.walk(
        GRID, kinds=["a", "b", "c"], lengths=[1, 2, 3], largest_steps=[1, 1, 2], unit="grey levels", **kw
    ),
    "paths": lambda **kw: plots.paths(
        {"linear": Z[:6, :2].reshape(2, 3, 2)}, log_magnification=LOG_PRIOR, extent=(-4, 4, -5, 5), codes=Z[:, :2], **kw
    ),
    "factor_importance": lambda **kw: plots.factor_importance(RNG.random((3, 5)), **kw),
    "nll_with_errors": lambda **kw: plots.nll_with_errors(TABLE, **kw),
}


@pytest.fixture(autouse=True)
def _no_figure_left():
    plt.close("all")
    yield
    plt.close("all")


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def ticks(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_every_plot_is_called():
    assert {name.split(",")[0] for name in CALLS} == set(plots.__all__) - {"draw", "embeddings"}  # of many panels


@pytest.mark.parametrize("name", CALLS)
def test_draws_into_the_axes_given_and_changes_nothing_else(name):
    style = mpl.rcParams.copy()
    fig, (ax, other) = plt.subplots(1, 2)
    assert CALLS[name](ax=ax) is ax
    fig.canvas.draw()
    assert plt.get_fignums() == [fig.number]
    assert not other.has_data()
    assert mpl.rcParams == style


@pytest.mark.parametrize("name", CALLS)
def test_makes_one_figure_in_which_no_label_is_cut(name):
    fig = CALLS[name]().figure
    assert plt.get_fignums() == [fig.number]
    fig.canvas.draw()
    drawn = fig.get_tightbbox()
    assert drawn.x0 >= 0
    assert drawn.y0 >= 0
    assert drawn.x1 <= fig.get_figwidth()
    assert drawn.y1 <= fig.get_figheight()


@pytest.mark.parametrize("container", [torch.tensor, xr.DataArray, np.ndarray.tolist])
def test_takes_tensors_named_arrays_and_lists(container):
    def offsets(z):
        return plots.latent_space(z).collections[0].get_offsets()

    np.testing.assert_array_equal(offsets(container(Z)), Z[:, :2])
    shown = plots.images(container(IMAGES)).get_images()[0].get_array()
    np.testing.assert_array_equal(shown[:4, :5], IMAGES[0, 0])


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("elbo_curves", "(nats per datum)"),
        ("kl_per_unit", "KL, nats per datum"),
        ("nll_with_errors", "nats per datum (bars: ± 2 standard errors)"),
        ("pareto_k", "(dimensionless)"),
        ("gap_decomposition", "gap, nats"),
        ("gap_decomposition, many", "gap, nats"),
        ("gaps_by_guide", "nats per datum (bars: ± 2 standard errors)"),
        ("sbc_ecdf_difference", "(probability)"),
        ("coverage", "(share)\nbars: ± 2 standard errors"),
        ("unit_activity", "(squared units of z)"),
        ("predictive_check", "ink"),
        ("bounds", "middle of both, nats"),
        ("posterior_against_reference", "z[0]"),
        ("latent_space", "z[0]"),
        ("manifold", "z[1]"),
        ("traversals", "value of the moving unit"),
    ],
)
def test_labels_state_units(name, label):
    ax = CALLS[name]()
    assert label in ax.get_xlabel() + ax.get_ylabel()


class TestElboCurves:
    def test_draws_the_columns_and_marks_the_best_epoch(self):
        ax = plots.elbo_curves(HISTORY)
        twin = next(other for other in ax.figure.axes if other is not ax)
        drawn = [line.get_ydata() for line in ax.get_lines()[:4]] + [line.get_ydata() for line in twin.get_lines()]
        terms = ("elbo", "reconstruction", "kl_z1", "kl_z2")
        for values, (term, split) in zip(drawn, [(t, s) for t in terms for s in ("train", "validation")], strict=True):
            np.testing.assert_array_equal(values, HISTORY[f"{split}_{term}"])
        assert "KL of z2 (right axis)" in legend(ax)
        assert legend(ax)[-1] == f"best validation: epoch {HISTORY['validation_elbo'].idxmax()}"
        assert twin.get_ylabel() == "KL\n(nats per datum)"

    def test_epoch_may_be_the_index_and_validation_sparse_or_absent(self):
        sparse = HISTORY.set_index("epoch")
        sparse.loc[sparse.index % 7 != 3, "validation_elbo"] = np.nan
        line = plots.elbo_curves(sparse).get_lines()[1]
        np.testing.assert_array_equal(line.get_xdata(), [3, 10, 17, 24])
        trained = HISTORY.drop(columns=[name for name in HISTORY if name.startswith("validation")])
        assert not {"validation", "best"} & {text.split(":")[0] for text in legend(plots.elbo_curves(trained))}

    def test_autoencoder_is_one_curve_without_a_twin(self):
        history = pd.DataFrame({"epoch": [1, 2], "train_elbo": [-3.0, -2.0], "train_reconstruction": [-3.0, -2.0]})
        ax = plots.elbo_curves(history)
        assert len(ax.figure.axes) == 1
        assert legend(ax) == ["ELBO = reconstruction", "train"]

    def test_first_epochs_do_not_flatten_the_rest(self):
        elbo = -100 - 1e6 * np.exp(-3.0 * np.arange(50)) + 0.1 * RNG.normal(size=50)
        low, high = plots.elbo_curves(pd.DataFrame({"epoch": np.arange(50), "train_elbo": elbo})).get_ylim()
        assert low > -102
        assert high > elbo.max()

    def test_single_epoch(self):
        plots.elbo_curves(HISTORY.iloc[:1]).figure.canvas.draw()

    @pytest.mark.parametrize(
        "history", [HISTORY.drop(columns="train_elbo"), HISTORY.iloc[:0], HISTORY.assign(train_elbo=np.nan)]
    )
    def test_refuses_a_history_without_elbo(self, history):
        with pytest.raises(ValueError, match=r"expects finite 'train_elbo'.*got .* rows.*; give the history"):
            plots.elbo_curves(history)


class TestPictures:
    def test_grid_fills_row_by_row_and_leaves_the_rest_empty(self):
        shown = plots.images(IMAGES, columns=4, vmin=-1, vmax=3).get_images()[0]
        assert shown.get_clim() == (-1, 3)
        pixels = shown.get_array().filled(np.nan)
        assert pixels.shape == (2 * 4 + 1, 4 * 5 + 3)
        np.testing.assert_array_equal(pixels[5:, 6:11], IMAGES[5, 0])
        assert np.isnan(pixels[4]).all()
        assert np.isnan(pixels[5:, 12:]).all()

    def test_colour_is_scaled_and_missing_pixels_are_transparent(self):
        x = np.stack([np.full((2, 2), v) for v in (10.0, 20.0, 30.0)])[None]
        x[0, :, 0, 0] = np.nan
        pixels = plots.images(x).get_images()[0].get_array()
        np.testing.assert_allclose(pixels[1, 1], [0.0, 0.5, 1.0, 1.0])
        assert pixels[0, 0, 3] == 0.0

    def test_reconstructions_share_their_scale(self):
        ax = plots.reconstructions(IMAGES, 2 * IMAGES)
        shown = ax.get_images()[0]
        assert shown.get_clim() == (IMAGES.min(), 2 * IMAGES.max())
        np.testing.assert_array_equal(shown.get_array()[5:, 6:11], 2 * IMAGES[1, 0])
        assert ticks(ax.yaxis) == ["data", "reconstruction"]

    def test_manifold_puts_the_outer_images_on_the_extent(self):
        ax = plots.manifold(GRID, extent=(-3, 3, 0, 4))
        shown = ax.get_images()[0]
        left, right, bottom, top = shown.get_extent()
        wide, high = (right - left) / (4 * 5 + 3), (top - bottom) / (3 * 4 + 2)  # a pixel, with a line between tiles
        np.testing.assert_allclose([left + 2.5 * wide, right - 2.5 * wide], [-3, 3])
        np.testing.assert_allclose([bottom + 2 * high, top - 2 * high], [0, 4], atol=1e-12)
        np.testing.assert_array_equal(shown.get_array()[:4, :5], GRID[0, 0, 0])
        assert ax.get_ylim() == (bottom, top)
        assert ticks(plots.manifold(GRID).xaxis) == []

    def test_traversals_name_rows_and_columns(self):
        ax = plots.traversals(GRID, values=[-1.5, 0, 1, 2], units=[7, 0, 3])
        assert ticks(ax.yaxis) == ["z[7]", "z[0]", "z[3]"]
        assert ticks(ax.xaxis) == ["-1.5", "0", "1", "2"]

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda: plots.images(IMAGES[:, 0]), r"\(n, channels, height, width\), got \(6, 4, 5\); reshape"),
            (lambda: plots.samples(IMAGES[:0]), r"non-empty array.*got \(0, 1, 4, 5\); reshape"),
            (
                lambda: plots.images(np.ones((2, 2, 4, 4))),
                r"1 \(grey\) or 3 \(colour\).*got \(2, 2, 4, 4\); choose",
            ),
            (
                lambda: plots.images(np.full((1, 1, 2, 2), np.nan)),
                r"finite pixel values, got none in 4; look",
            ),
            (lambda: plots.images(IMAGES, columns=0), r"columns to be a whole number from 1 on or None, got 0"),
            (
                lambda: plots.reconstructions(IMAGES, IMAGES[:2]),
                r"same shape, got \(6, .* and \(2, .*; give one",
            ),
            (
                lambda: plots.manifold(IMAGES),
                r"\(rows, columns, channels, height, width\), got \(6,.*; reshape",
            ),
            (
                lambda: plots.manifold(GRID, extent=(2, -2, -2, 2)),
                r"each pair increasing, got \(2, -2, -2, 2\); give",
            ),
            (lambda: plots.traversals(GRID, values=[1, 2]), r"expects 4 values, got 2; give one"),
            (lambda: plots.traversals(GRID, units=[1, 2]), r"expects 3 units, got 2; give one"),
        ],
    )
    def test_refuses(self, call, message):
        with pytest.raises(ValueError, match=message):
            call()
        assert plt.get_fignums() == []


class TestLatents:
    def test_draws_the_chosen_units_on_equal_scales(self):
        ax = plots.latent_space(Z * [1, 1, 1e-3], dims=(0, 2))
        np.testing.assert_allclose(ax.collections[0].get_offsets(), Z[:, [0, 2]] * [1, 1e-3])
        assert ax.get_aspect() == 1
        assert np.diff(ax.get_ylim()) == pytest.approx(np.diff(ax.get_xlim()))
        assert ax.get_legend() is None

    def test_classes_get_a_legend_and_more_numbers_a_colour_bar(self):
        classes = np.arange(60) % 12
        ax = plots.latent_space(Z, classes)
        assert legend(ax) == [str(i) for i in range(12)]
        first, second = (points.get_offsets() for points in ax.collections)
        np.testing.assert_array_equal(first, Z[classes < 10, :2])
        np.testing.assert_array_equal(second, Z[classes >= 10, :2])
        ax = plots.latent_space(Z, Z[:, 2])
        assert ax.get_legend() is None
        np.testing.assert_array_equal(ax.collections[0].get_array(), Z[:, 2])

    def test_contours_enclose_the_mass_of_a_normal(self):
        ax = plots.aggregate_posterior(Z[:, :2], LOG_PRIOR, extent=(-4, 4, -5, 5))
        points, contours = ax.collections
        np.testing.assert_array_equal(points.get_offsets(), Z[:, :2])
        radii = [np.linalg.norm(path.vertices, axis=1).mean() for path in contours.get_paths()]
        expected = np.sqrt(-2 * np.log1p(-np.array([0.99, 0.9, 0.5])))  # the square is chi-squared with 2 df
        np.testing.assert_allclose(radii, expected, rtol=0.05)
        assert ax.get_ylim()[1] >= 5

    def test_flat_or_bounded_priors(self):
        plots.aggregate_posterior(Z[:, :2], np.zeros((5, 5)), extent=(-1, 1, -1, 1))
        inside = np.pad(np.zeros((5, 5)), 2, constant_values=-np.inf)
        plots.aggregate_posterior(Z[:, :2], inside, extent=(-1, 1, -1, 1), labels=Z[:, 0] > 0)

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda: plots.latent_space(Z[:, 0]), r"\(n, latent\), got \(60,\); give"),
            (lambda: plots.latent_space(Z[:, :1]), r"two columns of z as dims, got dims=\(0, 1\).*; choose"),
            (
                lambda: plots.latent_space(np.where(Z > 2, np.nan, Z)),
                r"finite z, got \d of 60 rows that are not; find",
            ),
            (lambda: plots.latent_space(Z, [1, 2]), r"labels expects 60 values, got 2; give"),
            (
                lambda: plots.latent_space(Z, [f"run {i}" for i in range(60)]),
                r"at most 20 classes, got 60.*; merge",
            ),
            (lambda: plots.aggregate_posterior(Z), r"\(n, 2\), got \(60, 3\); choose"),
            (
                lambda: plots.aggregate_posterior(Z[:, :2], LOG_PRIOR),
                r"together, got extent=None.*; say where",
            ),
            (
                lambda: plots.aggregate_posterior(Z[:, :2], LOG_PRIOR * np.nan, extent=(-1, 1, -1, 1)),
                r"log-densities.*got shape \(41, 31\), values from nan.*; evaluate",
            ),
        ],
    )
    def test_refuses(self, call, message):
        with pytest.raises(ValueError, match=message):
            call()


class TestKlPerUnit:
    def test_bars_are_sorted_and_coloured_by_activity(self):
        ax = plots.kl_per_unit([0.1, 3.0, 1.0], labelled="dimension-wise KL", active=[False, True, True])
        assert [bar.get_height() for bar in ax.patches] == [3.0, 1.0, 0.1]
        assert ticks(ax.xaxis) == ["1", "2", "0"]
        first, second, last = (bar.get_facecolor() for bar in ax.patches)
        assert first == second != last
        assert legend(ax)[0] == "active: 2 of 3 units"
        assert ax.get_ylabel() == "dimension-wise KL, nats"

    def test_threshold_is_a_line(self):
        ax = plots.kl_per_unit(RNG.random(100), threshold=0.01)
        assert ax.get_lines()[0].get_ydata()[0] == 0.01
        assert legend(ax) == ["threshold: 0.01 nats"]

    @pytest.mark.parametrize(
        ("kl", "active", "message"),
        [
            (np.ones((2, 3)), None, r"\(latent,\), got \(2, 3\); average"),
            ([1.0, np.nan], None, r"finite values, got 1 of 2 that are not; find"),
            ([1.0, 2.0], [True], r"booleans of shape \(2,\), got bool of shape \(1,\); give"),
            ([1.0, 2.0], [0, 1], r"booleans of shape \(2,\), got int64 of shape \(2,\); give"),
        ],
    )
    def test_refuses(self, kl, active, message):
        with pytest.raises(ValueError, match=message):
            plots.kl_per_unit(kl, active=active)


class TestParetoK:
    def test_values_that_are_not_finite_count_and_stand_at_the_top_edge(self):
        ax = plots.pareto_k([0.1, np.inf, 0.8, np.nan, 0.2], obs=[10, 11, 12, 13, 14])
        finite, edge = ax.collections
        np.testing.assert_array_equal(finite.get_offsets(), [[10, 0.1], [12, 0.8], [14, 0.2]])
        np.testing.assert_array_equal(edge.get_offsets()[:, 0], [11, 13])
        assert (edge.get_offsets()[:, 1] > 0.95).all()  # a fraction of the Axes' height
        assert legend(ax) == ["threshold 0.70", "above: 3 of 5 (60.0 %)", "of them not finite: 2"]

    def test_a_huge_value_does_not_flatten_the_others(self):
        ax = plots.pareto_k(np.append(np.linspace(0, 1, 50), 1e6))
        assert ax.get_ylim()[1] < 2
        np.testing.assert_array_equal(ax.collections[1].get_offsets()[:, 0], [50])
        assert legend(ax)[1:] == ["above: 16 of 51 (31.4 %)", "of them beyond 1: 1"]

    def test_nothing_finite(self):
        ax = plots.pareto_k([np.inf, np.nan])
        ax.figure.canvas.draw()
        assert ax.get_xlim()[1] > 1

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [({}, 0.7), ({"num_samples": 100}, 0.5), ({"num_samples": 10**6}, 0.7), ({"threshold": 0.4}, 0.4)],
    )
    def test_threshold(self, arguments, expected):
        assert plots.pareto_k([0.1, 0.6], **arguments).get_lines()[0].get_ydata()[0] == pytest.approx(expected)

    @pytest.mark.parametrize(
        ("k", "arguments", "message"),
        [
            ([0.5], {"obs": [1, 2]}, r"obs expects shape \(1,\), got \(2,\); give"),
            ([0.5], {"num_samples": 1}, r"num_samples >= 25, got 1; k-hat needs more"),
        ],
    )
    def test_refuses(self, k, arguments, message):
        with pytest.raises(TypeError, match=r"pareto_k expects k to be an array of real numbers, got 0\.5"):
            plots.pareto_k(0.5)
        with pytest.raises(ValueError, match=message):
            plots.pareto_k(k, **arguments)


class TestNll:
    def test_best_at_the_top_with_two_standard_errors(self):
        ax = plots.nll_with_errors(TABLE)
        assert ticks(ax.yaxis) == ["b", "c", "a"]
        assert ax.yaxis_inverted()
        np.testing.assert_array_equal(ax.get_lines()[0].get_xdata(), [97.0, 98.0, 99.0])
        bar = ax.collections[0].get_segments()[0]
        np.testing.assert_allclose(bar[:, 0], [97.0 - 0.8, 97.0 + 0.8])

    def test_run_without_value_is_listed_last(self):
        ax = plots.nll_with_errors(TABLE.assign(nll=[np.nan, 97.0, 98.0]))
        ax.figure.canvas.draw()
        assert ticks(ax.yaxis) == ["b", "c", "a"]

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            (TABLE[["nll"]], r"columns 'nll' and 'nll_se'.*got 3 rows with columns \['nll'\]; evaluate"),
            (TABLE.iloc[:0], r"one row a run, got 0 rows.*; evaluate"),
            (TABLE.assign(nll_se=-1.0), r"standard errors >= 0, got -1.0; correct"),
        ],
    )
    def test_refuses(self, table, message):
        with pytest.raises(ValueError, match=message):
            plots.nll_with_errors(table)


class TestGaps:
    def test_stacks_the_largest_sum_first_and_leaves_out_what_is_not_finite(self):
        ax = plots.gap_decomposition([1.0, np.inf, 2.0, -0.5], [0.5, 1.0, 1.0, 0.75], obs=[4, 5, 6, 7])
        approximation, amortization = ax.patches[:3], ax.patches[3:]
        assert [bar.get_height() for bar in approximation] == [1.0, 0.5, 0.75]
        assert [(bar.get_y(), bar.get_height()) for bar in amortization] == [(1.0, 2.0), (0.5, 1.0), (0.0, -0.5)]
        np.testing.assert_array_equal([line[0, 1] for line in ax.collections[0].get_segments()], [3.0, 1.5, 0.25])
        assert ticks(ax.xaxis) == ["6", "4", "7"]
        assert "left out, not finite: 1" in legend(ax)

    def test_many_are_averaged_over_ranks_and_a_huge_one_is_cut_off(self):
        amortization, approximation = RNG.random((2, 10_000))
        amortization[0] = 1e6
        ax = plots.gap_decomposition(amortization, approximation)
        assert ax.get_ylim()[1] < 6
        assert "beyond the axis: 1, up to 1e+06 nats" in legend(ax)
        assert ax.get_xlabel().endswith("(means of 50)")
        area = ax.patches[0].get_data()
        assert np.sum(area.values * np.diff(area.edges)) == pytest.approx(approximation.sum())

    def test_nothing_finite(self):
        plots.gap_decomposition([np.nan], [1.0]).figure.canvas.draw()
        plots.gaps_by_guide({"a": ([np.nan], [1.0])}).figure.canvas.draw()

    def test_guides_are_compared_by_mean_and_two_standard_errors(self):
        ax = plots.gaps_by_guide({"a": ([1.0, 3.0, np.nan], [0.5, 0.5, 9.0]), "b": ([2.0], [1.0])})
        assert [bar.get_width() for bar in ax.patches] == [0.5, 1.0, 2.0, 2.0]
        bar = ax.collections[1].get_segments()[0]
        np.testing.assert_allclose(bar[:, 0], [2.0 - 2.0, 2.0 + 2.0])  # sd sqrt(2), over sqrt(2) data
        assert ticks(ax.yaxis) == ["a\n(2 of 3 data)", "b\n(1 data)"]


class TestPosteriorAgainstReference:
    def test_regions_hold_the_mass_of_a_normal_and_the_frame_follows_them(self):
        grid = np.linspace(-10, 10, 101)
        log_density = -0.5 * (grid[:, None] ** 2 + grid**2)
        ax = plots.posterior_against_reference(0.1 * Z[:, :2], log_density=log_density, extent=(-10, 10, -10, 10))
        radii = [np.linalg.norm(path.vertices, axis=1).mean() for path in ax.collections[1].get_paths()]
        expected = np.sqrt(-2 * np.log1p(-np.array([0.99, 0.9, 0.5])))
        np.testing.assert_allclose(radii, expected, rtol=0.05)
        assert expected[0] < ax.get_xlim()[1] < 5
        assert legend(ax) == ["q(z | x)", "exact: 50 %", "exact: 90 %", "exact: 99 %"]

    def test_draws_are_interleaved(self):
        ax = plots.posterior_against_reference(Z[:3, :2], Z[3:6, :2], dims=(4, 7))
        np.testing.assert_array_equal(ax.collections[0].get_offsets(), Z[[0, 3, 1, 4, 2, 5], :2])
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("z[4]", "z[7]")

    def test_flat_density_and_one_draw(self):
        flat = plots.posterior_against_reference([[1.0, 1.0]], log_density=np.zeros((3, 3)), extent=(-1, 1, -1, 1))
        flat.figure.canvas.draw()


class TestCalibration:
    def test_names_what_leaves_the_band(self):
        u = (np.arange(100) + 0.5) / 100
        ax = plots.sbc_ecdf_difference({"z": np.stack([u, u**3], axis=1), "log p(x, z)": u**0.5}, BAND, labelled="95 %")
        assert legend(ax) == ["z[1]", "log p(x, z)", "inside: 1 of 3 quantities", "95 %"]
        np.testing.assert_allclose(ax.get_lines()[-1].get_ydata(), POINTS ** (1 / 3) - POINTS, atol=0.011)
        assert np.subtract(*ax.get_ylim()) == pytest.approx(2 * ax.get_ylim()[0])

    def test_many_outside_and_one_value(self):
        ax = plots.sbc_ecdf_difference({"z": RNG.random((80, 40)) ** 4}, BAND)
        assert len(legend(ax)) == 11
        assert legend(ax)[-3:-1] == ["outside, too: 32 more", "inside: 0 of 40 quantities"]
        plots.sbc_ecdf_difference({"z": [0.5]}, BAND)

    def test_coverage_has_two_standard_errors_and_sorts_probabilities(self):
        ax = plots.coverage([0.9, 0.5], [0.8, 0.4], [0.02, 0.01])
        np.testing.assert_array_equal(ax.get_lines()[1].get_xydata(), [[0.5, 0.4], [0.9, 0.8]])
        bars = ax.collections[0].get_segments()
        np.testing.assert_allclose([bar[:, 1] for bar in bars], [[0.38, 0.42], [0.76, 0.84]])
        assert legend(ax) == ["calibrated"]

    def test_coverage_names_the_farthest_of_many(self):
        observed = np.full((1, 40), 0.5)
        observed[0, [3, 11, 20]] = [0.7, 0.2, np.nan]
        ax = plots.coverage([0.5], observed)
        assert {"3", "11", "35 nearer to the diagonal"} < set(legend(ax))


class TestMarginals:
    def test_rows_are_ordered_by_distance(self):
        ax = plots.aggregate_marginals(Z * [1, 1e-3, 0] + [0, 0, 9], Z, num=2)
        assert ticks(ax.yaxis) == ["z[2]", "z[1]"]
        assert [text.get_text() for text in ax.texts] == ["1.00", ax.texts[1].get_text(), "distance"]
        assert ticks(plots.aggregate_marginals(Z, Z, units=[1]).yaxis) == ["z[1]"]

    def test_one_draw_and_constant_units(self):
        for draws in (Z[:1], 0 * Z):
            ax = plots.aggregate_marginals(draws, draws)
            ax.figure.canvas.draw()
            assert np.ptp(ax.get_xlim()) > 0


class TestUnitActivity:
    def test_counts_and_draws_small_values_at_the_floor(self):
        ax = plots.unit_activity([0.0, 0.5, 0.4], [-1e-18, 1e-9, 0.9])
        variances, eigenvalues = (line.get_ydata() for line in ax.get_lines()[:2])
        np.testing.assert_allclose(variances, [0.5, 0.4, 1e-5])
        np.testing.assert_allclose(eigenvalues, [0.9, 1e-5, 1e-5])
        assert ticks(ax.xaxis) == ["1", "2", "0"]
        assert legend(ax)[:2] == ["units: 2 of 3 active", "eigenvalues: 1 of 3 above"]


class TestPredictiveCheck:
    def test_draws_the_bulk_and_counts_the_rest(self):
        ax = plots.predictive_check(2.0, np.append(Z[:, 0], [np.nan, 1e9]), label="ink", p_value=0.04)
        assert legend(ax) == ["replicated data (62, 2 not drawn)", "data: 2, p = 0.04"]
        assert ax.get_xlim()[1] < 10

    def test_constant_and_far_away(self):
        low, high = plots.predictive_check(1e6, np.ones(5), label="ink").get_xlim()
        assert low < 1 < 1e6 < high


class TestWorstFitted:
    def test_worst_first_with_their_values(self):
        gaps = [1.0, np.nan, 3.0, 12345.0, np.inf, 0.0]
        values = {"gap (nats)": gaps, "k-hat": np.arange(6) / 7}
        ax = plots.worst_fitted(IMAGES, values, obs=np.arange(6) + 60_000, num=4)
        pixels = ax.get_images()[0].get_array().filled(np.nan)
        np.testing.assert_array_equal(pixels[:, 12:17], IMAGES[3, 0])
        texts = np.reshape([text.get_text().strip() for text in ax.texts], (3, 5))
        assert texts[0].tolist() == ["60001", "60004", "60003", "60002", "datum (obs)"]
        assert texts[1].tolist() == ["nan", "inf", "1.23e+04", "3", "gap (nats)"]
        assert texts[2, 1:].tolist() == ["0.571", "0.429", "0.286", "k-hat"]

    def test_reconstructions_share_their_column(self):
        ax = plots.worst_fitted(IMAGES, {"gap": np.arange(6)}, x_hat=2 * IMAGES)
        shown = ax.get_images()[0].get_array()
        np.testing.assert_array_equal(shown[5:, :5], 2 * IMAGES[5, 0])
        assert ticks(ax.yaxis) == ["data", "reconstruction"]


class TestBounds:
    def test_are_relative_to_the_exact_value_and_sorted(self):
        ax = plots.bounds([-3.0, -2.0, np.nan], [-1.0, -2.5, 0.0], exact=[-2.5, -2.0, 0.0])
        upper, lower = (points.get_offsets()[:, 1] for points in ax.collections[1:])
        np.testing.assert_array_equal(upper, [-0.5, 1.5])
        np.testing.assert_array_equal(lower, [0.0, -0.5])
        assert legend(ax)[:2] == ["mean upper bound: +0.5 ± 2", "mean lower bound: -0.25 ± 0.5"]
        assert legend(ax)[2] == "left out, not finite: 1"

    def test_one_or_none(self):
        assert legend(plots.bounds([1.0], [2.0])) == ["mean upper bound: +0.5", "mean lower bound: -0.5"]
        plots.bounds([np.nan], [2.0]).figure.canvas.draw()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.gap_decomposition([], []), r"\(obs,\), got \(0,\); give"),
        (lambda: plots.gap_decomposition([1, 2], [1]), r"approximation expects shape \(2,\), got \(1,\); give"),
        (lambda: plots.gap_decomposition([1], [1], obs=[1, 2]), r"obs expects shape \(1,\), got \(2,\); give"),
        (lambda: plots.gaps_by_guide({}), r"one guide or more, got none; give"),
        (lambda: plots.gaps_by_guide({"a": ([1, 2], [1])}), r"gap of a expects shape \(2,\), got \(1,\); give"),
        (lambda: plots.posterior_against_reference(Z[:, :2]), r"a reference, or log_density.*got reference missing"),
        (lambda: plots.posterior_against_reference(Z, Z), r"q of shape \(n, 2\), got \(60, 3\); choose"),
        (
            lambda: plots.posterior_against_reference(Z[:, :2], log_density=[[np.nan] * 2] * 2, extent=(0, 1, 0, 1)),
            r"log_density expects log-densities.*; evaluate",
        ),
        (lambda: plots.sbc_ecdf_difference({}, BAND), r"one quantity or more, got none; give"),
        (
            lambda: plots.sbc_ecdf_difference({"z": [np.nan, 2]}, BAND),
            r"'z' of shape \(2,\) with 2 values outside; div",
        ),
        (lambda: plots.sbc_ecdf_difference({"a": [0.1], "b": [0, 1]}, BAND), r"as many values.*got \[1, 2\]; a band"),
        (
            lambda: plots.sbc_ecdf_difference({"z": [0.5]}, (POINTS, [0], [1])),
            r"band expects shape \(99,\), got \(1,\)",
        ),
        (lambda: plots.coverage([50, 90], [0.5, 0.9]), r"probabilities in \[0, 1\], got 50.0 to 90.0; divide"),
        (lambda: plots.coverage([0.5], [0.5, 0.9]), r"observed expects shape \(1, 1\), got \(2, 1\); give one row"),
        (lambda: plots.coverage([0.5], [0.5], [[0.1, 0.1]]), r"se expects shape \(1, 1\), got \(1, 2\); give"),
        (lambda: plots.coverage([0.5], [0.5], names=["a", "b"]), r"expects 1 names, got 2; give"),
        (lambda: plots.aggregate_marginals(Z, Z[:, :2]), r"\(60, 3\) and \(60, 2\); flatten"),
        (lambda: plots.aggregate_marginals(Z * np.nan, Z), r"finite z, got 60 of 60 rows that are not; find"),
        (lambda: plots.aggregate_marginals(Z, Z, units=[3]), r"units from 0 to 2, got \[3\]; choose"),
        (lambda: plots.unit_activity([1.0], [np.nan]), r"finite values and a threshold above 0, got.*nan.*; find"),
        (lambda: plots.unit_activity([1.0], [1.0, 0.1]), r"eigenvalues expects shape \(1,\), got \(2,\); give"),
        (
            lambda: plots.predictive_check(np.nan, [1.0], label=""),
            r"predictive_check expects observed to be a number, got nan; ",
        ),
        (lambda: plots.worst_fitted(IMAGES, {}), r"values that order the data, got \[\]; give"),
        (lambda: plots.worst_fitted(IMAGES, {"k": [1]}), r"k expects shape \(6,\), got \(1,\); give"),
        (
            lambda: plots.worst_fitted(IMAGES, {"k": range(6)}, x_hat=IMAGES[:1]),
            r"x_hat expects shape \(6, 1, 4, 5\), got",
        ),
        (lambda: plots.worst_fitted(IMAGES, {"k": range(6)}, obs=[1]), r"obs expects shape \(6,\), got \(1,\); give"),
        (lambda: plots.bounds([1.0, 2.0], [1.0]), r"upper expects shape \(2,\), got \(1,\); give"),
    ],
)
def test_diagnostic_plots_refuse(call, message):
    with pytest.raises(ValueError, match=message):
        call()
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    ("observed", "se", "message"),
    [
        ([50.0, 90.0], None, "observed shares in .0, 1., got 50 to 90"),
        ([0.5, 0.9], [-0.1, 0.1], "errors of 0 or"),
    ],
)
def test_coverage_that_is_no_share_is_refused(observed, se, message):
    with pytest.raises(ValueError, match=message):
        plots.coverage([0.5, 0.9], observed, se)
