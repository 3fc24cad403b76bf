"""Does training with products in bfloat16 reach the ELBO of training in float32, after as many epochs?

    python experiments/benchmarks/bf16.py --data-dir DIR --out experiments/results/bf16.json

For each seed two trainings from the same weights, on the same batches and random numbers, which differ in `precision`
alone. Both ELBOs are of all validation images, in float32 and nats an image, after every epoch. The two trainings part
by rounding, and end at different weights: the difference is to be compared with that between seeds, which is given
beside it. With `--peak` the learning rate falls to 0 at the end, and so does what the last batches add to both.
Seconds are of the processor, for a training, with what is done between epochs.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import numpy as np
import results_file
import torch

import ppl_vae


def trained(data: ppl_vae.data.Data, seed: int, precision: str | None, args: argparse.Namespace) -> dict[str, Any]:
    """Validation ELBO after each epoch, and seconds of the processor."""
    vae = ppl_vae.build(data, latent_dim=args.latent_dim, seed=seed)
    settings: dict[str, Any] = {"epochs": args.epochs, "batch_size": args.batch_size, "seed": seed, "device": "cpu"}
    if args.peak is not None:
        settings["schedule"] = ppl_vae.OneCycle(args.peak)
    start = time.process_time()
    found = ppl_vae.fit(vae, data, precision=precision, progress=False, **settings)
    elbo = [round(value, 4) for value in found.history["validation_elbo"].tolist()]
    print(f"seed {seed}, {precision or 'float32'}: {elbo}", flush=True)
    return {"elbo": elbo, "seconds of the processor": round(time.process_time() - start, 1)}


def main(argv: list[str] | None = None) -> dict[str, Any]:
    args = parsed(argv)
    data = ppl_vae.data.load(args.data, data_dir=args.data_dir, likelihood=ppl_vae.Bernoulli)
    data = data.take(train=args.train, validation=args.validation)
    runs: dict[str, list[dict[str, Any]]] = {"float32": [], "bf16": []}
    for seed in range(args.seeds):
        for name, precision in (("float32", None), ("bf16", "bf16")):
            runs[name].append(trained(data, seed, precision, args))
    last = {name: np.array([run["elbo"][-1] for run in found]) for name, found in runs.items()}
    apart = last["bf16"] - last["float32"]
    found = {
        "command": results_file.command(__file__, argv),
        "runs": runs,
        "bf16 - float32": {
            "mean": round(float(apart.mean()), 4),
            "se": round(float(apart.std(ddof=1) / len(apart) ** 0.5), 4) if len(apart) > 1 else None,
            "largest": round(float(np.abs(apart).max()), 4),
        },
        "sd of float32 over seeds": round(float(last["float32"].std(ddof=1)), 4) if len(apart) > 1 else None,
        "threads": torch.get_num_threads(),
        "in hardware": torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported(),
        "versions": results_file.versions(),
    }
    print({name: found[name] for name in ("bf16 - float32", "sd of float32 over seeds", "in hardware")})
    results_file.write(found, args.out)
    return found


def parsed(argv: list[str] | None) -> argparse.Namespace:
    parser = results_file.parser_of(__doc__)
    parser.add_argument("--data", default="mnist", help="data set (mnist)")
    parser.add_argument("--data-dir", help="folder of the data sets ($PPL_VAE_DATA)")
    parser.add_argument("--train", type=int, default=50_000, help="images to train on")
    parser.add_argument("--validation", type=int, default=10_000, help="images to score")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--peak", type=float, help="highest learning rate of a schedule of one cycle (none)")
    parser.add_argument("--latent-dim", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=3)
    results_file.add_outputs(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
