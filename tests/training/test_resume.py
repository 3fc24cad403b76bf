"""Runs on disk: killed and resumed in new processes, read back, and refused where they were tampered with."""

import json
import math
import os
import pickle
import random
import signal
import sys
import traceback
from functools import partial
from pathlib import Path

import forked
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import safetensors.torch
import torch
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import MultiStepLR
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, TensorDataset

from ppl_vae import DataSpec, Domain, Gaussian, GaussianMixture, Program, StandardNormal, build, evaluate
from ppl_vae.checksums import file_digest, sealed, unsealed
from ppl_vae.corruptions import GaussianNoise
from ppl_vae.data import SampleBinary
from ppl_vae.evaluation import Evaluation
from ppl_vae.nets import MLP
from ppl_vae.objectives import IWAE, Constant, Linear
from ppl_vae.split import Split
from ppl_vae.training import OneCycle, fit, load
from ppl_vae.training.run_folder import RunFolder

EPOCHS = 6
GREY = torch.rand(60, 6, generator=torch.Generator().manual_seed(0))


class MyPrior(StandardNormal):
    """A class of the user's own."""


def vae(prior=StandardNormal, dtype=torch.float32):
    torch.manual_seed(0)
    net = partial(MLP, hidden_dims=[8])
    described = DataSpec((6,), Domain("binary"))
    return build(described, latent_dim=2, prior=prior, encoder=net, decoder=net).to(dtype)


def model(x):
    scale = pyro.param("noise.scale", lambda: torch.tensor(2.0), constraint=dist.constraints.positive)
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True), scale).expand([len(x), 6]).to_event(1), obs=x)


def guide(x):
    loc = pyro.param("loc", lambda: torch.randn(2))
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(loc.expand(len(x), 2), 1.0).to_event(1))


class Loud(torch.utils.data.Dataset):
    """A map-style data set that draws from Python's and torch's random numbers."""

    def __len__(self):
        return len(GREY)

    def __getitem__(self, i):
        return (torch.bernoulli(GREY[i]) if random.random() < 0.9 else torch.zeros(6),)


def call(name):
    """What to train, on what, and how; the same in every process."""
    if name == "memory":
        data = Split(GREY, torch.arange(60), pending=(SampleBinary(),))
        how = {"schedule": OneCycle(0.01), "beta": Linear(2), "validation": GREY.round()}
        return vae(), data, how
    if name == "loader":
        data = DataLoader(Loud(), batch_size=16, shuffle=True, generator=torch.Generator().manual_seed(3))
        other = torch.Generator().manual_seed(4)
        held_out = DataLoader(TensorDataset(GREY.round()), 16, shuffle=True, generator=other)
        optimizer = partial(SGD, lr=0.01, momentum=0.9)
        return vae(), data, {"validation": held_out, "optimizer": optimizer}
    if name == "sampler":
        sampler = RandomSampler(range(60), generator=torch.Generator().manual_seed(3))
        schedule = lambda optimizer, steps: MultiStepLR(optimizer, [5, 11], gamma=0.3)  # noqa: E731
        return vae(), DataLoader(TensorDataset(GREY.round()), 16, sampler=sampler), {"schedule": schedule}
    return Program(model, guide), GREY, {"clip_norm": 10.0}


def train(name, run, killed_at=None, in_write=None):
    """One process of a training; it kills itself at a step, or inside the writing of a checkpoint."""
    torch.set_num_threads(1)
    program, data, how = call(name)
    steps = 0

    def die(*args, **kwargs):
        nonlocal steps
        steps += 1
        if steps == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def replace(old, new, real=os.replace):
        if in_write is not None and str(new).endswith(in_write[1]):
            written[0] += 1
            if written[0] == in_write[0]:
                os.kill(os.getpid(), signal.SIGKILL)
        real(old, new)

    written = [0]
    os.replace = replace
    register_optimizer_step_post_hook(die)
    return fit(program, data, epochs=EPOCHS, batch_size=16, run=run, resume=True, **how)


def killed(**arguments):
    """How a process ended that has trained nothing before, and has read what the one before it left."""
    child = os.fork()
    if child == 0:
        try:
            before = RunFolder(Path(arguments["run"]))
            if before.exists():
                assert len(before.history()) < EPOCHS
                load(before.path)
            train(**arguments)
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    print(json.dumps([killed(**arguments) for arguments in json.loads(sys.argv[1])]))
    sys.exit()


def processes(*trainings):
    """How each ended, one after the other, each in a process of its own."""
    ends = json.loads(forked.run(__file__, json.dumps(trainings)).splitlines()[-1])
    assert set(ends) <= {0, -signal.SIGKILL}
    return ends


def files(folder):
    """The tensors of a run, and its history without the clock."""
    point = RunFolder(folder)
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in point.history()]
    return point.tensors("last"), point.tensors("best"), rows, {**point.read(), "files": None}


def rewrite(folder, **changed):
    """A changed file whose checksums were recomputed."""
    content, _ = unsealed(folder / "checkpoint.json", "")
    if "files" in changed:
        content["files"] |= changed.pop("files")
    if "config" in changed:
        (folder / "config.json").write_text(json.dumps(changed.pop("config")))
    sums = {name: [file_digest(folder / name)] for name in content["checksums"] if name != "history.jsonl"}
    content["checksums"] |= sums
    (folder / "checkpoint.json").write_text(sealed({**content, **changed}))


def assert_same(a, b):
    for mine, other in zip(a[:2], b[:2], strict=True):
        assert mine.keys() == other.keys()
        assert not [name for name in mine if not torch.equal(mine[name], other[name])]
    assert a[2:] == b[2:]


KILLS = [{"killed_at": k} for k in sorted(random.Random(0).sample(range(1, 9), 2))]


@pytest.mark.own_seeds
@pytest.mark.float32
@pytest.mark.parametrize("name", ["memory", "loader"])
def test_killed_and_resumed_in_new_processes(name, tmp_path):
    """kill -9 at a random step, and in the write of the tensors or of what commits them; kills.py has every kind."""
    fit_, data, how = call(name)
    fit(fit_, data, epochs=EPOCHS, batch_size=16, run=tmp_path / "whole", **how)
    kills = {
        "memory": [KILLS[0], {"in_write": [3, "checkpoint.json"]}],
        "loader": [KILLS[1], {"in_write": [3, "safetensors"]}],
    }
    trainings = [{"name": name, "run": str(tmp_path / "killed"), **kill} for kill in [*kills[name], {}]]
    assert processes(*trainings) == [-signal.SIGKILL, -signal.SIGKILL, 0]
    assert_same(files(tmp_path / "whole"), files(tmp_path / "killed"))
    names = {p.name for p in (tmp_path / "killed").iterdir()}
    assert len([n for n in names if n.endswith("safetensors")]) == 2
    assert not [n for n in names if n.endswith(".tmp")]


@pytest.mark.parametrize("name", ["memory", "loader", "sampler", "program"])
def test_stopped_anywhere_and_resumed(name, tmp_path):
    program, data, how = call(name)
    whole = fit(program, data, epochs=EPOCHS, batch_size=16, run=tmp_path / "whole", **how)

    def interrupt(state):
        if state.epoch in (2, 4) and state.epoch not in seen:
            seen.add(state.epoch)
            raise KeyboardInterrupt

    seen = set()
    while True:
        again, data, how = call(name)
        folder = tmp_path / "parts"
        try:
            parts = fit(
                again,
                data,
                epochs=EPOCHS,
                batch_size=16,
                run=folder,
                resume=True,
                callbacks=[interrupt],
                **how,
            )
            break
        except KeyboardInterrupt:
            continue
    assert_same(files(tmp_path / "whole"), files(folder))
    for name_, p in program.state_dict().items():
        assert torch.equal(p, again.state_dict()[name_])
    assert whole.history.drop(columns="seconds").equals(parts.history.drop(columns="seconds"))
    pickle.loads(pickle.dumps(again))


def test_more_epochs_without_a_schedule(tmp_path):
    whole = fit(vae(), GREY.round(), epochs=5, run=tmp_path / "whole")
    fit(vae(), GREY.round(), epochs=2, run=tmp_path / "parts")
    more = fit(vae(), GREY.round(), epochs=5, run=tmp_path / "parts", resume=True)
    assert_same(files(tmp_path / "whole"), files(tmp_path / "parts"))
    assert load(more.run).config["fit"]["epochs"] == 5
    assert whole.stopped == more.stopped == "epochs"
    done = fit(vae(), GREY.round(), epochs=3, run=tmp_path / "parts", resume=True)
    assert len(done.history) == 5


def test_a_finished_training_stays_finished(tmp_path):
    how = {"validation": GREY.round(), "patience": 2, "optimizer": partial(SGD, lr=1e-20), "run": tmp_path}
    first = fit(vae(), GREY.round(), epochs=20, **how)
    again = fit(vae(), GREY.round(), epochs=20, resume=True, **how)
    assert first.stopped == again.stopped == "patience"
    assert first.history.equals(again.history)


def test_another_patience_is_recorded(tmp_path):
    how = {"validation": GREY.round(), "optimizer": partial(SGD, lr=1e-20), "run": tmp_path}
    fit(vae(), GREY.round(), epochs=20, patience=2, **how)
    more = fit(vae(), GREY.round(), epochs=20, patience=4, checkpoint_every=3, resume=True, **how)
    assert (more.stopped, len(more.history)) == ("patience", 5)
    settings = load(tmp_path).config["fit"]
    assert (settings["patience"], settings["checkpoint_every"]) == (4, 3)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"optimizer": partial(Adam, lr=0.5)}, "fit.optimizer.lr"),
        ({"optimizer": partial(SGD, lr=1e-3)}, "fit.optimizer.class"),
        ({"schedule": OneCycle(peak=0.5)}, "fit.schedule.base_lrs|fit.schedule._last_lr|fit.schedule"),
        ({"epochs": 9}, "fit.epochs|total_steps"),
        ({"beta": 0.5}, "fit.beta"),
        ({"seed": 7}, "fit.seed"),
        ({"batch_size": 7}, "fit.batch_size"),
        ({"data": GREY.round()[:30]}, "data"),
        ({"program": vae(MyPrior)}, "recipe.prior.class"),
    ],
)
def test_resume_refuses_another_training(change, name, tmp_path):
    arguments = {"program": vae(), "data": GREY.round(), "epochs": 2, "schedule": OneCycle(), "run": tmp_path}
    fit(**arguments)
    with pytest.raises(ValueError, match="holds one"):
        fit(**arguments)
    with pytest.raises(ValueError, match=f"got another ({name})"):
        fit(**{**arguments, **change}, resume=True)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(GREY.round())


class Anew:
    def __iter__(self):
        return iter(GREY.round().split(16))


class Strange(RandomSampler):
    pass


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (Anew(), "Anew is an iterable of its own"),
        (GREY.round().split(16), "is a|tensor"),
        (DataLoader(Stream(), 16), "IterableDataset"),
        (
            DataLoader(TensorDataset(GREY.round()), 16, sampler=Strange(range(60))),
            "Strange is a sampler of its own",
        ),
    ],
)
def test_resume_refuses_data_whose_state_is_unknown(data, why, tmp_path):
    if isinstance(data, tuple):
        data, why = list(data), "list is an iterable of its own"
    fit(vae(), data, epochs=1, run=tmp_path)
    with pytest.raises(ValueError, match=why):
        fit(vae(), data, epochs=2, run=tmp_path, resume=True)


def test_a_run_is_read_back(tmp_path):
    vae_ = vae(MyPrior, torch.float64)
    fitted = fit(vae_, GREY.round(), validation=GREY.round(), epochs=3, run=tmp_path)
    with pytest.raises(ValueError, match=r"classes=\[MyPrior\]"):
        load(tmp_path)
    run = load(tmp_path, classes=[MyPrior])
    assert repr(run.vae) == repr(vae_)
    assert all(torch.equal(a, b) for a, b in zip(run.vae.parameters(), vae_.parameters(), strict=True))
    assert not run.vae.training
    assert run.history.equals(fitted.history)
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == fitted.history.reset_index().to_dict("records")
    with pytest.raises(FileNotFoundError, match=r"checkpoint\.json"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["config.json", "history.jsonl", "best-000001.safetensors"])
def test_a_part_of_a_run_is_refused(name, tmp_path):
    fit(vae(), GREY.round(), epochs=1, run=tmp_path)
    (tmp_path / name).unlink()
    message = f"expects a {name}, got .* without one; copy the whole folder"
    with pytest.raises(FileNotFoundError, match=message):
        load(tmp_path)
    with pytest.raises(FileNotFoundError, match=message):
        fit(vae(), GREY.round(), epochs=2, run=tmp_path, resume=True)


def test_a_run_is_read_to_a_device(tmp_path):
    fit(vae(), GREY.round(), epochs=1, run=tmp_path, device="cpu")
    kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert {p.device.type for p in load(tmp_path, device="auto").vae.parameters()} == {kind}
    for device in ("abacus", "cuda:99", "cuda:x", "cpu:"):
        with pytest.raises(ValueError, match=f"device expects .*got '{device}'; choose one"):
            load(tmp_path, device=device)


def test_numbers_of_numpy_are_those_of_python(tmp_path):
    """Seeds, sizes in recipes, weights in settings, numbers of optimizers: JSON and torch's generators hold them."""
    seed, two, half = np.uint8(3), np.int64(2), np.float32(0.5)
    net = partial(MLP, hidden_dims=(np.int32(8),))
    parts = {"prior": partial(GaussianMixture, num_components=two), "corruption": partial(GaussianNoise, scale=half)}
    described = DataSpec((6,), Domain("real"))
    made = build(
        described,
        latent_dim=two,
        likelihood=partial(Gaussian, scale=half),
        **parts,
        encoder=net,
        decoder=partial(MLP, hidden_dims=np.array([8])),
        seed=seed,
    )
    assert made.recipe["prior"]["args"] == {"num_components": 2}
    assert made.recipe["decoder"]["args"] == {"hidden_dims": [8]}
    settings = {"epochs": two, "objective": IWAE(two), "optimizer": partial(SGD, lr=np.float32(1e-3)), "seed": seed}
    fit(made, GREY, **settings, progress=False, run=tmp_path / "run")
    again, more = load(tmp_path / "run").vae, settings | {"epochs": 3}
    fit(again, GREY, **more, progress=False, run=tmp_path / "run", resume=True)
    fit(made, GREY, epochs=1, beta=Constant(half), clip_norm=half, progress=False, run=tmp_path / "beta")
    assert load(tmp_path / "beta").config["fit"]["beta"]["beta"] == 0.5
    scores = evaluate(made, GREY, num_samples=np.int64(30), seed=seed, progress=False)
    scores.save(tmp_path / "scores.json")
    assert Evaluation.load(tmp_path / "scores.json").num_samples == 30


def test_a_program_is_read_into_one_of_the_same_structure(tmp_path):
    program = Program(model, guide)
    fit(program, GREY, epochs=2, run=tmp_path)
    with pytest.raises(ValueError, match="vae="):
        load(tmp_path)
    other = Program(model, guide)
    with pytest.raises(ValueError, match="call a Program once"):
        load(tmp_path, vae=other)
    with pytest.raises(ValueError, match=r"got 'params.pyro:.*', which it has not; call program.guide\(x\)"):
        other.load_state_dict(program.state_dict())
    other.guide(GREY), other.model(GREY)
    load(tmp_path, vae=other)
    assert all(torch.equal(a, b) for a, b in zip(other.parameters(), program.parameters(), strict=True))
    again = Program(model, guide)
    again.guide(GREY), again.model(GREY)
    assert not again.load_state_dict(program.state_dict()).missing_keys


def test_state_is_kept_by_name(tmp_path):
    """Pyro's SVI passes a set, whose order changes from process to process."""
    fit(vae(), GREY.round(), epochs=1, run=tmp_path)
    tensors = RunFolder(tmp_path).tensors("last")
    moments = {n.split("|")[1]: t.shape for n, t in tensors.items() if n.endswith("|exp_avg")}
    assert moments == {name: p.shape for name, p in vae().named_parameters()}


class Evil:
    def __reduce__(self):
        return os.system, ("touch hacked",)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A folder that holds a run, beside an evil.py that would give itself away."""
    fit(vae(), GREY.round(), epochs=1, run=tmp_path / "run")
    (tmp_path / "evil.py").write_text("open('hacked', 'w')\nclass X: pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "run"
    assert not (tmp_path / "hacked").exists()
    assert "evil" not in sys.modules


@pytest.mark.parametrize("name", ["evil.X", "os.system", "evil:X", "__builtins__", "torch.nn.Linear"])
@pytest.mark.parametrize("part", ["prior", "encoder"])
def test_a_hostile_class_imports_nothing(run, part, name):
    config = json.loads((run / "config.json").read_text())
    config["recipe"][part] = {"class": name, "module": "ppl_vae.priors", "args": {}}
    rewrite(run, config=config)
    with pytest.raises(ValueError, match="those in classes="):
        load(run)


@pytest.mark.parametrize("name", ["../run/best-000001.safetensors", "/etc/passwd", "..", "evil.py", 3, None])
def test_a_hostile_file_name_is_refused(run, name):
    rewrite(run, files={"best": name})
    with pytest.raises(ValueError, match="of its own folder"):
        load(run)


def test_a_pickle_in_the_place_of_tensors_is_not_read(run):
    name = json.loads((run / "checkpoint.json").read_text())["files"]["best"]
    (run / name).write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match=f"{name}' as it was written"):
        load(run)
    rewrite(run)
    with pytest.raises(ValueError, match="safetensors file, got something else"):
        load(run)
    torch.save(Evil(), run / name)
    rewrite(run)
    with pytest.raises(ValueError, match="safetensors file, got something else"):
        load(run)


def test_a_stored_state_must_be_plain(tmp_path):
    with pytest.raises(TypeError, match="plain numbers"):
        fit(vae(), GREY.round(), epochs=1, run=tmp_path, optimizer=partial(Adam, lr=torch.tensor(1e-3)))


def test_history_keeps_every_bit_and_stays_json(tmp_path):
    point = RunFolder(tmp_path)
    rows = [{"epoch": 1, "a": 0.1 + 0.2, "b": math.nan}, {"epoch": 2, "a": 1e-300, "b": 2.0}]
    point.write({"epoch": 1}, rows, {"x": torch.ones(1)}, {"x": torch.ones(1)})
    (row,) = point.history()
    assert row["a"] == 0.1 + 0.2
    assert math.isnan(row["b"])
    assert "NaN" not in (tmp_path / "history.jsonl").read_text()
    assert isinstance(safetensors.torch.load_file(tmp_path / "last-000001.safetensors")["x"], torch.Tensor)
