import json

import numpy as np
import pytest
import yaml

from ppl_vae import likelihoods, nets, objectives, posteriors, priors
from ppl_vae.cli import main
from ppl_vae.vae.build import COMPONENTS

TINY = ["--data", "digits", "--take", "30", "--epochs", "2", "--latent-dim", "2", "--device", "cpu"]


def leaves(module, base):
    found = (getattr(module, name) for name in module.__all__)
    return [c.__name__ for c in found if isinstance(c, type) and issubclass(c, base) and c is not base]


CHOICES = [
    *(("prior", n) for n in leaves(priors, priors.Prior)),
    *(("likelihood", n) for n in leaves(likelihoods, likelihoods.Likelihood)),
    *(("posterior", n) for n in leaves(posteriors, posteriors.Posterior)),
    *(("encoder", n) for n in leaves(nets, nets.Network)),
    *(("decoder", n) for n in leaves(nets, nets.Network)),
    *(("beta", n) for n in leaves(objectives, objectives.Beta)),
    *(("objective", n) for n in ("Trace_ELBO", "TraceMeanField_ELBO", "IWAE", "FreeBits")),
]


def run(*words):
    return main([str(w) for w in words])


@pytest.fixture
def trained(tmp_path):
    def train(name, *words):
        assert run("train", *TINY, "--run", tmp_path / name, *words) == 0
        return tmp_path / name

    return train


@pytest.mark.parametrize(("option", "name"), CHOICES)
def test_every_leaf_parses_by_its_short_name(option, name, capsys):
    with pytest.raises(SystemExit) as stop:
        run("train", f"--{option}", name, "--print-config")
    assert stop.value.code == 0
    assert yaml.safe_load(capsys.readouterr().out)[option]["class_path"].rpartition(".")[2] == name


@pytest.mark.parametrize(
    ("option", "name"), [c for c in CHOICES if c[0] in ("prior", "likelihood", "posterior") and c[1] != "Flat"]
)
def test_swapping_a_leaf_changes_one_word(option, name, trained):
    words = [f"--{option}", name]
    words += ["--prior.num_components", "4"] if name in ("VampPrior", "GaussianMixture") else []
    folder = trained("run", *words)
    assert name in json.loads((folder / "config.json").read_text())["formula"][option == "posterior"]


def test_a_run_from_training_to_figures(trained, capsys):
    folder = trained("vamp", "--prior", "VampPrior", "--prior.num_components", 5, "--beta", "Linear")
    other = trained("standard", "--seed", 1)
    assert run("evaluate", folder, "--num-samples", 30) == 0
    assert run("evaluate", other, "--num-samples", 30) == 0
    assert "p(x, z) = VampPrior(z; 5) Bernoulli(x | z): 30 data, mass" in capsys.readouterr().out
    assert run("compare", folder, other, "--figure", folder / "table.png") == 0
    assert {"vamp", "standard"} <= set(capsys.readouterr().out.split())
    assert run("diagnose", folder, "--num-samples", 30, "--take", 20) == 0
    assert "A mode that q never visits" in capsys.readouterr().out
    assert run("sample", folder, "--num", 5, "--out", folder / "x.npy") == 0
    assert np.load(folder / "x.npy").shape == (5, 1, 8, 8)
    assert run("sample", folder) == 0
    figures = {p.stem for p in (folder / "figures").iterdir()}
    assert figures == {
        "aggregate_posterior",
        "elbo_curves",
        "kl_per_unit_z",
        "latent_space",
        "manifold",
        "pareto_k",
        "reconstructions",
        "samples",
        "traversals",
    }
    kept = {"config.json", "options.yaml", "history.jsonl", "checkpoint.json", "evaluation.json", "posterior.nc"}
    assert kept <= {p.name for p in folder.iterdir()}
    assert run("train", *TINY, "--run", folder) == 1
    assert "pass resume=True" in capsys.readouterr().err


def test_options_can_come_from_a_file(trained, tmp_path, capsys):
    folder = trained("first", "--prior", "GaussianMixture", "--prior.num_components", 3)
    assert run("train", "--config", folder / "options.yaml", "--run", tmp_path / "second") == 0
    first, second = (json.loads((tmp_path / n / "config.json").read_text()) for n in ("first", "second"))
    assert first["recipe"] == second["recipe"]
    assert (folder / "history.jsonl").read_text().split('"seconds"')[0] == (
        tmp_path / "second" / "history.jsonl"
    ).read_text().split('"seconds"')[0]


def test_conditional_runs(trained, capsys):
    folder = trained("conditional", "--conditional")
    assert run("sample", folder, "--label", 3, "--num", 4) == 0
    assert run("diagnose", folder, "--num-samples", 30, "--take", 20) == 0
    plain = trained("plain")
    assert run("sample", plain, "--label", 3) == 1
    assert "--label expects a conditional run" in capsys.readouterr().err


def test_autoencoders(trained, capsys):
    folder = trained("ae", "--prior", "Flat", "--posterior", "Point")
    assert run("evaluate", folder, "--num-samples", 30) == 0
    assert run("diagnose", folder, "--num-samples", 30) == 0
    assert run("sample", folder) == 1
    assert "an autoencoder has no prior to sample" in capsys.readouterr().err


def test_classes_of_your_own_come_from_a_file_you_name(tmp_path, monkeypatch, capsys):
    (tmp_path / "my_priors.py").write_text(
        "from ppl_vae import StandardNormal\nclass Mine(StandardNormal):\n    pass\n"
    )
    words = ["train", "--import", tmp_path / "my_priors.py", *TINY, "--prior", "Mine", "--run", tmp_path / "run"]
    assert run(*words) == 0
    assert "p(x, z) = Mine(z) Bernoulli(x | z)" in capsys.readouterr().out
    assert run("evaluate", tmp_path / "run") == 1
    assert "got 'Mine'" in capsys.readouterr().err
    assert run("evaluate", "--import", tmp_path / "my_priors.py", tmp_path / "run", "--num-samples", 30) == 0


@pytest.mark.parametrize("where", ["command line", "file"])
def test_a_configuration_imports_nothing(where, tmp_path, monkeypatch, capsys):
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass X: pass\n")
    (tmp_path / "evil.yaml").write_text("prior:\n  class_path: evil.X\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ["--prior", "evil.X"] if where == "command line" else ["--config", tmp_path / "evil.yaml"]
    assert run("train", *TINY, *words) == 1
    assert "expects the short name of a class, got 'evil.X'" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


def test_help_and_mistakes(capsys):
    assert run() == 0
    assert run("--version") == 0
    assert run("trian") == 2
    for command in ("train", "evaluate", "diagnose", "sample", "compare", "demo"):
        with pytest.raises(SystemExit):
            run(command, "--help")
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMPONENTS if name not in ("Prior", "Likelihood", "Posterior", "Network"))
    with pytest.raises(SystemExit) as stop:
        run("train", "--prior", "Nope")
    assert stop.value.code == 2
    assert run("evaluate", "nowhere") == 1
    assert "load expects a run folder" in capsys.readouterr().err


def test_the_demo_prints_one_table_per_likelihood(tmp_path, capsys):
    assert run("demo", "--out", tmp_path, "--epochs", 2, "--num-samples", 30) == 0
    shown = capsys.readouterr().out
    assert "Bernoulli, a mass, 300 test data" in shown
    assert "Gaussian, a density, 300 test data" in shown
    assert "may not be ranked against each other" in shown
    assert len(list(tmp_path.glob("*/posterior.nc"))) == 4
