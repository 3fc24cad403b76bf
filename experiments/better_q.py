"""Which posterior, and which training, leaves the smallest gap between log p(x) and the ELBO?

An MLP 784-200-20 with a standard normal prior on dynamically binarized MNIST, test images binarized once; a mean field
(`DiagonalNormal`) trained by the ELBO is the baseline. One choice is changed at a time: the posterior; the objective;
how often q alone is trained. All see the training images the same number of times, but for those whose names say
"then": these train q alone, the model frozen, for so many epochs more, or refine it by gradient steps on each image, as
`posteriors.Refined` does also in training. Reported for each: the median over test images
of log p(x) - ELBO, which is KL(q(z | x) || p(z | x)), with a 95 % interval of order statistics; the NLL by
`evaluate(method="adaptive")` and its paired difference from the baseline's, with its standard error; the share of
images that is believed; seconds of CPU of the training and their ratio to the baseline's.

Results are kept by choice in `--cache`, and not computed again with the same settings: stop and go on at will.

    python experiments/better_q.py --data-dir DIR --cache cache --figure better_q.png --out better_q.json
"""

import argparse
import json
import time
from functools import partial

import numpy as np
import results_file
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

import ppl_vae
from ppl_vae import MLP, Bernoulli, objectives, posteriors

BASE = "mean field"


def choices(epochs: int) -> dict[str, dict]:
    """What is changed: a posterior, options of `fit`, or those of a second `fit` of q alone."""
    more = max(1, epochs // 2)
    return {
        BASE: {},
        "low rank, 4": {"posterior": partial(posteriors.LowRankNormal, rank=4)},
        "full rank": {"posterior": posteriors.FullRankNormal},
        "mixture of 3": {"posterior": partial(posteriors.GaussianMixturePosterior, num_components=3)},
        "Student t": {"posterior": posteriors.StudentT},
        "IAF": {"posterior": posteriors.IAF},
        "splines": {"posterior": posteriors.SplineFlow},
        "refined, 5 steps": {"posterior": partial(posteriors.Refined, num_steps=5)},
        "STL": {"objective": objectives.STL()},
        "IWAE, 5": {"objective": objectives.IWAE(5)},
        "DReG, 5": {"objective": objectives.DReG(5)},
        "wake-sleep": {"objective": objectives.WakeSleep()},
        "3 encoder steps": {"encoder_steps": 3},
        "100 encoder steps": {"encoder_steps": 100},
        f"then {more} of q, STL": {"then": {"epochs": more, "objective": objectives.STL()}},
        "then refined, 5 steps": {"refined": {"num_steps": 5, "learning_rate": 0.05}},
        "then refined, 20 steps": {"refined": {"num_steps": 20, "learning_rate": 0.05}},
        "then refined, 20 steps of 16 draws": {
            "refined": {"num_steps": 20, "num_particles": 16, "learning_rate": 0.05}
        },
        f"then refined, 5 steps, {more} of q": {"refined": {"num_steps": 5}, "then": {"epochs": more}},
        f"then {more} of q, wake-sleep": {"then": {"epochs": more, "objective": objectives.WakeSleep()}},
    }


def main(argv: list[str] | None = None) -> dict:
    parser = results_file.parser_of(__doc__)
    results_file.add_images_and_model(parser, epochs=20, take=100, kept="results")
    parser.add_argument("--choices", nargs="+", help="only those whose names begin so (all)")
    parser.add_argument("--num-samples", type=int, default=500, help="fresh draws of the adaptive estimate")
    results_file.add_outputs(parser, figure="figure")
    args = parser.parse_args(argv)

    data = ppl_vae.data.load(args.data, data_dir=args.data_dir, likelihood=Bernoulli).take(
        train=args.train, validation=args.validation
    )
    wanted = tuple(args.choices or [""])
    cases = {name: case for name, case in choices(args.epochs).items() if name == BASE or name.startswith(wanted)}
    kept = {name: cached(name, case, data, args) for name, case in cases.items()}
    found = {
        "command": results_file.command(__file__, argv),
        "units": {"kl_gap": "nats per image", "nll": "nats per image", "seconds": "s of CPU of the training"},
        "images": {"train": len(data.train), "test": min(args.take, len(data.test))},
        "epochs": args.epochs,
        "results": {name: row(each, kept[BASE]) for name, each in kept.items()},
        "versions": results_file.versions(),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(found["results"], indent=1))
    if args.figure:
        results_file.draw(drawn(found["results"]), args.figure, dpi=100)
    results_file.write(found, args.out)
    return found


def cached(name: str, case: dict, data: ppl_vae.data.Data, args: argparse.Namespace) -> dict:
    """The result of a choice, from its file if it is there and of the same settings."""
    settings = results_file.settings_of(args, "choices")
    return results_file.kept(args.cache, name, settings, lambda: measured(case, data, args))


def measured(case: dict, data: ppl_vae.data.Data, args: argparse.Namespace) -> dict:
    net = partial(MLP, hidden_dims=[args.hidden_dim])
    options = {"posterior": case["posterior"]} if "posterior" in case else {}
    vae = ppl_vae.build(data, latent_dim=args.latent_dim, encoder=net, decoder=net, seed=args.seed, **options)
    start = time.process_time()
    given = {"epochs": args.epochs, "batch_size": 100, "seed": args.seed, "progress": False}
    options = {key: case[key] for key in ("objective", "encoder_steps") if key in case}
    ppl_vae.fit(vae, data, **given, **options)
    if "refined" in case:
        vae = ppl_vae.semi_amortized(vae, **case["refined"])
    if "then" in case:
        vae.likelihood.requires_grad_(False)
        ppl_vae.fit(vae, data, **given | case["then"])
    seconds = time.process_time() - start
    test = data.test[: args.take]
    result = ppl_vae.evaluate(
        vae, test, method="adaptive", num_samples=args.num_samples, seed=args.seed, progress=False
    ).per_datum
    return {
        "seconds": seconds,
        "log_px": result.log_px.tolist(),
        "kl_gap": result.kl_gap.tolist(),
        "believed": result.believed.tolist(),
    }


def row(kept: dict, base: dict) -> dict:
    gap, difference = np.sort(kept["kl_gap"]), np.array(base["log_px"]) - np.array(kept["log_px"])
    n = len(gap)
    half = 0.98 * n**0.5  # ranks of a 95 % interval of the median
    low, high = max(0, int(n / 2 - half)), min(n - 1, int(np.ceil(n / 2 + half)))
    return {
        "kl_gap": float(np.median(gap)),
        "kl_gap_interval": [float(gap[low]), float(gap[high])],
        "nll": float(-np.mean(kept["log_px"])),
        "nll_minus_mean_field": float(difference.mean()),
        "nll_minus_mean_field_se": float(difference.std(ddof=1) / n**0.5),
        "believed": float(np.mean(kept["believed"])),
        "seconds": kept["seconds"],
        "seconds_ratio": kept["seconds"] / base["seconds"],
    }


def drawn(results: dict) -> Figure:
    """The gap, and the NLL beside the mean field's, of each choice."""
    figure = Figure(figsize=(10, 0.3 * len(results) + 1.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    rows, place = list(results.values()), np.arange(len(results))
    gap = np.array([r["kl_gap"] for r in rows])
    low, high = np.array([r["kl_gap_interval"] for r in rows]).T
    left.errorbar(gap, place, xerr=[gap - low, high - gap], fmt="o", color="black")
    left.axvline(gap[0] / 2, color="grey", linestyle=":", label="half of the mean field's")
    left.set_xlabel("median of log p(x) - ELBO (nats)\nbars: 95 %")
    left.set_yticks(place, [f"{name} ({r['seconds_ratio']:.1f}x)" for name, r in results.items()])
    left.invert_yaxis()
    left.set_title("in brackets: seconds of training over the mean field's", fontsize=9, loc="right")
    left.legend(fontsize=8, loc="lower right")
    error = [1.96 * r["nll_minus_mean_field_se"] for r in rows]
    right.errorbar([r["nll_minus_mean_field"] for r in rows], place, xerr=error, fmt="o", color="black")
    right.axvline(0, color="grey", linewidth=0.8)
    right.set_xscale("symlog", linthresh=1)
    low, high = right.get_xlim()
    ticks = [sign * size for sign in (-1, 1) for size in (1, 5, 20, 100)]
    right.set_xticks([0, *(t for t in ticks if low < t < high)], minor=False)
    right.xaxis.set_major_formatter("{x:g}")
    right.xaxis.set_minor_locator(NullLocator())
    right.set_xlabel("NLL less the mean field's (nats per image)\nbars: 95 % of the paired difference")
    return figure


if __name__ == "__main__":
    main()
