"""How much memory do wide, sparse counts take: an epoch of training and an evaluation of 20,000 x 13,488?

    python experiments/benchmarks/wide.py --out experiments/results/wide.json

Counts are simulated from a known model, as sparse as those of single cells: a row i has the weights w_i of a few
programs, uniform on the simplex, and a library size s_i, log-normal; a column j is negative binomial of mean
s_i sum_k w_ik f_kj, with the shares f_k of a program log-normal, and variance m + m^2 / 2. They are written to a file,
in a folder for the time of the run.

A second process, which has seen nothing of the simulation, reads the file, builds a VAE of 10 latent units with
`build`'s own choices, trains it for an epoch, and evaluates the test data. Its peak is the largest resident set that
the operating system saw. `above the data` is this peak, less that after the same with 60 x 20 counts, which loads all
libraries, less the bytes of the sparse matrix: reading and checking the file count, and so do weights, gradients and
the optimizer. To be below 1 GB, 10^9 bytes; a dense float32 matrix of this shape alone is 1.08 GB. `imports` is the
process before the small run, to be taken off in place of `libraries` by who counts what is loaded at its first use.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import numpy as np
import results_file
import scipy.sparse
import torch

from ppl_vae import build, data, evaluate, fit

BOUND = 10**9


def simulated(num_rows: int, num_columns: int, mean_total: float, seed: int) -> scipy.sparse.csr_array:
    """Counts (num_rows, num_columns), made dense some rows at a time."""
    rng = np.random.default_rng(seed)
    shares = rng.lognormal(0.0, 2.0, (10, num_columns))
    shares /= shares.sum(1, keepdims=True)
    parts = []
    for start in range(0, num_rows, 500):
        size = min(500, num_rows - start)
        weights = rng.dirichlet(np.ones(10), size)
        total = rng.lognormal(np.log(mean_total) - 0.125, 0.5, (size, 1))
        mean = total * (weights @ shares)
        parts.append(scipy.sparse.csr_array(rng.poisson(mean * rng.gamma(2.0, 0.5, mean.shape)).astype(np.int32)))
    return scipy.sparse.vstack(parts, format="csr")


def peak() -> int:
    """The largest resident set so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # in Linux `ru_maxrss` of a new process begins with the peak of the one that started it
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def measured(file: Path, batch_size: int, num_samples: int, num_test: int, seed: int) -> dict[str, object]:
    """Peaks and seconds of reading, training and evaluating, in this process."""
    found: dict[str, object] = {"imports": peak()}
    few = data.from_arrays(simulated(60, 20, 50.0, seed))  # for libraries are loaded at their first use
    small = build(few, latent_dim=2, seed=seed)
    fit(small, few, epochs=1, progress=False)
    evaluate(small, few.test, num_samples=30, seed=seed, progress=False)
    found["libraries"] = peak()

    def noted(name: str, since: float) -> float:
        found[name] = {"peak": peak(), "seconds": time.perf_counter() - since}
        return time.perf_counter()

    start = time.perf_counter()
    counts = data.load(file)
    vae = build(counts, latent_dim=10, seed=seed)
    start = noted("read and build", start)
    history = fit(vae, counts, epochs=1, batch_size=batch_size, seed=seed, progress=False).history
    start = noted("an epoch", start)
    result = evaluate(vae, counts.test[:num_test], num_samples=num_samples, seed=seed, progress=False)
    noted("evaluate", start)
    return found | {
        "splits": {role: len(split) for role, split in counts.splits.items()},
        "formula": vae.formula().splitlines(),
        "weights": 4 * sum(p.numel() for p in vae.parameters()),
        "validation_elbo": float(history.validation_elbo.iloc[-1]),
        "elbo": float(result.per_datum.elbo.mean()),
    }


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = results_file.parser_of(__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--columns", type=int, default=13_488)
    parser.add_argument("--mean-total", type=float, default=1000.0, help="mean library size of a row")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--num-samples", type=int, default=100, help="draws a datum in the evaluation")
    parser.add_argument("--num-test", type=int, default=2000, help="how many of the test data are evaluated")
    parser.add_argument("--seed", type=int, default=0)
    results_file.add_outputs(parser)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)  # the second process
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = arguments(argv)
    if args.measure:
        print(json.dumps(measured(args.measure, args.batch_size, args.num_samples, args.num_test, args.seed)))
        return
    counts = simulated(args.rows, args.columns, args.mean_total, args.seed)
    stored = counts.data.nbytes + counts.indices.nbytes + counts.indptr.nbytes
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "counts.npz"
        scipy.sparse.save_npz(file, counts)
        same = [f"--{name}={getattr(args, name.replace('-', '_'))}" for name in ("batch-size", "num-samples")]
        same += [f"--num-test={args.num_test}", f"--seed={args.seed}", f"--measure={file}"]
        done = subprocess.run([sys.executable, __file__, *same], check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    above = {n: found[n]["peak"] - found["libraries"] - stored for n in ("read and build", "an epoch", "evaluate")}
    print(f"{args.rows:,} x {args.columns:,} counts, {counts.nnz / np.prod(counts.shape):.1%} not 0; MB")
    print(f"  libraries {found['libraries'] / 1e6:,.0f}, sparse data {stored / 1e6:,.0f}")
    for name, memory in above.items():
        print(f"  {name:15} {memory / 1e6:6,.0f} above the data, {found[name]['seconds']:6.1f} s")
    print(f"  {'below' if max(above.values()) < BOUND else 'NOT below'} {BOUND / 1e6:,.0f} MB above the data")
    said = {
        "command": results_file.command(__file__, argv),
        "rows": args.rows,
        "columns": args.columns,
        "not_zero": counts.nnz,
        "dense_bytes": 4 * args.rows * args.columns,
        "sparse_bytes": stored,
        "above_the_data_bytes": above,
        "bound_bytes": BOUND,
        "batch_size": args.batch_size,
        "num_samples": args.num_samples,
        "num_test": args.num_test,
        "seed": args.seed,
        **found,
        "threads": torch.get_num_threads(),
        "versions": results_file.versions(),
    }
    results_file.write(said, args.out)


if __name__ == "__main__":
    main()
