"""Manifold benchmark: scores against their definitions, what each method can do, and the table and figure."""

import functools
import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import rankdata
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

from ppl_vae import data, plots
from ppl_vae.cli import main
from ppl_vae.manifold import Method, benchmark, continuity, distance_correlation, methods, trustworthiness

RNG = np.random.default_rng(0)


SHAPES = [((50, 3), (50, 2)), ((200, 1), (200, 5)), ((2, 2), (2, 1))]


def pair(shapes):
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=shape) for shape in shapes)
    y[:, 0] += x[:, 0] ** 2
    return x, y


@functools.cache
def dcors():
    """For each of the shapes; from a process that compiles nothing, which takes dcor 25 seconds."""
    program = (
        "import json, sys, numpy, dcor\n"
        "print([dcor.distance_correlation(*map(numpy.array, pair)).item() for pair in json.load(sys.stdin)])"
    )
    given = json.dumps([[one.tolist() for one in pair(shapes)] for shapes in SHAPES])
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-c", program]
    return json.loads(subprocess.run(command, input=given, text=True, env=environment, check=True, stdout=-1).stdout)


@pytest.mark.parametrize("which", range(len(SHAPES)))
@pytest.mark.parametrize("max_rows", [1, 7, 1000])
def test_distance_correlation_is_dcors(which, max_rows):
    x, y = pair(SHAPES[which])
    pytest.importorskip("dcor")
    assert distance_correlation(x, y, max_rows=max_rows) == pytest.approx(dcors()[which], abs=1e-10)


def test_distance_correlation_of_similar_constant_and_bad_data():
    x = RNG.normal(size=(60, 2))
    turn = np.linalg.qr(RNG.normal(size=(3, 3)))[0][:2]
    assert distance_correlation(x, 1e-3 * x @ turn + 5) == pytest.approx(1, abs=1e-12)
    assert distance_correlation(x, np.ones(60)) == 0
    for bad in (x[:1], x[:3] * np.nan, x[:5]):
        with pytest.raises(ValueError, match=r"finite pairs of vectors, got shapes .*; give one row"):
            distance_correlation(bad, x[: min(len(bad), 3)])
    with pytest.raises(TypeError, match=r"expects x to be an array of real numbers, got 1\.0"):
        distance_correlation(1.0, 2.0)
    for one, other in (([], []), (np.zeros((0, 2)), np.zeros((0, 3)))):
        with pytest.raises(ValueError, match="expects two or more finite pairs of vectors"):
            distance_correlation(one, other)


def by_definition(x, z, k):
    """Trustworthiness M1 and continuity M2 of Venna and Kaski (2006), equations 1 and 2, element by element."""
    n = len(x)

    def ranks(v):
        d = np.linalg.norm(v[:, None] - v, axis=-1)
        np.fill_diagonal(d, -1)
        return np.apply_along_axis(rankdata, 1, d) - 1  # the datum itself has rank 0

    r, r_hat = ranks(x), ranks(z)
    scale = 2 / (n * k * (2 * n - 3 * k - 1))
    visualized, original = (r_hat > 0) & (r_hat <= k), (r > 0) & (r <= k)
    m1 = 1 - scale * (r - k)[visualized & ~original].sum()
    m2 = 1 - scale * (r_hat - k)[original & ~visualized].sum()
    return m1, m2


@pytest.mark.parametrize("k", [1, 5, 12])
def test_trustworthiness_and_continuity_by_definition(k):
    x = RNG.normal(size=(40, 5))
    z = x[:, :2] + 0.3 * RNG.normal(size=(40, 2))
    found = trustworthiness(x, z, num_neighbors=k), continuity(x, z, num_neighbors=k)
    assert found == pytest.approx(by_definition(x, z, k), abs=1e-12)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits").take(200, 10, 60)


@pytest.fixture(scope="module")
def everything(digits):
    """Every method but UMAP, whose compiler takes longer than all the others."""
    chosen = {name: method for name, method in methods(steps=4).items() if name != "UMAP"}
    return benchmark(digits, chosen, seeds=2)


def test_one_row_a_method_and_seed(everything):
    names = ["PCA", "LDA", "KernelPCA", "Isomap", "LLE", "t-SNE"]
    names += ["Autoencoder", "DenoisingAutoencoder", "VAE", "BetaVAE"]
    assert everything.scores.method.tolist() == [name for name in names for _ in range(2)]
    assert everything.scores.seed.tolist() == [0, 1] * len(names)
    assert all(z.shape == (60, 2) for z in everything.embeddings.values())
    assert "distance_correlation" not in everything.scores
    for score in ("trustworthiness", "continuity", "knn_accuracy"):
        assert everything.scores[score].between(0, 1).all()
    inverse = everything.scores.groupby("method").rmse.count() > 0
    assert set(inverse.index[inverse]) == {n for n, method in methods().items() if method.inverse and n != "UMAP"}
    summary = everything.summary()
    assert summary.index.tolist() == names
    mean, sd = everything.scores[everything.scores.method == "VAE"].rmse.agg(["mean", "std"])
    assert summary.loc["VAE", "rmse"].tolist() == pytest.approx([mean, sd])
    assert (summary.loc[["PCA", "LDA", "Isomap"], [("knn_accuracy", "sd")]] == 0).all(axis=None)
    assert "knn_accuracy" in repr(everything)


def test_only_tsne_saw_the_held_out_data(everything):
    seen = ~everything.scores.set_index("method").held_out
    assert set(seen.index[seen]) == {"t-SNE"}


def test_scores_of_pca_by_hand(everything, digits):
    x, x_test = (split.x.reshape(len(split), -1).double().numpy() for split in (digits.train, digits.test))
    pca = PCA(2, svd_solver="full").fit(x)
    y, y_test = digits.train.y.numpy(), digits.test.y.numpy()
    knn = KNeighborsClassifier(10).fit(pca.transform(x), y).score(pca.transform(x_test), y_test)
    error = x_test - pca.inverse_transform(pca.transform(x_test))
    row = everything.scores.iloc[0]
    assert row.knn_accuracy == pytest.approx(knn)
    assert row.rmse == pytest.approx(np.sqrt((error**2).mean()))  # in grey levels
    assert row.trustworthiness == pytest.approx(trustworthiness(x_test, pca.transform(x_test)))


def test_raw_units_whatever_the_data_were_prepared_for(digits):
    chosen = {"PCA": methods()["PCA"]}
    raw, unit = (benchmark(d, chosen, seeds=1).scores.rmse[0] for d in (digits, digits.dequantize()))
    assert unit == pytest.approx(raw, rel=0.05)  # but for the noise of the dequantization


def test_differences_of_accuracies(everything):
    found = everything.differences("PCA")
    a, b = everything.right["PCA"], everything.right["VAE"]
    assert a.shape == (2, 60)
    row = found.loc["VAE"]
    assert row.difference == pytest.approx(a.mean() - b.mean())
    paired = a.mean(0) - b.mean(0)
    assert row.se_images == pytest.approx(paired.std(ddof=1) / np.sqrt(60))
    assert row.se_seeds == pytest.approx(b.mean(1).std(ddof=1) / np.sqrt(2))
    assert row.se == pytest.approx(np.hypot(row.se_images, row.se_seeds))
    with pytest.raises(ValueError, match=r"got 'UMAP' and .*'PCA'.*; choose"):
        everything.differences("UMAP")


def test_the_same_seed_gives_the_same_scores_and_changes_nothing_global(digits):
    chosen = {name: methods(steps=2)[name] for name in ("LLE", "VAE")}
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    first, second = (benchmark(digits, chosen, seeds=1).scores.drop(columns="seconds") for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()
    other = benchmark(digits, chosen, seeds=2).scores
    assert other.rmse[2] != other.rmse[3]


class ThreadsLeftChanged(PCA):
    """As UMAP does it: OpenMP's number of threads is the process's."""

    def fit_transform(self, x, y=None):
        torch.set_num_threads(torch.get_num_threads() + 1)
        return super().fit_transform(x)


def test_a_method_leaves_the_threads_of_the_next_one_alone(digits):
    before = torch.get_num_threads()
    benchmark(digits, {"a": Method(lambda x, y, seed: ThreadsLeftChanged(2), "")}, seeds=1, num_train=100)
    assert torch.get_num_threads() == before


def test_data_without_labels_leave_out_lda(digits):
    bare = replace(digits, train=replace(digits.train, y=None), test=replace(digits.test, y=None))
    found = benchmark(bare, {name: methods()[name] for name in ("PCA", "LDA")}, seeds=1)
    assert found.left_out == {"LDA": "it needs labels, and the data have none"}
    assert "knn_accuracy" not in found.scores
    assert found.right == {}


def test_what_is_not_installed_is_left_out(digits):
    gone = Method(lambda x, y, seed: None, "", missing="pip install umap-learn")
    found = benchmark(digits, {"PCA": methods()["PCA"], "UMAP": gone}, seeds=1)
    assert found.left_out == {"UMAP": "it is not installed: pip install umap-learn"}


def test_two_classes_have_one_discriminant(digits):
    two = replace(digits, **{role: split[split.y < 2] for role, split in digits.splits.items()})
    found = benchmark(two, {"LDA": methods()["LDA"]}, seeds=1, num_neighbors=4)
    assert found.embeddings["LDA"].shape == (len(two.test.y), 1)
    assert plots.embeddings(found.embeddings, two.test.y)[0].get_title() == "LDA"


@pytest.mark.parametrize("name", ["swiss_roll", "s_curve"])
def test_isomap_finds_the_true_coordinates(name):
    chosen = {n: methods()[n] for n in ("PCA", "Isomap")}
    found = benchmark(data.load(name), chosen, seeds=1, num_train=1000).summary().distance_correlation["mean"]
    assert found["Isomap"] >= 0.95
    assert found["Isomap"] > found["PCA"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: methods(steps=0), "steps to be a whole number from 1 on or None, got 0"),
        (lambda d: benchmark(d, seeds=0), "seeds to be a whole number from 1 on, got 0"),
        (lambda d: benchmark(d, num_held_out=20), "20 held-out data for 10 neighbours; give more"),
        (lambda d: benchmark(d.hide(0.5)), "complete data, got a mask over 200 data; leave out"),
    ],
)
def test_refusals(change, message, digits):
    with pytest.raises(ValueError, match=message):
        change(digits)


class TestFigure:
    Z = RNG.normal(size=(3, 30, 2))

    def test_panels_share_colours_and_legend(self):
        axs = plots.embeddings({"a": self.Z[0], "b": self.Z[1], "c": self.Z[2]}, ["x", "y"] * 15, in_sample=["b"])
        assert [ax.get_title() for ax in axs] == ["a", "b (in-sample)", "c"]
        colours = [ax.collections[0].get_facecolor() for ax in axs]
        np.testing.assert_array_equal(colours[0], colours[2])
        (legend,) = axs[0].figure.legends
        assert [text.get_text() for text in legend.get_texts()] == ["x", "y"]
        assert [ax.spines["left"].get_linestyle() for ax in axs] == ["solid", "--", "solid"]

    def test_an_outlier_is_counted_and_does_not_shrink_the_rest(self):
        z = self.Z[0].copy()
        z[0] = 1e3
        (ax,) = plots.embeddings({"a": z})
        assert ax.get_xlabel() == "1 outside"
        assert np.ptp(ax.get_xlim()) == pytest.approx(np.ptp(ax.get_ylim()))
        assert np.ptp(ax.get_xlim()) < 20

    def test_numbers_share_a_colour_bar(self):
        axs = plots.embeddings({"a": self.Z[0], "b": self.Z[1]}, range(30), labelled="arc length")
        others = [ax for ax in axs[0].figure.axes if ax not in axs]
        assert [ax.get_ylabel() for ax in others if ax.get_ylabel()] == ["arc length"]

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda z: plots.embeddings({}), r"one method or more, got \{\}; give"),
            (lambda z: plots.embeddings({"a": z, "b": z[:3]}), r"got \{'a': 30, 'b': 3\}; give"),
            (lambda z: plots.embeddings({"a": z}, range(4)), r"'labels': 4\}; give"),
            (lambda z: plots.embeddings({"a": np.c_[z, z]}), r"expects a of shape .* got \(30, 4\); choose"),
            (lambda z: plots.embeddings({"a": z * np.nan}), r"finite z, got 30 of 30"),
        ],
    )
    def test_refusals(self, call, message):
        with pytest.raises(ValueError, match=message):
            call(self.Z[0])


def test_command(tmp_path, capsys):
    words = ["--take", "100", "--held-out", "40", "--steps", "2", "--seeds", "2"]
    words += ["--methods", "PCA", "t-SNE", "Autoencoder", "LDA"]
    assert main(["manifold", "--data", "digits", "swiss_roll", *words, "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "Left out LDA: it needs labels" in said
    assert "| t-SNE *" in said
    assert "k-NN accuracy of the autoencoder less that of" in said
    found = pd.read_csv(tmp_path / "manifold.csv")
    assert found.groupby("data").size().to_dict() == {"digits": 8, "swiss_roll": 6}
    text = (tmp_path / "manifold.md").read_text()
    assert all(line in text for line in said.splitlines() if not line.startswith(("wrote", "next: ")))
    assert said.splitlines()[-1] == "next: ppl-vae train --data digits --latent-dim 2"
    for name in ("digits", "swiss_roll"):
        assert (tmp_path / f"manifold_{name}.png").read_bytes().startswith(b"\x89PNG")


def test_command_refuses(capsys, tmp_path):
    with pytest.raises(SystemExit):
        main(["manifold", "--methods", "PCA", "isomap", "--out", str(tmp_path)])
    assert "--methods expects PCA, LDA, " in capsys.readouterr().err
    assert main(["manifold", "--take", "5", "--out", str(tmp_path)]) == 1
    assert "5 training and 300 held-out data for 10 neighbours; give more" in capsys.readouterr().err
