"""How much of an epoch do its batches take, gathered, binarized or dequantized?

    OMP_NUM_THREADS=1 python experiments/benchmarks/batches.py --out experiments/results/batches.json

A VAE is trained on random grey images of 28 by 28 pixels, on a CPU, in batches that are

- `as they are`: images that are binary, gathered in a random order;
- `binarized`: images that are binarized anew in every batch;
- `dequantized`: images to which uniform noise is added anew in every batch.

After every epoch of `fit` its batches are made once more without a step: `share` is the time of the latter, as a part
of the time of the epoch before it, both of the processor, medians over the epochs. The first epoch, which captures the
step, is left out. Steps are `called`, `replayed` or `compiled`: `compile=False`, `None`, `True`.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import results_file
import torch

import ppl_vae
from ppl_vae import MLP, Bernoulli, ContinuousBernoulli, GatedMLP
from ppl_vae.training.batches import batches

NETWORKS = {"mlp": partial(MLP, hidden_dims=[400]), "gated": partial(GatedMLP, hidden_dims=[300, 300])}
KINDS = {
    "as they are": (lambda data: data.binarize("threshold"), Bernoulli),
    "binarized": (lambda data: data.binarize("dynamic"), Bernoulli),
    "dequantized": (lambda data: data.dequantize(), ContinuousBernoulli),
}
STEPS = {"called": False, "replayed": None, "compiled": True}


def measured(setup: str, kind: str, step: str, steps: int, epochs: int) -> dict[str, Any]:
    """Milliseconds of the processor that a batch takes, and a step with its batch."""
    network, _, size = setup.partition(":")
    images = torch.randint(256, (int(size) * steps, 1, 28, 28), generator=torch.Generator().manual_seed(0))
    few = images[:10].to(torch.uint8)
    prepare, likelihood = KINDS[kind]
    data = prepare(ppl_vae.data.from_arrays(images.to(torch.uint8), x_validation=few, x_test=few))
    nets = {"encoder": NETWORKS[network], "decoder": NETWORKS[network]}
    vae = ppl_vae.build(data, latent_dim=50, likelihood=likelihood, seed=0, **nets)
    again = batches(data.train, int(size), torch.device("cpu"), torch.float32)
    times: dict[str, list[float]] = {"epoch": [], "batches": []}
    start = time.process_time()

    def turn(state: Any) -> None:
        nonlocal start
        times["epoch"].append(time.process_time() - start)
        start = time.process_time()
        deque(again, maxlen=0)
        times["batches"].append(time.process_time() - start)
        start = time.process_time()

    found = ppl_vae.fit(
        vae,
        data.train,
        epochs=epochs + 1,
        batch_size=int(size),
        seed=0,
        device="cpu",
        progress=False,
        callbacks=[turn],
        compile=STEPS[step],
    )
    refused = {"compiled": found.not_compiled, "replayed": found.not_replayed}.get(step)
    if refused:
        raise RuntimeError(f"batches expects steps that are {step}, got others: {refused}")
    ms = {name: statistics.median(seconds[1:]) / steps * 1e3 for name, seconds in times.items()}
    return {"batch_ms": ms["batches"], "step_ms": ms["epoch"], "share": ms["batches"] / ms["epoch"]}


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = results_file.parser_of(__doc__)
    parser.add_argument(
        "--setups",
        nargs="+",
        default=["mlp:128", "gated:128", "mlp:1000"],
        metavar="SETUP:BATCH",
        help=f"{' or '.join(NETWORKS)}, and the size of a batch",
    )
    parser.add_argument("--steps", type=int, default=100, help="of an epoch")
    parser.add_argument("--epochs", type=int, default=9, help="that are measured")
    parser.add_argument("--step", nargs="+", choices=STEPS, default=list(STEPS))
    results_file.add_outputs(parser)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    table: dict[str, dict[str, dict[str, Any]]] = {}
    for setup in args.setups:
        for kind in KINDS:
            rows = table.setdefault(setup, {}).setdefault(kind, {})
            for step in args.step:
                row = rows[step] = measured(setup, kind, step, args.steps, args.epochs)
                print(
                    f"{setup}, {kind}, {step}: {row['batch_ms']:.3f} of {row['step_ms']:.2f} ms, {row['share']:.1%}",
                    flush=True,
                )
    found = {
        "command": "OMP_NUM_THREADS=1 " + results_file.command(__file__, argv),
        "results": table,
        "machine": {"processor": results_file.processor(), "cores": os.cpu_count(), "load": os.getloadavg()[0]},
        "threads": 1,
        "versions": results_file.versions(),
    }
    results_file.write(found, args.out)
    return found


if __name__ == "__main__":
    main()
