"""What does it cost to ask how good q(z | x) is? Seconds and memory of `check_guide`, over data and draws.

    python experiments/benchmarks/check_guide.py --run RUN --data mnist --data-dir DIR --threads 2 --out results.json

A table over the number of data N and of draws S, the smallest first, in one process. Memory is the largest resident
set during a call, read from /proc every 2 ms (Linux), above that of the process with the model and the data loaded.
The exponents are of seconds = c N^a S^b, by least squares over the table: 1 and 1 if the cost is linear in both. As a
fixed cost for each datum or call hides in the small cells, so is the time of each cell over that of the largest, per
pair of draw and datum. Without --run a small VAE of the data is trained for an epoch, gated 300-300-40 as on MNIST.
"""

import gc
import os
import sys
import threading
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import numpy as np
import pandas as pd
import results_file
import torch

import ppl_vae
from ppl_vae.diagnostics import check_guide


def main(argv: list[str] | None = None) -> dict:
    parser = results_file.parser_of(__doc__)
    parser.add_argument("--run", type=Path, help="folder of a trained run")
    parser.add_argument("--data", default="digits", help="data set (digits)")
    parser.add_argument("--data-dir", help="folder of the data sets ($PPL_VAE_DATA)")
    parser.add_argument(
        "--num-data", type=int, nargs="+", default=[1250, 2500, 5000, 10_000], help="N, of the test set"
    )
    parser.add_argument("--num-samples", type=int, nargs="+", default=[250, 500, 1000], help="S")
    parser.add_argument("--threads", type=int, help="threads of torch (its own choice)")
    parser.add_argument("--seed", type=int, default=0)
    results_file.add_outputs(parser)
    args = parser.parse_args(argv)

    if args.threads:
        torch.set_num_threads(args.threads)
    data = ppl_vae.data.load(args.data, data_dir=args.data_dir, likelihood=ppl_vae.Bernoulli)
    vae = ppl_vae.load(args.run).vae if args.run else trained(data, args.seed)
    test = data.test.fixed(args.seed)
    del data
    gc.collect()
    loaded = resident()
    check_guide(vae, test[:30], num_samples=30, seed=args.seed, progress=False)  # what only a first call costs
    table = pd.DataFrame(
        measured(vae, test[:n], s, args.seed, loaded)
        for s in sorted(set(args.num_samples))
        for n in sorted({min(n, len(test)) for n in args.num_data})
    )
    table["per pair"] = table["seconds"] / (table["N"] * table["S"])
    table["to the largest"] = table["per pair"] / table["per pair"].iloc[-1]
    found = {
        "command": results_file.command(__file__, argv),
        "model": repr(vae).splitlines()[:2],
        "cells": table.to_dict("records"),
        "exponents": exponents(table),
        "largest": table.to_dict("records")[-1],
        "loaded_mb": loaded / 1e6,
        "threads": torch.get_num_threads(),
        "cpus": len(os.sched_getaffinity(0)),
        "versions": results_file.versions(),
    }
    said = table.assign(microseconds=table.pop("per pair") * 1e6).round({"seconds": 2, "MB above": 0})
    print("seconds in all, microseconds for each pair of draw and datum, MB of memory above what was loaded")
    print(said.to_string(index=False, float_format="{:.3g}".format))
    power = " ".join(f"{name}^{value:.3f}" for name, value in found["exponents"].items())
    print(f"seconds ~ {power}; {found['threads']} threads")
    results_file.write(found, args.out)
    return found


def trained(data, seed: int):
    gated = ppl_vae.GatedMLP
    vae = ppl_vae.build(data, latent_dim=40, encoder=gated, decoder=gated, seed=seed)
    ppl_vae.fit(vae, data, epochs=1, seed=seed, device="cpu")
    return vae


def measured(vae, test, num_samples: int, seed: int, loaded: int) -> dict:
    """One cell of the table."""
    gc.collect()
    with Peak() as peak:
        start = time.perf_counter()
        check_guide(vae, test, num_samples=num_samples, seed=seed, progress=False)
        seconds = time.perf_counter() - start
    return {"N": len(test), "S": num_samples, "seconds": seconds, "MB above": (peak.most - loaded) / 1e6}


def exponents(table: pd.DataFrame) -> dict:
    """Of N and S, where they vary."""
    varies = [name for name in ("N", "S") if table[name].nunique() > 1]
    columns = np.column_stack([np.ones(len(table)), *(np.log(table[name]) for name in varies)])
    found = np.linalg.lstsq(columns, np.log(table["seconds"]), rcond=None)[0][1:]
    return dict(zip(varies, found.tolist(), strict=True))


class Peak(threading.Thread):
    """The largest resident set while it is open, in bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most, self.done = resident(), threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.002):
            self.most = max(self.most, resident())

    def __enter__(self) -> "Peak":
        self.start()
        return self

    def __exit__(self, *exception) -> None:
        self.done.set()
        self.join()
        self.most = max(self.most, resident())


def resident() -> int:
    """Bytes of memory that the process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
