"""Is a training that was killed and resumed bit-identical to one that was never interrupted?

    python experiments/benchmarks/kills.py --trainings 200 --out experiments/results/kills.json

Seventeen kinds of training in turn. Each is run once to its end; then again in a process that is killed at one or two
random moments, by SIGKILL, SIGTERM or SIGINT, each time resumed in a new process, and at last left to its end. Weights,
the best weights, the optimizer's and the random numbers' state, and every row of the history but its seconds must be
equal bit for bit to those of the first. After every kill the files of the checkpoint must be what was written, and at
the end no temporary file may be left. The processes are forked from one that has trained already, and have one
thread.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import pandas as pd
import pyro
import pyro.distributions as dist
import results_file
import torch
from torch import Tensor, nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR, MultiStepLR
from torch.utils.data import DataLoader, Dataset, TensorDataset, WeightedRandomSampler
from tqdm import tqdm

from ppl_vae import DataSpec, Domain, Program, build, likelihoods, objectives, posteriors, priors
from ppl_vae.cli import main as command_line
from ppl_vae.data import SampleBinary
from ppl_vae.nets import MLP
from ppl_vae.split import Split
from ppl_vae.training import OneCycle, State, fit
from ppl_vae.training.run_folder import RunFolder

GREY = torch.rand(48, 6, generator=torch.Generator().manual_seed(0))
BLACK = GREY.round()
NET = partial(MLP, hidden_dims=[8])
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)

Call = tuple[Any, Any, dict[str, Any]]
"""What is trained, on what, and how."""


def vae(**parts: Any) -> nn.Module:
    described = DataSpec((6,), Domain("binary"), train=Split.of(BLACK))
    return build(described, **{"latent_dim": 2, "encoder": NET, "decoder": NET, "seed": 0, **parts})


class Noisy(Dataset[tuple[Tensor]]):
    """Items that draw from torch's and Python's random numbers."""

    def __len__(self) -> int:
        return len(GREY)

    def __getitem__(self, row: int) -> tuple[Tensor]:
        return (torch.bernoulli(GREY[row]) if random.random() < 0.9 else torch.zeros(6),)


def shuffled(data: Dataset[Any], seed: int) -> DataLoader[Any]:
    return DataLoader(data, batch_size=16, shuffle=True, generator=torch.Generator().manual_seed(seed))


def normalized(in_shape: Any, out_shape: Any) -> nn.Module:
    last = nn.Linear(8, math.prod(out_shape)), nn.Unflatten(-1, out_shape)
    return nn.Sequential(nn.Linear(*in_shape, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), *last)


def model(x: Tensor) -> None:
    scale = pyro.param("scale", lambda: torch.tensor(2.0), constraint=dist.constraints.positive)
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True), scale).expand([len(x), 6]).to_event(1), obs=x)


def guide(x: Tensor) -> None:
    loc = pyro.param("loc", lambda: torch.zeros(2))
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(loc.expand(len(x), 2), 1.0).to_event(1))


def slower(state: State) -> None:
    """A callback that changes the training: it scales one weight."""
    with torch.no_grad():
        next(state.program.parameters()).mul_(0.9)


def weighted() -> Call:
    generator = torch.Generator().manual_seed(3)
    sampler = WeightedRandomSampler([1.0 + i for i in range(48)], 48, generator=generator)
    return Program(model, guide), DataLoader(TensorDataset(GREY), 16, sampler=sampler), {"clip_norm": 10.0}


KINDS: dict[str, Callable[[], Call]] = {
    "one-cycle schedule": lambda: (vae(), BLACK, {"schedule": OneCycle(0.01), "validation": BLACK[:9]}),
    "multi-step schedule, momentum": lambda: (
        vae(),
        BLACK,
        {"optimizer": partial(SGD, lr=0.01, momentum=0.9), "schedule": lambda o, _: MultiStepLR(o, [5, 11], 0.3)},
    ),
    "schedule of a function": lambda: (
        vae(),
        BLACK,
        {"schedule": lambda o, steps: LambdaLR(o, lambda step: 1 - step / (2 * steps)), "checkpoint_every": 2},
    ),
    "linear warm-up, drawn data": lambda: (
        vae(),
        Split(GREY, torch.arange(48), pending=(SampleBinary(),)),
        {"beta": objectives.Linear(2)},
    ),
    "cyclical warm-up": lambda: (vae(), BLACK, {"beta": objectives.Cyclical(2, 2)}),
    "DataLoader of random items": lambda: (vae(), shuffled(Noisy(), 3), {"validation": shuffled(Noisy(), 4)}),
    "Program, weighted sampler": weighted,
    "VampPrior": lambda: (vae(prior=partial(priors.VampPrior, num_components=4)), BLACK, {}),
    "mixture, IWAE": lambda: (
        vae(prior=partial(priors.GaussianMixture, num_components=3)),
        BLACK,
        {"objective": objectives.IWAE(3)},
    ),
    "IAF": lambda: (vae(posterior=posteriors.IAF), BLACK, {}),
    "FlowPrior, float64": lambda: (vae(prior=priors.FlowPrior).double(), BLACK, {}),
    "FreeBits": lambda: (vae(), BLACK, {"objective": objectives.FreeBits(0.1)}),
    "VQ-EMA": lambda: (
        vae(prior=priors.CodePrior, posterior=partial(posteriors.VectorQuantized, num_codes=5)),
        BLACK,
        {"objective": objectives.Commitment()},
    ),
    "dropout, batch norm": lambda: (vae(encoder=normalized, likelihood=likelihoods.Bernoulli), BLACK, {}),
    "patience": lambda: (
        vae(),
        BLACK,
        {"validation": BLACK[:9], "patience": 2, "optimizer": partial(SGD, lr=1e-20)},
    ),
    "callback": lambda: (vae(), BLACK, {"callbacks": [slower]}),
    "command line": lambda: (None, None, {}),
}


def train(kind: str, run: Path, epochs: int) -> None:
    program, data, how = KINDS[kind]()
    if program is not None:
        fit(program, data, epochs=epochs, batch_size=16, device="cpu", run=run, resume=True, progress=False, **how)
        return
    words = ["--data", "digits", "--take", "40", "--latent-dim", "2", "--device", "cpu", "--batch-size", "16"]
    words += ["--encoder.hidden_dims", "[8]", "--decoder.hidden_dims", "[8]", "--patience", "3", "--beta", "Linear"]
    if code := command_line(["train", *words, "--epochs", str(epochs), "--run", str(run), "--resume"]):
        raise SystemExit(code)


def process(kind: str, run: Path, epochs: int, number: int | None = None, at: float = 0.0) -> tuple[int, float]:
    """Train in a process of its own, which gets a signal after so many seconds; how it ended, and how long it took."""
    ready, says = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: of threads that torch started and sleep
        child = os.fork()
    if child == 0:
        _child(kind, run, epochs, says)
    os.close(says)
    os.read(ready, 1)
    os.close(ready)
    start = time.perf_counter()
    if number is not None:
        time.sleep(at)
        os.kill(child, number)  # a child that has ended is still there to be waited for
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), time.perf_counter() - start


def _child(kind: str, run: Path, epochs: int, says: int) -> None:
    code = 1
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)
        with open(run.with_suffix(".log"), "a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        tqdm.set_lock(threading.RLock())  # forked processes share the other, which one that is killed may hold for good
        os.write(says, b"x")
        train(kind, run, epochs)
        code = 0
    except KeyboardInterrupt:
        code = 130
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:
        with open(run.with_suffix(".log"), "a") as log:
            traceback.print_exc(file=log)
    finally:
        os._exit(code)


def differences(whole: Path, parts: Path) -> list[str]:
    """What of two run folders is not equal bit for bit, and what does not belong there."""
    found = []
    a, b = RunFolder(whole), RunFolder(parts)
    for which in ("last", "best"):
        mine, other = a.tensors(which), b.tensors(which)
        found += [f"{which} {n}" for n in mine.keys() | other.keys() if not _equal(mine.get(n), other.get(n))]
    rows = [[{k: repr(v) for k, v in row.items() if k != "seconds"} for row in c.history()] for c in (a, b)]
    states = [{k: v for k, v in c.read().items() if k != "files"} for c in (a, b)]
    found += ["history"] * (rows[0] != rows[1]) + ["state"] * (states[0] != states[1])
    return found + [f"left {p.name}" for p in parts.iterdir() if p.suffix == ".tmp"]


def _equal(a: Tensor | None, b: Tensor | None) -> bool:
    return a is not None and b is not None and a.dtype == b.dtype and a.numpy().tobytes() == b.numpy().tobytes()


def interrupted(kind: str, run: Path, epochs: int, seconds: float, rng: random.Random) -> dict[str, Any]:
    """Train with one or two kills at random moments of the time that a whole training takes."""
    kills: list[dict[str, Any]] = []
    wanted = rng.randint(1, 2)
    while len(kills) < wanted:
        number, at = rng.choice(SIGNALS), rng.uniform(0, seconds)
        code, _ = process(kind, run, epochs, number, at)
        if code not in (-number, 130):
            if code != 0 or kills:
                break
            shutil.rmtree(run)  # it ended before the signal came: another training, and an earlier one
            seconds *= 0.8
            continue
        checkpoint, epoch = RunFolder(run), 0
        if checkpoint.exists():
            checkpoint.verify()
            epoch = checkpoint.read()["epoch"]
        kills.append({"signal": signal.Signals(number).name, "after": round(at, 3), "epoch": epoch})
    code, _ = process(kind, run, epochs)
    return {"kind": kind, "kills": kills, "code": code}


def main(trainings: int, epochs: int, seed: int, folder: Path) -> dict[str, Any]:
    for kind in ("one-cycle schedule", "command line"):  # torch and others import a part of themselves on first use
        with contextlib.redirect_stdout(io.StringIO()):
            train(kind, folder / f"warm {kind}", 1)
    rng, kinds, made = random.Random(seed), list(KINDS), []
    seconds: dict[str, float] = {}
    for i in range(trainings):
        kind = kinds[i % len(kinds)]
        whole, parts = folder / f"whole-{i % len(kinds)}", folder / f"parts-{i}"
        if kind not in seconds:
            code, seconds[kind] = process(kind, whole, epochs)
            if code != 0:
                raise RuntimeError(f"{kind} ended with {code}:\n{whole.with_suffix('.log').read_text()}")
        one = interrupted(kind, parts, epochs, seconds[kind], rng)
        one["differences"] = differences(whole, parts) if one["code"] == 0 else [f"ended with {one['code']}"]
        if one["differences"]:
            print(f"{kind}, training {i}: {one}\n{parts.with_suffix('.log').read_text()[-3000:]}")
        made.append(one)
    kills = [kill for one in made for kill in one["kills"]]
    return {
        "trainings": trainings,
        "killed": sum(bool(one["kills"]) for one in made),
        "identical": sum(not one["differences"] for one in made),
        "kinds": {
            kind: {
                "trainings": len(some),
                "identical": sum(not one["differences"] for one in some),
                "kills": sum(len(one["kills"]) for one in some),
                "seconds": round(seconds[kind], 2),
            }
            for kind in kinds
            if (some := [one for one in made if one["kind"] == kind])
        },
        "kills": len(kills),
        "signals": {s.name: sum(kill["signal"] == s.name for kill in kills) for s in SIGNALS},
        "before the first checkpoint or epoch": sum(kill["epoch"] == 0 for kill in kills),
        "seed": seed,
    }


if __name__ == "__main__":
    parser = results_file.parser_of(__doc__)
    parser.add_argument("--trainings", type=int, default=200, help="trainings that are killed, of all kinds in turn")
    parser.add_argument("--epochs", type=int, default=4, help="epochs of each")
    parser.add_argument("--seed", type=int, default=0, help="of the signals and their moments")
    results_file.add_outputs(parser)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = {"command": results_file.command(__file__, None), "versions": results_file.versions()}
        found |= main(args.trainings, args.epochs, args.seed, Path(folder))
    print(pd.DataFrame(found["kinds"]).T.to_string())
    print(f"{found['identical']} of {found['trainings']} identical after {found['kills']} kills: {found['signals']}")
    results_file.write(found, args.out)
    if found["identical"] != found["trainings"]:
        raise SystemExit(1)
