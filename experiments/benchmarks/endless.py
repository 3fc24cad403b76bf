"""Do data larger than memory train at flat memory, and as fast as data in memory?

    OMP_NUM_THREADS=1 python experiments/benchmarks/endless.py --out experiments/results/endless.json

A VAE of 80-64-8 with a Gaussian likelihood is trained by `fit`, batches of 1,000 rows, on

- `memory`: so many rows in memory, a tensor;
- `mapped`: 1 million rows of a `.npy` file of float32, mapped into memory and shuffled by chunk: they take 305 MiB, and
  rows are mixed within 256 (`rows.BUFFER`);
- `stream`: 10 million rows of an `IterableDataset`, in batches that are made when they are asked for.

Rows are of one kind everywhere: eight normal factors times a matrix, and noise. Each training is one pass, in a process
of its own. `growth` is the most memory during the pass, less that during one over `--warm` batches of the same kind,
and less the rows themselves where they are in memory; pages of a file are the operating system's and not counted
(`RssAnon` of Linux). `rows a second` are of the processor's time of the pass, medians of turns. The stream makes its
rows, which takes time of its own: a pass over it alone is taken off.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import numpy as np
import results_file
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

import ppl_vae
from ppl_vae import MLP, Gaussian, build, fit

WIDTH, FACTORS, ROWS = 80, 8, 1000
MATRIX = torch.randn(FACTORS, WIDTH, generator=torch.Generator().manual_seed(0)) / FACTORS**0.5


def rows(number: int, seed: int) -> Tensor:
    """So many data."""
    source = torch.Generator().manual_seed(seed)
    factors = torch.randn(number, FACTORS, generator=source)
    return torch.addmm(torch.randn(number, WIDTH, generator=source), factors, MATRIX)


class Stream(IterableDataset):
    """Batches of data, each made when it is asked for."""

    def __init__(self, batches: int) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Tensor]:
        return (rows(ROWS, seed) for seed in range(self.batches))

    def __len__(self) -> int:
        return self.batches


class Peak:
    """The most memory of the process while a block runs, mapped files left out, in bytes."""

    def __enter__(self) -> Peak:
        self.most, self._ended = anonymous(), threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.02):
            self.most = max(self.most, anonymous())


def anonymous() -> int:
    """Bytes in memory that belong to no file."""
    return int(Path("/proc/self/status").read_text().partition("RssAnon:")[2].split()[0]) * 1024


def write(folder: Path, batches: int) -> None:
    """A `.npy` file of the rows of so many batches."""
    stored = np.lib.format.open_memmap(folder / f"{batches}.npy", "w+", np.float32, (batches * ROWS, WIDTH))
    for i in range(batches):
        stored[i * ROWS : (i + 1) * ROWS] = rows(ROWS, i).numpy()
    stored.flush()


def source(kind: str, batches: int, folder: Path) -> Any:
    """Data of a kind, of so many batches."""
    if kind == "memory":
        return rows(ROWS * batches, 0)
    if kind == "mapped":
        stored = np.load(folder / f"{batches}.npy", mmap_mode="r")
        return ppl_vae.data.from_arrays(stored, x_validation=rows(100, 1), x_test=rows(100, 2)).train
    return Stream(batches)


def measured(kind: str, batches: int, warm: int, folder: Path) -> dict[str, float]:
    """Memory and time of one pass, in this process."""
    small = partial(MLP, hidden_dims=[64])
    spec = ppl_vae.DataSpec((WIDTH,), ppl_vae.Domain("real"))
    vae = build(spec, latent_dim=FACTORS, likelihood=Gaussian, encoder=small, decoder=small, seed=0)

    def passed(data: Any) -> dict[str, float]:
        with Peak() as peak:
            start, wall = time.process_time(), time.perf_counter()
            fit(vae, data, epochs=1, batch_size=ROWS, device="cpu", seed=0, progress=False)
            seconds, wall = time.process_time() - start, time.perf_counter() - wall
        return {"bytes": peak.most, "seconds": seconds, "wall": wall}

    first = passed(source(kind, warm, folder))
    data = source(kind, batches, folder)
    held = ROWS * WIDTH * 4 * (batches - warm) if kind == "memory" else 0
    whole, making = passed(data), 0.0
    if kind == "stream":
        start = time.process_time()
        for _ in data:
            pass
        making = time.process_time() - start
    return {
        "growth_bytes": whole["bytes"] - first["bytes"] - held,
        "rows_a_second": ROWS * batches / (whole["seconds"] - making),
        "making_s": making,
        **{f"{name}_s": whole[name] for name in ("seconds", "wall")},
    }


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = results_file.parser_of(__doc__)
    parser.add_argument("--memory", type=int, default=1000, help="batches of 1,000 rows in memory")
    parser.add_argument("--mapped", type=int, default=1000, help="batches of the file")
    parser.add_argument("--stream", type=int, default=10_000, help="batches of the stream")
    parser.add_argument("--warm", type=int, default=50, help="batches of the first, small pass")
    parser.add_argument("--rounds", type=int, default=3)
    results_file.add_outputs(parser)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    sizes = {"memory": args.memory, "mapped": args.mapped, "stream": args.stream}
    with tempfile.TemporaryDirectory() as folder:
        for batches in {args.warm, args.mapped}:
            write(Path(folder), batches)
        turns = [
            {kind: alone(kind, size, args.warm, Path(folder)) for kind, size in sizes.items()}
            for _ in range(args.rounds)
        ]
    table = {kind: {n: statistics.median(t[kind][n] for t in turns) for n in turns[0][kind]} for kind in sizes}
    for kind, row in table.items():
        row |= {"rows": ROWS * sizes[kind], "throughput": row["rows_a_second"] / table["memory"]["rows_a_second"]}
        print(
            f"{kind:7} {row['rows']:>12,} rows: {row['rows_a_second']:>9,.0f} a second of the processor, "
            f"{row['throughput']:.2f} of memory; grows by {row['growth_bytes'] / 2**20:.0f} MiB"
        )
    found = {
        "command": "OMP_NUM_THREADS=1 " + results_file.command(__file__, argv),
        "results": table,
        "rounds": args.rounds,
        "machine": {"processor": results_file.processor(), "cores": os.cpu_count(), "load": os.getloadavg()[0]},
        "threads": 1,
        "versions": results_file.versions(),
    }
    results_file.write(found, args.out)
    return found


def alone(*given: Any) -> dict[str, float]:
    """What a process of its own measures: forked, so that it has imported the libraries and has run nothing."""
    with multiprocessing.get_context("fork").Pool(1) as pool:  # by os.fork
        return pool.apply(measured, given)


if __name__ == "__main__":
    main()
