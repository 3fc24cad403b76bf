import inspect
import json
import re
import runpy
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import ppl_vae
from ppl_vae import corruptions, data, likelihoods, nets, objectives, posteriors, priors
from ppl_vae.cli import commands, main
from ppl_vae.diagnostics import groups, open_tree
from ppl_vae.vae.recipe import COMPONENTS

pytestmark = pytest.mark.usefixtures("coarse")
TINY = ["--data", "digits", "--take", "30", "--epochs", "2", "--latent-dim", "2", "--device", "cpu"]


def leaves(module, base):
    found = (getattr(module, name) for name in module.__all__)
    return [c.__name__ for c in found if isinstance(c, type) and issubclass(c, base) and not inspect.isabstract(c)]


OBJECTIVES = ["IWAE", "FreeBits", "InfoVAE", "Contractive", "Commitment"]
CHOICES = [
    *(("prior", n) for n in leaves(priors, priors.Prior)),
    *(("likelihood", n) for n in leaves(likelihoods, likelihoods.Likelihood)),
    *(("posterior", n) for n in leaves(posteriors, posteriors.Posterior)),
    *(
        (role, n)
        for role in ("encoder", "decoder")
        for n in leaves(nets, nets.Network)
        if role in getattr(nets, n).roles
    ),
    *(("corruption", n) for n in leaves(corruptions, corruptions.Corruption)),
    *(("beta", n) for n in leaves(objectives, objectives.BetaSchedule)),
    *(("objective", n) for n in ("Trace_ELBO", "TraceMeanField_ELBO", *OBJECTIVES)),
]
ON_ONE_SUPPORT = ("Bernoulli", "Categorical", "Dirichlet", "LogisticNormal", "RelaxedBernoulli", "RelaxedCategorical")
SETTINGS = {
    **{key: ["--prior.num_components", "4"] for key in ("VampPrior", "GaussianMixture", "Exemplar")},
    "CodePrior": ["--posterior", "VectorQuantized"],  # neither goes with another
    **{key: ["--prior", "CodePrior"] for key in ("VectorQuantized", "FiniteScalar", "LookupFree", "ResidualQuantized")},
    "AutoregressiveCodePrior": ["--posterior", "LookupFree"],
    **{key: ["--prior", key, "--posterior", key] for key in ON_ONE_SUPPORT},
    "SphericalUniform": ["--posterior", "PowerSpherical"],
    "PowerSpherical": ["--prior", "SphericalUniform"],
    "Uniform": ["--posterior", "Beta"],
    "Ladder": ["--latent-dim", "[2, 3]"],
    "BottomUp": ["--latent-dim", "[2, 3]"],
}
ABOVE_0 = ("Gamma", "LogNormal")  # which digits are not


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
    ("option", "name"),
    [
        c
        for c in CHOICES
        if c[0] in ("prior", "likelihood", "posterior", "corruption") and c[1] not in ("Flat", *ABOVE_0)
    ],
)
def test_swapping_a_leaf_changes_one_word(option, name, trained):
    folder = trained("run", f"--{option}", name, *SETTINGS.get(name, []))
    assert name in json.loads((folder / "config.json").read_text())["formula"][option in ("posterior", "corruption")]


def test_a_name_that_two_leaves_have_is_that_of_the_option(trained):
    folder = trained("run", "--prior", "Laplace", "--likelihood", "Laplace", "--likelihood.scale", "decoder")
    assert json.loads((folder / "config.json").read_text())["formula"][0] == (
        "p(x, z) = Laplace(z) Laplace(x | z; scale=decoder)"
    )
    assert run("evaluate", folder, "--num-samples", 30) == 0


def test_a_posterior_is_refined(trained, capsys):
    folder = trained("run", "--posterior", "FullRankNormal", "--refined-steps", 2)
    assert "q(z | x) = Refined(FullRankNormal; 2)" in capsys.readouterr().out
    assert run("evaluate", folder, "--num-samples", 30) == 0
    with pytest.raises(SystemExit):
        run("train", *TINY, "--posterior", "Refined")
    assert "got 'Refined'; write --refined-steps 5 beside the --posterior that is refined" in capsys.readouterr().err


def test_weights_decay(trained, capsys):
    folder = trained("decayed", "--weight-decay", 0.3)
    settings = json.loads((folder / "config.json").read_text())["fit"]["optimizer"]
    assert (settings["class"], settings["weight_decay"]) == ("AdamW", "0.3")
    with pytest.raises(SystemExit):
        run("train", *TINY, "--weight-decay", "-1")
    assert (
        "expects a number of at least 0 (AdamW for Adam: shrinks all parameters), got '-1'; give another"
        in capsys.readouterr().err
    )


def test_the_threads_of_a_call(tmp_path, monkeypatch, capsys):
    seen, before, folder = [], torch.get_num_threads(), str(tmp_path / "run")
    monkeypatch.setattr(torch, "set_num_threads", seen.append)
    run("train", "--take", "40", "--epochs", "1", "--threads", "3", "--run", folder)
    assert seen == [3, before]
    seen.clear()
    run("evaluate", folder, "--num-samples", "30", "--threads", "5")
    assert seen == [5, before]
    (tmp_path / "table.yaml").write_text("threads: 1\n")
    assert run("table", tmp_path / "table.yaml") == 1
    assert "expects known settings, got 'threads'" in capsys.readouterr().err


def test_counts_are_given_their_total(trained, capsys):
    words = ("--likelihood", "NegativeBinomial", "--likelihood.exposure", "total")
    folder = trained("run", *words, "--likelihood.dispersion", "elementwise")
    assert run("evaluate", folder, "--num-samples", 30) == 0
    assert "a mass given the total" in capsys.readouterr().out.replace(", mass", ", a mass")
    assert run("sample", folder, "--num", 3, "--out", folder / "x.npy") == 0
    assert np.load(folder / "x.npy").sum() > 0


@pytest.mark.parametrize("name", ABOVE_0)
def test_digits_are_not_above_0(name, capsys):
    assert run("train", *TINY, "--likelihood", name) == 1
    assert f"{name} scores positive data, got levels; choose a likelihood of levels data" in capsys.readouterr().err


def test_a_run_from_training_to_figures(trained, capsys):
    folder = trained("vamp", "--prior", "VampPrior", "--prior.num_components", 5, "--beta", "Linear")
    other = trained("standard", "--seed", 1)
    assert run("evaluate", folder, "--num-samples", 30) == 0
    assert run("evaluate", other, "--num-samples", 30) == 0
    assert "p(x, z) = VampPrior(z; 5) Bernoulli(x | z): 30 data, mass" in capsys.readouterr().out
    assert run("compare", folder, other, "--figure", folder / "table.png") == 0
    assert {"vamp", "standard"} <= set(capsys.readouterr().out.split())
    assert run("diagnose", folder, "--num-samples", 30, "--take", 20) == 0
    said = capsys.readouterr().out
    assert "How far is q?" in said
    assert "on 2000 data simulated from the model" in said
    assert run("sample", folder, "--num", 5, "--out", folder / "x.npy") == 0
    assert np.load(folder / "x.npy").shape == (5, 1, 8, 8)
    assert run("sample", folder) == 0
    figures = {p.stem for p in (folder / "figures").iterdir()}
    assert figures == {
        "active_units",
        "aggregate_marginals",
        "aggregate_posterior",
        "coverage_simulated",
        "elbo_curves",
        "kl_per_unit_z",
        "latent_space",
        "manifold",
        "pareto_k",
        "predictive_check",
        "reconstructions",
        "samples",
        "sbc",
        "traversals",
        "worst_fitted",
    }
    kept = {"config.json", "options.yaml", "history.jsonl", "checkpoint.json", "evaluation.json", "posterior.nc"}
    kept |= {"diagnosis.md"}
    assert kept <= {p.name for p in folder.iterdir()}
    assert run("train", *TINY, "--run", folder) == 1
    assert "pass resume=True (--resume)" in capsys.readouterr().err


def test_a_full_diagnosis(trained, capsys):
    folder = trained("full")
    capsys.readouterr()
    small = ("--num-samples", 30, "--take", 20, "--subset", 2, "--length", 50)
    assert run("diagnose", folder, "--full", *small) == 0
    said = capsys.readouterr().out
    assert "left out" not in said
    written = {line.removeprefix("wrote ") for line in said.splitlines() if line.startswith("wrote ")}
    assert all((folder / path).exists() for path in written)
    text = (folder / "diagnosis.md").read_text()
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert {"figures/inference_gaps.png", "figures/posteriors.png", "figures/coverage_real.png"} <= set(pictures)
    assert all((folder / path).exists() for path in pictures)
    for title in (
        "the encoder, or the family",
        "draws of the posterior",
        "annealed from q",
        "modes that q never visits",
    ):
        assert re.search(rf"^## .*{title}", text, re.M)
    tree = open_tree(folder / "posterior.nc")
    assert {"posterior", "inference_gaps", "ais_prior", "compare_posteriors", "active_units"} <= set(groups(tree))
    obs = int(tree["posterior"]["obs"][0])
    assert tree.sel(obs=obs)["inference_gaps"]["kl_gap"].shape == ()
    assert set(groups(open_tree(folder / "hmc.nc"))) == {"posterior", "sample_stats", "diagnostics"}


def test_options_can_come_from_a_file(trained, tmp_path, capsys):
    folder = trained("first", "--prior", "GaussianMixture", "--prior.num_components", 3)
    assert run("train", "--config", folder / "options.yaml", "--run", tmp_path / "second") == 0
    first, second = (json.loads((tmp_path / n / "config.json").read_text()) for n in ("first", "second"))
    assert first["recipe"] == second["recipe"]
    assert (folder / "history.jsonl").read_text().split('"seconds"')[0] == (
        tmp_path / "second" / "history.jsonl"
    ).read_text().split('"seconds"')[0]


@pytest.mark.usefixtures("no_sbc")
def test_conditional_runs(trained, capsys):
    folder = trained("conditional", "--conditional")
    assert run("sample", folder, "--label", 3, "--num", 4) == 0
    assert run("diagnose", folder, "--num-samples", 30, "--take", 20) == 0
    capsys.readouterr()
    assert run("sample", folder, "--num", 2) == 0
    assert "under the labels or conditions of the first test data in turn\n" in capsys.readouterr().out
    plain = trained("plain")
    assert run("sample", plain, "--label", 3) == 1
    assert "--label expects a conditional run" in capsys.readouterr().err
    assert run("sample", plain, "--data", "other.csv") == 1
    assert "--data expects a conditional run, got one without a condition; leave" in capsys.readouterr().err
    assert run("sample", folder, "--num", 2, "--data", "digits") == 0


def test_classes_are_chosen_by_name_or_number(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    animals = [["Cat", "dog", "dormouse"][i % 3] for i in range(60)]
    rows = [f"{name},{dose:.2f},{size:.2f}" for name, (dose, size) in zip(animals, rng.random((60, 2)), strict=True)]
    Path("own.csv").write_text("\n".join(["animal,dose,size", *rows]))
    words = ["--data", "own.csv", "--label", "animal", "--epochs", 1, "--latent-dim", 2, "--device", "cpu"]
    assert run("train", *words, "--conditional", "--run", "o") == 0
    drawn = {}
    for given, said in (("dog", "dog (1)"), ("1", "dog (1)"), ("cat", "Cat (0)")):
        capsys.readouterr()
        assert run("sample", "o", "--label", given, "--num", 3, "--out", "x.csv") == 0
        assert f"wrote x.csv, label {said}\n" in capsys.readouterr().out
        drawn[given] = Path("x.csv").read_text()
    assert drawn["dog"] == drawn["1"] != drawn["cat"]
    assert run("sample", "o", "--label", "mouse") == 1
    said = "--label expects dormouse, dog, Cat, or a number from 0 to 2, got 'mouse'; choose one of these"
    assert said in capsys.readouterr().err
    assert run("train", *words, "--context", "dose", "--run", "d") == 0
    assert run("sample", "d", "--label", "dog") == 1
    assert "--label expects a run conditioned on classes, got one on other values" in capsys.readouterr().err


def test_autoencoders(trained, capsys):
    folder = trained("ae", "--prior", "Flat", "--posterior", "Point")
    assert run("evaluate", folder, "--num-samples", 30) == 0
    assert run("diagnose", folder, "--num-samples", 30) == 0
    assert "diagnosis.md" not in capsys.readouterr().out
    assert run("sample", folder) == 1
    assert "an autoencoder has no prior to sample" in capsys.readouterr().err
    fitted = folder.with_name("fitted")
    words = ("fit-prior", folder, "--out", fitted, "--epochs", 2, "--prior.num_components", 3)
    assert run(*words) == 0
    assert "p(x, z) = GaussianMixture(z; 3) Bernoulli(x | z)" in capsys.readouterr().out
    for command in ("sample", "evaluate", "diagnose"):
        assert run(command, fitted) == 0
    assert run("fit-prior", folder, "--out", fitted) == 1
    assert "a run folder without a training" in capsys.readouterr().err


def test_a_vector_quantized_run(trained, capsys):
    folder = trained("vq", "--prior", "CodePrior", "--posterior", "VectorQuantized", "--objective", "Commitment")
    assert run("diagnose", folder, "--num-samples", 30) == 0
    said = capsys.readouterr().out
    assert "nll is minus the ELBO" in said
    assert "without a spread of q there is no more to diagnose: figures only" in said
    figures = {p.stem for p in (folder / "figures").iterdir()}
    assert figures == {"elbo_curves", "reconstructions", "samples", "latent_space", "traversals", "manifold"}
    assert "diagnosis.md" not in said
    assert said.endswith(f"next: ppl-vae report {folder}\n")


def test_classes_of_your_own_come_from_a_file_you_name(tmp_path, monkeypatch, capsys):
    (tmp_path / "my_priors.py").write_text(
        "from ppl_vae import StandardNormal\nclass Mine(StandardNormal):\n    pass\n"
    )
    words = ["train", "--import", tmp_path / "my_priors.py", *TINY, "--prior", "Mine", "--run", tmp_path / "run"]
    assert run(*words) == 0
    said = capsys.readouterr().out
    assert "p(x, z) = Mine(z) Bernoulli(x | z)" in said
    assert f"next: ppl-vae evaluate {tmp_path / 'run'} --import {tmp_path / 'my_priors.py'}" in said
    assert run("evaluate", tmp_path / "run") == 1
    assert "got 'Mine'" in capsys.readouterr().err
    assert run("evaluate", "--import", tmp_path / "my_priors.py", tmp_path / "run", "--num-samples", 30) == 0


EVIL = {
    "typed": ["--prior", "evil.X"],
    "typed dotted": ["--prior.class_path", "evil.X"],
    "help": ["--prior.help", "evil.X"],
    "nested": ["--config", "prior:\n  class_path: evil.X\n"],
    "inline": ["--config", "prior: evil.X"],
    "dotted": ["--config", "prior.class_path: evil.X"],
    "file": ["--config", "nested.yaml"],
    "included": ["--config", "outer.yaml"],
    "component file": ["--prior", "nested_prior.yaml"],
    "argument": ["--encoder.activation", "evil.X"],
    "through ours": ["--prior", "ppl_vae.data.named.os.evil"],
    "abbreviated": ["--conf", "nested.yaml"],
}


@pytest.mark.parametrize(("route", "words"), EVIL.items(), ids=EVIL)
def test_a_configuration_imports_nothing(route, words, tmp_path, monkeypatch, capsys):
    (tmp_path / "evil.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\nfrom ppl_vae import StandardNormal\nclass X(StandardNormal): pass\n"
    )
    (tmp_path / "nested.yaml").write_text("prior:\n  class_path: evil.X\n")
    (tmp_path / "nested_prior.yaml").write_text("class_path: evil.X\n")
    (tmp_path / "outer.yaml").write_text("config: nested.yaml\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    if route in ("argument", "through ours", "abbreviated"):
        with pytest.raises(SystemExit) as stop:
            run("train", *TINY, *words)
        assert stop.value.code == 2
    else:
        assert run("train", *TINY, *words) == 1
        assert "expects the short name of a class, got 'evil.X'" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()
    assert "evil" not in sys.modules


def test_an_argument_that_a_class_of_ones_own_needs(tmp_path, capsys):
    (tmp_path / "own.py").write_text(
        "from pyro.infer import Trace_ELBO\n"
        "class Own(Trace_ELBO):\n    def __init__(self, num_data: int):\n        pass\n"
    )
    with pytest.raises(SystemExit):
        run("train", "--import", tmp_path / "own.py", *TINY, "--objective", "Own")
    assert "--objective Own expects --objective.num_data, got none; see --obj" in capsys.readouterr().err


SPARSE = """
from ppl_vae.objectives.penalized import Penalized
class Sparse(Penalized):
    def _check(self, model, guide): pass
    def _penalty(self, model, guide, x): return sum(s["value"].abs().sum() for s in [guide.nodes["z"]])
"""


def test_an_objective_of_ones_own_takes_one_draw_by_default(tmp_path):
    (tmp_path / "sparse.py").write_text(SPARSE)
    words = ("--import", tmp_path / "sparse.py", "--objective", "Sparse", "--objective.weight", 0.1)
    assert run("train", *words, *TINY, "--run", tmp_path / "run") == 0


def test_the_package_is_the_command_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ppl_vae", "--version"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("ppl_vae", run_name="__main__")
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("ppl-vae ")


def test_an_imported_file_replaces_no_module(tmp_path, capsys):
    (tmp_path / "json.py").write_text("from ppl_vae import StandardNormal\nclass Json(StandardNormal):\n    pass\n")
    words = ["--import", tmp_path / "json.py"]
    assert run("train", *words, *TINY, "--prior", "Json", "--run", tmp_path / "run") == 0
    assert sys.modules["json"] is json
    options = ["--config", tmp_path / "run" / "options.yaml", "--run", tmp_path / "again"]
    assert run("train", *words, *options) == 0
    assert run("sample", *words, tmp_path / "again", "--num", 2) == 0


def test_a_chosen_class_inherits_no_argument_of_the_default(tmp_path, capsys):
    (tmp_path / "e.yaml").write_text("objective.class_path: IWAE\n")
    with pytest.raises(SystemExit):
        run("train", "--config", tmp_path / "e.yaml", "--print-config")
    assert yaml.safe_load(capsys.readouterr().out)["objective"]["init_args"] == {"num_particles": 5}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--prior.num_components", 7],
            "--prior.num_components expects a class with this argument, got Standard",
        ),
        (
            ["--likelihood.dispersion", "element"],
            "it; name the class before it: --likelihood NegativeBinomial --likelihood.dispersion element\n",
        ),
        (
            ["--likelihood.dispersion=element", "--likelihood", "NegativeBinomial"],
            "--likelihood.dispersion expects a class that takes it, got none before it; name the class before it: ",
        ),
        (["--corruption.scale", 0.3], "--corruption GaussianNoise --corruption.scale 0.3\n"),
        (["--likelihood.dispersal", 3], "takes it: did you mean --likelihood.dispersion?\n"),
        (["--corruption.nonsense", 3], "SaltAndPepper takes it: --corruption.help NAME lists them\n"),
        (
            ["--beta", "four"],
            "weight of the KL: Constant, Linear, Cyclical, or a number, got 'four'",
        ),
        (["--prior", "ppl_vae.MLP"], "got 'ppl_vae.MLP'; name one of them"),
        (["--prior", "VamPrior"], "got 'VamPrior'; did you mean VampPrior?"),
        (["--objective", "iawe"], "got 'iawe'; did you mean IWAE?"),
        (["--decoder", "mpl"], "ResNetDecoder, Conv1dDecoder, GRUDecoder, got 'mpl'; did you mean MLP?"),
        (
            ["--prior", "GaussianMixture", "--prior.num_components", "x"],
            "--prior.num_components expects a whole number, got 'x'; give another value",
        ),
        (
            ["--prior", "ZukoPrior", "--prior.flow", "zuko.flows.NSF"],
            "--prior.flow expects a function, got text; give one in Python, as prior=partial(ZukoPrior, flow=...), or",
        ),
    ],
)
def test_a_wrong_component_is_explained(words, message, capsys):
    with pytest.raises(SystemExit) as stop:
        run("train", *words)
    assert stop.value.code == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert "Subtypes" not in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--encoder", "ConvDecoder"], "got ConvDecoder, which is one for the decoder; use ConvEncoder or MLP"),
        (["--decoder", "GRUEncoder"], "got GRUEncoder, which is one for the encoder; use GRUDecoder or MLP"),
        (["--decoder", "DeepSet"], "got DeepSet, which is one for the encoder; use MLP"),
    ],
)
def test_a_network_in_the_wrong_place_is_refused(words, message, tmp_path, capsys):
    assert run("train", *TINY, *words, "--run", tmp_path / "run") == 1
    said = capsys.readouterr().err
    assert f"build expects a network for the {words[0][2:]}, " in said
    assert message in said
    assert not (tmp_path / "run").exists()


def test_a_file_has_classes_with_their_arguments_as_a_table_has(tmp_path, capsys):
    said = "prior: {ppl_vae.VampPrior: {num_components: 3}}\nposterior: {IAF: }\nencoder: {hidden_dims: [5]}\nbeta: 2\n"
    said += "likelihood: Gaussian\nlikelihood.scale: elementwise\nobjective: TraceEnum_ELBO\n"
    (tmp_path / "e.yaml").write_text(said)
    with pytest.raises(SystemExit):
        run("train", "--config", tmp_path / "e.yaml", "--print-config")
    found = yaml.safe_load(capsys.readouterr().out)
    assert found["prior"]["class_path"] == "ppl_vae.VampPrior"
    assert found["prior"]["init_args"]["num_components"] == 3
    assert found["posterior"]["class_path"] == "ppl_vae.IAF"
    assert found["encoder"]["init_args"]["hidden_dims"] == [5]
    assert found["beta"]["init_args"] == {"beta": 2.0}
    assert found["likelihood"]["init_args"]["scale"] == "elementwise"
    assert found["objective"]["class_path"] == "pyro.infer.TraceEnum_ELBO"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("likelihood: {scale: 0.5}", "likelihood expects a class, or one with its arguments, got {scale: 0.5}"),
        ("likelihood: {Bernoulli: 3}", "got {Bernoulli: 3}; write 'likelihood: {NAME: {argument: value}}'"),
        ("prior: 3", "prior expects a class, or one with its arguments, got 3;"),
        ("beta: true", "beta expects a class, or one with its arguments, got true;"),
        ("prior: [VampPrior]", "got [VampPrior];"),
        ("likelihood: {ppl_vae.Bernoullii: {}}", "--likelihood expects p(x | z)"),
        ("data: \x07", "e.yaml expects YAML, but"),
        ("prior: VampPrior\nprior.num_componentss: 3", "did you mean --prior.num_components?"),
        ("prior: {VampPriorr: {num_components: 3}}", "got 'VampPriorr'; did you mean VampPrior?"),
        ("prior: {VampPrior: {num_componentss: 3}}", "did you mean --prior.num_components?"),
        ("- digits", "e.yaml expects lines 'option: value', got '- digits'; --print-config writes one"),
        ("data: [digits", "e.yaml expects YAML, but in line 2: did not find expected ',' or ']'; correct it"),
    ],
)
def test_mistakes_in_a_file_are_a_sentence(said, message, tmp_path, capsys):
    (tmp_path / "e.yaml").write_text(said + "\n")
    with suppress(SystemExit):
        assert run("train", "--config", tmp_path / "e.yaml", "--run", tmp_path / "run") == 1
    assert message in capsys.readouterr().err


def test_flags_of_a_file_can_be_undone(tmp_path, capsys):
    (tmp_path / "e.yaml").write_text("conditional: true\n")
    for words, expected in (([], True), (["--no-conditional"], False)):
        with pytest.raises(SystemExit):
            run("train", "--config", tmp_path / "e.yaml", *words, "--print-config")
        assert yaml.safe_load(capsys.readouterr().out)["conditional"] is expected


def test_refusals_leave_no_folder_and_no_traceback(trained, tmp_path, monkeypatch, capsys):
    def refused(message, *words):
        assert run(*words) == 1
        assert message in capsys.readouterr().err

    refused("Flat", "train", *TINY, "--prior", "Flat", "--run", tmp_path / "flat")
    assert not (tmp_path / "flat").exists()
    refused("--take expects 1 or more, got 0", "train", "--take", 0, "--run", tmp_path / "none")
    folder = trained("conditional", "--conditional")
    refused("--take expects 1 or more, got 0", "evaluate", folder, "--take", 0)
    refused("diagnose expects 2 data or more", "diagnose", folder, "--take", 1)
    refused("--num expects 1 or more, got 0", "sample", folder, "--num", 0)
    for label in (99, -1):
        refused(f"--label expects 0 to 9, got {label}", "sample", folder, f"--label={label}")
    (folder / "evaluation.json").write_text("{}")
    refused("evaluate the runs again", "compare", folder)
    (folder / "config.json").write_text("{}")
    refused("config.json' as it was written, got another content", "evaluate", folder)

    def fails(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("ppl_vae.data.load", fails)
    refused("no network", "train", *TINY, "--download")


def test_runs_of_one_name_are_two_rows(trained, capsys):
    folders = [trained("a/r"), trained("b/r", "--seed", 1)]
    for folder in folders:
        assert run("evaluate", folder, "--num-samples", 30, "--take", 20) == 0
    capsys.readouterr()
    assert run("compare", *folders, "--figure", "cmp.xyz") == 1
    assert "--figure expects a name that ends in .png, .pdf or .svg, say, got cmp.xyz" in capsys.readouterr().err
    assert run("compare", *(folder / "evaluation.json" for folder in folders)) == 0
    assert "evaluation.json" not in capsys.readouterr().out.rpartition("next: ")[2]
    assert run("compare", *folders) == 0
    assert {str(f) for f in folders} <= set(capsys.readouterr().out.split())


def test_an_evaluation_of_a_run_that_was_trained_further_is_not_compared(trained, tmp_path, capsys):
    folder, other = trained("run"), trained("other", "--seed", 1)
    for each in (folder, other):
        assert run("evaluate", each, "--num-samples", 30) == 0
    assert run("compare", folder, other) == 0
    assert run("train", *TINY, "--run", folder, "--resume", "--epochs", 6) == 0
    capsys.readouterr()
    assert run("compare", folder, other) == 1
    said = (
        f"of the weights that '{folder}' has, got one of weights from before the run was trained further; run `ppl-vae"
    )
    assert said in capsys.readouterr().err
    ppl_vae.load(folder).bundle(tmp_path / "bundle")
    assert "* NLL: not evaluated since it was trained further" in (tmp_path / "bundle" / "README.md").read_text()
    assert run("evaluate", folder, "--num-samples", 30) == 0
    assert run("compare", folder, other) == 0


def test_options_tell_of_the_last_training(trained):
    folder = trained("run")
    assert run("train", *TINY, "--run", folder, "--resume", "--epochs", 3) == 0
    assert yaml.safe_load((folder / "options.yaml").read_text())["epochs"] == 3


def test_data_of_your_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("own.npz", x=np.random.default_rng(0).normal(7.0, 2.0, size=(60, 4)))
    tiny = [*TINY, "--data", "own.npz", "--take", 5, "--run", "o"]
    assert run("train", *tiny) == 0
    assert "Gaussian(x | z" in capsys.readouterr().out
    assert run("evaluate", "o", "--num-samples", 30) == 0
    (tmp_path / "moved").mkdir()
    Path("own.npz").rename("moved/own.npz")
    assert run("evaluate", "o") == 1
    assert "--data" in capsys.readouterr().err
    assert run("evaluate", "o", "--num-samples", 30, "--data", "moved/own.npz") == 0
    assert run("sample", "o", "--num", 3) == 0  # needs no data, and no picture
    assert np.load("o/samples.npy").shape == (3, 4)


def test_tables_are_standardized(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("own.npy", np.random.default_rng(0).normal([7.0, -50.0], [0.2, 10.0], size=(60, 2)))
    tiny = [*TINY, "--data", "own.npy", "--take", 20]
    assert run("train", *tiny, "--run", "o") == 0
    assert "columns standardized (--no-standardize leaves them as they are)" in capsys.readouterr().out
    assert run("sample", "o", "--num", 50, "--mean") == 0
    assert np.allclose(np.load("o/samples.npy").mean(0), [7.0, -50.0], rtol=0.2)
    assert run("train", *tiny, "--run", "raw", "--no-standardize") == 0
    assert "columns standardized" not in capsys.readouterr().out
    for name in ("o", "raw"):
        assert run("evaluate", name, "--num-samples", 30) == 0
    assert run("compare", "o", "raw") == 0


def test_levels_and_shares_of_a_table_are_not_binarized(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rows = zip(rng.choice(["low", "high", "top"], 40), rng.choice(["low", "high", "top"], 40), strict=True)
    Path("grades.csv").write_text("\n".join(["a,b", *map(",".join, rows)]))
    Path("grades.yaml").write_text("a: [low, high, top]\nb: [low, high, top]\n")
    assert run("train", *TINY, "--data", "grades.csv", "--kinds", "grades.yaml", "--run", "g") == 0
    assert "Heterogeneous(x | z; OrderedLogistic: a, b)" in capsys.readouterr().out
    Path("shares.csv").write_text("\n".join(["a,b", *(f"{a},{b}" for a, b in rng.random((40, 2)))]))
    Path("shares.yaml").write_text("a: unit\nb: unit\n")
    assert run("train", *TINY, "--data", "shares.csv", "--kinds", "shares.yaml", "--run", "s") == 0
    assert "ContinuousBernoulli(x | z)" in capsys.readouterr().out


def test_a_column_of_names_is_left_out_as_the_refusal_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [f"P{i:04d},{i % 7},{0.5 * i}" for i in range(120)]
    Path("people.csv").write_text("\n".join(["patient: id,age,weight", *rows]))
    assert run("train", *TINY, "--data", "people.csv", "--run", "p") == 1
    line = re.search(r"leave it out, --kinds kinds.yaml, a file with the line `(.+?)`", capsys.readouterr().err)[1]
    Path("kinds.yaml").write_text(line)
    assert run("train", *TINY, "--data", "people.csv", "--kinds", "kinds.yaml", "--run", "p") == 0


def test_a_picture_of_binary_samples_shows_means_and_says_so(trained, tmp_path, monkeypatch):
    folder, said = trained("binary"), []
    monkeypatch.setattr(
        "ppl_vae.cli.figures.draw", lambda name, x, labelled: said.append((x.unique().numel(), labelled))
    )
    monkeypatch.setattr("ppl_vae.cli.figures.save", lambda ax, path: path.touch())
    for more in ([], ["--no-mean"]):
        run("sample", folder, "--num", 2, "--out", tmp_path / "x.png", *more)
    assert said[0][0] > 2
    assert [label for _, label in said] == ["E[x | z] of draws z from the prior", "draws of x, z from the prior"]


def test_commands_on_new_data_say_what_comes_next(trained, tmp_path, capsys):
    folder, source = trained("run"), tmp_path / "x.npy"
    np.save(source, np.where(np.arange(64).reshape(1, 8, 8) == 5, np.nan, np.zeros((3, 1, 8, 8))))
    for command in ("encode", "reconstruct", "score", "impute"):
        assert run(command, folder, source, "--out", tmp_path / f"{command}.npy") == 0
        assert capsys.readouterr().out.splitlines()[-1] == f"next: ppl-vae diagnose {folder}"
    assert run("sample", folder, "--num", 2) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"next: ppl-vae report {folder}"


def test_export_and_list_say_what_comes_next(trained, capsys):
    folder = trained("run", "--conditional")
    for part, given in (("encoder", "x"), ("decoder", "z")):
        assert run("export", folder, "--part", part) == 0
        *_, said, after = capsys.readouterr().out.splitlines()
        assert said.endswith(f'{part}.pt2").module()({given}, context_0)')
        assert after == f"next: ppl-vae diagnose {folder}"
    assert run("list") == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("next: ppl-vae train --prior.help VampPrior explains")
    assert run("list", "--json") == 0
    out, err = capsys.readouterr()
    assert "VampPrior" in json.loads(out)["priors"]
    assert err.splitlines()[-1].startswith("next: ")


def test_samples_are_in_raw_units(trained):
    folder = trained("grey", "--likelihood", "Gaussian", "--epochs", 5)
    assert run("sample", folder, "--num", 50, "--mean", "--out", folder / "x.npy") == 0
    assert 3 < np.load(folder / "x.npy").mean() < 7  # of grey levels up to 16; standardized, it is 0


def test_help_and_mistakes(capsys):
    assert run() == 0
    assert run("--version") == 0
    assert run("trian") == 2
    for command in ("train", "evaluate", "diagnose", "sample", "fit-prior", "compare", "demo"):
        with pytest.raises(SystemExit):
            run(command, "--help")
    shown = capsys.readouterr().out
    assert all(  # but for bases
        name in shown
        for of_role in COMPONENTS.values()
        for name in of_role
        if name not in ("Prior", "Likelihood", "Rowwise", "Posterior", "Network", "Corruption")
    )
    with pytest.raises(SystemExit) as stop:
        run("train", "--prior", "Nope")
    assert stop.value.code == 2
    assert run("evaluate", "nowhere") == 1
    assert "load expects a run folder" in capsys.readouterr().err


@pytest.mark.usefixtures("no_sbc")  # `make demo` runs it whole
def test_the_demo_prints_one_table_per_likelihood(tmp_path, capsys, monkeypatch):
    load = data.load
    monkeypatch.setattr(data, "load", lambda *args, **kwargs: load(*args, **kwargs).take(150, 30, 40))
    assert run("demo", "--out", tmp_path, "--epochs", 2, "--num-samples", 30) == 0
    shown = capsys.readouterr().out
    assert "Bernoulli, a mass, 40 test data" in shown
    assert "Gaussian, a density, 40 test data" in shown
    assert "may not be ranked against each other" in shown
    assert len(list(tmp_path.glob("*/posterior.nc"))) == 4


def test_every_command_is_one_record_and_listed():
    files = {file.stem for file in Path(commands.__file__).parent.glob("*.py")} - {"__init__"}
    assert {name.replace("-", "_") for name in commands.COMMANDS} == files
    for command in commands.COMMANDS.values():
        assert set(command.defaults) <= set(command.new_parser().components)


def test_help_names_an_option_once_with_its_default_and_no_type(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        run("train", "--help")
    shown = capsys.readouterr().out
    assert "--batch-size SIZE" in shown
    assert "data a batch (128)" in shown
    assert not [word for word in ("--batch_size", "type:", "default:", "null", "+ ") if word in shown]
    assert len(shown.splitlines()) <= 90
    assert "what is maximized: Pyro's TraceMeanField_ELBO and" in shown
    assert {"ConvEncoder", "DeepSet"} <= set(classes(shown, "encoder")) - set(classes(shown, "decoder"))
    assert {"ConvDecoder", "GRUDecoder"} <= set(classes(shown, "decoder")) - set(classes(shown, "encoder"))
    assert [line for line in shown.splitlines() if line.startswith(("data:", "model;", "training:", "run:"))]
    with pytest.raises(SystemExit):
        run("fit-prior", "--help")
    assert "folder of the new run (required)" in capsys.readouterr().out


def test_help_of_a_class_offers_no_functions(capsys):
    with pytest.raises(SystemExit):
        run("train", "--prior.help", "ZukoPrior")
    assert "flow " not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "usage"),
    [
        (("train",), "ppl-vae train --prior VampPrior [options]"),
        (("fit-prior", "RUN", "--out", "OUT"), "ppl-vae fit-prior RUN --prior VampPrior [options]"),
    ],
)
def test_help_of_a_class_shows_the_command(words, usage, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "RUN").mkdir()
    (tmp_path / "RUN" / "checkpoint.json").touch()
    with pytest.raises(SystemExit):
        run(*words, "--prior.help", "VampPrior")
    assert capsys.readouterr().out.startswith(f"usage: {usage}\n")


def classes(shown, option):
    """The classes that help lists of an option."""
    return re.findall(r"\w+", re.search(rf"--{option} NAME.*?:(.*?)\n  --", shown, re.DOTALL)[1])


@pytest.mark.parametrize("words", [("--beta", "4"), ("--beta=4",), ("--beta", "Constant", "--beta.beta", "4")])
def test_a_number_is_a_constant_beta(words, tmp_path):
    assert run("train", *words, "--epochs", 1, "--take", 40, "--run", tmp_path / "run") == 0
    assert ppl_vae.load(tmp_path / "run").history.beta.iloc[-1] == 4
