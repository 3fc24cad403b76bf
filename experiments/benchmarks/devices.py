"""The same functions on every device of this machine: differences from the CPU in standard errors, and speed.

    python experiments/benchmarks/devices.py --out experiments/results/devices.json

Each function runs on the CPU and on the GPU with the same weights and data. Random numbers differ between devices, so
Monte Carlo estimates are compared in standard errors of the mean over data; deterministic results by their values.
"""

from __future__ import annotations

import argparse
import copy
import platform
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import numpy as np
import results_file
import torch

import ppl_vae
from ppl_vae import IAF, FlowPrior, FullRankNormal, GatedMLP, GaussianMixture, VampPrior, build, data, evaluate, fit
from ppl_vae import diagnostics as dg

PARTS: dict[str, dict[str, Any]] = {
    "standard": {},
    "VampPrior": {"prior": partial(VampPrior, num_components=50)},
    "mixture, full rank": {"prior": partial(GaussianMixture, num_components=10), "posterior": FullRankNormal},
    "flow prior, IAF": {"prior": FlowPrior, "posterior": IAF},
}


def main() -> None:
    """Write a row for every verb and model."""
    parser = results_file.parser_of(__doc__)
    results_file.add_outputs(parser)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--num-data", type=int, default=100)
    parser.add_argument("--num-samples", type=int, default=1000)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[128, 1024, 4096])
    parser.add_argument("--models", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    chosen = parser.parse_args()
    digits = data.load("digits").binarize("threshold")
    rows = [row for name in chosen.models for row in compared(name, PARTS[name], digits, chosen)]
    rows += steps(chosen.device, chosen.batch_sizes)
    for row in rows:
        print("  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))
    said = {
        "command": results_file.command(__file__, None),
        "device": torch.cuda.get_device_name() if chosen.device == "cuda" else platform.processor() or "cpu",
        "versions": results_file.versions(),
        "rows": rows,
    }
    results_file.write(said, chosen.out)


def compared(name: str, parts: dict[str, Any], digits: data.Data, chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Verbs on both devices, from weights trained on each: seconds, and differences in standard errors."""
    vae = build(digits, latent_dim=4, seed=0, **parts)
    fits, rows = {}, []
    for device in ("cpu", chosen.device):
        trained = copy.deepcopy(vae)
        seconds, result = timed(
            lambda v=trained, d=device: fit(v, digits, epochs=chosen.epochs, device=d, progress=False)
        )
        fits[device] = float(result.history.validation_elbo.iloc[-1])
        rows.append({"model": name, "verb": "fit", "device": device, "seconds": seconds, "elbo": fits[device]})
    x, few = digits.test[: chosen.num_data], digits.test[: min(20, chosen.num_data)]
    S, on_cpu, on_gpu = chosen.num_samples, copy.deepcopy(trained).cpu(), trained.to(chosen.device)
    verbs: dict[str, Callable[[Any], np.ndarray]] = {
        "evaluate": lambda v: evaluate(v, x, num_samples=S, seed=0, progress=False).per_datum.log_px.to_numpy(),
        "ais": lambda v: dg.ais(v, few, num_temperatures=100, seed=0, progress=False).log_px.values,
        "hmc": lambda v: (
            dg.hmc(v, few, num_warmup=100, num_samples=100, seed=0, progress=False)
            .posterior["z"]
            .mean(("chain", "draw"))
            .values
        ),
        "inference_gaps": lambda v: (
            dg.inference_gaps(v, few, num_steps=50, num_samples=200, seed=0, progress=False)["amortization_gap"].values
        ),
        "to_arviz": lambda v: (
            ppl_vae.to_arviz(v, few, num_samples=200, seed=0, progress=False)
            .posterior["z"]
            .mean(("chain", "draw"))
            .values
        ),
        "encode": lambda v: v.encode(few.x).mean.detach().cpu().numpy() if name != "flow prior, IAF" else np.zeros(1),
    }
    for verb, run in verbs.items():
        seconds, right = timed(lambda r=run: r(on_cpu))
        again, came = timed(lambda r=run: r(on_gpu))
        gap = np.abs(came - right)
        rows.append(
            {
                "model": name,
                "verb": verb,
                "device": chosen.device,
                "seconds": again,
                "seconds_cpu": seconds,
                "mean_difference": float((came - right).mean()),
                "largest_difference": float(gap.max()),
            }
        )
    return rows


def steps(device: str, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Seconds a training step of a gated VAE on 784 pixels, by batch size, on both devices."""
    x = (torch.rand(8192, 1, 28, 28, generator=torch.Generator().manual_seed(0)) < 0.2).float()
    described = data.from_arrays(x.numpy(), domain=ppl_vae.Domain("binary"))
    made = described.train
    net = partial(GatedMLP, hidden_dims=(300, 300))
    rows = []
    for where in dict.fromkeys(("cpu", device)):
        for size in sizes:
            vae = build(described, latent_dim=40, encoder=net, decoder=net, seed=0)
            fit(vae, made, epochs=1, batch_size=size, device=where, progress=False)  # warms up
            seconds, _ = timed(
                lambda v=vae, b=size, w=where: fit(v, made, epochs=2, batch_size=b, device=w, progress=False)
            )
            rows.append(
                {"model": "gated 784-300-300-40", "verb": "step", "device": where, "batch": size}
                | {"seconds": seconds / (2 * -(-len(made) // size))}
            )
    return rows


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came."""
    start = time.perf_counter()
    came = run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start, came


if __name__ == "__main__":
    main()
