"""Does a VAE of counts find the dispersion of each gene, and score cells as well as scvi-tools does?

A negative binomial VAE with a library size, batches and one dispersion r for each gene: variance m + m^2 / r.

`--data simulated`: counts of a model that is known, with two latent units, and a library size and one of two batches
for each cell, given to the model as contexts. The decoder is linear, in the simulation and in the model, so that what
is estimated has a true value. Reported: the share of genes whose true r lies in its 95 % interval; -log p(x) of test
cells under the fitted and the true model, by importance sampling around the mode of p(z | x), checked against
quadrature; and how far raw and denoised expression are from the true means.

The interval of log r is that of maximum likelihood: s_c = E_q[w d log p(x_c | z) / d log r] is the score of a cell
(Fisher's identity; w are self-normalized importance weights of draws from q), I = sum_c s_c^2 the information, and
log r +- 1.96 / sqrt(I) the interval, after steps sum_c s_c / I to the maximum. It assumes that the model is right, that
cells are many, and that r and the means are estimated independently: given z they are orthogonal (NB).

`--data worm`: neurons of C. elegans (Cao et al. 2017, doi:10.1126/science.aam8940, as scDeepCluster ships them), 4,186
cells and 1,000 genes; the library size is the total of the cell. How to train is chosen by the validation ELBO. What
`experiments/benchmarks/scvi_tools.py` wrote (`--scvi`) is scored by the same estimator on the same test cells.

    python experiments/cells.py --data simulated --figure cells_simulated.png --out cells_simulated.json
    python experiments/cells.py --data worm --data-dir DIR --split split.npz
    (scvi_tools.py, see there)
    python experiments/cells.py --data worm --data-dir DIR --scvi plain.npz usual.npz --figure worm.png --out worm.json
"""

import argparse
import copy
import json
import os
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import results_file
import torch
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

import ppl_vae
from ppl_vae import (
    MLP,
    DataSpec,
    Domain,
    FullRankNormal,
    NegativeBinomial,
    OneCycle,
    distributions,
    plots,
)
from ppl_vae.diagnostics import log_marginal_likelihood
from ppl_vae.distributions import unconstrained

TRAININGS = {  # of the worm's cells: Adam at 1e-3 as scVI, and one cycle to 3e-3 in an eighth of the epochs
    "Adam": {"patience": 30},
    "one cycle": {"part": 0.125, "schedule": OneCycle(3e-3)},
}


def main(argv: list[str] | None = None) -> dict:
    parser = results_file.parser_of(__doc__)
    parser.add_argument("--data", default="simulated", choices=("simulated", "worm"))
    parser.add_argument("--data-dir", help="folder of the data sets ($PPL_VAE_DATA)")
    parser.add_argument("--cells", type=int, default=4000, help="simulated cells, of which 1 in 6 are for tests")
    parser.add_argument("--genes", type=int, default=800, help="simulated genes")
    parser.add_argument("--hidden-dim", type=int, default=128)
    parser.add_argument("--latent-dim", type=int, default=10, help="of the worm's cells")
    parser.add_argument("--epochs", type=int, default=400)
    parser.add_argument("--num-samples", type=int, default=1000, help="draws a cell for log p(x)")
    parser.add_argument(
        "--method", default="importance", choices=("importance", "adaptive"), help="of log p(x) of the worm's cells"
    )
    parser.add_argument(
        "--checked", type=int, default=20, help="simulated cells whose log p(x) is checked by quadrature"
    )
    parser.add_argument(
        "--split", type=Path, help="write the worm's counts and splits here, for scvi_tools.py, and stop"
    )
    parser.add_argument("--scvi", type=Path, nargs="+", default=[], help="what scvi_tools.py wrote")
    parser.add_argument(
        "--trainings", nargs="+", default=list(TRAININGS), choices=TRAININGS, help="of the worm's cells"
    )
    parser.add_argument("--runs", type=Path, help="keep the run folders here, and resume them")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    results_file.add_outputs(parser, figure="figure")
    args = parser.parse_args(argv)

    if args.split:
        data = worm(args)
        rows = {role: split.index.numpy() for role, split in data.splits.items()}
        np.savez(args.split, x=np.load(worm_file(args))["x"], **rows)
        return rows
    found, figure = simulated(args) if args.data == "simulated" else of_worm(args)
    found = {
        "command": results_file.command(__file__, argv),
        **found,
        "versions": results_file.versions(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if args.device != "cpu" and torch.cuda.is_available() else "cpu",
    }
    if args.figure:
        results_file.draw(figure, args.figure, dpi=100)
    results_file.write(found, args.out)
    return found


# Simulated cells


def simulated(args: argparse.Namespace) -> tuple[dict, Figure]:
    start = time.perf_counter()
    spec = DataSpec((args.genes,), Domain("counts"), ((1,), (2,)))
    truth, z, context = true_model(spec, args)
    data, means = drawn(truth, z, context, args.seed)
    vae = linear_vae(data, args)
    print(fitted(vae, data, args, schedule=OneCycle(1e-2)), flush=True)
    truth.to(next(vae.parameters()).device)
    settings = {"num_samples": args.num_samples, "seed": args.seed, "progress": False}
    scored = {
        name: ppl_vae.evaluate(*around_mode(model, data.test), **settings)
        for name, model in {"fitted": vae, "true": truth}.items()
    }
    difference = scored["true"].per_datum.log_px - scored["fitted"].per_datum.log_px
    few = data.test[: args.checked]
    exact = log_marginal_likelihood(truth, few, method="quadrature", num_points=129, seed=args.seed, progress=False)
    off = np.abs(exact.log_px.to_numpy() - scored["true"].per_datum.log_px.to_numpy()[: len(few)])
    log_r, se, moved = dispersions(vae, data.train, args.seed)
    true_log_r = r_of(truth).log().numpy()
    inside = np.abs(log_r - true_log_r) < 1.96 * se
    index = data.test.index
    per_unit = {"raw": data.test.x, "denoised": at_mean_code(vae, data.test), "true": means[index]}
    per_unit = {name: (values / context[0][index]).log1p().numpy() for name, values in per_unit.items()}
    rmse = {name: float(np.sqrt(np.mean((per_unit[name] - per_unit["true"]) ** 2))) for name in ("raw", "denoised")}
    summary = {name: run.summary.loc["nll"] for name, run in scored.items()}
    found = {
        "simulated": {
            "cells": args.cells,
            "genes": args.genes,
            "batches": 2,
            "latent_dim": 2,
            "test_cells": len(index),
        },
        "units": {"nll": "nats per cell", "rmse": "of log(1 + counts at a library size of 1) from the true mean's"},
        "dispersions": {
            "share_inside_95": float(inside.mean()),
            "its_standard_error": float(np.sqrt(0.95 * 0.05 / len(inside))),
            "mean_and_sd_of_z_scores": [float(f((log_r - true_log_r) / se)) for f in (np.mean, np.std)],
            "median_se_of_log_r": float(np.median(se)),
            "largest_step_to_the_maximum_in_se": moved,
        },
        "nll": {n: {"mean": float(s["mean"]), "se": float(s["se"])} for n, s in summary.items()},
        "fitted_minus_true": {"mean": float(difference.mean()), "se_paired": float(difference.sem())},
        "mean_monte_carlo_error_of_log_px": {n: float(run.per_datum.log_px_mcse.mean()) for n, run in scored.items()},
        "unreliable": {name: float(run.unreliable) for name, run in scored.items()},
        "quadrature": {
            "cells": len(few),
            "its_largest_error": float(exact.log_px_error.max()),
            "largest_difference_of_log_px": float(off.max()),
        },
        "rmse": rmse,
        "seconds": time.perf_counter() - start,
    }
    print(json.dumps({name: found[name] for name in ("dispersions", "fitted_minus_true", "rmse")}, indent=1))
    return found, pictures_of_simulated(true_log_r, log_r, se, inside, per_unit, rmse)


def true_model(spec: DataSpec, args: argparse.Namespace) -> tuple[ppl_vae.VAE, torch.Tensor, tuple[torch.Tensor, ...]]:
    """A VAE whose decoder and dispersions are drawn, codes (n, 2), and contexts: sizes (n, 1), batches (n, 2)."""
    g = torch.Generator().manual_seed(args.seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g)

    truth = linear_vae(spec, args)
    layer = truth.likelihood.net.layers[-1]
    with torch.no_grad():
        of_batches = 0.5 * normal(args.genes, 2)
        layer.weight.copy_(torch.cat([normal(args.genes, 2), torch.zeros(args.genes, 1), of_batches], 1))
        layer.bias.copy_(1 + 1.5 * normal(args.genes))
        truth.likelihood.raw_concentration.copy_(unconstrained(2 * (0.6 * normal(args.genes)).exp()))
    batch = torch.nn.functional.one_hot(torch.randint(2, (args.cells,), generator=g), 2).float()
    return truth, normal(args.cells, 2), ((0.4 * normal(args.cells, 1)).exp(), batch)


def linear_vae(data, args: argparse.Namespace) -> ppl_vae.VAE:
    return ppl_vae.build(
        data,
        latent_dim=2,
        likelihood=partial(NegativeBinomial, exposure="context", dispersion="elementwise"),
        posterior=FullRankNormal,
        encoder=partial(MLP, hidden_dims=(args.hidden_dim,)),
        decoder=partial(MLP, hidden_dims=()),
        seed=args.seed,
    )


def drawn(
    truth: ppl_vae.VAE, z: torch.Tensor, context: tuple[torch.Tensor, ...], seed: int
) -> tuple[ppl_vae.data.Data, torch.Tensor]:
    """Counts of the true model, and their means."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        p = truth.decode(z, *context)
        x, means = p.sample(), p.mean
    settings = {"standardize_context": False, "fractions": (2 / 3, 1 / 6, 1 / 6), "domain": Domain("counts")}
    return ppl_vae.data.from_arrays(x.numpy(), context=context, seed=seed, name="simulated cells", **settings), means


def around_mode(vae: ppl_vae.VAE, cells: ppl_vae.data.Split) -> tuple[ppl_vae.Program, ppl_vae.data.Split]:
    """A VAE with another guide: Student's t of 5 degrees of freedom, at the mode of p(z | x) as wide as Laplace's.

    Its mean and scale are further contexts of the cells. It needs no encoder, so that it serves both models alike.
    """

    def model(x: torch.Tensor, *context: torch.Tensor, **named) -> None:
        vae.model(x, *context[:-2], **named)

    def guide(x: torch.Tensor, *context: torch.Tensor, **_) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.MultivariateStudentT(5.0, *context[-2:]))

    found = [mode(vae, cells[i : i + 50]) for i in range(0, len(cells), 50)]
    loc, scale = (torch.cat(parts) for parts in zip(*found, strict=True))
    return ppl_vae.Program(model, guide, vae), replace(cells, context=(*cells.context, loc, scale))


def mode(vae: ppl_vae.VAE, cells: ppl_vae.data.Split) -> tuple[torch.Tensor, torch.Tensor]:
    """The mode of p(z | x), (n, 2), by Newton's method from the best point of a grid; Laplace's scale, (n, 2, 2)."""
    device = next(vae.parameters()).device
    x, context = cells.x.to(device), [c.to(device) for c in cells.context]

    def log_joint(z: torch.Tensor) -> torch.Tensor:
        return vae.prior.given().log_prob(z) + vae.likelihood.given(z, *context).log_prob(x)

    axis = torch.linspace(-3, 3, 15).to(x)
    grid = torch.cartesian_prod(axis, axis).unsqueeze(1)
    with torch.no_grad():
        z = grid[torch.cat([log_joint(some.expand(-1, len(x), -1)) for some in grid.split(15)]).argmax(0), 0]
    for _ in range(12):
        z.requires_grad_()
        (slope,) = torch.autograd.grad(log_joint(z).sum(), z, create_graph=True)
        rows = [torch.autograd.grad(slope[:, i].sum(), z, retain_graph=True)[0] for i in range(z.shape[-1])]
        precision = -torch.stack(rows, -2)
        z = (z + torch.linalg.solve(precision, slope).clamp(-0.2, 0.2)).detach()
    return z.cpu(), torch.linalg.cholesky(torch.linalg.inv(precision)).detach().cpu()


def dispersions(
    vae: ppl_vae.VAE, cells: ppl_vae.data.Split, seed: int, *, steps: int = 4, num_draws: int = 30, rows: int = 100
) -> tuple[np.ndarray, np.ndarray, float]:
    """log r of each gene at the maximum of the likelihood, its standard error, and the last step over that."""
    made = copy.deepcopy(vae)
    device, log_r = next(made.parameters()).device, r_of(made).log()
    with torch.random.fork_rng():
        for _ in range(steps):
            torch.manual_seed(seed)  # the same draws at each step, so that they have one maximum
            scores = torch.cat(
                [scores_of(made, log_r, cells[i : i + rows], num_draws, device) for i in range(0, len(cells), rows)]
            )
            information = (
                scores.square().sum(0).clamp_min(1e-6)
            )  # of a gene that is nearly Poisson, whose r is open above
            step = (scores.sum(0) / information).clamp(-0.5, 0.5)
            log_r = log_r + step
            with torch.no_grad():
                made.likelihood.raw_concentration.copy_(unconstrained(log_r.exp()))
    return log_r.numpy(), information.rsqrt().numpy(), float((step.abs() * information.sqrt()).max())


def scores_of(
    vae: ppl_vae.VAE, log_r: torch.Tensor, cells: ppl_vae.data.Split, num_draws: int, device: torch.device
) -> torch.Tensor:
    """d log p(x) / d log r of each cell and gene, by self-normalized importance sampling, on the CPU in float64."""
    x, context = cells.x.to(device), [c.to(device) for c in cells.context]
    with torch.no_grad():
        q = vae.encode(x, *context)
        z = q.sample((num_draws,))
        means = vae.decode(z, *context).mean
    each = log_r.to(means).expand(means.shape).clone().requires_grad_()
    log_p = distributions.NegativeBinomial(means, each.exp()).log_prob(x)
    (score,) = torch.autograd.grad(log_p.sum(), each)
    log_w = log_p.detach().sum(-1) + vae.prior.given().log_prob(z) - q.log_prob(z)
    return (log_w.softmax(0).unsqueeze(-1) * score).sum(0).double().cpu()


def r_of(vae: ppl_vae.VAE) -> torch.Tensor:
    """r of each gene, in float64."""
    return distributions.positive(vae.likelihood.raw_concentration.detach()).double().cpu()


def pictures_of_simulated(true_log_r, log_r, se, inside, per_unit, rmse) -> Figure:
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for where, colour, name in ((inside, "C0", "95 % interval holds the true r"), (~inside, "C3", "it does not")):
        low, middle, high = (np.exp((log_r + k * 1.96 * se).clip(max=700))[where] for k in (-1, 0, 1))
        bars = {"yerr": [middle - low, high - middle], "fmt": ".", "ms": 3, "lw": 0.5, "alpha": 0.6}
        left.errorbar(np.exp(true_log_r)[where], middle, **bars, color=colour, label=f"{name}: {where.sum():,} genes")
    ends = np.exp([true_log_r.min(), true_log_r.max()])
    left.plot(ends, ends, color="black", lw=0.8)
    left.set(xscale="log", yscale="log", xlabel="true inverse dispersion r", ylabel="estimated r")
    left.legend()
    some = np.random.default_rng(0).choice(per_unit["true"].size, min(4000, per_unit["true"].size), replace=False)
    for name, colour in (("raw", "C7"), ("denoised", "C2")):
        shown = f"{name}, root mean square error {rmse[name]:.3f}"
        right.plot(per_unit["true"].ravel()[some], per_unit[name].ravel()[some], ".", ms=2, color=colour, label=shown)
    right.axline((0, 0), slope=1, color="black", lw=0.8)
    right.set(xlabel="log(1 + true mean at a library size of 1)", ylabel="log(1 + expression)")
    right.legend(markerscale=5)
    return figure


# The worm's cells


def worm_file(args: argparse.Namespace) -> Path:
    folder = args.data_dir or os.environ.get("PPL_VAE_DATA")
    if folder is None:
        raise SystemExit("--data worm expects --data-dir, or $PPL_VAE_DATA, with counts/worm_neurons_1000_genes.npz")
    return Path(folder) / "counts" / "worm_neurons_1000_genes.npz"


def worm(args: argparse.Namespace) -> ppl_vae.data.Data:
    with np.load(worm_file(args)) as file:
        return ppl_vae.data.from_arrays(file["x"], file["y"], domain=Domain("counts"), name="worm neurons")


def of_worm(args: argparse.Namespace) -> tuple[dict, Figure]:
    data = worm(args)
    made, trainings = {}, {}
    for name in args.trainings:
        made[name] = cell_vae(data, args)
        run = args.runs and args.runs / name.replace(" ", "_")
        fit = fitted(made[name], data, args, run=run, resume=bool(run), **TRAININGS[name])
        best = float(fit.history.validation_elbo[fit.best_epoch])
        took = float(fit.history.seconds.sum())
        trainings[name] = {"validation_elbo": best, "epoch": fit.best_epoch, "of": len(fit.history), "seconds": took}
        print(f"{name}: {fit}", flush=True)
    chosen = max(trainings, key=lambda name: trainings[name]["validation_elbo"])
    models, theirs = {"ppl_vae": made[chosen]}, {}
    for file in args.scvi:
        name = f"scvi-tools, {file.stem}"
        models[name], theirs[name] = of_scvi(file, data, args)
        models[name].to(next(made[chosen].parameters()).device)
    scored = {
        name: ppl_vae.evaluate(
            m, data.test, method=args.method, num_samples=args.num_samples, seed=args.seed, progress=False
        )
        for name, m in models.items()
    }
    codes = {name: [codes_of(m, split) for split in (data.train, data.test)] for name, m in models.items()}
    found = {"data": {"identity": data.test.identity, "cells": {r: len(s) for r, s in data.splits.items()}}}
    found |= {"trainings": trainings, "chosen": chosen, "scvi-tools": theirs, "units": {"nll": "nats per cell"}}
    found["runs"] = {name: numbers(run, scored["ppl_vae"]) for name, run in scored.items()}
    for name, (train, test) in codes.items():
        near = KNeighborsClassifier(15).fit(train, data.train.y.numpy())
        found["runs"][name]["cell_type_of_15_neighbours"] = float(near.score(test, data.test.y.numpy()))
    print(json.dumps(found["runs"], indent=1))
    return found, pictures_of_worm(data, models["ppl_vae"], codes["ppl_vae"])


def cell_vae(data: ppl_vae.data.Data, args: argparse.Namespace) -> ppl_vae.VAE:
    """The networks of scVI: one hidden layer."""
    return ppl_vae.build(
        data,
        latent_dim=args.latent_dim,
        likelihood=partial(NegativeBinomial, exposure="total", dispersion="elementwise"),
        encoder=partial(MLP, hidden_dims=(args.hidden_dim,)),
        decoder=partial(MLP, hidden_dims=(args.hidden_dim,)),
        seed=args.seed,
    )


def fitted(vae, data, args: argparse.Namespace, *, part: float = 1, **settings) -> ppl_vae.Fit:
    """Train for a part of the epochs; the weights of the best epoch on validation data are kept."""
    epochs = max(1, round(part * args.epochs))
    return ppl_vae.fit(vae, data, epochs=epochs, seed=args.seed, device=args.device, progress=False, **settings)


class ScviEncoder(torch.nn.Module):
    """The encoder that scvi-tools trained: means, and standard deviations as `DiagonalNormal` takes them."""

    def __init__(self, weights) -> None:
        super().__init__()
        self.hidden, self.mean, self.log_variance = (
            linear(weights, f"encoder_{name}") for name in ("hidden", "mean", "log_variance")
        )
        self.added = float(weights["variance_added"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.hidden(x).relu()
        sd = (self.log_variance(h).exp() + self.added).sqrt()
        return torch.stack([self.mean(h), unconstrained(sd)], -2)


def linear(weights, name: str) -> torch.nn.Linear:
    w, b = (torch.as_tensor(weights[f"{name}.{part}"]).float() for part in ("w", "b"))
    layer = torch.nn.Linear(w.shape[1], w.shape[0])
    layer.load_state_dict({"weight": w, "bias": b})
    return layer


def of_scvi(file: Path, data: ppl_vae.data.Data, args: argparse.Namespace) -> tuple[ppl_vae.VAE, dict]:
    """The model of scvi-tools as a VAE; how it was trained, and how far the VAE's numbers are from its own."""
    weights = np.load(file)
    vae = cell_vae(data, args)
    vae.posterior.net = ScviEncoder(weights)
    hidden, logits = linear(weights, "decoder_hidden"), linear(weights, "decoder_logits")
    vae.likelihood.net.layers = torch.nn.Sequential(hidden, torch.nn.ReLU(), logits)
    with torch.no_grad():
        vae.likelihood.raw_concentration.copy_(unconstrained(torch.as_tensor(weights["r"])))
    x = torch.as_tensor(weights["checked"])
    with torch.no_grad():
        q = vae.encode(x)
        means = vae.scored(x, True, q.mean).mean
    off = {
        "q_mean": (q.mean - torch.as_tensor(weights["q_mean"])).abs().max(),
        "q_sd": (q.variance.sqrt() - torch.as_tensor(weights["q_sd"])).abs().max(),
        "x_mean": (means - torch.as_tensor(weights["x_mean"])).abs().max(),
    }
    return vae, {**json.loads(str(weights["said"])), "largest_difference": {k: float(v) for k, v in off.items()}}


def numbers(run: ppl_vae.Evaluation, ours: ppl_vae.Evaluation) -> dict[str, float]:
    difference = ours.per_datum.log_px - run.per_datum.log_px
    nll = run.summary.loc["nll"]
    return {
        "nll": float(nll["mean"]),
        "nll_se": float(nll["se"]),
        "above_ppl_vae": float(difference.mean()),
        "above_ppl_vae_se": float(difference.sem()),
        "minus_elbo": float(-run.per_datum.elbo.mean()),
        "unreliable": float(run.unreliable),
        "mean_monte_carlo_error": float(run.per_datum.log_px_mcse.mean()),
        "active_units": int(sum(run.active_units.values())),
    }


@torch.no_grad()
def codes_of(vae: ppl_vae.VAE, split: ppl_vae.data.Split) -> np.ndarray:
    return vae.encode(split).mean.cpu().numpy()


@torch.no_grad()
def at_mean_code(vae: ppl_vae.VAE, split: ppl_vae.data.Split) -> torch.Tensor:
    """Denoised expression: the mean of x at the mean of q(z | x)."""
    device = next(vae.parameters()).device
    context = [c.to(device) for c in split.context]
    return vae.decode(vae.encode(split).mean, *context).mean.cpu()


def pictures_of_worm(data: ppl_vae.data.Data, vae: ppl_vae.VAE, codes: list[np.ndarray], genes: int = 60) -> Figure:
    """Codes by cell type in their first two principal components, and expression of test cells, raw and denoised."""
    figure = Figure(figsize=(13, 5), layout="constrained")
    axes = figure.subplots(1, 3)
    pca = PCA(2, random_state=0).fit(codes[0])
    plots.latent_space(pca.transform(codes[0]), data.train.y.numpy(), ax=axes[0], s=3)
    shares = pca.explained_variance_ratio_
    axes[0].set(xlabel=f"first component, {shares[0]:.0%} of variance", ylabel=f"second component, {shares[1]:.0%}")
    axes[0].set_title(f"means of q(z | x) of {len(codes[0]):,} training cells, by cell type", fontsize=9)
    x, order = data.test.x, data.test.y.argsort(stable=True)
    at_typical_total = x / x.sum(1, keepdim=True) * vae.likelihood.typical_total
    shown = at_typical_total.log1p().var(0).argsort(descending=True)[:genes]
    values = {"raw counts": at_typical_total, "denoised": at_mean_code(vae, data.test)}
    for ax, (name, value) in zip(axes[1:], values.items(), strict=True):
        image = ax.imshow(
            value[order][:, shown].log1p().numpy(), aspect="auto", vmin=0, vmax=4, interpolation="nearest"
        )
        ax.set_title(f"{name}, at a total of {vae.likelihood.typical_total:.0f}", fontsize=9)
        ax.set(xlabel=f"the {len(shown)} most variable genes", ylabel=f"{len(x)} test cells, ordered by cell type")
    figure.colorbar(image, ax=axes[2], label="log(1 + expression)")
    return figure


if __name__ == "__main__":
    main()
