"""Run folders: one writer at a time, every flipped bit noticed, and another training seen when it is resumed."""

import json
import math
import os
import random
import signal
import time
from functools import partial
from pathlib import Path

import forked
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from test_resume import GREY, rewrite, vae
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from ppl_vae import Program, StandardNormal, checksums, evaluate, fit_prior
from ppl_vae.cli import main
from ppl_vae.evaluation import Evaluation, compare
from ppl_vae.files import regular, write_text, written
from ppl_vae.priors import GaussianMixture
from ppl_vae.training import fit, load
from ppl_vae.training.lock import locked

BLACK = GREY.round()
AGAIN = {"epochs": 2, "batch_size": 16, "progress": False}

WRITER = """
import sys, time
from pathlib import Path
from ppl_vae.training.lock import locked
with locked(Path(sys.argv[1]), "fit"):
    Path(sys.argv[2]).touch()
    time.sleep(600)
"""


@pytest.fixture
def run(tmp_path):
    fit(vae(), BLACK, validation=BLACK, run=tmp_path / "run", **AGAIN)
    return tmp_path / "run"


def test_a_second_writer_is_refused_and_a_killed_one_blocks_nobody(run, tmp_path):
    child = forked.start("-c", WRITER, run, tmp_path / "held")
    while not (tmp_path / "held").exists():
        time.sleep(0.01)
    before = {p.name: p.read_bytes() for p in run.iterdir()}
    try:
        with pytest.raises(ValueError, match=r"fit expects a run folder that nobody else .*; wait"):
            fit(vae(), BLACK, validation=BLACK, run=run, resume=True, **AGAIN)
        load(run)  # reading needs no lock
    finally:
        os.kill(child.pid, signal.SIGKILL)
        assert child.ended()[0] == -signal.SIGKILL
    assert before == {p.name: p.read_bytes() for p in run.iterdir()}
    fit(vae(), BLACK, validation=BLACK, run=run, resume=True, **AGAIN)


def test_a_fitted_prior_is_written_by_one_process(tmp_path):
    with locked(tmp_path / "run", "fit"), pytest.raises(ValueError, match="fit_prior expects a run folder that nobody"):
        fit_prior(vae(), BLACK, partial(GaussianMixture, num_components=2), epochs=1, run=tmp_path / "run")


def test_commands_that_write_into_a_folder_hold_it(run, capsys):
    with locked(run, "fit"):
        for command in ("evaluate", "diagnose", "sample"):
            assert main([command, str(run)]) == 1
            assert "nobody else writes to" in capsys.readouterr().err


def test_a_folder_that_is_replaced_while_training_is_left_alone(tmp_path):
    def replace(state):
        if state.epoch == 1:
            (tmp_path / "run").rename(tmp_path / "moved")
            fit(vae(), BLACK, run=tmp_path / "run", **AGAIN)

    with pytest.raises(FileNotFoundError, match="expects its run folder to stay"):
        fit(vae(), BLACK, run=tmp_path / "run", callbacks=[replace], **AGAIN)
    assert len(load(tmp_path / "run").history) == 2
    assert len(load(tmp_path / "moved").history) == 0


def test_every_bit_of_a_run_is_checked(run):
    evaluate(load(run).vae, BLACK, num_samples=2, progress=False).save(run / "evaluation.json")
    rng = random.Random(0)
    for path in sorted(run.iterdir()):
        content = path.read_bytes()
        for bit in rng.sample(range(8 * len(content)), min(12, len(content))):
            flipped = bytearray(content)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            message = f"{path.name}.*; (it was damaged|copy)"
            if path.name == "evaluation.json":
                with pytest.raises(ValueError, match=r"evaluation\.json.*evaluate the run"):
                    Evaluation.load(path)
                continue
            with pytest.raises(ValueError, match=message):
                load(run)
            with pytest.raises(ValueError, match=message):
                fit(vae(), BLACK, validation=BLACK, run=run, resume=True, **AGAIN)
        path.write_bytes(content)
    load(run)


def test_what_no_checkpoint_speaks_of_is_checked_too(run):
    (run / "diagnosis.md").write_text("good")
    checksums.record(run, ["diagnosis.md"])
    load(run)
    (run / "diagnosis.md").write_text("bad!")
    with pytest.warns(UserWarning, match=r"diagnosis\.md in .* changed since ppl_vae wrote it"):
        load(run)
    (run / "diagnosis.md").unlink()
    load(run)


def test_folders_without_checksums_are_read_with_a_warning(run):
    point = {k: v for k, v in json.loads((run / "checkpoint.json").read_text()).items() if k not in EXTRA}
    (run / "checkpoint.json").write_text(json.dumps(point))
    config = {k: v for k, v in json.loads((run / "config.json").read_text()).items() if k not in EXTRA}
    config["fit"] |= {"objective": "Trace_ELBO(num_particles=1)", "beta": "Constant(beta=1.0, epochs=0)"}
    (run / "config.json").write_text(json.dumps(config))
    with pytest.warns(UserWarning, match="kept no checksums"):
        load(run)
    with pytest.warns(UserWarning, match="kept no checksums"), pytest.warns(UserWarning, match="code is not checked"):
        fit(vae(), BLACK, validation=BLACK, run=run, resume=True, **{**AGAIN, "epochs": 3})
    assert len(load(run).history) == 3


EXTRA = ("checksums", "sha256", "format", "program", "callbacks")


def test_weights_that_no_training_leaves_are_refused(run):
    import safetensors.torch

    (best,) = run.glob("best-*")
    tensors = safetensors.torch.load_file(best)
    next(iter(tensors.values())).fill_(math.nan)
    safetensors.torch.save_file(tensors, best)
    rewrite(run)
    with pytest.raises(ValueError, match="expects finite weights, got"):
        load(run)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("checkpoint.json", {"files": {"best": 3}}),
        ("checkpoint.json", {"epoch": None}),
        ("checkpoint.json", {"optimizer": []}),
        ("checkpoint.json", {"python_random": "x"}),
        ("config.json", {"recipe": {"latent_dim": "two"}}),
        ("config.json", {"recipe": 3}),
        ("config.json", {"data": None}),
    ],
)
def test_values_of_other_types_end_in_a_sentence(run, name, change, capsys):
    if name == "config.json":
        rewrite(run, config=json.loads((run / name).read_text()) | change)
    else:
        rewrite(run, **change)
    with pytest.raises((ValueError, FileNotFoundError), match=";"):
        fit(vae(), BLACK, validation=BLACK, run=run, resume=True, **AGAIN)
    if change.keys() <= {"files", "epoch", "recipe"}:
        with pytest.raises(ValueError, match=";"):
            load(run)
    assert main(["evaluate", str(run)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ppl-vae evaluate: ")


@pytest.mark.parametrize("name", ["", ".", "file", "a\0b", "x" * 5000])
def test_a_run_folder_is_a_folder_of_its_own(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    for call in (partial(fit, vae(), BLACK, epochs=1), partial(fit_prior, vae(), BLACK, StandardNormal)):
        with pytest.raises(ValueError, match=r"expects .* folder.*; "):
            call(run=name)
    with pytest.raises(ValueError, match=r"load expects .* folder.*; "):
        load(name)


def test_a_relative_folder_stays_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    fitted = fit(vae(), BLACK, run="run", callbacks=[lambda state: os.chdir(tmp_path / "elsewhere")], **AGAIN)
    assert fitted.run == tmp_path / "run"
    assert len(load(tmp_path / "run").history) == 2
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_killed_write_leaves_nothing_that_stays(run):
    stray = run / f"history.jsonl.{2**22 + 1}-00000000.tmp"
    stray.write_text("half")
    fit(vae(), BLACK, validation=BLACK, run=run, resume=True, **{**AGAIN, "epochs": 3})
    assert not list(run.glob("*.tmp"))
    stray = run / f"x.json.{2**22 + 1}-00000000.tmp"
    stray.write_text("half")
    with pytest.raises(OSError, match=r"expected to write .*x\.json.*; free space"), written(run / "x.json"):
        pass
    assert not list(run.glob("*.tmp"))


def test_text_is_written_in_utf_8(tmp_path):
    write_text(tmp_path / "table.md", "97.5 ± 0.1 µs\n")
    assert (tmp_path / "table.md").read_bytes() == "97.5 ± 0.1 µs\n".encode()


# resume finds another training


def loader(data=BLACK, **how):
    how = {"batch_size": 16, "shuffle": True, "generator": torch.Generator().manual_seed(3), **how}
    return DataLoader(TensorDataset(data), **how)


def changed(row):
    other = BLACK.clone()
    other[row] = 1 - other[row]
    return other


def halves(items):
    return (torch.stack([x for (x,) in items]) / 2).round()


@pytest.mark.parametrize(
    ("other", "name"),
    [
        (lambda: loader(changed(17)), r"data\[0\]\.(attributes|items)"),
        (lambda: loader(BLACK[:48]), r"data\[0\]\."),
        (lambda: loader(batch_size=15), r"data\[0\]\.batch_size"),
        (lambda: loader(drop_last=True), r"data\[0\]\.drop_last"),
        (lambda: loader(shuffle=False), r"data\[0\]\.sampler"),
        (lambda: loader(shuffle=None, sampler=RandomSampler(BLACK, True, generator=GENERATOR)), r"data\[0\]\.sampler"),
        (lambda: loader(collate_fn=halves), r"data\[0\]\.collate_fn"),
    ],
)
def test_resume_sees_another_loader(other, name, tmp_path):
    fit(vae(), loader(), run=tmp_path, **AGAIN)
    fit(vae(), loader(), run=tmp_path, resume=True, **AGAIN)
    with pytest.raises(ValueError, match=f"got another {name}"):
        fit(vae(), other(), run=tmp_path, resume=True, **AGAIN)


GENERATOR = torch.Generator().manual_seed(3)


def prior_of(shift):
    if shift:

        class Mine(StandardNormal):
            def given(self, *context):
                return super().given(*context).expand([]).mask(True)

    else:

        class Mine(StandardNormal):
            def given(self, *context):
                return super().given(*context)

    return Mine


def program_of(scale):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), scale).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True), 1.0).expand([len(x), 6]).to_event(1), obs=x)

    def guide(x):
        loc = pyro.param("loc", lambda: torch.zeros(2))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc.expand(len(x), 2), 1.0).to_event(1))

    return Program(model, guide)


class Scaled(Trace_ELBO):
    """An objective of the user's own, with a setting of its own."""

    def __init__(self, num_data=1, **kwargs):
        super().__init__(**kwargs)
        self.num_data = num_data


class Forgetful(Trace_ELBO):
    def __init__(self, num_data=1):
        super().__init__()


def decay(rate):
    return lambda optimizer, steps: LambdaLR(optimizer, lambda step: rate**step)


def groups(rate):
    return lambda parameters: Adam([{"params": parameters[:1], "lr": rate}, {"params": parameters[1:]}], lr=1e-3)


@pytest.mark.parametrize(
    ("first", "other", "name"),
    [
        ({"program": lambda: vae(prior_of(0))}, {"program": lambda: vae(prior_of(1))}, "program.classes"),
        ({"program": lambda: program_of(1.0)}, {"program": lambda: program_of(2.0)}, "program.functions"),
        ({"objective": Scaled(10)}, {"objective": Scaled(20)}, "fit.objective.num_data"),
        ({"objective": Scaled(num_particles=1)}, {"objective": Scaled(num_particles=2)}, "fit.objective.num_particles"),
        ({"schedule": decay(0.9)}, {"schedule": decay(0.8)}, "fit.schedule.functions"),
        ({"optimizer": groups(0.1)}, {"optimizer": groups(0.2)}, "fit.groups"),
        ({"optimizer": partial(SGD, lr=0.1)}, {"optimizer": partial(SGD, lr=0.2)}, "fit.optimizer.lr"),
    ],
)
def test_resume_sees_other_code_and_settings(first, other, name, tmp_path):
    def train(given, **kwargs):
        given = {"program": vae, **given}
        return fit(given.pop("program")(), BLACK, run=tmp_path, **given, **AGAIN, **kwargs)

    train(first)
    train(first, resume=True)
    with pytest.raises(ValueError, match=f"got another {name}"):
        train(other, resume=True)


def test_an_objective_that_forgets_its_settings_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Forgetful without an attribute 'num_data'; write self\.num_data"):
        fit(vae(), BLACK, run=tmp_path / "run", objective=Forgetful(3), **AGAIN)
    fit(vae(), BLACK, objective=Forgetful(3), **AGAIN)


def test_other_callbacks_are_told(run):
    with pytest.warns(UserWarning, match="goes on with other callbacks"):
        fit(vae(), BLACK, validation=BLACK, run=run, resume=True, callbacks=[lambda state: None], **AGAIN)


# nothing waits for ever


def special(path, kind):
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(kind)


@pytest.mark.parametrize("kind", ["pipe", "folder", "/dev/zero"])
def test_only_regular_files_are_read(kind, run, capsys):
    special(run / "evaluation.json", kind)
    special(run / "config.yaml", kind)
    for read in (Evaluation.load, regular):
        with pytest.raises(ValueError, match="expected a regular file"):
            read(run / "evaluation.json")
    with pytest.raises(ValueError, match="expected a regular file"):
        compare({"a": run})
    assert main(["compare", str(run)]) == 1
    if kind != "folder":
        assert main(["train", "--config", str(run / "config.yaml")]) == 1
        assert main(["train", "--config", f"prior: {run / 'config.yaml'}"]) == 1
    for name in ("checkpoint.json", "config.json", "history.jsonl"):
        (run / name).unlink()
        special(run / name, kind)
        with pytest.raises(ValueError, match="expected a regular file"):
            load(run)
        assert main(["evaluate", str(run)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("ppl-vae ") and ";" in line for line in lines)


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize("text", [LAUGHS, "a: &a [*a]\n", "x" * 2**21, "prior: " + "[" * 5000])
def test_a_configuration_that_grows_is_refused(text, tmp_path, capsys):
    (tmp_path / "c.yaml").write_text(text)
    try:
        code = main(["train", "--config", str(tmp_path / "c.yaml")])
    except SystemExit as stop:
        code = stop.code
    assert code in (1, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ppl-vae train: ")


# one line for every failure


class OwnError(Exception):
    pass


@pytest.mark.parametrize(
    "error",
    [MemoryError(), StopIteration(), OwnError("two\nlines"), KeyError("x"), OSError(28, "No space", "f"), OwnError()],
)
def test_a_failure_is_one_line_whatever_its_class(error, monkeypatch, capsys):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr("ppl_vae.data.load", fails)
    assert main(["train", "--data", __file__]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ppl-vae train: ")
    assert __file__ in line
    assert "; " in line
    assert main(["train", "--data", __file__, "--traceback"]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_an_interrupt_is_one_line(monkeypatch, capsys):
    def fails(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("ppl_vae.data.load", fails)
    assert main(["train"]) == 130
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train --latent_dmi 3", "did you mean --latent-dim?"),
        ("train --no-resum", "did you mean --no-resume?"),
        ("train --prior VampPrior --prior.num_component 3", "did you mean --prior.num_components?"),
        ("train --config {epohcs:\t3}", "did you mean epochs?"),
        ("train --epochs 3.5", "--epochs expects a whole number"),
        ("train --epochs", "--epochs expects a value, got none"),
        ("train --config nowhere.yaml", "--config expects a file"),
        ("evaluate", "expects run, got none"),
        ("evaluate a b", "got 'b'"),
        ("trian", "did you mean train?"),
    ],
)
def test_a_mistake_is_one_line_with_the_nearest_option(words, message, capsys):
    try:
        code = main(words.split(" "))
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
