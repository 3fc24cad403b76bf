"""How far off is an NLL from plain importance sampling, and what does a log p(x) to believe cost?

Gated MLP 784-300-300-40 with a standard normal prior on dynamically binarized MNIST, test images binarized once. Plain
importance sampling with S = 100, 1,000 and 5,000 draws from q beside `evaluate(method="adaptive")` with S = 1,000, on
the same images. Reported, each in nats per image: the NLL; how much higher it is than the adaptive one, with the
standard error of the paired difference; the share of images whose k-hat is good or whose number is believed; seconds
on the CPU, and evaluations of log p(x, z). A gradient counts as three evaluations.

    python experiments/believable.py --data-dir DIR --run run --figure believable.png --out believable.json
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import results_file
import torch
from matplotlib.figure import Figure

import ppl_vae
from ppl_vae import Bernoulli, GatedMLP, StandardNormal


def main(argv: list[str] | None = None) -> dict:
    parser = results_file.parser_of(__doc__)
    parser.add_argument("--data", default="mnist", help="data set (mnist)")
    parser.add_argument("--data-dir", help="folder of the data sets ($PPL_VAE_DATA)")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--train", type=int, default=20_000, help="training images")
    parser.add_argument("--validation", type=int, default=1000, help="validation images")
    parser.add_argument("--take", type=int, default=500, help="test images")
    parser.add_argument("--num-samples", type=int, nargs="+", default=[100, 1000, 5000], help="draws of plain sampling")
    parser.add_argument("--adaptive-samples", type=int, default=1000, help="fresh draws of the adaptive estimate")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", type=Path, help="keep the run folder here, and resume it")
    results_file.add_outputs(parser, figure="figure")
    args = parser.parse_args(argv)

    data = ppl_vae.data.load(args.data, data_dir=args.data_dir, likelihood=Bernoulli).take(
        train=args.train, validation=args.validation
    )
    vae, test = trained(data, args), data.test[: args.take]
    plain = {f"importance, S = {num:,}": timed(vae, test, args, num, "importance") for num in args.num_samples}
    name = f"adaptive, S = {args.adaptive_samples:,}"
    results = {**plain, name: timed(vae, test, args, args.adaptive_samples, "adaptive")}
    found = {
        "command": results_file.command(__file__, argv),
        "units": {"nll": "nats per image", "too_high": "nats per image", "seconds": "s of all images, on the CPU"},
        "images": len(test),
        "training": {"images": len(data.train), "epochs": args.epochs},
        "results": {key: row(result, seconds, results[name][0]) for key, (result, seconds) in results.items()},
        "adaptive": results[name][0].methods,
        "notes": results[name][0].adaptation["notes"],
        "data": {k: results[name][0].data[k] for k in ("checksum", "provenance")},
        "versions": results_file.versions(),
        "threads": torch.get_num_threads(),
    }
    print(results[name][0], json.dumps(found["results"], indent=1), sep="\n")
    if args.figure:
        results_file.draw(drawn(results, name), args.figure, dpi=100)
    results_file.write(found, args.out)
    return found


def trained(data: ppl_vae.data.Data, args: argparse.Namespace) -> ppl_vae.VAE:
    vae = ppl_vae.build(data, latent_dim=40, prior=StandardNormal, encoder=GatedMLP, decoder=GatedMLP, seed=args.seed)
    fitted = ppl_vae.fit(
        vae,
        data,
        epochs=args.epochs,
        batch_size=100,
        objective=ppl_vae.objectives.TraceMeanField_ELBO,
        beta=ppl_vae.objectives.Linear(epochs=max(1, args.epochs // 5)),
        schedule=ppl_vae.OneCycle(peak=3e-3),
        seed=args.seed,
        device=args.device,
        run=args.run,
        resume=bool(args.run),
    )
    print(fitted, flush=True)
    return vae


def timed(
    vae: ppl_vae.VAE, test: ppl_vae.data.Split, args: argparse.Namespace, num_samples: int, method: str
) -> tuple[ppl_vae.Evaluation, float]:
    """An evaluation, and its seconds on the CPU, which other jobs of the machine do not change."""
    start = time.process_time()
    result = ppl_vae.evaluate(vae, test, method=method, num_samples=num_samples, seed=args.seed)
    seconds = time.process_time() - start
    print(f"{method}, S = {num_samples}: {seconds:.0f} s", flush=True)
    return result, seconds


def row(result: ppl_vae.Evaluation, seconds: float, best: ppl_vae.Evaluation) -> dict:
    difference = (best.per_datum.log_px - result.per_datum.log_px).to_numpy()
    table = result.per_datum
    return {
        "nll": float(-table.log_px.mean()),
        "nll_se": float(result.summary.loc["nll", "se"]),
        "too_high": float(difference.mean()),
        "too_high_se": float(difference.std(ddof=1) / len(difference) ** 0.5),
        "believed": 1 - result.unreliable,
        "ess": float(table.ess.median()),
        "seconds": seconds,
        "evaluations": float(table.evaluations.mean()) if "evaluations" in table else result.num_samples,
    }


def drawn(results: dict, best: str) -> Figure:
    """How much too low each image's plain log p(x) is, by k-hat; and the NLL of each method."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for key, (result, _) in results.items():
        if key != best:
            lower = results[best][0].per_datum.log_px - result.per_datum.log_px
            left.scatter(result.per_datum.pareto_k, lower, s=6, alpha=0.6, label=key)
    left.axhline(0, color="black", linewidth=0.8)
    left.set_xlabel("k-hat of plain importance sampling")
    left.set_ylabel("log p(x): adaptive - plain (nats)")
    left.legend(fontsize=8)
    names = list(results)
    nll = np.array([-results[key][0].per_datum.log_px.mean() for key in names])
    differences = [(results[best][0].per_datum.log_px - results[key][0].per_datum.log_px) for key in names]
    errors = [1.96 * d.std(ddof=1) / len(d) ** 0.5 for d in differences]
    right.errorbar(nll, range(len(names)), xerr=errors, fmt="o", color="black")
    right.set_yticks(range(len(names)), names)
    right.set_xlabel("NLL (nats per image); bars: 95 % of\nthe difference from the adaptive one")
    return figure


if __name__ == "__main__":
    main()
