"""Is every damage of a run folder detected, and does no file in it execute code, hang the reader or raise a traceback?

    python experiments/benchmarks/mutations.py --mutations 300 --writers 20 --out experiments/results/mutations.json

A small run is trained and evaluated, then copied and damaged, once a mutation: bits flipped, files cut, emptied,
deleted, swapped, or replaced by JSON of other types, by pickles, pipes, devices and links, with and without the
checksums made right again, as one who means harm would. Each copy is read by the library (`load`, `Evaluation.load`,
`open_tree`, `fit(resume=True)`) and by the command line (`evaluate`, `compare`, `train --resume`), in a process of its
own. Asked is that

* nothing is executed: a pickle or class that is touched leaves a file behind;
* the library raises nothing but ValueError and FileNotFoundError, and the command line prints one line and exits 1;
* every reading ends within ten seconds;
* every flipped bit is noticed, by an error or warning that names the file.

Then pairs of processes train in one folder: the second one is refused, and the folder is that of the first.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import numpy as np
import pandas as pd
import results_file
import safetensors.torch
import torch
import xarray as xr

from ppl_vae import build, data
from ppl_vae.checksums import file_digest, record, sealed, unsealed
from ppl_vae.cli import main as command_line
from ppl_vae.diagnostics import open_tree
from ppl_vae.evaluation import Evaluation, compare, evaluate
from ppl_vae.nets import MLP
from ppl_vae.training import fit, load
from ppl_vae.training.run_folder import RunFolder

TRAIN = ["train", "--data", "digits", "--take", "12", "--latent-dim", "2", "--device", "cpu", "--batch-size", "8"]
TRAIN += ["--encoder.hidden_dims", "[4]", "--decoder.hidden_dims", "[4]", "--epochs", "2"]
SECONDS = 10

JSON = {
    "null": None,
    "a list": [1, 2],
    "a number": 3,
    "NaN": float("nan"),
    "text": "x",
    "huge": 10**400,
    "nothing": {},
    "deep": "deep",
}


class Hostile:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch executed",)


def make(run: Path) -> None:
    """A run with a checkpoint, an evaluation, a tree and a report, small enough to be read in a blink."""
    if command_line([*TRAIN, "--run", str(run)]):
        raise RuntimeError("the training to be damaged failed")
    test = data.load("digits").binarize("threshold").test[:4]
    evaluate(load(run).vae, test, num_samples=30, seed=0, progress=False).save(run / "evaluation.json")
    draws = xr.Dataset({"z": (("chain", "draw"), np.zeros((1, 4)))})
    xr.DataTree.from_dict({"/posterior": draws}).to_netcdf(run / "posterior.nc", engine="h5netcdf")
    (run / "diagnosis.md").write_text("# a report\n")
    record(run, ["posterior.nc", "diagnosis.md"])


def files(run: Path) -> list[Path]:
    return sorted(p for p in run.iterdir() if p.name != ".lock")


def flip(run: Path, rng: random.Random) -> str:
    path = rng.choice(files(run))
    content, bit = bytearray(path.read_bytes()), rng.randrange(8 * path.stat().st_size)
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    return f"bit {bit} of {path.name}"


def cut(run: Path, rng: random.Random) -> str:
    path = rng.choice(files(run))
    os.truncate(path, rng.randrange(path.stat().st_size))
    return f"{path.name} cut"


def empty(run: Path, rng: random.Random) -> str:
    path = rng.choice(files(run))
    path.write_bytes(b"")
    return f"{path.name} emptied"


def longer(run: Path, rng: random.Random) -> str:
    path = rng.choice(files(run))
    os.truncate(path, 2**40)  # sparse: it takes no room
    return f"{path.name} of a terabyte"


def delete(run: Path, rng: random.Random) -> str:
    path = rng.choice(files(run))
    path.unlink()
    return f"{path.name} deleted"


def swap(run: Path, rng: random.Random) -> str:
    a, b = rng.sample(files(run), 2)
    first, second = a.read_bytes(), b.read_bytes()
    a.write_bytes(second), b.write_bytes(first)
    return f"{a.name} and {b.name} swapped"


def special(run: Path, rng: random.Random) -> str:
    path = rng.choice([*files(run), run / ".lock"])
    path.unlink(missing_ok=True)
    kind = rng.choice(["pipe", "folder", "/dev/zero", "/dev/random", "itself", "/etc/passwd", "nowhere", "a pipe"])
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(run / "pipe")
        path.symlink_to(run / "pipe")
    else:
        path.symlink_to(path if kind == "itself" else kind)
    return f"{path.name} became {kind}"


def payload(run: Path, rng: random.Random) -> str:
    path = rng.choice([p for p in files(run) if p.suffix == ".safetensors"])
    if rng.random() < 0.5:
        path.write_bytes(pickle.dumps(Hostile()))
    else:
        torch.save(Hostile(), path)
    sign(run)
    return f"{path.name} became a pickle, checksums right"


def other_tensors(run: Path, rng: random.Random) -> str:
    path = rng.choice([p for p in files(run) if p.suffix == ".safetensors"])
    tensors = safetensors.torch.load_file(path)
    name = rng.choice([n for n in tensors if "weight" in n])
    changes: dict[str, Callable[[], Any]] = {
        "NaN": lambda: tensors[name].fill_(float("nan")),
        "another shape": lambda: tensors.__setitem__(name, torch.zeros(3)),
        "another type": lambda: tensors.__setitem__(name, tensors[name].long()),
        "less": lambda: tensors.pop(name),
        "more": lambda: tensors.__setitem__("more", torch.zeros(1)),
        "nothing": tensors.clear,
    }
    change = rng.choice(sorted(changes))
    changes[change]()
    safetensors.torch.save_file(tensors, path)
    if rng.random() < 0.8:
        sign(run)
    return f"{path.name} has {change}"


def json_value(run: Path, rng: random.Random) -> str:
    """Another value somewhere in a JSON file; half of the time with its checksums right."""
    name = rng.choice(["checkpoint.json", "config.json", "evaluation.json"])
    content = json.loads((run / name).read_text())
    where: Any = content
    said = [name]
    while True:
        key = rng.choice(sorted(where) if isinstance(where, dict) else range(len(where)))
        said.append(str(key))
        if not (isinstance(where[key], dict | list) and where[key]) or rng.random() < 0.4:
            break
        where = where[key]
    kind = rng.choice(sorted(JSON))
    where[key] = JSON[kind]
    text = json.dumps(content, indent=1).replace('"deep"', "[" * 100_000 + "]" * 100_000)
    (run / name).write_text(text)
    if rng.random() < 0.5:
        sign(run, name)
        said.append("checksums right")
    return f"{' '.join(said)} is {kind}"


def json_whole(run: Path, rng: random.Random) -> str:
    path = rng.choice([p for p in files(run) if p.suffix in (".json", ".jsonl")])
    kind = rng.choice(sorted(JSON))
    path.write_text(json.dumps(JSON[kind]).replace('"deep"', "[" * 100_000))
    return f"{path.name} is {kind}"


def path_name(run: Path, rng: random.Random) -> str:
    content, _ = unsealed(run / "checkpoint.json", "")
    name = rng.choice(["../other.safetensors", "/etc/passwd", "..", "evil.py", "best-000001.safetensors/../x", "a\0b"])
    content["files"][rng.choice(["last", "best"])] = name
    (run / "checkpoint.json").write_text(sealed(content))
    return f"checkpoint.json names {name!r}, checksums right"


def hostile_class(run: Path, rng: random.Random) -> str:
    config = json.loads((run / "config.json").read_text())
    name = rng.choice(["evil.X", "os.system", "__builtins__", "torch.nn.Linear", "evil:X"])
    config["recipe"][rng.choice(["prior", "encoder", "likelihood"])] = {"class": name, "module": "os", "args": {}}
    (run / "config.json").write_text(json.dumps(config))
    sign(run)
    return f"config.json names the class {name!r}, checksums right"


MUTATIONS = [flip, flip, flip, cut, empty, longer, delete, swap, special, special, payload, other_tensors, json_value]
MUTATIONS += [json_value, json_whole, path_name, hostile_class]


def sign(run: Path, name: str = "config.json") -> None:
    """Make the checksums right again."""
    with contextlib.suppress(ValueError, RecursionError):
        content = json.loads((run / "checkpoint.json").read_text())
        content = {k: v for k, v in content.items() if k not in ("sha256", "format")}
        for file in content.get("checksums") or {}:
            if file != "history.jsonl":
                content["checksums"][file] = [file_digest(run / file)]
        (run / "checkpoint.json").write_text(sealed(content))
        if name == "evaluation.json":
            content = json.loads((run / name).read_text())
            (run / name).write_text(sealed({k: v for k, v in content.items() if k not in ("sha256", "format")}))


def readings(run: Path) -> dict[str, Callable[[], Any]]:
    """Everything that reads a run folder."""

    def resume() -> None:
        digits = data.load("digits").binarize("threshold").take(train=12, validation=12, test=12)
        net = {"hidden_dims": [4]}
        vae = build(digits, latent_dim=2, encoder=_partial(net), decoder=_partial(net), seed=0)
        fit(vae, digits, epochs=2, batch_size=8, device="cpu", run=run, resume=True, progress=False)

    return {
        "load": lambda: load(run),
        "Evaluation.load": lambda: Evaluation.load(run / "evaluation.json"),
        "compare": lambda: compare({"a": run}),
        "open_tree": lambda: open_tree(run / "posterior.nc"),
        "fit(resume=True)": resume,
    }


def _partial(kwargs: dict[str, Any]) -> Callable[..., Any]:
    from functools import partial

    return partial(MLP, **kwargs)


def commands(run: Path) -> dict[str, list[str]]:
    return {
        "ppl-vae evaluate": ["evaluate", str(run), "--num-samples", "2", "--take", "2"],
        "ppl-vae compare": ["compare", str(run)],
        "ppl-vae sample": ["sample", str(run), "--num", "1", "--out", str(run.with_name("x.npy"))],
        "ppl-vae train --resume": [*TRAIN, "--run", str(run), "--resume"],
    }


def read_all(run: Path, says: Callable[[str, str], None]) -> None:
    """Read a folder in every way, and say how each ended."""
    for name, reading in readings(run).items():
        says(name, "begun")
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                reading()
                outcome = "read"
            except (ValueError, FileNotFoundError) as error:
                outcome = f"refused: {error}"
            except BaseException as error:
                outcome = f"broke: {type(error).__name__}: {error}"
        said = "; ".join(str(w.message) for w in told if "ppl_vae" in str(w.message))
        says(name, f"{outcome}{' | warned: ' + said if said else ''}")
    for name, words in commands(run).items():
        says(name, "begun")
        err = io.StringIO()
        with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
            try:
                code: Any = command_line(words)
            except BaseException as error:
                code = f"{type(error).__name__}: {error}"
        lines = [line for line in err.getvalue().splitlines() if line.startswith("ppl-vae") or "Traceback" in line]
        tidy = code == 0 or (code == 1 and len(lines) >= 1 and "Traceback" not in err.getvalue() and ";" in lines[-1])
        says(name, f"{'read' if code == 0 else 'refused' if tidy else f'broke with {code}'}: {' | '.join(lines)}")


def in_a_process(run: Path) -> dict[str, str]:
    """How every reading ended, "hung" for one that took more than ten seconds."""
    out, says = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: of threads that torch started and sleep
        child = os.fork()
    if child == 0:
        try:
            os.chdir(run.parent)
            with open(os.devnull, "w") as nothing:
                os.dup2(nothing.fileno(), 2)
                os.dup2(nothing.fileno(), 1)
            with os.fdopen(says, "w") as pipe:

                def say(name: str, outcome: str) -> None:
                    signal.alarm(SECONDS)  # kills this process where it hangs
                    pipe.write(json.dumps([name, outcome]) + "\n")
                    pipe.flush()

                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                read_all(run, say)
        finally:
            os._exit(0)
    os.close(says)
    with os.fdopen(out) as pipe:
        found = dict(json.loads(line) for line in pipe)
    os.waitpid(child, 0)
    return {name: "hung" if outcome == "begun" else outcome for name, outcome in found.items()}


def mutate(whole: Path, folder: Path, number: int, rng: random.Random) -> dict[str, Any]:
    run = folder / f"m{number}" / "run"
    shutil.copytree(whole, run)
    mutation = MUTATIONS[number % len(MUTATIONS)]
    said = mutation(run, rng)
    outcomes = in_a_process(run)
    name = said.rpartition(" of ")[2]
    noticed = any(name in o and ("refused" in o or "changed" in o) for o in outcomes.values())
    one = {
        "kind": mutation.__name__,
        "said": said,
        "executed": [p.name for p in run.parent.rglob("executed")],
        "broke": {n: o for n, o in outcomes.items() if o.startswith("broke")},
        "hung": [n for n, o in outcomes.items() if o == "hung"],
        "noticed": noticed if mutation is flip else None,
    }
    if one["executed"] or one["broke"] or one["hung"] or one["noticed"] is False:
        print(f"{number}: {json.dumps(one)[:2000]}\n{json.dumps(outcomes, indent=1)[:3000]}")
    subprocess.run(["rm", "-rf", str(run.parent)], check=True)
    return one


def two_writers(folder: Path, number: int) -> dict[str, bool]:
    """One process trains; another one tries, resuming or not, and is refused; the first one's folder is whole."""
    run, seen = folder / f"w{number}" / "run", folder / f"w{number}" / "seen"
    run.parent.mkdir()
    ready, says = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        first = os.fork()
    if first == 0:
        try:
            train_slowly(run, seed=0, ready=lambda: os.write(says, b"x"), until=seen)
        finally:
            os._exit(0)
    os.read(ready, 1)
    try:
        train_slowly(run, seed=1 if number % 2 else 0, resume=number % 3 > 0)
        refused = False
    except ValueError as error:
        refused = "writing to" in str(error) or "holds one" in str(error)
    seen.touch()
    os.waitpid(first, 0)
    os.close(ready), os.close(says)
    alone = folder / "alone"
    if not alone.exists():
        train_slowly(alone, seed=0)
    a, b = RunFolder(alone).tensors("last"), RunFolder(run).tensors("last")
    same = all(torch.equal(a[name], b[name]) for name in a) and load(run).history.shape == load(alone).history.shape
    return {"refused": refused, "whole": same}


def train_slowly(
    run: Path, seed: int, resume: bool = True, ready: Callable[[], Any] | None = None, until: Path | None = None
) -> None:
    """Train two epochs; after the first say so, and wait for a file."""

    def wait(state: Any) -> None:
        if ready is not None and until is not None and state.epoch == 1:
            ready()
            end = time.monotonic() + 60
            while not until.exists() and time.monotonic() < end:
                time.sleep(0.01)

    digits = data.load("digits").binarize("threshold").take(train=12, validation=12, test=12)
    vae = build(digits, latent_dim=2, encoder=_partial({"hidden_dims": [4]}), seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit(vae, digits, epochs=2, seed=seed, device="cpu", run=run, resume=resume, callbacks=[wait], progress=False)


def main(mutations: int, writers: int, seed: int, folder: Path) -> dict[str, Any]:
    rng, whole = random.Random(seed), folder / "whole"
    with contextlib.redirect_stdout(io.StringIO()):
        make(whole)
        read_all(shutil.copytree(whole, folder / "warm"), lambda *_: None)  # imports what is imported on first use
    made = [mutate(whole, folder, i, rng) for i in range(mutations)]
    pairs = [two_writers(folder, i) for i in range(writers)]
    flips = [one for one in made if one["noticed"] is not None]
    kinds = dict.fromkeys(one["kind"] for one in made)
    return {
        "mutations": mutations,
        "executed": sum(bool(one["executed"]) for one in made),
        "broke": sum(bool(one["broke"]) for one in made),
        "hung": sum(bool(one["hung"]) for one in made),
        "flips": len(flips),
        "noticed": sum(one["noticed"] for one in flips),
        "kinds": {
            kind: {
                "mutations": len(some),
                "executed": sum(bool(one["executed"]) for one in some),
                "broke": sum(bool(one["broke"]) for one in some),
                "hung": sum(bool(one["hung"]) for one in some),
            }
            for kind in kinds
            if (some := [one for one in made if one["kind"] == kind])
        },
        "writers": writers,
        "refused": sum(pair["refused"] for pair in pairs),
        "whole": sum(pair["whole"] for pair in pairs),
        "seed": seed,
    }


if __name__ == "__main__":
    parser = results_file.parser_of(__doc__)
    parser.add_argument("--mutations", type=int, default=300, help="damaged copies, of all kinds in turn")
    parser.add_argument("--writers", type=int, default=20, help="pairs of processes that train in one folder")
    parser.add_argument("--seed", type=int, default=0, help="of the damages")
    results_file.add_outputs(parser)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = {"command": results_file.command(__file__, None), "versions": results_file.versions()}
        found |= main(args.mutations, args.writers, args.seed, Path(folder))
    print(pd.DataFrame(found["kinds"]).T.to_string())
    print(
        f"of {found['mutations']} mutations {found['executed']} executed, {found['broke']} broke, "
        f"{found['hung']} hung; {found['noticed']} of {found['flips']} flipped bits noticed; "
        f"{found['refused']} of {found['writers']} second writers refused, {found['whole']} folders whole"
    )
    results_file.write(found, args.out)
    wrong = found["executed"] + found["broke"] + found["hung"] + found["flips"] - found["noticed"]
    if wrong or found["refused"] < found["writers"] or found["whole"] < found["writers"]:
        raise SystemExit(1)
