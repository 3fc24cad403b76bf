"""Two processes train as one does, by gloo; NCCL is not tried here."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import forked
import pytest
import torch
from torch import distributed, nn
from torch.nn import functional as F
from two_processes import CASES, EVALUATED, GRAPHS, compiled_scores, digits, evaluated, killed, trained

from ppl_vae import build, data, evaluate, fit
from ppl_vae.data import SampleBinary
from ppl_vae.group import launched
from ppl_vae.isolation import using_threads
from ppl_vae.training.processes import Processes
from ppl_vae.training.row_draws import RowDraws

WORKER = Path(__file__).with_name("two_processes.py")


PAGE = Path(__file__).parents[2] / "docs" / "several_processes.md"


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Results of both processes, and their folder."""
    folder = tmp_path_factory.mktemp("two")
    address = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "OMP_NUM_THREADS": "1"}
    started = [forked.start(WORKER, folder, RANK=str(rank), **address) for rank in range(2)]
    ended = [process.ended() for process in started]
    assert [status for status, *_ in ended] == [0, -9], ended
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)], folder


def close(found, expected, rtol=1e-9):
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(torch.as_tensor(found[name]), torch.as_tensor(weight), rtol=rtol, atol=rtol)


@pytest.mark.own_seeds
@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_as_one_does(two, case):
    """In float64, after some steps of Adam: each gradient was the same."""
    (first, second), _ = two
    assert first[case]["history"] == second[case]["history"]
    alone = trained(*CASES[case])
    close(first[case]["history"], alone["history"])
    close(first[case]["weights"], alone["weights"], rtol=1e-6)


@pytest.mark.own_seeds
@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("compile", [None, True])
def test_two_processes_replay_and_compile_gradients(two, name, compile):
    make, parts, settings = CASES[name]
    alone = trained(make, parts, settings, epochs=6, compile=False)
    for found in (process["graphs"][name, compile] for process in two[0]):
        close(found["history"], alone["history"])
        close(found["weights"], alone["weights"], rtol=1e-6)
        replayed, compiled, called, why = found["graphs"]
        assert called is None
        assert (compiled if compile else replayed) >= 4
        assert (why or "").startswith("the optimizer's step is not part of it, as several" if compile else "")


@pytest.mark.own_seeds
def test_a_failure_leaves_no_message_behind(two):
    """One of each dtype is sent, also by a process that hears of a failure in the first."""
    for process in two[0]:
        assert [gradient.tolist() for gradient in process["two dtypes"]] == [[2.0] * 2, [2.0] * 3]


@pytest.mark.own_seeds
def test_a_training_is_resumed_and_stopped_by_all(two):
    (first, second), _ = two
    assert first["resumed"]["history"] == first["whole"]["history"]
    for found in (first, second):
        assert all(torch.equal(t, found["whole"]["weights"][n]) for n, t in found["resumed"]["weights"].items())
    assert len(first["stopped"]["history"]["beta"]) == len(second["stopped"]["history"]["beta"]) == 1


@pytest.mark.own_seeds
def test_what_depends_on_a_batch_as_a_whole_is_refused(two):
    for found in two[0]:
        assert "buffers that each batch changes" in found["refused"]["batch norm"]
        assert "got InfoVAE, which is a function of a whole batch" in found["refused"]["MMD"]
        assert "one that differs by" in found["refused"]["MMD, not declared"]
        assert "got FreeBits, which is a function of a whole batch" in found["refused"]["free bits"]
        assert "got 10 of both in a batch of 21;" in found["refused"]["as many rows as particles"]
    levels = "values in [0, 1] with 3 distinct levels"
    for value, said in {"0.5": levels, "0.5, by graphs": levels, "nan": "got NaN"}.items():
        first, second = (found["refused"][f"a late {value}"] for found in two[0])
        assert "a loss in another process, which says more" in first
        assert said in second
        assert "batch 9" in first
        assert "batch 9" in second
    for found in two[0]:
        assert "got other ones in process 1 than in process 0; load and shuffle" in found["refused"]["other data"]


@pytest.mark.own_seeds
@pytest.mark.parametrize("case", EVALUATED)
def test_two_processes_evaluate_as_one_does_to_the_bit(two, case):
    alone = evaluated(case)
    assert len(alone["table"]["elbo"]) == 41
    for found in (process["evaluated"][case] for process in two[0]):
        assert found["table"].keys() == alone["table"].keys()
        for name, column in alone["table"].items():
            torch.testing.assert_close(found["table"][name], column, rtol=0, atol=0, equal_nan=True)
        assert {**found, "table": None} == {**alone, "table": None}


@pytest.mark.own_seeds
def test_two_processes_compile_scores_as_one_does_up_to_rounding(two):
    alone = compiled_scores()
    first, second = (process["compiled"] for process in two[0])
    assert torch.equal(first["elbo"], second["elbo"])
    torch.testing.assert_close(first["elbo"], alone["elbo"])
    assert first["said"] == second["said"] == {"data": 70, "seconds": None, "reason": None}
    assert alone["said"]["data"] == 80


@pytest.mark.own_seeds
def test_an_evaluation_that_the_processes_would_not_agree_on_is_refused_in_both(two):
    (noisy, outside), (too, told) = (process["not evaluated"] for process in two[0])
    assert noisy == too
    assert noisy.startswith("an evaluation by 2 processes expects a model that draws no random numbers")
    assert "x in {0, 1}" in told
    expected = "an evaluation by 2 processes expects all of them to go on, but process 1 has ValueError"
    assert outside == f"{expected}: {told}; start all of them again"


@pytest.mark.own_seeds
def test_a_killed_process_ends_the_training_with_a_sentence_and_it_goes_on(two):
    (first, _), folder = two
    said = (folder / "said.txt").read_text()
    assert said.startswith("a training by 2 processes expects all of them to go on, got no answer from another one")
    assert said.endswith("to go on from the last checkpoint")
    gone_on = trained(digits, {}, {}, epochs=2, run=folder / "killed", resume=True, callbacks=[killed])
    close(gone_on["history"], first["whole"]["history"])
    close(gone_on["weights"], first["whole"]["weights"], rtol=1e-6)


@pytest.mark.own_seeds
def test_the_command_line_trains_in_two_processes(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}"]
    options = ["train", "--take", "40", "--epochs", "1", "--latent-dim", "2", "--device", "cpu", "--run"]
    done = subprocess.run(
        [*command, "-m", "--", "ppl_vae", *options, str(tmp_path / "run")], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("next: ppl-vae evaluate") == 1
    assert (tmp_path / "run" / "options.yaml").is_file()


DRAWS = {
    "randn": lambda t: torch.randn(t.shape),
    "rand, tuple": lambda t: torch.rand(*t.shape),
    "randint": lambda t: torch.randint(0, 9, t.shape),
    "randint, one bound": lambda t: torch.randint(9, size=t.shape),
    "normal": lambda t: torch.normal(t, 1 + t[:, :1].abs()),
    "normal of numbers": lambda t: torch.normal(0.0, 1.0, t.shape),
    "like": torch.rand_like,
    "bernoulli": lambda t: torch.bernoulli(t.sigmoid()),
    "multinomial": lambda t: torch.multinomial(t.exp(), 1),
    "uniform_": lambda t: torch.empty_like(t).uniform_(),
    "bernoulli_": lambda t: torch.empty_like(t).bernoulli_(t.sigmoid()),
    "dropout": nn.Dropout(0.5),
    "gumbel softmax": F.gumbel_softmax,
    "of particles": lambda t: torch.distributions.Normal(t, 1.0).rsample((3,)).movedim(1, 0),
    "categorical": lambda t: torch.distributions.Categorical(logits=t).sample(),
    "laplace": lambda t: torch.distributions.Laplace(t, 1.0).rsample(),
}


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_get_the_random_numbers_of_the_whole(draw, dtype):
    t = torch.arange(84.0, dtype=dtype).reshape(7, 12).cos()
    torch.manual_seed(3)
    whole, after = DRAWS[draw](t), torch.rand(())
    parts = []
    for rows in (slice(0, 2), slice(2, 7)):
        torch.manual_seed(3)
        with RowDraws(7, rows):
            parts.append(DRAWS[draw](t[rows]))
        assert torch.rand(()) == after  # the generators agree afterwards, too
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("draw", ["like", "sampled bits"])
def test_rows_of_pictures_whose_channels_come_last(draw):
    t = torch.arange(84.0).reshape(7, 2, 2, 3).cos().abs().movedim(-1, 1)
    make = SampleBinary() if draw == "sampled bits" else DRAWS[draw]
    torch.manual_seed(3)
    whole, parts = make(t), []
    for rows in (slice(0, 2), slice(2, 7)):
        torch.manual_seed(3)
        with RowDraws(7, rows):
            parts.append(make(t[rows]))
    assert torch.equal(torch.cat(parts), whole)


def test_what_has_no_rows_is_drawn_as_it_is_and_rejection_is_refused():
    torch.manual_seed(3)
    whole = torch.randn(4), torch.rand(4, 5), torch.zeros(4).normal_(), torch.bernoulli(torch.full((4,), 0.5))
    torch.manual_seed(3)
    with RowDraws(7, slice(0, 3)):
        same = torch.randn(4), torch.rand(4, 5), torch.zeros(4).normal_(), torch.bernoulli(torch.full((4,), 0.5))
        torch.poisson(torch.ones(4))
        with pytest.raises(ValueError, match="draws by rejection \\(standard_gamma\\); train in one process"):
            torch.distributions.Gamma(torch.ones(3), 1.0).sample()
    assert all(torch.equal(a, b) for a, b in zip(whole, same, strict=True))


def test_one_process_has_all_rows_and_says_nothing_to_others():
    alone = Processes()
    assert alone.first
    assert alone.share(5) == slice(0, 5)
    assert alone.gathered("a") == ["a"]
    assert alone.of_first("a") == "a"
    assert alone.device("auto") == "auto"


def test_a_torch_without_processes_is_one_process(monkeypatch):
    monkeypatch.setattr(distributed, "is_available", lambda: False)
    monkeypatch.delattr(distributed, "is_initialized")
    with launched() as first:
        assert first
        assert Processes().size == 1


@pytest.mark.parametrize(
    ("threads", "cores", "said"),
    [(4, 8, "the other cores do nothing; set OMP_NUM_THREADS=4"), (8, 8, "wait for each other; set OMP_NUM_THREADS=4")],
)
def test_threads_that_do_not_fit_the_cores_are_told(monkeypatch, threads, cores, said):
    several = Processes()
    several.size, several.rank = 2, 0
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(cores), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    if "nothing" in said:
        several.check_threads()  # all cores are used
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads // 2)
    with pytest.warns(UserWarning, match=said):
        several.check_threads()
    several.check_threads(cores // 2)  # of the call, whatever the process has
    if "nothing" in said:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    else:
        several.rank = 1  # once
    several.check_threads()


def test_a_training_and_an_evaluation_use_the_threads_they_are_given():
    before, seen = torch.get_num_threads(), []
    digits = data.load("digits").binarize("threshold").take(train=60, validation=20, test=20)
    vae = build(digits, latent_dim=2, seed=0)
    noted = vae.likelihood.net.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
    fit(vae, digits, epochs=1, progress=False, threads=before + 1)
    assert set(seen) == {before + 1}
    seen.clear()
    evaluate(vae, digits.test, num_samples=30, seed=0, progress=False, threads=before + 2)
    assert set(seen) == {before + 2}
    noted.remove()
    with pytest.raises(FloatingPointError), using_threads(before + 1):
        raise FloatingPointError
    assert torch.get_num_threads() == before


def test_a_batch_of_fewer_data_than_processes_is_refused():
    several = Processes()
    several.size, several.rank, several._whole = 4, 3, False
    assert [several.share(n) for n in (8, 9, 3)] == [slice(6, 8), slice(6, 9), slice(2, 3)]
    with pytest.raises(ValueError, match="4 processes expect a datum each of every batch, got a batch of 3"):
        several.check_rows()


@pytest.mark.float32
def test_the_program_of_the_page_runs_in_one_process(capsys):
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    exec(compile(program, PAGE.name, "exec"), {})
    assert "Fit(2 epochs" in capsys.readouterr().out
