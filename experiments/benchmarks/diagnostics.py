"""What do the longer diagnostics of a VAE of MNIST cost, by this version of the library and by others?

    python experiments/benchmarks/diagnostics.py --before COMMIT --out experiments/results/diagnostics.json

A gated MLP, 784-300-300-40, trained for `--epochs` epochs on MNIST, and its first test images. `--before` is a commit
of this repository, whose version is checked out beside this one. Each version has a process of its own with the same
weights and images, and waits while the others take their turn, `--rounds` times, each with another seed:

* ``ais from q``, ``ais from the prior``, ``hmc``, ``compare_posteriors``: of `--subset` images, with the version's own
  defaults; `compare_posteriors` of 1,000 draws from q with those of `hmc`;
* ``inference_gaps``: of `--num-data` images;
* ``diagnose``: ``full=True``, of `--diagnosed` images, in the first round.

Costs are of the process's CPU time, in milliseconds an image, as the machine may do other things; seconds by the clock
are kept beside them. Capturing graphs is part of them. Medians over rounds. Costs compare at equal quality: of
annealing the root mean square over images of the log weights' standard deviation, in nats, to which its error is
proportional; of HMC the smallest ESS of an image's units, its median over images, and the share of images whose chains
agree; of the gaps the mean amortization gap; of the comparison, which is of all images, the mean energy distance.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import results_file
import torch

import ppl_vae
from ppl_vae import Bernoulli, DataSpec, Domain, GatedMLP, build, diagnose, fit
from ppl_vae.diagnostics import ais, compare_posteriors, hmc, inference_gaps, to_arviz

ROOT = Path(__file__).parents[2]
Found = tuple[int, dict[str, float]]
"""The number of images of a task, and what says how good its result is."""


def made(shape: tuple[int, ...]) -> ppl_vae.VAE:
    return build(DataSpec(shape, Domain("binary")), latent_dim=40, encoder=GatedMLP, decoder=GatedMLP, seed=0)


class Tasks:
    """The tasks of one version, on weights and images in a file."""

    def __init__(self, file: Path, args: argparse.Namespace) -> None:
        kept = torch.load(file)
        self.x, self.args = kept["x"], args
        self.vae = made(tuple(self.x.shape[1:]))
        self.vae.load_state_dict(kept["weights"])
        self.chains: Any = None

    def run(self, name: str, seed: int) -> dict[str, Any]:
        task, given = self.tasks()[name], {"seed": seed, "progress": False}
        if name == "compare_posteriors":  # draws are not part of it
            if self.chains is None:
                self.sampled(**given)
            given = {"q": to_arviz(self.vae, self.x[: self.args.subset], num_samples=1000, seed=seed)}
        cpu, clock = time.process_time(), time.perf_counter()
        number, quality = task(**given)
        cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
        return {"ms": 1000 * cpu / number, "seconds": clock, "images": number, **quality}

    def tasks(self) -> dict[str, Callable[..., Found]]:
        return {
            "ais from q": lambda **given: self.annealed(init="guide", **given),
            "ais from the prior": lambda **given: self.annealed(init="prior", **given),
            "hmc": self.sampled,
            "compare_posteriors": self.compared,
            "inference_gaps": self.gaps,
            "diagnose": self.diagnosed,
        }

    def annealed(self, **given: Any) -> Found:
        args = {} if self.args.length is None else {"num_temperatures": self.args.length}
        found = ais(self.vae, self.x[: self.args.subset], **args, **given)
        spread = float(found["log_weight_sd"].pipe(lambda sd: (sd**2).mean() ** 0.5))
        return self.args.subset, {"log_weight_sd": spread, "log_px": float(found["log_px"].mean())}

    def sampled(self, **given: Any) -> Found:
        length = self.args.length
        args = {} if length is None else {"num_warmup": length, "num_samples": length}
        self.chains = hmc(self.vae, self.x[: self.args.subset], **args, **given)
        said = self.chains["diagnostics"]
        return self.args.subset, {"ess": float(said["ess"].median()), "agree": float(said["reliable"].mean())}

    def compared(self, q: Any) -> Found:
        self.chains["diagnostics"]["reliable"].values[:] = True  # short chains disagree, and would be left out
        found = compare_posteriors(q, self.chains)
        return self.args.subset, {"energy_distance": float(found["energy_distance"].mean())}

    def gaps(self, **given: Any) -> Found:
        few = self.x[: self.args.num_data]
        return len(few), {"amortization_gap": float(inference_gaps(self.vae, few, **given)["amortization_gap"].mean())}

    def diagnosed(self, **given: Any) -> Found:
        few, args = self.x[: self.args.diagnosed], {} if self.args.length is None else {"length": self.args.length}
        return len(few), {"results": len(diagnose(self.vae, few, full=True, **args, **given).results)}


def serve(file: Path, args: argparse.Namespace) -> None:
    """Answer names of tasks and seeds from the standard input, a line each, on the standard output."""
    tasks = Tasks(file, args)
    for line in sys.stdin:
        print(json.dumps(tasks.run(*json.loads(line))), flush=True)


@contextmanager
def version(package: Path, file: Path, argv: list[str]) -> Iterator[Callable[[str, int], dict[str, Any]]]:
    """A process with the library at a path, as a function of a task and a seed."""
    environment = {**os.environ, "PYTHONPATH": str(package)}
    words = [sys.executable, str(Path(__file__).resolve()), *argv, "--serve", str(file)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, env=environment, **pipes) as process:

        def ask(name: str, seed: int) -> dict[str, Any]:
            print(json.dumps([name, seed]), file=process.stdin, flush=True)
            answer = process.stdout.readline()
            if not answer:
                raise RuntimeError(f"the process of {package} ended in {name}; its error is above")
            return json.loads(answer)

        yield ask
        process.stdin.close()


def main(argv: list[str] | None = None) -> dict[str, Any]:
    argv = sys.argv[1:] if argv is None else argv
    args = parsed(argv)
    if args.serve:
        return serve(args.serve, args)
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        file = trained(Path(folder) / "trained.pt", args)
        packages = {"this": ROOT}
        if args.before:
            packages = {"before": checked_out(args.before, Path(folder) / "before", stack)} | packages
        asked = {name: stack.enter_context(version(path, file, argv)) for name, path in packages.items()}
        for number in range(args.rounds):
            for task in args.tasks:
                for name, ask in asked.items() if task != "diagnose" or not number else ():
                    found.setdefault(task, {}).setdefault(name, []).append(ask(task, args.seed + number))
                    print(f"{task}, {name}: {said(found[task][name][-1])}", flush=True)
                result = kept(found, args, argv)
    for task, row in result["table"].items():
        if "before" in row:
            print(f"{task}: {row['before / this']} times as fast as before")
    return result


def kept(found: dict[str, Any], args: argparse.Namespace, argv: list[str]) -> dict[str, Any]:
    """What was found so far, as a table as well, written to `--out`."""
    table = {task: {name: median(rounds) for name, rounds in row.items()} for task, row in found.items()}
    for row in table.values():
        if {"before", "this"} <= set(row):
            row["before / this"] = round(row["before"]["ms"] / row["this"]["ms"], 2)
    result = {
        "command": results_file.command(__file__, argv),
        "table": table,
        "rounds": found,
        "threads": torch.get_num_threads(),
        "machine": f"{results_file.processor()}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}",
        "load": os.getloadavg()[0],
        "versions": results_file.versions(),
    }
    results_file.write(result, args.out)
    return result


def median(rounds: list[dict[str, Any]]) -> dict[str, float]:
    return {of: round(statistics.median(one[of] for one in rounds), 4) for of in rounds[0]}


def said(one: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in one.items())


def trained(file: Path, args: argparse.Namespace) -> Path:
    """Weights of a VAE and its test images, in a file."""
    data = ppl_vae.data.load(args.data, data_dir=args.data_dir, likelihood=Bernoulli)
    if args.train:
        data = data.take(train=args.train)
    vae = made(tuple(data.test.x.shape[1:]))
    print(fit(vae, data, epochs=args.epochs, seed=args.seed, device="cpu", progress=False), flush=True)
    x = data.test[: max(args.num_data, args.subset, args.diagnosed)].fixed(args.seed).x
    torch.save({"weights": vae.state_dict(), "x": x}, file)
    return file


def checked_out(commit: str, folder: Path, stack: ExitStack) -> Path:
    """A commit in a folder, until the stack closes."""
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--detach", str(folder), commit], check=True, capture_output=True)
    stack.callback(subprocess.run, [*git, "remove", "--force", str(folder)], check=True)
    return folder


def parsed(argv: list[str]) -> argparse.Namespace:
    parser = results_file.parser_of(__doc__)
    parser.add_argument("--before", help="commit of another version (none)")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--data-dir", help="folder of the data sets ($PPL_VAE_DATA)")
    parser.add_argument("--train", type=int, help="training images (all)")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--subset", type=int, default=20, help="images of ais, hmc and compare_posteriors")
    parser.add_argument("--num-data", type=int, default=100, help="images of inference_gaps")
    parser.add_argument("--diagnosed", type=int, default=100, help="images of diagnose")
    parser.add_argument("--length", type=int, help="temperatures, and transitions (each version's defaults)")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--tasks", nargs="+", choices=NAMES, default=NAMES, help="only these (all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    results_file.add_outputs(parser)
    return parser.parse_args(argv)


NAMES = ["ais from q", "ais from the prior", "hmc", "compare_posteriors", "inference_gaps", "diagnose"]


if __name__ == "__main__":
    main()
