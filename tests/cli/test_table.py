"""`ppl-vae table`: cells of a YAML file, their runs, and the table of what they found."""

import json
import os
import re
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from ppl_vae import Evaluation, compare, objectives, posteriors, priors
from ppl_vae.cli import main
from ppl_vae.cli.comparison import runs as runs_
from ppl_vae.cli.comparison.contents import content
from ppl_vae.cli.comparison.reading import read
from ppl_vae.cli.comparison.runs import Run, carried_out, run_all, runs_of
from ppl_vae.cli.markdown import lined_up
from ppl_vae.training import combinations

TINY = {"data": "digits", "take": 30, "epochs": 2, "latent_dim": 2, "likelihood": "Bernoulli", "batch_size": 15}
SCORED = {"num_samples": 30, "take": 20}
TABLES = sorted((Path(__file__).parents[2] / "experiments" / "tables").glob("*.yaml"))


@pytest.fixture
def written(tmp_path):
    def write(**said):
        file = tmp_path / "t.yaml"
        file.write_text(yaml.safe_dump(said, sort_keys=False))
        return file

    return write


@pytest.fixture
def in_this_process(monkeypatch):
    """Runs one after the other, in this process; the ones that were carried out."""
    done = []

    def run_here(runs, processes, told, waited=lambda: None):
        assert processes <= max(1, len(runs))
        for run in runs:
            done.append(run)
            told(run, run.end(carried_out(run)))
            waited()

    monkeypatch.setattr(runs_, "run_all", run_here)
    return done


def test_lists_are_crossed_and_single_cells_added(written):
    table = read(
        written(
            **TINY,
            prior=["StandardNormal", {"VampPrior": {"num_components": 3}}],
            posterior=["DiagonalNormal", "FullRankNormal"],
            cells=[
                {"latent_dim": [[2, 3]], "name": "two levels"},
                {"objective": ["STL", {"IWAE": {"num_particles": 2}}]},
            ],
            seeds=[4, 5],
        )
    )
    assert [cell.name for cell in table.cells] == [
        "StandardNormal, DiagonalNormal",
        "posterior FullRankNormal",
        "prior VampPrior(num_components=3)",
        "prior VampPrior(num_components=3), posterior FullRankNormal",
        "two levels",
        "objective STL",
        "objective IWAE(num_particles=2)",
    ]
    assert "--latent-dim=[2, 3]" in table.cells[4].train
    assert table.cells[6].train[-2:] == ["--objective=IWAE", "--objective.num_particles=2"]
    assert {"--prior=StandardNormal", "--posterior=DiagonalNormal"} < set(
        table.cells[6].train
    )  # the first of each list
    assert [(run.cell.name, run.seed) for run in runs_of(table.cells, Path("out"))][6:8] == [
        ("objective IWAE(num_particles=2)", 4),
        ("StandardNormal, DiagonalNormal", 5),
    ]


def test_a_cell_keeps_its_folder_when_others_are_added(written):
    alone = read(written(**TINY, prior="StandardNormal")).cells[0]
    among = read(written(**TINY, prior=["StandardNormal", "Laplace"], seeds=[0, 1])).cells[0]
    assert alone.folder == among.folder
    assert read(written(**{**TINY, "epochs": 3}, prior="StandardNormal")).cells[0].folder != alone.folder


def test_a_cell_said_twice_is_one(written):
    table = read(written(**TINY, prior=["StandardNormal", "Laplace"], cells=[{"prior": "Laplace", "name": "heavy"}]))
    assert [cell.name for cell in table.cells] == ["StandardNormal", "heavy"]


BAD = {
    "an unknown setting": ({"latent_dmi": 2}, "did you mean latent_dim?"),
    "an unknown word of the table": ({"seds": [1]}, "did you mean seeds?"),
    "an unknown class": ({"prior": "VampPrio"}, "--prior expects"),
    "an unknown argument": ({"prior": {"VampPrior": {"components": 3}}}, "num_components"),
    "a value of another type": ({"epochs": "many"}, "--epochs"),
    "a mapping for a value": ({"epochs": {"a": 1}}, "epochs expects a value"),
    "no seeds": ({"seeds": []}, "seeds expects different whole numbers from 0 on, got []"),
    "equal seeds": ({"seeds": [1, 1]}, "seeds expects different"),
    "a seed that is none": ({"seeds": ["a"]}, "seeds expects different"),
    "an empty list": ({"prior": []}, "prior expects one value or more"),
    "too many cells": ({"epochs": list(range(1, 50)), "batch_size": list(range(1, 50))}, "2401"),
    "cells that are no list": ({"cells": 3}, "cells expects a list"),
    "a cell that is no mapping": ({"cells": ["VampPrior"]}, "cell 1 expects names and values"),
    "an unknown setting of a cell": ({"cells": [{"prir": "Laplace"}]}, "did you mean prior?"),
    "a name for several": ({"cells": [{"prior": ["Laplace", "MAF"], "name": "a"}]}, "a name for one cell"),
    "names that are equal": ({"cells": [{"epochs": e, "name": "a"} for e in (3, 4)]}, "'a' twice"),
    "an unknown setting of the scores": ({"evaluate": {"num_sample": 3}}, "did you mean num_samples?"),
    "a score of another type": ({"evaluate": {"num_samples": "x"}}, "--num-samples"),
    "a reference that is no cell": ({"reference": {"prior": "Laplace"}}, "reference expects settings of a cell"),
    "published, no list": ({"published": {"value": 3}}, "published expects a list"),
    "published without source": (
        {"published": [{"where": {"prior": "Laplace"}, "quantity": "nll", "value": 3}]},
        "expects the source of its number",
    ),
    "published without quantity": ({"published": [{"where": {}, "value": 3, "source": "a"}]}, "expects a quantity"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_a_sentence(case, written, capsys):
    said, expected = BAD[case]
    assert main(["table", str(written(**{**TINY, "prior": "StandardNormal", **said}))]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert expected in line
    assert ";" in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1", "expects YAML"),
        ("epochs: 1\nepochs: 3", "once, got 'epochs' again in line 2"),
        ("- 1", "expects settings"),
        ("", "settings"),
    ],
)
def test_a_file_of_something_else_is_a_sentence(text, expected, tmp_path, capsys):
    (tmp_path / "t.yaml").write_text(text)
    assert main(["table", str(tmp_path / "t.yaml")]) == 1
    assert expected in capsys.readouterr().err


def test_a_cell_that_cannot_be_built_says_what_list_compatible_says(written, capsys):
    file = written(**TINY, prior=["StandardNormal", "Dirichlet"], objective=["Trace_ELBO", "Commitment"])
    pair = combinations.drawn(priors.StandardNormal, posteriors.DiagonalNormal)
    assert main(["table", str(file), "--list"]) == 0
    said = capsys.readouterr().out
    assert said.count(": cannot be built") == 3
    assert f"  {combinations.drawn(priors.Dirichlet, posteriors.DiagonalNormal)}\n" in said
    assert f"  {combinations.reason(objectives.Commitment, pair)}\n" in said


def test_a_hierarchy_that_cannot_be_built_says_it_before_it_is_trained(written, capsys):
    cells = [{"latent_dim": [[2, 2]]}, {"latent_dim": [[2, 2]], "prior": "VampPrior"}]
    file = written(**TINY, posterior="BottomUp", cells=cells)
    assert main(["table", str(file), "--list"]) == 0
    said = capsys.readouterr().out
    assert said.count(": cannot be built") == 2
    assert "BottomUp expects two levels or more" in said
    assert "VampPrior expects a posterior given data, got BottomUp" in said


def test_a_cell_is_asked_with_its_own_arguments(written, capsys):
    """Of codes in four groups, a gradient through bits, and one latent unit; numbers and truth values are options."""
    cells = [
        {
            "prior": "AutoregressiveCodePrior",
            "posterior": {"VectorQuantized": {"groups": 4}},
            "objective": "Commitment",
        },
        {"prior": "Bernoulli", "posterior": {"Bernoulli": {"gradient": "straight-through"}}, "objective": "STL"},
        {"prior": "RealNVP", "latent_dim": 1},
        {"conditional": True, "beta": 4},
    ]
    file = written(**{**TINY, "latent_dim": 4}, prior="StandardNormal", beta=[0.5, 1], cells=cells)
    assert main(["table", str(file), "--list"]) == 0
    said = capsys.readouterr().out
    assert said.count(": cannot be built") == 1
    assert "RealNVP expects latent_dim of 2 or more" in said
    assert "--beta=Constant --beta.beta=0.5 " in said
    assert "--conditional --beta=Constant --beta.beta=4 " in said or "--beta.beta=4 --conditional " in said


def test_published_numbers_of_no_cell_are_told(written):
    entry = {"where": {"prior": "Laplace"}, "quantity": "nll", "value": 3, "source": "a"}
    with pytest.warns(UserWarning, match=r"published 1 matches no cell, \{'prior': 'Laplace'\}"):
        read(written(**TINY, prior="StandardNormal", published=[entry]))


def test_a_table_without_a_complete_run_fails(written, in_this_process, tmp_path, capsys):
    file = written(**{**TINY, "evaluate": {"num_samples": -20}}, prior="StandardNormal")
    assert main(["table", str(file), "--out", str(tmp_path / "out")]) == 1
    assert "got none of 1" in capsys.readouterr().err
    file = written(**TINY, prior="Dirichlet", posterior="DiagonalNormal")
    assert main(["table", str(file), "--out", str(tmp_path / "none")]) == 1
    assert "got none of 1" in capsys.readouterr().err


def test_a_table_of_runs(written, in_this_process, tmp_path, capsys):
    said = {
        **TINY,
        "prior": ["StandardNormal", {"GaussianMixture": {"num_components": 3}}, "Dirichlet"],
        "cells": [{"epochs": -1, "name": "negative epochs"}],
        "seeds": [0, 1],
        "evaluate": SCORED,
        "published": [
            {"where": {"prior": "GaussianMixture"}, "quantity": "nll", "value": 12.5, "source": "A et al. 1999"}
        ],
    }
    file, out = written(**said), tmp_path / "out"
    assert main(["table", str(file), "--out", str(out), "--json"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)["cells"]
    assert re.search(r"^next: ppl-vae diagnose \S+seed-[01], which has the lowest NLL$", printed.err, re.MULTILINE)
    mixture, standard = "prior GaussianMixture(num_components=3)", "StandardNormal"
    assert list(found) == [standard, mixture, "prior Dirichlet", "negative epochs"]
    assert found["negative epochs"]["seeds"] == found["prior Dirichlet"]["seeds"] == 0
    assert "--epochs expects 1 or more, got -1" in found["negative epochs"]["reason"]
    assert "Dirichlet" in found["prior Dirichlet"]["reason"]

    results = {
        (run.cell.name, run.seed): Evaluation.load(run.folder / "evaluation.json")
        for run in in_this_process
        if run.state == "complete"
    }
    assert len(results) == 4
    log_px = {name: np.array([results[name, s].per_datum.log_px for s in (0, 1)]) for name in (standard, mixture)}
    row = found[mixture]
    assert row["nll"] == pytest.approx(-log_px[mixture].mean())
    assert row["nll_sd"] == pytest.approx(abs(np.diff(log_px[mixture].mean(1))[0]) / 2**0.5)
    elbo = np.array([results[mixture, s].per_datum.elbo for s in (0, 1)])
    assert row["nll_se"] == pytest.approx(log_px[mixture].mean(0).std(ddof=1) / 20**0.5)
    assert row["negative_elbo_se"] == pytest.approx(elbo.mean(0).std(ddof=1) / 20**0.5)
    assert row["negative_elbo_sd"] == pytest.approx(abs(np.diff(elbo.mean(1))[0]) / 2**0.5)
    bits = [results[mixture, s].per_datum for s in (0, 1)]
    bits = np.array([each.bits_per_dim * each.elbo / each.log_px for each in bits])
    assert row["elbo_bits_per_dim_se"] == pytest.approx(bits.mean(0).std(ddof=1) / 20**0.5)
    difference = (log_px[standard] - log_px[mixture]).mean(0)
    assert row["difference"] == pytest.approx(difference.mean())
    assert row["difference_se"] == pytest.approx(difference.std(ddof=1) / 20**0.5)
    assert found[standard]["difference"] == 0
    assert row["kl_gap"] == pytest.approx(-row["nll"] + row["negative_elbo"])

    rows = pd.read_parquet(out / "results.parquet")
    assert len(rows) == 8
    ranked = compare({str(s): results[mixture, s] for s in (0, 1)})
    assert rows[rows.cell == mixture].nll.tolist() == pytest.approx(ranked.nll.loc[["0", "1"]].tolist())
    assert rows[rows.cell == "negative epochs"].reason.str.contains("1 or more").all()
    text = (out / "table.md").read_text()
    assert f"| {row['negative_elbo']:.2f} ± {row['negative_elbo_se']:.2f} " in text
    assert "| 12.5 [1]" in next(line for line in text.splitlines() if line.startswith(f"| {mixture}"))
    assert "1. A et al. 1999" in text
    assert (out / "table.png").read_bytes().startswith(b"\x89PNG")

    # a later summary knows why runs failed
    assert main(["table", str(file), "--out", str(out), "--summary", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cells"] == found
    assert main(["table", str(file), "--out", str(out), "--list"]) == 0
    assert "negative epochs, seed 1: new\n  " + found["negative epochs"]["reason"] in capsys.readouterr().out
    # what is complete is not repeated, what failed is tried again
    before = {run.folder: (run.folder / "history.jsonl").read_text() for run in in_this_process[:2]}
    in_this_process.clear()
    assert main(["table", str(file), "--out", str(out)]) == 0
    assert {run.cell.name for run in in_this_process} == {"negative epochs"}
    # other scores are new, of the same training
    in_this_process.clear()
    file = written(**{**said, "evaluate": {**SCORED, "num_samples": 40}, "cells": []})
    assert main(["table", str(file), "--out", str(out)]) == 0
    assert len(in_this_process) == 4
    assert all((folder / "history.jsonl").read_text() == history for folder, history in before.items())
    assert Evaluation.load(in_this_process[0].folder / "evaluation.json").num_samples == 40


@pytest.fixture
def of_a_table(written, tmp_path):
    """A file of a table of counts, and what it names: data, kinds, and classes."""
    paths = {name: tmp_path / name for name in ("counts.csv", "kinds.yaml", "own.py")}
    pd.DataFrame({"children": np.arange(60) % 5, "height": np.arange(60) / 7}).to_csv(paths["counts.csv"], index=False)
    paths["kinds.yaml"].write_text("children: counts\n")
    paths["own.py"].write_text("")
    said = {k: v for k, v in TINY.items() if k not in ("data", "likelihood")} | {"latent_dim": 1}
    files = {"data": str(paths["counts.csv"]), "kinds": str(paths["kinds.yaml"])}

    def table(seeds):
        return written(**said, **files, prior="StandardNormal", seeds=seeds, evaluate={"num_samples": 20})

    return table, paths


@pytest.mark.parametrize("name", ["counts.csv", "kinds.yaml", "own.py"])
def test_a_run_of_a_file_that_changed_is_carried_out_again(name, of_a_table, in_this_process, tmp_path, capsys):
    table, paths = of_a_table
    words = ["table", str(table([0])), "--out", str(tmp_path / "out"), "--import", str(paths["own.py"])]
    assert main(words) == main(words) == 0
    (run,) = in_this_process
    history = (run.folder / "history.jsonl").read_text()
    changed = {"counts.csv": ["children,height"] + [f"{i % 4},{i / 5}" for i in range(60)]}
    changed |= {"kinds.yaml": ["children: real"], "own.py": ["# other classes"]}
    paths[name].write_text("\n".join(changed[name]))
    capsys.readouterr()
    assert main([*words, "--summary", "--json"]) == 0
    said = capsys.readouterr()
    (row,) = json.loads(said.out)["cells"].values()
    assert (row["seeds"], row.get("nll")) == (0, None)
    assert row["reason"] == f"{paths[name]} changed since seed 0 was carried out, which is to be carried out again"
    table([0, 1])
    assert main([*words, "--json"]) == 0
    said = capsys.readouterr()
    assert f"{paths[name]} changed since 1 of these ran: each such run starts again, and what" in said.err
    (row,) = json.loads(said.out)["cells"].values()
    assert (row["seeds"], row["reason"]) == (2, "")
    assert (run.folder.with_name("seed-0-former-1") / "history.jsonl").read_text() == history
    assert main(words) == 0
    assert [run.seed for run in in_this_process] == [0, 0, 1]


def test_runs_of_records_without_checksums_are_taken_as_they_are(of_a_table, in_this_process, tmp_path, capsys):
    table, paths = of_a_table
    words = ["table", str(table([0])), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    record = in_this_process[0].folder.with_suffix(".json")
    record.write_text(json.dumps({k: v for k, v in json.loads(record.read_text()).items() if k != "files"}))
    paths["kinds.yaml"].write_text("children: real\n")
    assert main(words) == 0
    files = f"{paths['counts.csv']}, {paths['kinds.yaml']}"
    assert f"no checksum of {files} was kept for 1 of the complete runs, by an earlier" in capsys.readouterr().out
    assert len(in_this_process) == 1


def test_files_that_are_gone_leave_what_is_complete(of_a_table, in_this_process, tmp_path):
    table, paths = of_a_table
    words = ["table", str(table([0])), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    paths["counts.csv"].unlink()
    assert main(words) == 0
    assert len(in_this_process) == 1


def test_a_folder_has_other_contents_when_a_picture_in_it_is_another(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.png").write_bytes(b"1")
    before = content(str(tmp_path))
    (tmp_path / ".hidden").write_bytes(b"2")
    assert content(str(tmp_path)) == before
    (tmp_path / "a" / "one.png").write_bytes(b"3")
    assert content(str(tmp_path)) not in (before, "")
    assert content(str(tmp_path / "none")) == ""


def test_seeds_and_references_of_other_data_have_no_mean_and_no_difference(written, in_this_process, tmp_path, capsys):
    file = written(**TINY, prior=["StandardNormal", "Laplace"], seeds=[0, 1], evaluate=SCORED)
    words = ["table", str(file), "--out", str(tmp_path / "out"), "--json"]
    assert main(words) == 0
    standard, heavy = (next(r for r in in_this_process if r.seed == 1 and r.cell.name == n) for n in names(capsys))
    assert main(["evaluate", str(heavy.folder), "--num-samples", "30", "--take", "10"]) == 0
    capsys.readouterr()
    assert main(words) == 0
    said = capsys.readouterr()
    rows = list(json.loads(said.out)["cells"].values())
    assert rows[0]["difference"] == 0
    assert (rows[1]["seeds"], rows[1].get("nll")) == (2, None)
    expected = "there is no mean over the seeds: compare expects results on the same data, got "
    assert rows[1]["reason"].startswith(expected)
    assert expected in (tmp_path / "out" / "table.md").read_text()
    # both seeds alike, and unlike the reference
    for run in (heavy, next(r for r in in_this_process if r.seed == 0 and r.cell is heavy.cell)):
        assert main(["evaluate", str(run.folder), "--num-samples", "30", "--take", "10"]) == 0
    capsys.readouterr()
    assert main(words) == 0
    row = list(json.loads(capsys.readouterr().out)["cells"].values())[1]
    assert row["nll"] > 0
    expected = "there is no difference from the reference: compare expects results on the same data, got "
    assert row["reason"].startswith(expected)
    assert standard.cell.name in row["reason"]


def names(capsys):
    """The names of the cells of a table that was printed as JSON."""
    return list(json.loads(capsys.readouterr().out)["cells"])


def test_an_interrupted_run_goes_on(written, in_this_process, tmp_path):
    file, out = written(**TINY, prior="StandardNormal", evaluate=SCORED), tmp_path / "out"
    (run,) = runs_of(read(file).cells, out, ["--device=cpu"])
    assert run.state == "new"
    assert main(run.commands[0]) == 0
    assert run.state == "interrupted"
    assert main(["table", str(file), "--out", str(out), "--summary"]) == 0
    assert "| reference | 0     |" in (out / "table.md").read_text()
    assert not in_this_process
    history = (run.folder / "history.jsonl").read_text()
    assert main(["table", str(file), "--out", str(out)]) == 0
    assert run.state == "complete"
    assert (run.folder / "history.jsonl").read_text() == history


def test_as_many_runs_at_a_time_as_cores_that_it_may_use(written, monkeypatch, tmp_path, capsys):
    asked = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(3), raising=False)
    monkeypatch.setattr(runs_, "run_all", lambda runs, processes, *_: asked.append((len(runs), processes)))
    file = written(**TINY, prior="StandardNormal", seeds=[0, 1, 2, 3])
    assert main(["table", str(file), "--out", str(tmp_path)]) == 0
    assert asked == [(4, 3)]


def test_a_bar_in_a_name_is_no_border_of_a_column():
    table = lined_up([["cell", "seeds"], ["p(x|z)", "1"]])
    assert table.splitlines() == [r"| cell    | seeds |", "|---------|-------|", r"| p(x\|z) | 1     |"]


def test_without_pyarrow_results_are_csv(written, in_this_process, tmp_path, monkeypatch, capsys):
    def missing(*_, **__):
        raise ImportError("no pyarrow")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", missing)
    file = written(**TINY, prior="StandardNormal", evaluate=SCORED)
    assert main(["table", str(file), "--out", str(tmp_path / "out")]) == 0
    assert "results are CSV" in capsys.readouterr().out
    assert len(pd.read_csv(tmp_path / "out" / "results.csv")) == 1


def test_a_bar_shows_how_many_runs_are_left(written, tmp_path, in_this_process, terminal):
    file = written(**TINY, prior=["StandardNormal", "Laplace"], evaluate=SCORED)
    with redirect_stderr(terminal):
        assert main(["table", str(file), "--out", str(tmp_path / "out")]) == 0
    shown = terminal.getvalue()
    assert "\rruns:   0%" in shown
    assert re.search(r"runs:  50%.* 1/2 \[\d\d:\d\d<\d\d:\d\d", shown)  # the time left
    terminal.truncate(0)
    with redirect_stderr(terminal):
        assert main(["table", str(file), "--out", str(tmp_path / "out"), "--summary"]) == 0
    assert "runs:" not in terminal.getvalue()


def test_each_run_has_a_process_and_one_that_dies_stops_no_other(written, tmp_path):
    deadly = tmp_path / "deadly.py"
    deadly.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    cell = read(written(**TINY, prior="StandardNormal", evaluate=SCORED)).cells[0]
    (good,) = runs_of([cell], tmp_path, ["--device=cpu"])
    other = type(cell)(**{**vars(cell), "train": ["--import", str(deadly), *cell.train]})
    bad = Run(other, 0, tmp_path / "runs" / "bad" / "seed-0", ["--device=cpu"])
    ended = []
    run_all([bad, good], 2, lambda run, why: ended.append((run, why)), lambda: ended.append(None))
    assert None in ended
    ended = [end for end in ended if end is not None]
    assert set(ended) == {(good, ""), (bad, "its process was ended by signal 9")}
    assert (bad.state, bad.reason) == ("new", "its process was ended by signal 9")
    assert good.state == "complete"


@pytest.mark.parametrize("file", TABLES, ids=lambda file: file.stem)
def test_stored_tables_can_be_built(file):
    table = read(file)
    assert not any(cell.why_not for cell in table.cells)
    assert len(set(table.reference_of.values())) == len({cell.settings["data"] for cell in table.cells})


SMALL = {"take": 12, "epochs": 1, "batch_size": 6, "data": "digits", "latent_dim": 2, "num_components": 3}
SMALL |= {"per_step": 2, "hidden_dims": [4], "channels": 4, "blocks": 1}


def small(said):
    """Settings with small numbers in the place of large ones, wherever they stand."""
    if isinstance(said, list):
        return list(map(small, said))
    if not isinstance(said, dict):
        return said
    found = {name: SMALL.get(name, small(value)) for name, value in said.items()}
    return {**found, "latent_dim": [[2, 2]]} if isinstance(said.get("latent_dim"), list) else found


def test_stored_tables_can_be_trained(written, tmp_path):
    cells = {}
    for file in TABLES:
        said = small(yaml.safe_load(file.read_text())) | {"take": 12, "seeds": [0], "published": []}
        table = read(written(**{**said, "evaluate": {"num_samples": 2, "take": 2}}))
        cells |= {cell.folder: cell for cell in table.cells}
    for run in runs_of(list(cells.values()), tmp_path, ["--device=cpu"]):
        assert carried_out(run) == 0, run.end(1)
