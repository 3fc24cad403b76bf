"""Coverage of the standard errors of log p(x) and of the KL gap, over all data with a good k-hat.

Linear-Gaussian models, whose log p(x) and posterior are exact, and q that are too narrow, shifted or without
correlations. For each, the share of the data whose interval of +-1.96 standard errors covers the exact value, with the
standard error of that share.

    python experiments/benchmarks/error_bars.py --out experiments/results/error_bars.json
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import pandas as pd
import pyro
import pyro.distributions as dist
import results_file
import torch

from ppl_vae import Program, evaluate

GUIDES = {
    "mean field": (False, 0.0, 1.0),
    "shift 0.2, scale 0.8": (True, 0.2, 0.8),
    "scale 0.9": (True, 0.0, 0.9),
    "scale 0.7": (True, 0.0, 0.7),
    "scale 0.6": (True, 0.0, 0.6),
}


def linear_gaussian(
    latent_dim: int, guide: str, num_pixels: int = 12
) -> tuple[Program, dist.MultivariateNormal, torch.Tensor]:
    """A program, the distribution of its data, and the KL from q to the posterior, the same for all data."""
    full, shift, scale = GUIDES[guide]
    weight = 0.5 * torch.randn(num_pixels, latent_dim)
    offset, sd = torch.randn(num_pixels), 0.8 + 1.2 * torch.rand(num_pixels)
    precision = torch.eye(latent_dim) + weight.T @ (weight / sd[:, None] ** 2)
    covariance = torch.linalg.inv(precision)
    regression = covariance @ (weight / sd[:, None] ** 2).T
    q_tril = torch.linalg.cholesky(covariance) if full else torch.diag(precision.diagonal().rsqrt())
    away = shift * covariance.diagonal().sqrt()
    q = dist.MultivariateNormal(away, scale_tril=scale * q_tril)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(latent_dim), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ weight.T + offset, sd).to_event(1), obs=x)

    def guided(x):
        with pyro.plate("data", len(x)):
            loc = (x - offset) @ regression.T + away
            pyro.sample("z", dist.MultivariateNormal(loc, scale_tril=scale * q_tril))

    marginal = dist.MultivariateNormal(offset, weight @ weight.T + torch.diag(sd**2))
    posterior = dist.MultivariateNormal(torch.zeros(latent_dim), covariance)
    return Program(model, guided), marginal, torch.distributions.kl_divergence(q, posterior)


def coverage(guide: str, latent_dim: int, num_data: int, num_samples: int, seed: int) -> dict[str, float]:
    """Shares over the data with a good k-hat."""
    torch.manual_seed(seed)
    program, marginal, kl = linear_gaussian(latent_dim, guide)
    x = marginal.sample((num_data,))
    result = evaluate(program, x, num_samples=num_samples, seed=seed, progress=False)
    table = result.per_datum[result.per_datum.pareto_k <= result.good_k]
    exact = pd.Series(marginal.log_prob(x).numpy(), result.per_datum.index)[table.index]
    held = {
        "log_px": (table.log_px - exact).abs() <= 1.96 * table.log_px_mcse,
        "kl_gap": (table.kl_gap - kl.item()).abs() <= 1.96 * table.kl_gap_mcse,
    }
    found = {"share_good": len(table) / num_data, "num_good": len(table)}
    for name, inside in held.items():
        found |= {name: inside.mean(), f"{name}_se": math.sqrt(inside.mean() * (1 - inside.mean()) / len(table))}
    return found


def main(argv: list[str] | None = None) -> pd.DataFrame:
    parser = results_file.parser_of(__doc__)
    parser.add_argument("--num-data", type=int, default=3000)
    parser.add_argument("--num-samples", type=int, default=1000)
    parser.add_argument("--dims", type=int, nargs="+", default=[2, 5, 10])
    parser.add_argument("--seed", type=int, default=0)
    results_file.add_outputs(parser)
    args = parser.parse_args(argv)
    rows = {}
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        for dim in args.dims:
            for guide in GUIDES:
                found = coverage(guide, dim, args.num_data, args.num_samples, args.seed)
                rows[f"{guide}, {dim} latents"] = found
    finally:
        torch.set_default_dtype(usual)
    table = pd.DataFrame(rows).T
    print("Share of the data with a good k-hat that 1.96 standard errors hold (0.95 promised)")
    print(table.to_string(float_format="{:.3f}".format))
    found = {
        "command": results_file.command(__file__, argv),
        "num_data": args.num_data,
        "num_samples": args.num_samples,
        "seed": args.seed,
        "coverage": rows,
        "versions": results_file.versions(),
    }
    results_file.write(found, args.out)
    return table


if __name__ == "__main__":
    main()
