"""Coverage of the intervals of `evaluate(method="adaptive")`, over all data that are believed.

Models whose log p(x) is exact, in closed form or on a grid, and q that are wrong: probabilistic PCA in 40 dimensions,
factor analysis, a mixture prior under a linear decoder, and a nonlinear decoder of one latent. The last cases give the
proposals one round of few draws, so that many data end in annealing. For each the share of the data that is believed,
and of these the share whose interval of +-1.96 standard errors holds the exact value, and the mean error of log p(x).

    python experiments/benchmarks/adaptive_coverage.py --out experiments/results/adaptive_coverage.json
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import pandas as pd
import pyro
import pyro.distributions as dist
import results_file
import torch
from torch import Tensor

from ppl_vae import Program, evaluate

Known = tuple[Program, Tensor, Tensor]
"""A program, data (n, d), and their log p(x)."""

FEW = {"num_samples": 50, "num_rounds": 1, "num_temperatures": 100}


def program_of(prior: Any, likelihood: Callable[[Tensor], Any], q: Callable[[Tensor], Any]) -> Program:
    """p(z), p(x | z) and q(z | x)."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior)
            pyro.sample("x", likelihood(z), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", q(x))

    return Program(model, guide)


def linear(
    n: int, latent_dim: int, dim: int, *, scale: float = 1.0, shift: float = 0.0, noise: Any = 0.5, full: bool = True
) -> Known:
    """x = W z + noise: probabilistic PCA, or factor analysis with a standard deviation for each element.

    q has `scale` times the posterior's standard deviations and is off by `shift` of them; its covariance is the
    posterior's or, if not `full`, the best diagonal one.
    """
    sd = 0.3 + torch.rand(dim) if noise is None else torch.full((dim,), noise)
    weight = torch.randn(dim, latent_dim)
    precision = torch.eye(latent_dim) + weight.T @ (weight / sd[:, None].square())
    covariance = torch.linalg.inv(precision)
    mean_map = covariance @ (weight / sd[:, None].square()).T
    tril = torch.linalg.cholesky(covariance) if full else precision.diagonal().rsqrt().diag_embed()
    away = shift * tril.sum(1)
    program = program_of(
        dist.Normal(torch.zeros(latent_dim), 1.0).to_event(1),
        lambda z: dist.Normal(z @ weight.T, sd).to_event(1),
        lambda x: dist.MultivariateNormal(x @ mean_map.T + away, scale_tril=scale * tril),
    )
    marginal = dist.MultivariateNormal(torch.zeros(dim), weight @ weight.T + sd.square().diag_embed())
    x = marginal.sample((n,))
    return program, x, marginal.log_prob(x)


def mixture(n: int) -> Known:
    """A prior of three normals in 3 dimensions, x = W z + noise, and q one wide normal around the regression."""
    loc = torch.tensor([[2.0, 0.0, 0.0], [-2.0, 1.0, 0.0], [0.0, -2.0, 1.0]])
    log_w, weight, sd = torch.tensor([0.3, 0.5, 0.2]).log(), torch.randn(4, 3), 0.8
    prior = dist.MixtureSameFamily(dist.Categorical(logits=log_w), dist.Normal(loc, 0.5).to_event(1))
    each = dist.MultivariateNormal(loc @ weight.T, 0.25 * weight @ weight.T + sd**2 * torch.eye(4))
    precision = torch.eye(3) / 2 + weight.T @ weight / sd**2
    mean_map = torch.linalg.inv(precision) @ weight.T / sd**2
    q_tril = 0.6 * torch.linalg.cholesky(torch.linalg.inv(precision))
    program = program_of(
        prior,
        lambda z: dist.Normal(z @ weight.T, sd).to_event(1),
        lambda x: dist.MultivariateNormal(x @ mean_map.T, scale_tril=q_tril),
    )
    x = prior.sample((n,)) @ weight.T + sd * torch.randn(n, 4)
    return program, x, (each.log_prob(x[:, None]) + log_w).logsumexp(1)


def curve(n: int) -> Known:
    """One latent, x = (z, z^2 / 2, sin 2 z) + noise, log p(x) on a grid; q is too narrow."""
    sd = torch.tensor([0.5, 0.5, 0.3])

    def mean(z: Tensor) -> Tensor:
        return torch.stack([z, z.square() / 2, (2 * z).sin()], -1)

    prior = dist.Normal(torch.zeros(()), 1.0)
    program = program_of(
        prior.expand((1,)).to_event(1),
        lambda z: dist.Normal(mean(z[..., 0]), sd).to_event(1),
        lambda x: dist.Normal(0.7 * x[:, :1], 0.15).to_event(1),
    )
    x = mean(prior.sample((n,))) + sd * torch.randn(n, 3)
    z = torch.linspace(-9, 9, 20_001)
    joint = prior.log_prob(z) + dist.Normal(mean(z), sd).to_event(1).log_prob(x[:, None])
    return program, x, joint.logsumexp(1) + math.log(18 / 20_000)


PCA = partial(linear, latent_dim=40, dim=60)
CASES: dict[str, tuple[Callable[[int], Known], dict[str, int]]] = {
    "PCA, 40 latents, scale 0.5": (partial(PCA, scale=0.5), {}),
    "PCA, 40 latents, scale 0.8": (partial(PCA, scale=0.8), {}),
    "PCA, 40 latents, scale 0.9": (partial(PCA, scale=0.9), {}),
    "PCA, 40 latents, shift 1": (partial(PCA, shift=1.0), {}),
    "factor analysis, 5 latents, mean field": (partial(linear, latent_dim=5, dim=12, noise=None, full=False), {}),
    "factor analysis, 5 latents, scale 0.6": (partial(linear, latent_dim=5, dim=12, noise=None, scale=0.6), {}),
    "mixture prior, 3 latents": (mixture, {}),
    "curve, 1 latent": (curve, {}),
    "annealed: PCA, 40 latents, scale 0.5": (partial(PCA, scale=0.5), FEW),
    "annealed: factor analysis, 20 latents": (
        partial(linear, latent_dim=20, dim=30, noise=None, scale=0.4, full=False),
        FEW | {"num_temperatures": 300},
    ),
}


def measured(make: Callable[[int], Known], options: dict[str, int], num_data: int, seed: int) -> dict[str, Any]:
    """Shares and errors over the believed data, of all and by the method that gave their number."""
    torch.manual_seed(seed)
    program, x, exact = make(num_data)
    start = time.process_time()
    found = evaluate(program, x, method="adaptive", seed=seed, progress=False, **options)
    table = found.per_datum.assign(exact=exact.numpy())
    table["error"] = table.log_px - table.exact
    table["held"] = table.error.abs() <= 1.96 * table.log_px_mcse
    known = table[table.believed]
    return {
        "believed": float(table.believed.mean()),
        **_summary(known),
        "evaluations": float(table.evaluations.mean()),
        "seconds": time.process_time() - start,
        "methods": {method: _summary(some) for method, some in known.groupby("method")},
    }


def _summary(table: pd.DataFrame) -> dict[str, float]:
    n, held = len(table), float(table.held.mean())
    return {
        "data": n,
        "coverage": held,
        "coverage_se": math.sqrt(max(held * (1 - held), 0.05 * 0.95) / n) if n else math.nan,
        "error": float(table.error.mean()),
        "error_se": float(table.error.std() / max(n, 1) ** 0.5),
        "mcse": float(table.log_px_mcse.mean()),
    }


def main(argv: list[str] | None = None) -> dict:
    parser = results_file.parser_of(__doc__)
    parser.add_argument("--num-data", type=int, default=600)
    parser.add_argument("--cases", nargs="+", default=[""], help="only those whose names begin so (all)")
    parser.add_argument("--seed", type=int, default=0)
    results_file.add_outputs(parser)
    args = parser.parse_args(argv)
    usual, rows = torch.get_default_dtype(), {}
    torch.set_default_dtype(torch.float64)
    try:
        for name, (make, options) in CASES.items():
            if name.startswith(tuple(args.cases)):
                rows[name] = measured(make, options, args.num_data, args.seed)
                print(
                    name, *(f"{key} {value:.4g}" for key, value in rows[name].items() if key != "methods"), flush=True
                )
    finally:
        torch.set_default_dtype(usual)
    found = {
        "command": results_file.command(__file__, argv),
        "units": {"error": "nats", "mcse": "nats", "evaluations": "of log p(x, z) a datum", "seconds": "s of CPU"},
        "num_data": args.num_data,
        "seed": args.seed,
        "coverage": rows,
        "versions": results_file.versions(),
    }
    results_file.write(found, args.out)
    return found


if __name__ == "__main__":
    main()
