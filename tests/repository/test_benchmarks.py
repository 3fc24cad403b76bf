"""Every benchmark of `experiments/benchmarks`, run as a reader would run it, with tiny settings."""

import math

import pytest
import torch
from scripts import EXPERIMENTS, found_by

DTYPE = torch.get_default_dtype()
SCRIPTS = sorted(EXPERIMENTS.glob("benchmarks/*.py"))

TINY = {
    "check_guide.py": "--num-data 40 80 --num-samples 30 60 --out out.json",
    "hmc.py": "--num-data 3 --latent-dim 2 --epochs 1 --warmup 50 --num-samples 30 --rounds 1 --out out.json",
    "scvi_tools.py": "split.npz --epochs 1 --out scvi.npz",  # where it is; else test_cells_experiment.py
    "steps.py": "--rounds 1 --steps 2 --setups flow:4 --contenders 'by hand' called numpyro products --out out.json",
    "devices.py": "--device cpu --epochs 1 --num-data 5 --num-samples 30 --batch-sizes 8192 "
    "--models standard --out out.json",
    "gpu.py": "--device cpu --setups mlp:4 --compiled --steps 2 --epochs 1 --train 50 --scored 1 "
    "--rounds 1 --num-samples 30 --out out.json",
    "adaptive_coverage.py": "--num-data 20 --cases curve 'factor analysis, 5 latents, scale' --out out.json",
    "error_bars.py": "--num-data 60 --num-samples 100 --dims 2 --out out.json",
    "kills.py": "--trainings 17 --epochs 3 --seed 1 --out out.json",
    "diagnostics.py": "--data digits --train 60 --epochs 1 --subset 2 --num-data 3 --diagnosed 3 --length 50 "
    "--rounds 1 --tasks 'ais from q' hmc compare_posteriors inference_gaps --out out.json",
    "scores.py": "--num-data 3 --num-samples 30 --subset 2 --length 50 --rounds 1 --out out.json",
    "bf16.py": "--data digits --train 60 --validation 40 --epochs 2 --batch-size 30 --latent-dim 2 --seeds 2 "
    "--out out.json",
    "batches.py": "--setups mlp:4 --steps 2 --epochs 1 --step called replayed --out out.json",
    "wide.py": "--rows 200 --num-test 4 --num-samples 50 --out out.json",
    "endless.py": "--memory 3 --mapped 4 --stream 5 --warm 2 --rounds 1 --out out.json",
    "processes.py": "--batch-sizes 8 16 --steps 1 --rounds 1 --out out.json",
    "mutations.py": "--mutations 17 --writers 2 --seed 1 --out out.json",
}


def check_guide(found, printed):
    cells = found["cells"]
    assert [(c["N"], c["S"]) for c in cells] == [(40, 30), (80, 30), (40, 60), (80, 60)]
    assert all(c["seconds"] > 0 for c in cells)
    assert found["largest"] == cells[-1]
    assert set(found["exponents"]) == {"N", "S"}
    assert "seconds ~ N^" in printed


def hmc(found, printed):
    ours, nuts = found["samplers"]["hmc"], found["samplers"]["NUTS"]
    assert found["ratio"]["ESS/s"] == pytest.approx(ours["ESS/s"] / nuts["ESS/s"])
    assert (ours["chains"], nuts["chains"]) == (8, 1)
    assert f"{found['ratio']['ESS/s']:.1f} times the ESS/s" in printed


def scores(found, printed):
    table = found["table"]
    assert set(table) >= {"products", "by hand", "evaluate", "check_guide", "ais from q", "hmc", "inference_gaps"}
    further = {"evaluate, bf16", "evaluate, bf16, compiled"}  # differences of times
    assert all(row["this"] > 0 and row["first / this"] == 1 for name, row in table.items() if name not in further)
    assert further < set(table)
    assert "evaluate" in printed


def diagnostics(found, printed):
    table = {task: row["this"] for task, row in found["table"].items()}
    assert list(table) == ["ais from q", "hmc", "compare_posteriors", "inference_gaps"]
    assert all(row["ms"] > 0 for row in table.values())
    assert [row["images"] for row in table.values()] == [2, 2, 2, 3]
    assert 0 < table["ais from q"]["log_weight_sd"] < 3
    assert math.isfinite(table["compare_posteriors"]["energy_distance"])
    assert "inference_gaps, this: ms" in printed


def bf16(found, printed):
    ends = [[run["elbo"][-1] for run in found["runs"][name]] for name in ("bf16", "float32")]
    apart = [low - high for low, high in zip(*ends, strict=True)]
    assert found["bf16 - float32"]["mean"] == pytest.approx(sum(apart) / 2, abs=1e-3)
    assert 0 < found["bf16 - float32"]["largest"] < 1
    assert "seed 1, bf16" in printed


def devices(found, printed):
    verbs = [row["verb"] for row in found["rows"]]
    assert verbs == ["fit", "fit", "evaluate", "ais", "hmc", "inference_gaps", "to_arviz", "encode", "step"]
    assert all(row["seconds"] > 0 for row in found["rows"])
    assert all(row.get("largest_difference", 0) == 0 for row in found["rows"])  # the CPU against itself
    assert "verb evaluate" in printed


def gpu(found, printed):
    *steps, products, by_hand, plain, adaptive = found["rows"]
    assert [row["contender"] for row in steps] == ["by hand", "called", "replayed", "by hand, again"]
    assert all(row["microseconds a step"] > 0 for row in steps)
    assert [row["score"] for row in (products, by_hand)] == ["products", "by hand"]
    assert 0 < plain["ms an image"] < adaptive["ms an image"]
    assert "mlp:4 called" in printed


def adaptive_coverage(found, printed):
    assert set(found["coverage"]) == {"curve, 1 latent", "factor analysis, 5 latents, scale 0.6"}
    for row in found["coverage"].values():
        assert row["believed"] > 0.8
        assert row["coverage"] >= 0.7
        assert abs(row["error"]) < 0.1
        assert sum(some["data"] for some in row["methods"].values()) == row["data"]
    assert "curve, 1 latent believed" in printed


def error_bars(found, printed):
    assert len(found["coverage"]) == 5
    for row in found["coverage"].values():
        assert 0 < row["num_good"] == round(60 * row["share_good"])
        assert 0.5 < row["log_px"] <= 1  # 60 data bound no more
    assert "0.95 promised" in printed
    assert torch.get_default_dtype() == DTYPE


def wide(found, printed):
    assert max(found["above_the_data_bytes"].values()) < found["bound_bytes"]
    assert found["sparse_bytes"] < found["dense_bytes"] / 5
    assert found["splits"] == {"train": 160, "validation": 20, "test": 20}
    assert math.isfinite(found["elbo"])
    assert "200 x 13,488 counts" in printed


def batches(found, printed):
    kinds = found["results"]["mlp:4"]
    assert list(kinds) == ["as they are", "binarized", "dequantized"]
    for rows in kinds.values():
        assert list(rows) == ["called", "replayed"]
        assert all(row["share"] == pytest.approx(row["batch_ms"] / row["step_ms"]) for row in rows.values())
    assert "mlp:4, binarized, replayed" in printed


def endless(found, printed):
    assert [row["rows"] for row in found["results"].values()] == [3000, 4000, 5000]
    for row in found["results"].values():
        assert row["growth_bytes"] < 100 * 2**20
        assert row["throughput"] > 0
    assert "5,000 rows" in printed


def processes(found, printed):
    assert set(found["steps"]) == {"8", "16"}
    for step in found["steps"].values():
        assert step["efficiency"] == pytest.approx(step["one_ms"] / step["two_ms"])
        assert step["cpu_efficiency"] == pytest.approx(step["one_cpu_ms"] / step["two_cpu_ms"])
    assert found["model"]["gradient_bytes"] == max(map(int, found["messages_s"]))
    assert set(found["model"]["rows_each_for_0.9"]) == {"2", "8", "64", "512"}
    assert "16 rows each" in printed


def steps(found, printed):
    (setup,) = found["setups"].values()
    assert list(setup["contenders"]) == ["by hand", "called", "numpyro", "products"]
    losses = [row["loss"] for row in setup["contenders"].values() if row["loss"] is not None]
    assert len(losses) == 3
    assert max(losses) - min(losses) < 0.05 * losses[0]
    assert setup["contenders"]["by hand"]["of by hand"] == 1
    assert "flow:4, 1 threads" in printed


def kills(found, printed):
    assert found["identical"] == found["killed"] == found["trainings"] == 17
    assert len(found["kinds"]) == 17
    assert "17 of 17 identical" in printed


def mutations(found, printed):
    assert (found["executed"], found["broke"], found["hung"]) == (0, 0, 0)
    assert found["noticed"] == found["flips"] == 3
    assert found["refused"] == found["whole"] == 2
    assert "0 executed" in printed


@pytest.mark.filterwarnings("ignore:precision='bf16' does not make:UserWarning")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_script(script, tmp_path, monkeypatch, capsys):
    assert script.name in TINY, f"give {script.name} tiny settings in TINY, and a check of what it finds"
    monkeypatch.chdir(tmp_path)
    if script.stem == "scvi_tools":
        pytest.importorskip("scvi")
    globals()[script.stem](*found_by(script, TINY[script.name], monkeypatch, capsys))


def test_settings_name_scripts():
    assert set(TINY) == {script.name for script in SCRIPTS}
