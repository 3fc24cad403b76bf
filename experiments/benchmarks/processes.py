"""How much faster do two processes train than one, and what would 8, 64 and 512 do?

    OMP_NUM_THREADS=1 python experiments/benchmarks/processes.py --out experiments/results/processes.json

A VAE of 784-400-50 with a Bernoulli likelihood, on random binary data of MNIST's shape, by `fit`, on a CPU. Of N
processes with a thread each every one has `b` rows of each batch of N b. Efficiency is the time of a step of one
process with b rows, over that of two with 2 b. One and two take turns, `--rounds` times, by the same two processes, of
which the second waits while the first trains alone; the ratio is of medians. On a machine with other work two
processes wait for the one that is behind, and that ratio says little: the same is given of seconds of the processor,
which has the work of messages and random numbers in it, and not the waiting.

For more processes there is a model and no measurement. A step of N takes

    t(b) + 2 (N - 1) latency + 2 (N - 1) / N bytes / bandwidth + (N - 1) b draw

with t(b) = fixed + b row by least squares through the processor's seconds of one process; the ring all-reduce of
`bytes`, the gradient, whose latency and bandwidth are those of gloo between the two processes; and `draw`, the time of
the random numbers of a row, as each process draws those of the whole batch. The smallest b with an efficiency of 0.9
is given, or none: by the last term no b is large enough from some N on. Two processes of one machine talk through
memory: a network has other latency and bandwidth, to be given by `--latency` (s) and `--bandwidth` (bytes/s).
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
from datetime import timedelta
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import numpy as np
import results_file
import torch
from torch import distributed

import ppl_vae
from ppl_vae import DataSpec, Domain, build, fit

PIXELS, HIDDEN, LATENT = 784, 400, 50
WORKERS = (8, 64, 512)
GOAL = 0.9
FIRST = 3
"""Epochs in which steps are called, and compared with their graph."""


def new() -> ppl_vae.VAE:
    spec = DataSpec((PIXELS,), Domain("binary"))
    return build(spec, latent_dim=LATENT, likelihood=ppl_vae.Bernoulli, seed=0)


def step_seconds(rows: int, steps: int) -> list[tuple[float, float]]:
    """Seconds of a step and of the processor, by epoch, of batches of so many rows, of the fourth to sixth epochs."""
    x = (torch.rand(rows * steps, PIXELS, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    ends: list[float] = []

    def ended(_: object) -> bool:
        ends.append(time.process_time())
        return len(ends) == FIRST + 3

    settings = {"epochs": 10_000, "batch_size": rows, "callbacks": [ended], "compile": None}
    history = fit(new(), x, device="cpu", seed=0, progress=False, **settings).history
    seconds = (history["seconds"].iloc[FIRST:] / steps).tolist()
    return list(zip(seconds, (np.diff(ends)[FIRST - 1 :] / steps).tolist(), strict=True))


def message_seconds(size: int, times: int) -> float:
    """Median seconds of an all-reduce of so many floats."""
    message, found = torch.zeros(size), []
    for _ in range(times):
        start = time.perf_counter()
        distributed.all_reduce(message)
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def draw_seconds() -> float:
    """Seconds of the random numbers of a row."""
    found = []
    for _ in range(20):
        start = time.perf_counter()
        torch.randn(4096, LATENT)
        found.append((time.perf_counter() - start) / 4096)
    return statistics.median(found)


def worker(rank: int, folder: Path, args: argparse.Namespace) -> None:
    """The measurements of one of two processes; those of the first are written."""
    found: dict[str, Any] = {"one": {b: [] for b in args.batch_sizes}, "two": {b: [] for b in args.batch_sizes}}

    def together(number: int) -> None:
        name = f"file://{folder}/group{number}"
        distributed.init_process_group("gloo", init_method=name, rank=rank, world_size=2, timeout=timedelta(minutes=20))

    for turn in range(args.rounds):
        for b in args.batch_sizes:
            together(1 + turn * len(args.batch_sizes) + args.batch_sizes.index(b))
            found["two"][b] += step_seconds(2 * b, args.steps)
            distributed.destroy_process_group()
            if rank == 0:  # the other waits for it
                found["one"][b] += step_seconds(b, args.steps)
    together(0)
    sizes = [1, 1000, 100_000, sum(p.numel() for p in new().parameters())]
    found["messages"] = {4 * size: message_seconds(size, 30) for size in sizes}
    distributed.destroy_process_group()
    found["draw"] = draw_seconds()
    if rank == 0:
        (folder / "found.json").write_text(json.dumps(found))


def modelled(found: dict[str, Any], latency: float, bandwidth: float) -> dict[str, Any]:
    """The parameters of the model, and for more processes the smallest b with the efficiency, or none."""
    steps = {int(b): statistics.median(cpu for _, cpu in t) for b, t in found["one"].items()}
    row, fixed = np.polyfit(list(steps), list(steps.values()), 1) if len(steps) > 1 else (min(steps.values()), 0.0)
    size = max(map(int, found["messages"]))

    def efficiency(n: int, b: int) -> float:
        more = 2 * (n - 1) * latency + 2 * (n - 1) / n * size / bandwidth + (n - 1) * b * found["draw"]
        alone = max(fixed, 0.0) + b * row
        return float(alone / (alone + more))

    reached = {
        n: next((b for b in (2**k for k in range(5, 21)) if efficiency(n, b) >= GOAL), None) for n in (2, *WORKERS)
    }
    return {
        "fixed_s": float(fixed),
        "row_s": float(row),
        "draw_s": found["draw"],
        "latency_s": latency,
        "bandwidth_bytes_per_s": bandwidth,
        "gradient_bytes": size,
        "rows_each_for_0.9": reached,
        "efficiency_at_2048_rows_each": {n: efficiency(n, 2048) for n in (2, *WORKERS)},
        "efficiency_of_any_batch_at_most": {n: float(row / (row + (n - 1) * found["draw"])) for n in (2, *WORKERS)},
    }


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = results_file.parser_of(__doc__)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[128, 512, 2048], help="rows of each process")
    parser.add_argument("--steps", type=int, default=8, help="of an epoch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--latency", type=float, help="seconds of a message, in place of those measured")
    parser.add_argument("--bandwidth", type=float, help="bytes a second, in place of those measured")
    results_file.add_outputs(parser)
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)  # one of the two processes
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = arguments(argv)
    if args.rank is not None:
        worker(args.rank, args.folder, args)
        return
    words = sys.argv[1:] if argv is None else argv
    load = os.getloadavg()
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        started = [
            subprocess.Popen([sys.executable, __file__, *words, f"--rank={r}", f"--folder={folder}"], env=environment)
            for r in range(2)
        ]
        if codes := [process.wait() for process in started if process.wait()]:
            raise SystemExit(f"expected both processes to end well, got exit statuses {codes}; see what they printed")
        found = json.loads(Path(folder, "found.json").read_text())
    messages = {int(size): seconds for size, seconds in found["messages"].items()}
    latency = args.latency or messages[min(messages)] / 2  # 2 (N - 1) of them in an all-reduce of two
    bandwidth = args.bandwidth or max(messages) / max(messages[max(messages)] - messages[min(messages)], 1e-9)
    model = modelled(found, latency, bandwidth)
    table = {}
    for b in args.batch_sizes:
        taken = [np.median(found[name][str(b)], axis=0).tolist() for name in ("one", "two")]
        (one, one_cpu), (two, two_cpu) = taken
        table[b] = {"one_ms": 1e3 * one, "two_ms": 1e3 * two, "efficiency": one / two}
        table[b] |= {"one_cpu_ms": 1e3 * one_cpu, "two_cpu_ms": 1e3 * two_cpu, "cpu_efficiency": one_cpu / two_cpu}
        print(
            f"{b:5} rows each: {1e3 * one:6.2f} ms alone, {1e3 * two:6.2f} ms of two, efficiency {one / two:.2f}; "
            f"of the processor {1e3 * one_cpu:6.2f} ms and {1e3 * two_cpu:6.2f} ms in each, {one_cpu / two_cpu:.2f}"
        )
    print(json.dumps(model, indent=1))
    said = {
        "command": "OMP_NUM_THREADS=1 " + results_file.command(__file__, argv),
        "steps": table,
        "messages_s": messages,
        "model": model,
        "machine": {
            "processor": results_file.processor(),
            "cores": os.cpu_count(),
            "load_at_start": load[0],
            "load_at_end": os.getloadavg()[0],
        },
        "threads_of_each": 1,
        "versions": results_file.versions(),
    }
    results_file.write(said, args.out)


if __name__ == "__main__":
    main()
