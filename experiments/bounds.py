"""What does a bound of many draws buy, at equal draws, where draws can be reparametrized and where they cannot?

An MLP 784-200-20 with a standard normal prior and a mean field, and one with 20 bits, on MNIST, dynamically binarized,
test images binarized once. Every objective has the same number of draws, epochs, batches and seeds; the first of each
group is the baseline. Reported for each, as means over the seeds: the NLL, by `evaluate(method="adaptive")` for
continuous latents and by importance sampling for bits; its difference from the baseline's, paired by image and by
seed, with its standard error over the images; that of each seed; the mean of log p(x) - ELBO, which is
KL(q(z | x) || p(z | x)); the share of images that is believed; seconds of CPU of the training. For bits log p(x) is a
lower bound, as none is believed: the NLL is at most, and the gap at least, what is given.

Results are kept by run in `--cache`, and not computed again with the same settings: stop and go on at will.

    python experiments/bounds.py --data-dir DIR --cache cache --figure bounds.png --out bounds.json
"""

import argparse
import json
import time
from functools import partial
from typing import Any

import numpy as np
import results_file
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import ppl_vae
from ppl_vae import MLP, Bernoulli, objectives, posteriors, priors

LABEL = "mean over seeds, ± 2 standard errors over images"
GROUPS = {"continuous": "normal latents", "bits": "bits: NLL is an upper bound, and the gap a lower one"}


def choices(draws: int) -> dict[str, dict[str, dict[str, Any]]]:
    """Objectives of each group, the baseline first; and how q is trained where its draws are bits."""
    elbo = objectives.Trace_ELBO(num_particles=draws, vectorize_particles=True)
    half = draws // 2
    continuous = {
        "ELBO": elbo,
        "STL": objectives.STL(draws),
        "IWAE": objectives.IWAE(draws),
        "DReG": objectives.DReG(draws),
        f"MIWAE, {half} groups of 2": objectives.GroupedIWAE(half, draws),
        "CIWAE, 0.5": objectives.CIWAE(0.5, draws),
        f"PIWAE, {half} groups of 2": objectives.PIWAE(half, draws),
        "Rényi, 0.5": objectives.Renyi(0.5, draws),
        "RWS": objectives.RWS(draws),
        "wake-sleep": objectives.WakeSleep(num_particles=draws),
    }
    bits = {
        "ELBO, score function": {"objective": elbo, "gradient": "score"},
        "RWS": {"objective": objectives.RWS(draws), "gradient": "score"},
        "ELBO, straight-through": {"objective": elbo, "gradient": "straight-through"},
        "IWAE, straight-through": {"objective": objectives.IWAE(draws), "gradient": "straight-through"},
    }
    return {"continuous": {name: {"objective": made} for name, made in continuous.items()}, "bits": bits}


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = results_file.parser_of(__doc__)
    results_file.add_images_and_model(parser, epochs=30, take=100, kept="results", seeds=[0, 1])
    parser.add_argument("--groups", nargs="+", choices=list(GROUPS), default=list(GROUPS))
    parser.add_argument("--draws", type=int, default=8, help="of each objective, an even number")
    parser.add_argument(
        "--num-samples", type=int, default=500, help="fresh draws of an estimate; for bits, twice as many"
    )
    results_file.add_outputs(parser, figure="figure")
    args = parser.parse_args(argv)

    data = ppl_vae.data.load(args.data, data_dir=args.data_dir, likelihood=Bernoulli)
    data = data.take(train=args.train, validation=args.validation, test=args.take)
    kept: dict[str, dict[str, list[dict[str, Any]]]] = {group: {} for group in args.groups}
    for seed in args.seeds:  # all of the first seed come first
        for group in args.groups:
            for name, case in choices(args.draws)[group].items():
                kept[group].setdefault(name, []).append(cached(group, name, case, seed, data, args))
    rows = {
        group: {name: row(runs, next(iter(of.values()))) for name, runs in of.items()} for group, of in kept.items()
    }
    found = {
        "command": results_file.command(__file__, argv),
        "units": {"nll": "nats per image", "kl_gap": "nats per image", "seconds": "s of CPU of a training"},
        "images": {"train": len(data.train), "test": len(data.test)},
        "epochs": args.epochs,
        "draws": args.draws,
        "results": rows,
        "versions": results_file.versions(),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(rows, indent=1))
    if args.figure:
        results_file.draw(drawn(rows), args.figure, dpi=100)
    results_file.write(found, args.out)
    return found


def cached(group: str, name: str, case: dict, seed: int, data: ppl_vae.data.Data, args: argparse.Namespace) -> dict:
    """The result of a run, from its file if it is there and of the same settings."""
    settings, make = results_file.settings_of(args, "groups", "seeds"), lambda: measured(group, case, seed, data, args)
    return results_file.kept(args.cache, f"{group}_{name}_{seed}", settings, make)


def measured(group: str, case: dict, seed: int, data: ppl_vae.data.Data, args: argparse.Namespace) -> dict:
    net = partial(MLP, hidden_dims=[args.hidden_dim])
    bits = {"prior": priors.Bernoulli, "posterior": partial(posteriors.Bernoulli, gradient=case.get("gradient"))}
    options = bits if group == "bits" else {}
    vae = ppl_vae.build(data, latent_dim=args.latent_dim, encoder=net, decoder=net, seed=seed, **options)
    start = time.process_time()
    settings = {"epochs": args.epochs, "batch_size": 100, "seed": seed, "progress": False}
    ppl_vae.fit(vae, data, objective=case["objective"], **settings)
    seconds = time.process_time() - start
    how = {"num_samples": args.num_samples, "method": "adaptive"}
    if group == "bits":  # what is fitted to a datum is a density
        how = {"num_samples": 2 * args.num_samples}
    result = ppl_vae.evaluate(vae, data.test, seed=seed, progress=False, **how)
    kept = {name: result.per_datum[name].tolist() for name in ("log_px", "kl_gap")}
    return {"seconds": seconds, "believed": 1 - result.unreliable, **kept}


def row(runs: list[dict], base: list[dict]) -> dict[str, Any]:
    def by_seed(name: str, of: list[dict]) -> np.ndarray:
        return np.array([run[name] for run in of])

    less = by_seed("log_px", base) - by_seed("log_px", runs)
    return {
        "nll": float(-by_seed("log_px", runs).mean()),
        "nll_less_baseline": float(less.mean()),
        "nll_less_baseline_se": float(less.mean(0).std(ddof=1) / less.shape[1] ** 0.5),
        "nll_less_baseline_by_seed": less.mean(1).tolist(),
        "kl_gap": float(by_seed("kl_gap", runs).mean()),
        "kl_gap_by_seed": by_seed("kl_gap", runs).mean(1).tolist(),
        "believed": float(by_seed("believed", runs).mean()),
        "seconds": float(by_seed("seconds", runs).mean()),
    }


def drawn(rows: dict[str, dict[str, dict]]) -> Figure:
    """The difference of the NLL, and the gap, of each objective; a row of axes for each group."""
    heights = [len(of) for of in rows.values()]
    figure = Figure(figsize=(10, 0.32 * sum(heights) + 1.1 * len(rows) + 0.5), layout="constrained")
    places = figure.subplots(len(rows), 2, height_ratios=heights, squeeze=False)
    for axes, (group, of) in zip(places, rows.items(), strict=True):
        place = np.arange(len(of))
        less = [r["nll_less_baseline"] for r in of.values()]
        error = [2 * r["nll_less_baseline_se"] for r in of.values()]
        axes[0].errorbar(less, place, xerr=error, fmt="o", color="black", label=LABEL)
        seeds(axes[0], [r["nll_less_baseline_by_seed"] for r in of.values()])
        axes[0].axvline(0, color="grey", linewidth=0.8)
        axes[0].set_yticks(place, [f"{name} (NLL {r['nll']:.1f})" for name, r in of.items()])
        axes[0].set_title(GROUPS[group], fontsize=10, loc="left")
        axes[0].set_xlabel("NLL less the first row's (nats per image)")
        axes[1].plot([r["kl_gap"] for r in of.values()], place, "o", color="black")
        seeds(axes[1], [r["kl_gap_by_seed"] for r in of.values()])
        axes[1].set_yticks(place, [""] * len(of))
        axes[1].set_xlim(left=0)
        axes[1].set_xlabel("log p(x) - ELBO (nats per image)")
        for ax in axes:
            ax.set_ylim(len(of) - 0.5, -0.5)
            ax.grid(axis="x", color="0.9")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2, fontsize=8)
    return figure


def seeds(ax: Axes, values: list[list[float]]) -> None:
    """A small point for each seed."""
    for place, of in enumerate(values):
        ax.plot(of, [place] * len(of), ".", color="orange", zorder=3, label=None if place else "a seed")


if __name__ == "__main__":
    main()
