"""Do networks of sequences model sequences better than dense ones of their size?

    python experiments/sequences.py --out experiments/results/sequences.json

The data are sines of random frequency and phase with noise, x_i = sin(w i + f) + 0.2 e_i, with w uniform in [0.2, 0.6]
radians a step, f uniform, e standard normal, of 20 to 40 steps; the ends are missing. Their true log p(x) is an
integral over w and f, computed on a grid of 500 x 200; with one of 900 x 330 no log p(x) differs by more than 0.0001.
So the mean of -log p(x) under the model that made the data is the least that any model can reach.

Three VAEs of four latent units, a Gaussian with a learned scale, and about as many weights each: dense layers,
convolutions over time, and recurrent networks. Each is trained with each learning rate of `--rates`; the one with the
better ELBO on validation data is kept, and test data are looked at once.
"""

from __future__ import annotations

import math
import time
from functools import partial
from typing import Any

import numpy as np
import results_file
import torch
from torch import Tensor
from torch.optim import Adam

from ppl_vae import MLP, Conv1dDecoder, Conv1dEncoder, Domain, GRUDecoder, GRUEncoder, build, evaluate, fit
from ppl_vae.data import Data, Split, from_arrays

LENGTHS, FREQUENCIES, NOISE = (20, 40), (0.2, 0.6), 0.2
NETS: dict[str, dict[str, Any]] = {
    "dense": {"encoder": partial(MLP, hidden_dims=(160, 80)), "decoder": partial(MLP, hidden_dims=(160, 120))},
    "convolutional": {
        "encoder": partial(Conv1dEncoder, channels=(32, 64), hidden_dims=(28,)),
        "decoder": partial(Conv1dDecoder, channels=(64, 32), hidden_dims=(28,)),
    },
    "recurrent": {
        "encoder": partial(GRUEncoder, hidden_dim=60),
        "decoder": partial(GRUDecoder, hidden_dim=92),
    },
}


def sines(number: int, seed: int) -> list[np.ndarray]:
    """Sequences of different lengths."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(LENGTHS[0], LENGTHS[1] + 1, number)
    frequency, phase = rng.uniform(*FREQUENCIES, number), rng.uniform(0, 2 * math.pi, number)
    angles = [w * np.arange(n) + f for n, w, f in zip(lengths, frequency, phase, strict=True)]
    return [np.sin(angle) + NOISE * rng.normal(size=len(angle)) for angle in angles]


def exact_log_px(split: Split, frequencies: int = 500, phases: int = 200) -> Tensor:
    """log p(x) of each sequence under the model that made it, in nats."""
    x, observed = split.x.double(), split.observed.double()
    width = (FREQUENCIES[1] - FREQUENCIES[0]) / frequencies
    w = FREQUENCIES[0] + width * (torch.arange(frequencies, dtype=torch.float64) + 0.5)
    f = 2 * math.pi * torch.arange(phases, dtype=torch.float64) / phases
    steps = torch.arange(x.shape[1], dtype=torch.float64)
    mean = (w[:, None, None] * steps + f[:, None]).sin().flatten(0, 1)  # (grid, t)
    found = []
    for some, seen in zip(x.split(100), observed.split(100), strict=True):
        square = some.square().sum(1) - 2 * mean @ some.T + mean.square() @ seen.T  # (grid, n)
        each = -square / (2 * NOISE**2) - seen.sum(1) * math.log(NOISE * math.sqrt(2 * math.pi))
        found.append(each.logsumexp(0) - math.log(len(mean)))
    return torch.cat(found)


def trained(data: Data, nets: dict[str, Any], rates: list[float], epochs: int, seed: int) -> tuple[Any, dict[str, Any]]:
    """The VAE of the learning rate with the best ELBO on validation data, and what was seen of each."""
    tried, best = {}, None
    for rate in rates:
        vae = build(data, latent_dim=4, **nets, seed=seed)
        start = time.perf_counter()
        optimizer = partial(Adam, lr=rate, fused=True)
        result = fit(vae, data, epochs=epochs, optimizer=optimizer, clip_norm=100.0, seed=seed, progress=False)
        elbo = float(result.history.validation_elbo[result.best_epoch])
        tried[str(rate)] = {"validation_elbo": elbo, "seconds": time.perf_counter() - start}
        if best is None or elbo > best[0]:
            best = elbo, rate, vae
    assert best is not None
    return best[2], {"rate": best[1], "tried": tried}


def main(argv: list[str] | None = None) -> None:
    parser = results_file.parser_of(__doc__)
    parser.add_argument("--num-train", type=int, default=4000)
    parser.add_argument("--num-test", type=int, default=500)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 4e-3])
    parser.add_argument("--num-samples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    results_file.add_outputs(parser)
    args = parser.parse_args(argv)
    parts = [sines(n, args.seed + i) for i, n in enumerate((args.num_train, args.num_test, args.num_test))]
    data = from_arrays(parts[0], x_validation=parts[1], x_test=parts[2], domain=Domain("real"))
    exact = -exact_log_px(data.test)
    floor = {"nll": float(exact.mean()), "nll_se": float(exact.std() / math.sqrt(len(exact)))}
    print(f"{data}\nthe model that made them: {floor['nll']:.2f} nats a sequence, standard error {floor['nll_se']:.2f}")
    found = {}
    for name, nets in NETS.items():
        vae, tried = trained(data, nets, args.rates, args.epochs, args.seed)
        table = evaluate(vae, data.test, num_samples=args.num_samples, seed=args.seed, progress=False).per_datum
        above = -table.log_px.to_numpy() - exact.numpy()
        found[name] = {
            "weights": sum(p.numel() for p in vae.parameters()),
            "negative_elbo": float(-table.elbo.mean()),
            "nll": float(-table.log_px.mean()),
            "above_the_true_model": float(above.mean()),
            "above_se": float(above.std(ddof=1) / math.sqrt(len(above))),
            "bad_k_hat": float((table.pareto_k > 0.7).mean()),
            **tried,
        }
        row = found[name]
        print(
            f"{name:14} {row['weights']:7,} weights  -ELBO {row['negative_elbo']:6.2f}  NLL {row['nll']:6.2f}  above "
            f"the true model {row['above_the_true_model']:5.2f} ± {row['above_se']:.2f}  at {row['rate']:g}"
        )
    said = {
        "command": results_file.command(__file__, argv),
        "units": "nats a sequence",
        "true_model": floor,
        "nets": found,
        "num_train": args.num_train,
        "num_test": args.num_test,
        "epochs": args.epochs,
        "seed": args.seed,
        "threads": torch.get_num_threads(),
        "versions": results_file.versions(),
    }
    results_file.write(said, args.out)


if __name__ == "__main__":
    main()
