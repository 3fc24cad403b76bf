"""Every script of `experiments`, run as a reader would run it, with tiny settings on embedded data."""

import importlib
import json
import math
import runpy
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from scripts import EXPERIMENTS, found_by

import ppl_vae
from ppl_vae.data import Column

SCRIPTS = sorted(EXPERIMENTS.glob("*.py"))
SCRIPTS.remove(EXPERIMENTS / "results_file.py")  # what they share

TINY = {
    "mnist.py": "--data digits --epochs 1 --take 50 --num-samples 30 --num-components 10 --device cpu --out out.json",
    "believable.py": "--data digits --num-components 5 --epochs 1 --train 50 --validation 20 --take 4 --few 2 "
    "--num-samples 30 60 --adaptive-samples 100 --models StandardNormal VampPrior 'two levels' --hidden-dim 16 "
    "--latent-dim 4 --work work --figure figure.png --out out.json",
    "better_q.py": "--data digits --choices STL 'then 1 of q, w' splines --epochs 1 --train 50 --validation 20 "
    "--take 4 --latent-dim 3 --hidden-dim 8 --num-samples 100 --cache cache --figure figure.png --out out.json",
    "ranking.py": "--data digits --epochs 1 --train 50 --validation 20 --take 6 --latent-dim 3 --hidden-dim 8 "
    "--num-steps 2 --num-samples 30 60 --adaptive-samples 100 --annealed 3 --num-temperatures 5 --cache cache "
    "--figure figure.png --out out.json",
    "where_q_fails.py": "--data digits --epochs 1 --train 60 --take 6 --num-samples 100 --figure figure.png "
    "--out out.json",
    "swap_likelihoods.py": "--epochs 1 --take 40 --num-samples 30 --hidden-dim 16 --latent-dim 3 --device cpu "
    "--figure figure.png --out out.json",
    "why_q.py": "--data digits --epochs 1 --take 5 --samples 10 300 --temperatures 2 --num-points 65 "
    "--figure figure.png --out out.json",
    "walk_manifold.py": "--epochs 1 --take 200 --latent-dim 3 --pairs 3 --steps 13 --frames 2 --figure figure.png "
    "--gif walk.gif --out out.json",
    "denoise.py": "--noises 'Gaussian, sd 0.5' 'masking, rate 0.5' --epochs 1 --take 60 --latent-dim 3 --device cpu "
    "--figure figure.png --out out.json",
    "disentangle.py": "--methods 'beta-VAE 1' 'beta-TCVAE 4' 'capacity 3' --seeds 0 1 --epochs 1 "
    "--train 200 --test 300 --latent-dim 3 --hidden-dim 16 "
    "--figure figure.png --out out.json",
    "topics.py": "--data-dir data --epochs 2 --latent-dim 3 --hidden-dims 8 --num-samples 30 --words data/words.txt "
    "--figure figure.png --out out.json",
    "tables.py": "--data-dir data --epochs 2 --bound-epochs 1 --particles 2 --latent-dims 2 3 --hidden-dim 8 "
    "--components 2 3 --num-samples 30 --scored 20 --imputed 60 --work work --figure figure.png --out out.json",
    "imputation.py": "--tables wine --seeds 0 1 --take 60 --members 2 --steps 4 --num-samples 50 --particles 2 "
    "--latent-dim 2 --hidden-dims 8 --cache cache --figure figure.png --out out.json",
    "cells.py": "--cells 240 --genes 20 --hidden-dim 16 --epochs 2 --num-samples 30 --checked 2 --device cpu "
    "--figure figure.png --out out.json",
    "anomalies.py": "--tables wine --seeds 0 1 --epochs 2 --num-samples 30 --pyod-epochs 1 --cache cache "
    "--figure figure.png --out out.json",
    "semi_supervised.py": "--train 120 --labels 20 40 --epochs 1 --steps 5 --latent-dim 2 --hidden-dim 8 --seeds 0 1 "
    "--cache cache --figure figure.png --out out.json",
    "bounds.py": "--data digits --epochs 1 --train 50 --validation 20 --take 4 --latent-dim 3 --hidden-dim 8 --draws 2 "
    "--seeds 0 --num-samples 60 --cache cache --figure figure.png --out out.json",
    "penalties.py": "--epochs 1 --train 60 --latent-dim 4 --hidden-dim 8 --seeds 0 1 --out out.json",
    "table.py": "--figure figure.png --out out.json",
    "sequences.py": "--num-train 60 --num-test 20 --epochs 1 --rates 0.001 0.004 --num-samples 30 --out out.json",
}


def believable(found, printed):
    for name in ("StandardNormal", "VampPrior", "two levels"):
        assert list(found["results"][name]) == ["importance, S = 30", "importance, S = 60", "adaptive, S = 100"]
        best = found["results"][name]["adaptive, S = 100"]
        assert (best["images"], best["too_high"]) == (4, 0)
        assert best["evaluations"] > 100
        assert sum(found["methods"][name].values()) == 4
        assert best["bits_per_dim"] == pytest.approx(best["nll"] / (64 * math.log(2)))
        less = found["less_first"].get(name, {"adaptive, S = 100": {"nats": 0.0}})["adaptive, S = 100"]
        first = found["results"]["StandardNormal"]["adaptive, S = 100"]
        assert less["nats"] == pytest.approx(best["nll"] - first["nll"])
    assert json.dumps(best["nll"]) in printed
    assert len(list(Path("work").glob("*.pkl"))) == 9
    assert Path("figure.png").stat().st_size > 0


def better_q(found, printed):
    assert set(found["results"]) == {"mean field", "splines", "STL", "then 1 of q, wake-sleep"}
    base = found["results"]["mean field"]
    assert (base["nll_minus_mean_field"], base["seconds_ratio"]) == (0, 1)
    for row in found["results"].values():
        low, high = row["kl_gap_interval"]
        assert low <= row["kl_gap"] <= high
    assert len(list(Path("cache").iterdir())) == 4


def ranking(found, printed):
    plain = ["importance, S = 30", "importance, S = 60"]
    assert list(found["differences"]) == [*plain, "adaptive"]
    assert list(found["differences_of_the_annealed"]) == [*plain, "adaptive", "annealing"]
    assert found["images"] == {"train": 50, "test": 6, "annealed": 3}
    for by, row in found["differences"].items():
        assert row["nats"] == pytest.approx(found["nll"]["an epoch more"][by] - found["nll"]["q refined"][by])
        assert row["se"] > 0
    assert json.dumps(found["differences"]["adaptive"]["nats"]) in printed
    assert len(list(Path("cache").iterdir())) == 2 + 2 * 4
    assert Path("figure.png").stat().st_size > 0


def where_q_fails(found, printed):
    assert json.dumps(found["nll"]["adaptive"]) in printed
    assert all(row["kl"] > -0.5 for row in found["drawn"])  # the ELBO of a hundred draws
    for row in found["drawn"]:
        if row["believed"]:
            assert row["adaptive"] == pytest.approx(row["grid"], abs=0.5)
    assert Path("figure.png").stat().st_size > 0


def mnist(found, printed):
    assert set(found["runs"]) == {"StandardNormal", "VampPrior"}
    difference = found["runs"]["VampPrior"]["nll"] - found["runs"]["StandardNormal"]["nll"]
    assert found["units"]["nll"] == "nats per datum"
    assert ("cannot be believed" in found["warning"]) == any(run["caution"] for run in found["runs"].values())
    assert "nll (nats per datum)" in printed
    assert found["vamp_minus_standard"]["nats"] == pytest.approx(difference, abs=1e-6)
    assert 0 < found["runs"]["VampPrior"]["nll"] < 64 * math.log(2) * 1.5  # a fair coin a pixel, and some


@pytest.mark.parametrize("longer", [1.0, 1.1])
def test_epochs_of_mnist_fit_into_minutes_with_a_tenth_in_reserve(longer, monkeypatch):
    script, clock, epoch = importlib.import_module("mnist"), [0.0], [6.0]
    monkeypatch.setattr(script.time, "perf_counter", lambda: clock[0])

    def fit(vae, data, epochs, args, callbacks=(), **more):
        """Six seconds an epoch, and five to compile in the first epoch and in the first after the warm-up."""
        for number in range(epochs):
            clock[0] += epoch[0] + (5 if number in (0, args.warm_up) else 0)
            for callback in callbacks:
                callback(None)

    monkeypatch.setattr(script, "fit", fit)
    args = Namespace(minutes=2, processor=False, warm_up=None)
    epochs = script.planned(None, None, args, None)
    left = 120 - clock[0] - 10  # of which the two compilations are no epochs
    epoch[0] *= longer  # than those of the trial
    script.fit(None, None, epochs, Namespace(warm_up=epochs // 5))
    assert 120 - 6 - 0.1 * left < clock[0] <= 120


def swap_likelihoods(found, printed):
    groups = sorted(sorted(group) for group in found["comparable"])
    assert groups == [["Bernoulli"], ["ContinuousBernoulli", "Gaussian"], ["DiscretizedLogistic"]]
    assert len(found["refused"]) == 5  # of six pairs
    bases = {tuple(r["runs"]): r["because"] for r in found["refused"]}
    assert "no common scale" in bases["Gaussian", "DiscretizedLogistic"]
    assert "same data" in bases["DiscretizedLogistic", "Bernoulli"]
    assert "arXiv:1511.01844" in printed
    for name, run in found["runs"].items():
        elements = 64 * math.log(2)
        assert run["bits/dim"] == pytest.approx(run["nll (nats/datum)"] / elements, abs=1e-3)
        assert found["data"][name]["checksum"]
    assert Path("figure.png").read_bytes().startswith(b"\x89PNG")


def why_q(found, printed):
    assert len(found["panels"]) == 4
    for title, methods in found["panels"].items():
        assert set(methods) == {"prior", "q", "ais_prior", "ais_q"} | ({"grid"} if " 2 latent" in title else set())
        for points in methods.values():
            assert all(0 <= p["low"] <= p["median"] <= p["high"] for p in points)
        assert methods["prior"][-1]["median"] > methods["q"][-1]["median"] or "digits" in title
    two, eight, thirty_two = (points["prior"][-1]["median"] for points in list(found["panels"].values())[:3])
    assert two < eight < thirty_two
    assert found["grid_error"]["max"] < 0.1
    assert Path("figure.png").read_bytes().startswith(b"\x89PNG")


def walk_manifold(found, printed):
    assert set(found["runs"]) == {"VAE, 2 units", "autoencoder, 2 units", "VAE, 3 units", "autoencoder, 3 units"}
    for run in found["runs"].values():
        walks = run["walks"]
        assert set(walks) == {"linear", "spherical", "geodesic"}
        assert walks["linear"]["length_over_linear"] == 1
        assert walks["geodesic"]["length_over_linear"] <= 1
        assert run["geodesic"]["longer than the line"] == 0
        for walk in walks.values():
            assert walk["length"] / 12 <= walk["largest_step"] <= walk["length"]
            assert walk["detour"] >= 1
    assert set(found["autoencoder_over_vae"]) == {"2", "3"}
    assert Path("figure.png").read_bytes().startswith(b"\x89PNG")
    assert Path("walk.gif").read_bytes().startswith(b"GIF89a")


def disentangle(found, printed):
    methods = ["beta-VAE 1", "beta-TCVAE 4", "capacity 3"]
    assert [(run["method"], run["seed"]) for run in found["runs"]] == [(m, seed) for m in methods for seed in (0, 1)]
    migs = {(run["method"], run["seed"]): run["mig"] for run in found["runs"]}
    mean, error = found["table"]["beta-TCVAE 4"]["mig"]
    assert mean == pytest.approx((migs["beta-TCVAE 4", 0] + migs["beta-TCVAE 4", 1]) / 2)
    assert error == pytest.approx(abs(migs["beta-TCVAE 4", 0] - migs["beta-TCVAE 4", 1]) / 2)
    assert all(0 <= run["factor_vae"] <= 1 for run in found["runs"])
    assert migs[found["best"]["method"], found["best"]["seed"]] == max(migs.values())
    assert set(found["best"]["importance"]) == {"shape", "scale", "orientation", "position x", "position y"}
    assert "The largest MIG" in printed
    assert Path("figure.png").read_bytes().startswith(b"\x89PNG")


def denoise(found, printed):
    assert set(found["noises"]) == {"Gaussian, sd 0.5", "masking, rate 0.5"}
    for noise, methods in found["noises"].items():
        assert list(methods)[:4] == ["noisy", "Gaussian filter", "median filter", "PCA"]
        assert list(methods)[4:] == ["autoencoder", "denoising autoencoder", "denoising VAE"]
        assert noise in printed
        ours = methods["denoising autoencoder"]
        for method in methods.values():
            assert method["behind"] == pytest.approx(ours["psnr"] - method["psnr"], abs=1e-6)
            assert method["ssim"] < 1
    psnr = {name: method["psnr"] for name, method in found["noises"]["Gaussian, sd 0.5"].items()}
    assert psnr["noisy"] < min(psnr["Gaussian filter"], psnr["PCA"])
    assert Path("figure.png").read_bytes().startswith(b"\x89PNG")


def imputation(found, printed):
    each = {(row["seed"], row["method"]): row for row in found["each"]}
    assert len(each) == 2 * 5
    means = found["mean and standard error over seeds"]["wine"]
    for method, scores in means.items():
        assert scores["mse"] == pytest.approx((each[0, method]["mse"] + each[1, method]["mse"]) / 2)
        assert scores["mse"] > 0.3  # of 60 rows, half of them hidden
    ours = means["MIWAE (ppl_vae)"]
    assert 0.8 < ours["coverage"] <= 1
    paired = found["ours less theirs, mse, paired by seed"]["IterativeImputer"]["wine"]
    assert paired["mean"] == pytest.approx(ours["mse"] - means["IterativeImputer"]["mse"])
    assert found["tables with the smaller error"]["IterativeImputer"] == (paired["mean"] < 0)
    assert Path("figure.png").read_bytes().startswith(b"\x89PNG")


def cells(found, printed):
    assert found["simulated"]["test_cells"] == 40
    assert 0 <= found["dispersions"]["share_inside_95"] <= 1
    assert found["nll"]["fitted"]["mean"] - found["nll"]["true"]["mean"] == pytest.approx(
        found["fitted_minus_true"]["mean"], abs=1e-6
    )
    assert found["quadrature"]["its_largest_error"] < 0.1
    assert found["quadrature"]["largest_difference_of_log_px"] < 1  # of 30 draws
    assert "share_inside_95" in printed
    assert Path("figure.png").read_bytes().startswith(b"\x89PNG")


def anomalies(found, printed):
    methods = {row["method"] for row in found["mean over seeds"]}
    ours = {"OutlierDetector", "OutlierDetector, trim=0"}
    assert methods - {"PyOD VAE"} == {"IsolationForest", *ours}
    assert len(found["mean over seeds"]) == 2 * len(methods)
    script = runpy.run_path(str(EXPERIMENTS / "anomalies.py"))
    for table, inliers, outliers in (("breast_cancer", 357, 21), ("wine", 119, 10), ("digits", 183, 18)):
        rows, outlier = script["problem"](table, 3)
        assert (len(rows), int(outlier.sum()), int(outlier[inliers:].sum())) == (inliers + outliers, outliers, outliers)
    assert all(0 <= row["auroc"] <= 1 for row in found["mean over seeds"])
    ours = [row for row in found["mean over seeds"] if row["method"] in ours]
    assert all(row["not_judged"] <= row["bad_k"] for row in ours)
    assert len(found["mean over tables and seeds"]) == 2 * len(methods)
    assert Path("figure.png").read_bytes().startswith(b"\x89PNG")


def semi_supervised(found, printed):
    error = found["test_error"]
    assert list(error["by_seed"]) == ["20", "40"]
    for number, by_method in error["by_seed"].items():
        assert list(by_method) == ["labels alone", "M1", "M2"]
        for name, by_seed in by_method.items():
            assert len(by_seed) == 2
            assert error["mean"][number][name] == pytest.approx(sum(by_seed) / 2)
            assert all(0 <= each <= 100 for each in by_seed)
            assert f"seed 1, {number} labels, {name:13} test error {by_seed[1]:5.2f}" in printed
    assert len(list(Path("cache").iterdir())) == 4


def bounds(found, printed):
    assert {group: len(of) for group, of in found["results"].items()} == {"continuous": 10, "bits": 4}
    for of in found["results"].values():
        first = next(iter(of.values()))
        assert (first["nll_less_baseline"], first["nll_less_baseline_se"]) == (0, 0)
        for row in of.values():
            assert row["nll_less_baseline"] == pytest.approx(row["nll"] - first["nll"], abs=1e-4)
            assert [row["nll_less_baseline"]] == pytest.approx(row["nll_less_baseline_by_seed"])
            assert [row["kl_gap"]] == pytest.approx(row["kl_gap_by_seed"])
    assert len(list(Path("cache").iterdir())) == 14


def penalties(found, printed):
    assert [len(group) for group in found["results"].values()] == [5, 3, 2]
    for group in found["results"].values():
        baseline, *others = group.values()
        assert set(baseline["mean"]) <= set(found["units"])
        assert all(less == [0, 0] for less in baseline["less_baseline"].values())
        for name, (mean, error) in ((name, pair) for row in others for name, pair in row["mean"].items()):
            assert math.isfinite(mean), name
            assert error >= 0, name
        for row in others:
            for name, (less, _) in row["less_baseline"].items():
                assert less == pytest.approx(row["mean"][name][0] - baseline["mean"][name][0])
    for row in found["results"]["autoencoders"].values():
        assert row["mean"]["squared_jacobian"][0] > 0
        assert 0 <= row["mean"]["accuracy, 5 % flipped"][0] <= 1
    assert "Contractive" in printed


def table(found, printed):
    """What is in the repository is what the committed results give."""
    stored = json.loads((EXPERIMENTS / "results" / "table.json").read_text())
    assert found["beside_published"] == stored["beside_published"]
    assert found["equal_budget_nats"] == stored["equal_budget_nats"]
    for row in found["beside_published"]:
        assert row["ours_less_published"] == pytest.approx(row["ours"] - row["published"])
        assert row["se"] > 0
        assert (row["sd_over_seeds"] is None) == (row["seeds"] == 1)
        assert row["source"] in printed
    for better in ("VampPrior", "RealNVP", "Exemplar", "two levels"):
        (row,) = (row for name, row in found["equal_budget_nats"].items() if name.startswith(better))
        assert row["difference"] < -3 * row["difference_se"]
    assert all(row["difference_sd"] > 0 and row["seeds"] == 3 for row in found["equal_budget_nats"].values())


def sequences(found, printed):
    assert set(found["nets"]) == {"dense", "convolutional", "recurrent"}
    sizes = [net["weights"] for net in found["nets"].values()]
    assert max(sizes) < 1.2 * min(sizes)
    for net in found["nets"].values():
        assert net["above_the_true_model"] > 0
        assert net["nll"] < net["negative_elbo"]
        assert net["above_the_true_model"] == pytest.approx(net["nll"] - found["true_model"]["nll"], abs=1e-4)
        assert net["tried"][str(net["rate"])] == max(net["tried"].values(), key=lambda one: one["validation_elbo"])
    assert "the model that made them" in printed


def documents_in_files():
    """Forty documents of thirty words for training and twenty for the test, one of each without words."""
    rng = np.random.default_rng(0)
    for part, num in (("train", 40), ("test", 20)):
        counts = rng.poisson(rng.gamma(0.3, 2, size=(num, 30)))
        counts[3] = 0
        lines = [" ".join(f"{j + 1}:{c}" for j, c in enumerate(row) if c) for row in counts]
        text = "".join(f"{i % 3} {line}\n" for i, line in enumerate(lines))
        Path(f"data/counts/20news_{part}.feat").write_text(text)
    Path("data/words.txt").write_text("\n".join(f"w{i}" for i in range(30)))


def topics(found, printed):
    script = runpy.run_path(str(EXPERIMENTS / "topics.py"))
    x = torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.0, 4.0]])
    p = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]], dtype=torch.float64)
    mass = torch.tensor([math.log(3 * 0.5**2 * 0.3), 4 * math.log(0.7)], dtype=torch.float64)  # three orders, and one
    by_hand = math.exp(-(math.log(0.5 * 0.5 * 0.3) / 3 + math.log(0.7)) / 2)  # of words in their order
    assert script["perplexity"](mass, x)[0] == pytest.approx(by_hand, rel=1e-12)
    in_pyro = [dist.Multinomial(int(n), q).log_prob(row) for n, row, q in zip(x.sum(1), x.double(), p, strict=True)]
    assert script["perplexity"](torch.stack(in_pyro), x)[0] == pytest.approx(by_hand, rel=1e-12)
    _check_weights(script["per_word"])
    together = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1], [0, 0, 1]]).double()
    assert script["npmi"](together[:, :2]) == pytest.approx(1)  # always both or none
    assert script["npmi"](together[:, 1:]) == -1  # never both
    assert found["scores"]["test"]["documents"] == 19
    for scores in found["scores"].values():
        assert 1 < scores["perplexity_log_px"] <= scores["perplexity_elbo"] < 100
    assert len(found["topics"]) == 3
    assert all(len(topic["words"]) == 10 and topic["words"][0].startswith("w") for topic in found["topics"])
    assert "1 without words left out" in printed
    assert "GSM 787" in printed
    assert Path("figure.png").read_bytes().startswith(b"\x89PNG")


def _check_weights(per_word):
    """The loss is minus the ELBO of each document by its number of words over their median, 3, KL exact."""
    x = torch.tensor([[2.0, 1.0, 0.0, 0.0], [1.0, 5.0, 4.0, 2.0], [0.0, 0.0, 1.0, 1.0]])
    data = ppl_vae.data.from_arrays(x.int())
    vae = ppl_vae.build(data, latent_dim=2, likelihood=ppl_vae.Multinomial, seed=0).eval()
    program, objective = per_word(vae, SimpleNamespace(x=x)), ppl_vae.objectives.TraceMeanField_ELBO()
    torch.manual_seed(1)
    loss = objective.loss(program.model, program.guide, x)
    torch.manual_seed(1)
    guide = poutine.trace(vae.guide).get_trace(x)
    q = guide.nodes["z"]["fn"].base_dist
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(-1)
    model = poutine.trace(poutine.replay(vae.model, guide)).get_trace(x)
    log_px = model.nodes["x"]["fn"].log_prob(x)
    assert loss == pytest.approx((3 / x.sum(1) * (kl - log_px)).sum().item(), rel=1e-5)


def adult_in_files():
    """Two hundred rows like those of Adult, their types, and the places of hidden entries."""
    rng = np.random.default_rng(0)
    n = 200
    of_a_class = {1: 7, 3: 16, 4: 7, 5: 14, 6: 6, 7: 5, 8: 2}
    columns = {j: rng.integers(1, levels + 1, n) for j, levels in of_a_class.items()}
    columns |= {0: rng.integers(17, 91, n), 2: rng.integers(10_000, 900_000, n), 11: rng.integers(1, 100, n)}
    columns |= {j: np.where(rng.random(n) < 0.3, rng.integers(100, 9000, n), 0) for j in (9, 10)}
    table = pd.DataFrame({j: columns[j] for j in range(12)}).astype(object)
    table.iloc[5, 1] = "NaN"
    table.to_csv("data/tables/adult.csv", header=False, index=False)
    types = "count,1, cat,7,7 pos,1, ordinal,16,16 cat,7,7 cat,14,14 cat,6,6 cat,5,5 cat,2,2 pos,1, pos,1, count,1,"
    Path("data/tables/adult_types.csv").write_text("\n".join(["type,dim,nclass", *types.split()]))
    hidden = np.argwhere(rng.random((n, 12)) < 0.3) + 1
    np.savetxt("data/tables/adult_missing20.csv", hidden, "%d", delimiter=",")


def tables(found, printed):
    assert len(found["nll"]) == len(found["errors"]) == 12
    assert found["nll"]["fnlwgt"]["base_measure"] == "density"
    assert {row["base_measure"] for name, row in found["nll"].items() if name != "fnlwgt"} == {"mass"}
    for name in ("VAE", "mixture", "marginals"):
        total = sum(row[name] for row in found["nll"].values())
        assert found["total"]["nll"][name] == pytest.approx(total, rel=1e-6)
        assert all(math.isfinite(row[name]) for row in found["nll"].values())
    for table in ("errors", "errors_of_test_rows"):
        for row in found[table].values():
            assert row["hidden"] > 0
            assert 0 <= row["VAE"] < 5
    assert found["errors"]["sex"]["hidden"] > found["errors_of_test_rows"]["sex"]["hidden"]
    for name, row in found["against_mode_or_mean"].items():
        ours, usual = (found["errors"][name][method] for method in ("VAE", "mode or mean"))
        power = 2 if found["errors"][name]["error"] == "RMSE / sd" else 1
        assert row["VAE"] == pytest.approx((ours / usual) ** power - 1, abs=1e-6)
        assert row["VAE, se"] >= 0
    assert found["chosen"]["latent_dim"] in (2, 3)
    assert found["chosen"]["components"] in (2, 3)
    check_mixture(runpy.run_path(str(EXPERIMENTS / "tables.py"))["Mixture"])
    assert Path("figure.png").read_bytes().startswith(b"\x89PNG")


def check_mixture(mixture):
    """Its masses add up to one, and its conditional scores are those of enumeration."""
    columns = [Column("a", "categories", "int64", levels=3, categories=(0, 1, 2))]
    columns += [Column("b", "levels", "int64", levels=9, categories=tuple(range(9)))]
    rng = np.random.default_rng(0)
    x = np.stack([rng.integers(3, size=300), rng.integers(9, size=300)], 1).astype(float)
    fitted = mixture(columns, 2, "gamma").fit(x, seed=0)
    every = np.array([(a, b) for a in range(3) for b in range(9)], dtype=float)
    mass = np.exp(fitted.log_px(every)).reshape(3, 9)
    assert mass.sum() == pytest.approx(1, abs=1e-6)
    nll = fitted.nll(np.array([[1.0, 8.0], [2.0, np.nan]]))
    by_enumeration = -np.log([mass[1, 8] / mass[:, 8].sum(), mass[1, 8] / mass[1].sum()])
    assert nll[0] == pytest.approx(by_enumeration, abs=1e-5)
    assert nll[1, 0] == pytest.approx(-np.log(mass[2].sum()), abs=1e-5)
    assert np.isnan(nll[1, 1])


FILES = {"topics.py": documents_in_files, "tables.py": adult_in_files}
"""What writes the files that a script reads."""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_script(script, tmp_path, monkeypatch, capsys):
    assert script.name in TINY, f"give {script.name} tiny settings in TINY, and a check of what it finds"
    monkeypatch.chdir(tmp_path)
    if script.name in FILES:
        for folder in ("counts", "tables"):
            (tmp_path / "data" / folder).mkdir(parents=True)
        FILES[script.name]()
    globals()[script.stem](*found_by(script, TINY[script.name], monkeypatch, capsys))


def test_what_is_kept_is_found_again_with_the_same_settings_alone(tmp_path):
    kept, made = runpy.run_path(str(EXPERIMENTS / "results_file.py"))["kept"], iter(range(9))
    folder, make = tmp_path / "cache", lambda: next(made)
    assert [kept(folder, "a, b", {"epochs": 1}, make) for _ in range(2)] == [0, 0]
    assert [kept(folder, "a, b", {"epochs": 2}, make) for _ in range(2)] == [1, 1]
    assert [kept(None, "a, b", {"epochs": 2}, make) for _ in range(2)] == [2, 3]
    for before in ({"log_px": []}, {"settings": {"epochs": 2}, "scores": []}):  # of earlier forms of a script
        (folder / "a_b.json").write_text(json.dumps(before))
        assert kept(folder, "a, b", {"epochs": 2}, make) > 3


def test_settings_name_scripts():
    assert set(TINY) == {script.name for script in SCRIPTS}
