"""What scripts and shells are given: JSON, and completion."""

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from ppl_vae import Evaluation, load
from ppl_vae.cli import main
from ppl_vae.cli.commands import COMMANDS
from ppl_vae.cli.output import as_json
from ppl_vae.training import combinations

TINY = ["--data", "digits", "--take", "30", "--epochs", "2", "--latent-dim", "2", "--device", "cpu"]


@pytest.fixture
def said(capsys):
    """Runs a command with --json, and gives what it says on stdout, read, and on stderr."""

    def called(*words):
        capsys.readouterr()
        assert main([*map(str, words), "--json"]) == 0
        out, err = capsys.readouterr()
        return json.loads(out), err

    return called


@pytest.mark.usefixtures("coarse", "no_sbc")
def test_json_of_a_run(tmp_path, said, capsys):
    run = tmp_path / "run"
    assert main(["train", *TINY, "--run", str(run)]) == 0
    found, told = said("evaluate", run, "--num-samples", "30")
    stored = Evaluation.load(run / "evaluation.json")
    assert found["summary"]["nll"]["mean"] == pytest.approx(stored.summary.loc["nll", "mean"])
    assert found["num_data"] == len(stored.per_datum)
    assert found["data"]["checksum"] == stored.data["checksum"]
    assert found["wrote"] == [str(run / "evaluation.json")]
    assert f"next: ppl-vae diagnose {run}" in told

    found, told = said("compare", run)
    assert found["best_first"] == ["run"]
    assert found["runs"]["run"]["nll"] == pytest.approx(stored.summary.loc["nll", "mean"])
    assert found["runs"]["run"]["difference_se"] in (0, None)
    assert found["units"]["nll"] == "nats per datum"

    found, told = said("diagnose", run, "--take", "10", "--num-samples", "30")
    assert found["verdict"].startswith("Verdict.")
    assert found["num_data"] == 10
    assert "check_guide" not in found["left_out"]
    assert all(name.endswith(".png") for name in found["figures"])
    assert "next: read" in told


@pytest.mark.usefixtures("coarse")
def test_json_of_what_was_made(tmp_path, said, monkeypatch):
    run = tmp_path / "run"
    found, told = said("train", *TINY, "--run", run)
    history = load(run).history
    assert (found["run"], found["epochs"], found["stopped"]) == (str(run), 2, "epochs")
    assert found["last"]["train_elbo"] == pytest.approx(history.train_elbo.iloc[-1])
    assert found["kept"]["validation_elbo"] == pytest.approx(history.validation_elbo[found["kept_epoch"]])
    assert found["formula"].startswith("p(x, z) = StandardNormal(z) Bernoulli(x | z)")
    assert f"next: ppl-vae evaluate {run}" in told
    assert "json:" not in (run / "options.yaml").read_text()

    np.save(tmp_path / "x.npy", np.zeros((3, 1, 8, 8)))
    words = ["--num-samples", "30"]
    found, told = said("score", run, tmp_path / "x.npy", "--out", tmp_path / "scores.npy", *words)
    assert found["wrote"] == [str(tmp_path / "scores.npy")]
    assert found["num_data"] == 3
    assert math.isfinite(found["summary"]["nll"]["mean"])
    assert told.endswith(f"next: ppl-vae diagnose {run}\n")

    found, _ = said("sample", run, "--num", 3, "--out", tmp_path / "drawn.npy")
    assert found == {"run": str(run), "num": 3, "given": None, "wrote": [str(tmp_path / "drawn.npy")]}
    found, _ = said("export", run, "--part", "decoder")
    assert (found["inputs"], found["wrote"]) == (["z"], [str(run / "decoder.pt2")])
    prior = ("--prior", "GaussianMixture", "--prior.num_components", 3, "--epochs", 1)
    found, _ = said("fit-prior", run, "--out", tmp_path / "other", *prior)
    assert found["run"] == str(tmp_path / "other")
    assert "GaussianMixture(z; 3)" in found["formula"]

    monkeypatch.setattr("ppl_vae.report", lambda runs, *_, **__: runs[0].path / "config.json")
    found, told = said("report", run)
    assert found == {"runs": [str(run)], "wrote": [str(run / "config.json")]}
    assert "open it in a browser" in told


def test_json_of_the_parts(said):
    found, told = said("list")
    assert set(found) == set(combinations.ROLES)
    assert "VampPrior" in found["priors"]
    assert "VampPrior" in told
    assert [said for parts in found.values() for said in parts.values() if not said.endswith(".")] == []
    assert {name for name, said in found["objectives"].items() if said.startswith("Pyro's")} == {
        "Trace_ELBO",
        "TraceMeanField_ELBO",
    }


def test_json_has_no_nan(capsys):
    with as_json(True) as values:
        print("said")
        values.update(a=math.nan, b=[math.inf, np.float32(1.5)], c={"d": None, "e": np.int64(3)})
    out, err = capsys.readouterr()
    assert json.loads(out) == {"a": None, "b": ["inf", 1.5], "c": {"d": None, "e": 3}}
    assert err == "said\n"


def test_a_reader_that_has_seen_enough():
    """As with `| head`: no error is told."""
    command = [sys.executable, "-m", "ppl_vae", "list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | SOON) as running:
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == 141


SOON = {"PYTHONUNBUFFERED": "1"}


def completed(script, *words):
    """What bash offers for the last word."""
    line = " ".join(f"'{word}'" for word in words)
    ask = f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _shtab_ppl_vae; echo ${{COMPREPLY[@]}}"
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_bash_completes(tmp_path, capsys):
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "completion.sh"
    script.write_text(capsys.readouterr().out)
    assert set(completed(script, "ppl-vae", "")) >= set(COMMANDS)
    assert completed(script, "ppl-vae", "train", "--laten") == ["--latent-dim"]
    for words, names in OFFERED.items():
        assert completed(script, "ppl-vae", *words.split()) == names.split()
    (tmp_path / "mnist_of_my_own").mkdir()
    assert completed(script, "ppl-vae", "train", "--data", f"{tmp_path}/mn") == [f"{tmp_path}/mnist_of_my_own"]
    assert main(["completion", "zsh"]) == 0
    shown = capsys.readouterr().out
    assert "#compdef ppl-vae" in shown
    assert ":data:_ppl_vae_train_data_or_file" in shown
    assert "'names:name:(caltech101_silhouettes cifar10 digits" in shown
    assert ":compile:(auto true false)" in shown


OFFERED = {
    "train --decoder M": "MLP",
    "train --prior Vam": "VampPrior",
    "train --objective Trace_": "Trace_ELBO",
    "train --compile a": "auto",
    "train --compile t": "true",
    "train --data mn": "mnist",
    "manifold --data s_c": "s_curve",
    "train --log te": "tensorboard",
    "train --log csv ml": "mlflow",
    "train --context-to prior e": "encoder",
    "train --binarize t": "threshold",
    "train --precision b": "bf16",
    "train --device a": "auto",
    "evaluate run --method ad": "adaptive",
    "evaluate run --split v": "validation",
    "manifold --methods PCA t": "t-SNE",
    "export run --format o": "onnx",
    "completion z": "zsh",
}
