"""Effective draws of the posterior per second: `ppl_vae.diagnostics.hmc` against Pyro's NUTS.

    python experiments/benchmarks/hmc.py --out experiments/results/hmc.json

One VAE with a Bernoulli likelihood, trained on scikit-learn's digits, and the posteriors of `--num-data` test images,
sampled in one process, in turns:

* ``hmc``: all chains of all data at once; each pair has its own step size and is accepted or rejected on its own.
* ``NUTS``: `pyro.infer.NUTS` over the same images as one posterior of num_data x latent_dim dimensions, the direct way
  to write it in Pyro: one trajectory, one step size and one acceptance for all of them.

Both have the same numbers of warm-up transitions and draws per chain; seconds include warm-up, without R-hat and ESS.
ESS is ArviZ's bulk ESS of the latents, and of their squared deviations from the mean, summed over all units of all
data; and that of the worst unit. NUTS runs one chain: it runs chains sequentially, so more chains would not change the
ratio. The posterior means of both are compared as well, in posterior standard deviations, where the chains of ``hmc``
agree.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import arviz as az
import numpy as np
import pandas as pd
import pyro
import results_file
import torch
from pyro.infer import MCMC, NUTS
from torch import Tensor

import ppl_vae
from ppl_vae.diagnostics.posterior.hmc import hmc


def nuts(vae: ppl_vae.VAE, x: Tensor, warmup: int, num_samples: int, seed: int) -> tuple[np.ndarray, float, int]:
    """Draws (chain, draw, obs, latent), the seconds they took, and the number of divergences."""
    vae.eval().requires_grad_(False)
    pyro.set_rng_seed(seed)
    chain = MCMC(NUTS(vae.model), num_samples=num_samples, warmup_steps=warmup, disable_progbar=True)
    start = time.perf_counter()
    chain.run(x)
    seconds = time.perf_counter() - start
    z = chain.get_samples(group_by_chain=True)["z"].numpy()
    return z, seconds, sum(map(len, chain.diagnostics()["divergences"].values()))


def effective(z: np.ndarray, seconds: float) -> dict[str, float]:
    of_z, of_squares = (az.ess(az.convert_to_dataset({"z": v}))["z"].values for v in (z, np.square(z - z.mean((0, 1)))))
    return {
        "chains": z.shape[0],
        "draws a chain": z.shape[1],
        "seconds": seconds,
        "ESS/s": float(of_z.sum() / seconds),
        "ESS/s of squares": float(of_squares.sum() / seconds),
        "ESS/s of the worst unit": float(of_z.min() / seconds),
    }


def main(argv: list[str] | None = None) -> dict[str, Any]:
    args = parsed(argv)
    digits = ppl_vae.data.load("digits", likelihood=ppl_vae.Bernoulli).take(test=args.num_data)
    vae = ppl_vae.build(digits, latent_dim=args.latent_dim, seed=args.seed)
    print(ppl_vae.fit(vae, digits, epochs=args.epochs, seed=args.seed, device="cpu"))

    rounds: dict[str, list[dict[str, float]]] = {"hmc": [], "NUTS": []}
    for seed in range(args.seed, args.seed + args.rounds):
        tree = hmc(vae, digits.test, seed=seed, num_warmup=args.warmup, num_samples=args.num_samples)
        z = tree["posterior"]["z"].values
        rounds["hmc"].append(effective(z, tree["posterior"].attrs["sampling_time"]))
        z_nuts, seconds, divergences = nuts(vae, digits.test.x, args.warmup, args.num_samples, seed)
        rounds["NUTS"].append(effective(z_nuts, seconds))
    rows = {name: pd.DataFrame(found).median().to_dict() for name, found in rounds.items()}
    ratio = {name: rows["hmc"][name] / rows["NUTS"][name] for name in rows["hmc"] if name.startswith("ESS")}
    reliable = tree["diagnostics"]["reliable"].values
    apart = np.abs(z.mean((0, 1)) - z_nuts.mean((0, 1))) / z.std((0, 1))
    found = {
        "command": results_file.command(__file__, argv),
        "samplers": rows,
        "rounds": rounds,
        "ratio": ratio,
        "reliable": float(reliable.mean()),
        "largest R-hat": float(tree["diagnostics"]["rhat"].max()),
        "divergences": {"hmc": int(tree["diagnostics"]["divergences"].sum()), "NUTS": divergences},
        "means apart (median, largest; sd)": [float(np.median(apart[reliable])), float(apart[reliable].max())]
        if reliable.any()
        else None,
        "threads": torch.get_num_threads(),
        "versions": results_file.versions("pyro-ppl"),
    }
    print(f"posteriors of {len(z[0, 0])} images, {args.latent_dim} latent units; {torch.get_num_threads()} threads")
    print(pd.DataFrame(rows).T.round(1).to_string())
    print("hmc / NUTS: " + ", ".join(f"{times:.1f} times the {name}" for name, times in ratio.items()))
    print(f"R-hat of hmc at most 1.05 for {reliable.mean():.0%} of the images")
    results_file.write(found, args.out)
    return found


def parsed(argv: list[str] | None) -> argparse.Namespace:
    parser = results_file.parser_of(__doc__)
    parser.add_argument("--num-data", type=int, default=100, help="test images")
    parser.add_argument("--latent-dim", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=100, help="of training")
    parser.add_argument("--warmup", type=int, default=500, help="transitions a chain that are thrown away")
    parser.add_argument("--num-samples", type=int, default=500, help="draws a chain")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, in turns; the medians are compared")
    parser.add_argument("--seed", type=int, default=0)
    results_file.add_outputs(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
