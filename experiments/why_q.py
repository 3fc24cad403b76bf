"""Why use q(z | x)? The error of log p(x) against its computational cost, with and without q.

p(x) is an integral over z. Averaging p(x | z) over draws from the prior needs a number of draws that grows
exponentially with the latent dimension; a grid is near exact in two dimensions and infeasible in eight. With a q(z | x)
near the posterior few draws suffice; annealing (AIS) corrects a poor q at the cost of gradients.

Probabilistic PCA with 2, 8 and 32 latent dimensions, four times as many of x, and data from the model: log p(x) is
known in closed form, and q is the best with independent dimensions (mean field), not the exact posterior. Then a VAE
with two latent dimensions, trained on MNIST; log p(x) is from the finest grid, whose own error is among the results,
and q is its encoder's.

The cost is the number of evaluations of log p(x, z) per datum. Those of AIS, including its pilot run, also compute a
gradient, which costs two or three times as much; those of the grid share one decoding among all data.

    python experiments/why_q.py --data-dir DIR --figure why_q.png --out why_q.json
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pyro.distributions as dist
import results_file
import torch
from matplotlib.figure import Figure
from torch import nn

import ppl_vae
from ppl_vae import VAE, Bernoulli, DiagonalNormal, GatedMLP, Gaussian, StandardNormal
from ppl_vae.diagnostics import log_marginal_likelihood

STYLES = {  # what is drawn how: label, colour, marker
    "prior": ("draws from the prior", "#888888", "o"),
    "ais_prior": ("AIS from the prior", "#0072b2", "s"),
    "grid": ("grid", "#009e73", "^"),
    "q": ("draws from q (importance sampling)", "#d55e00", "o"),
    "ais_q": ("AIS from q", "#cc79a7", "s"),
}
CHAINS, STEPS = 8, 2
GRIDS = (9, 17, 33, 65, 129)
FLOOR = 1e-4  # nats; below it nobody would care


def main(argv: list[str] | None = None) -> dict:
    parser = results_file.parser_of(__doc__)
    parser.add_argument("--data", default="mnist", help="data set of the VAE (mnist)")
    parser.add_argument("--data-dir", help="folder of the data sets ($PPL_VAE_DATA)")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--take", type=int, default=30, help="data of which log p(x) is estimated")
    parser.add_argument("--samples", type=int, nargs="+", default=[10, 100, 1000, 10_000, 100_000])
    parser.add_argument("--temperatures", type=int, nargs="+", default=[5, 20, 80, 320])
    parser.add_argument("--num-points", type=int, default=513, help="of the exact grid, along each of its two axes")
    parser.add_argument("--most", type=int, default=20_000, help="evaluations of the trained VAE for each datum")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, help="keep the run folder here, and resume it")
    results_file.add_outputs(parser, figure="figure")
    args = parser.parse_args(argv)

    panels = {}
    for latent_dim in (2, 8, 32):
        vae, x, log_px = linear_gaussian(latent_dim, args.take, args.seed)
        panels[f"probabilistic PCA, {latent_dim} latent dimensions (exact: closed form)"] = errors(
            vae, x, log_px, latent_dim, args
        )
    vae, test = trained(args)
    exact = log_marginal_likelihood(vae, test, method="quadrature", num_points=args.num_points, seed=args.seed)
    grid_error = dict(
        zip(("median", "high", "max"), np.quantile(exact.log_px_error, (0.5, 0.75, 1)).tolist(), strict=True)
    )
    print(f"error of the grid of {args.num_points}² points, in nats: {grid_error}")
    panels[f"VAE trained on {args.data}, 2 latent dimensions (exact: grid of {args.num_points}²)"] = errors(
        vae, test, exact.log_px.values, 2, args, most=args.most
    )
    found = {
        "command": results_file.command(__file__, argv),
        "panels": panels,
        "grid_error": grid_error,
        "data": {"identity": test.identity, "provenance": test.provenance},
        "versions": results_file.versions(),
    }
    if args.figure:
        results_file.draw(draw(panels), args.figure, dpi=100)
    results_file.write(found, args.out)
    return found


class MeanField(DiagonalNormal):
    """q(z | x) = N(z; M x, diag(scale^2))."""

    def __init__(self, to_mean: torch.Tensor, scale: torch.Tensor) -> None:
        latent_dim, x_dim = to_mean.shape
        super().__init__((x_dim,), latent_dim, linear(torch.cat([to_mean, torch.zeros_like(to_mean)])))
        self.scale = scale

    def distribution(self, params: torch.Tensor) -> dist.TorchDistribution:
        return ppl_vae.distributions.DiagonalNormal(params[..., 0, :], self.scale.expand_as(params[..., 0, :]))


def linear(weight: torch.Tensor):
    """A network factory whose one layer is given."""

    def net(in_shape, out_shape) -> nn.Module:
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        layer.weight = nn.Parameter(weight)
        return nn.Sequential(layer, nn.Unflatten(-1, tuple(out_shape)))

    return net


def linear_gaussian(latent_dim: int, n: int, seed: int) -> tuple[VAE, torch.Tensor, np.ndarray]:
    """Probabilistic PCA with its best mean-field q: p(z) = N(0, I), p(x | z) = N(W z, s^2 I)."""
    generator = torch.Generator().manual_seed(seed)
    x_dim = 4 * latent_dim
    noise = x_dim**0.5 / 5  # x makes each latent dimension about five times narrower than the prior
    weight = torch.randn(x_dim, latent_dim, generator=generator, dtype=torch.float64)
    precision = torch.eye(latent_dim) + weight.T @ weight / noise**2
    posterior = MeanField(torch.linalg.solve(precision, weight.T / noise**2), precision.diagonal().rsqrt())
    likelihood = Gaussian(latent_dim, (x_dim,), linear(weight), scale=noise)
    vae = VAE(StandardNormal(latent_dim), likelihood, posterior).double()
    z, noises = (torch.randn(n, k, generator=generator, dtype=torch.float64) for k in (latent_dim, x_dim))
    x = z @ weight.T + noise * noises
    covariance = weight @ weight.T + noise**2 * torch.eye(x_dim)
    return vae, x, dist.MultivariateNormal(torch.zeros_like(x[0]), covariance).log_prob(x).numpy()


def trained(args: argparse.Namespace) -> tuple[VAE, ppl_vae.split.Split]:
    """A VAE with two latent dimensions, and test data."""
    data = ppl_vae.data.load(args.data, data_dir=args.data_dir, likelihood=Bernoulli)
    vae = ppl_vae.build(
        data, latent_dim=2, posterior=DiagonalNormal, encoder=GatedMLP, decoder=GatedMLP, seed=args.seed
    )
    fitted = ppl_vae.fit(
        vae,
        data,
        epochs=args.epochs,
        batch_size=100,
        beta=ppl_vae.objectives.Linear(epochs=max(1, args.epochs // 5)),
        schedule=ppl_vae.OneCycle(peak=2e-3),
        seed=args.seed,
        device="cpu",
        run=args.runs / args.data if args.runs else None,
        resume=bool(args.runs),
    )
    print(fitted)
    return vae, data.test[: args.take]


def errors(
    vae: VAE, x, exact: np.ndarray, latent_dim: int, args: argparse.Namespace, most=10**6
) -> dict[str, list[dict]]:
    """Of every method at every cost up to `most`: quartiles over the data of |estimate - exact|, in nats."""
    runs: dict[str, list[tuple[int, dict]]] = {
        "prior": [(s, {"method": "prior", "num_samples": s}) for s in args.samples],
        "q": [(s, {"method": "iwae", "num_samples": s}) for s in args.samples],
    }
    for name, init in (("ais_prior", "prior"), ("ais_q", "guide")):
        settings = {"method": "ais", "init": init, "num_chains": CHAINS, "num_steps": STEPS}
        cost = 2 * CHAINS * (2 * STEPS + 1)  # two gradients a step, each as much as two evaluations
        runs[name] = [(cost * t, {**settings, "num_temperatures": t}) for t in args.temperatures]
    if latent_dim == 2:
        runs["grid"] = [(k**2, {"method": "quadrature", "num_points": k}) for k in GRIDS]
    return {
        name: [
            error(vae, x, exact, evaluations, args.seed, **options)
            for evaluations, options in settings
            if evaluations <= most
        ]
        for name, settings in runs.items()
    }


def error(vae: VAE, x, exact: np.ndarray, evaluations: int, seed: int, **options) -> dict:
    start = time.perf_counter()
    found = log_marginal_likelihood(vae, x, seed=seed, **options)
    seconds = time.perf_counter() - start
    off = found.log_px.values - exact
    low, median, high = np.quantile(abs(off), (0.25, 0.5, 0.75))
    print(f"  {options}: {median:.2g} nats [{low:.2g}, {high:.2g}], {seconds:.1f} s", flush=True)
    return {
        **{key: value for key, value in options.items() if key.startswith("num_")},
        "evaluations": evaluations,
        "median": median,
        "low": low,
        "high": high,
        "mean_error": off.mean(),
        "seconds": round(seconds, 2),
    }


def draw(panels: dict[str, dict[str, list[dict]]]) -> Figure:
    figure = Figure(figsize=(9, 7), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, sharey=True)
    for ax, (title, methods) in zip(axes.flat, panels.items(), strict=True):
        for name, points in methods.items():
            label, colour, marker = STYLES[name]
            cost = [p["evaluations"] for p in points]
            low, median, high = (np.maximum([p[key] for p in points], FLOOR / 10) for key in ("low", "median", "high"))
            ax.plot(cost, median, color=colour, marker=marker, ms=4.5, label=label)
            ax.fill_between(cost, low, high, color=colour, alpha=0.13, lw=0)
        ax.set_title(title.replace(" (", "\n("), fontsize=10.5)
        ax.set(xscale="log", yscale="log", ylim=(FLOOR, 1e3))
        ax.grid(alpha=0.25)
    for ax in axes[1]:
        ax.set_xlabel("evaluations of log p(x, z) for each datum\n(of AIS with their gradients)")
    for ax in axes[:, 0]:
        ax.set_ylabel("|estimate − exact log p(x)| (nats)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    title = "median over the data, with quartiles"
    figure.legend(handles, labels, title=title, loc="outside lower center", ncols=3, frameon=False)
    return figure


if __name__ == "__main__":
    main()
