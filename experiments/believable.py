"""How far off is an NLL from plain importance sampling, and what does a log p(x) to believe cost?

Gated MLP 784-300-300-40 on dynamically binarized MNIST, test images binarized once, with a standard normal prior and a
mean field; and with one of these changed: a VampPrior, a `FlowPrior`, a posterior that is an `IAF` or a
`FullRankNormal`, or a second level of latents above. Other data sets are trained alike. Plain importance sampling with
S = 100, 1,000 and 5,000 draws from q beside `evaluate(method="adaptive")` with S = 1,000, on the same images. Reported,
each in nats per image: the NLL; how much higher it is than the adaptive one, with the standard error of the paired
difference; the share of images whose k-hat is good or whose number is believed; seconds on the CPU, and evaluations of
log p(x, z). A gradient counts as three evaluations.

Trained models and the numbers of each 100 images are kept in `--work`, so that the command goes on where it was
stopped, and several processes may each take one model first.

    python experiments/believable.py --data-dir DIR --work work --figure believable.png --out believable.json
"""

import argparse
import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import results_file
import torch
from matplotlib.figure import Figure

import ppl_vae
from ppl_vae import (
    IAF,
    Bernoulli,
    DiscretizedLogistic,
    FlowPrior,
    FullRankNormal,
    GatedMLP,
    Gaussian,
    VampPrior,
)

PART = 100  # images whose numbers are kept together
SHOWN = 500  # images in the figure, at most
MANY = 1000  # draws above which `--few` images are enough
MODELS: dict[str, dict] = {
    "StandardNormal": {},
    "VampPrior": {"prior": VampPrior},
    "FlowPrior": {"prior": FlowPrior},
    "IAF": {"posterior": IAF},
    "FullRankNormal": {"posterior": FullRankNormal},
    "two levels": {"latent_dim": [10, 40]},
}
RATES = {"FullRankNormal": 1e-3}  # highest learning rates of those whose training diverges at `--peak`
LIKELIHOODS = {each.__name__: each for each in (Bernoulli, DiscretizedLogistic, Gaussian)}


def main(argv: list[str] | None = None) -> dict:
    parser = results_file.parser_of(__doc__)
    parser.add_argument("--data", default="mnist", help="data set (mnist)")
    parser.add_argument("--data-dir", help="folder of the data sets ($PPL_VAE_DATA)")
    parser.add_argument("--likelihood", default="Bernoulli", choices=LIKELIHOODS)
    parser.add_argument("--models", nargs="+", default=["StandardNormal", "VampPrior"], choices=MODELS)
    parser.add_argument("--latent-dim", type=int, default=40, help="of all but the two levels, of 10 and 40")
    parser.add_argument("--hidden-dim", type=int, help="width of the two gated layers of each network (300)")
    parser.add_argument("--num-components", type=int, default=500, help="pseudo-inputs of the VampPrior")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--peak", type=float, default=3e-3, help="highest learning rate")
    parser.add_argument("--train", type=int, default=50_000, help="training images, at most")
    parser.add_argument("--validation", type=int, default=1000, help="validation images")
    parser.add_argument("--take", type=int, default=10_000, help="test images")
    parser.add_argument("--few", type=int, default=1000, help="test images of plain sampling with over 1,000 draws")
    parser.add_argument("--num-samples", type=int, nargs="+", default=[100, 1000, 5000], help="draws of plain sampling")
    parser.add_argument("--adaptive-samples", type=int, default=1000, help="fresh draws of the adaptive estimate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, required=True, help="keep models and numbers here, and go on with them")
    results_file.add_outputs(parser, figure="figure")
    args = parser.parse_args(argv)

    likelihood = LIKELIHOODS[args.likelihood]
    data = ppl_vae.data.load(args.data, data_dir=args.data_dir, likelihood=likelihood)
    data = data.take(train=min(args.train, len(data.train)), validation=min(args.validation, len(data.validation)))
    tables = {name: of_model(name, data, args) for name in args.models}
    found = {
        "command": results_file.command(__file__, argv),
        "units": {
            "nll": "nats per image",
            "too_high": "nats per image",
            "seconds": "s an image, on the CPU",
            "evaluations": "of log p(x, z), an image",
        },
        "training": {"images": len(data.train), "epochs": args.epochs},
        "results": {
            name: {key: row(table, best(each)) for key, table in each.items()} for name, each in tables.items()
        },
        "methods": {name: best(each).method.value_counts().to_dict() for name, each in tables.items()},
        "less_first": differences(tables),
        "data": {"name": args.data, "likelihood": args.likelihood, "test": data.test.checksum},
        "versions": results_file.versions(),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(found, indent=1))
    if args.figure:
        results_file.draw(drawn(tables), args.figure, dpi=100)
    results_file.write(found, args.out)
    return found


def of_model(name: str, data: ppl_vae.data.Data, args: argparse.Namespace) -> dict[str, pd.DataFrame]:
    """The numbers of each image by each method, the adaptive one last."""
    vae, test = trained(name, data, args), data.test[: args.take]
    tables = {
        f"importance, S = {num:,}": pd.concat(
            numbers(vae, name, test[: args.few] if num > MANY else test, "importance", num, args)
        )
        for num in args.num_samples
    }
    num = args.adaptive_samples
    return {**tables, f"adaptive, S = {num:,}": pd.concat(numbers(vae, name, test, "adaptive", num, args))}


def trained(name: str, data: ppl_vae.data.Data, args: argparse.Namespace) -> ppl_vae.VAE:
    net = partial(GatedMLP, hidden_dims=[args.hidden_dim] * 2) if args.hidden_dim else GatedMLP
    changed = dict(MODELS[name])
    if name == "VampPrior":
        changed["prior"] = partial(VampPrior, num_components=args.num_components)
    given = {"latent_dim": args.latent_dim, "likelihood": LIKELIHOODS[args.likelihood]} | changed
    vae = ppl_vae.build(data, encoder=net, decoder=net, seed=args.seed, **given)
    fitted = ppl_vae.fit(
        vae,
        data,
        epochs=args.epochs,
        batch_size=100,
        objective=ppl_vae.objectives.TraceMeanField_ELBO,
        beta=ppl_vae.objectives.Linear(epochs=max(1, args.epochs // 5)),
        schedule=ppl_vae.OneCycle(peak=RATES.get(name, args.peak)),
        seed=args.seed,
        run=args.work / file_name(name),
        resume=True,
    )
    print(fitted, flush=True)
    return vae


def file_name(name: str) -> str:
    return name.replace(" ", "_")


def numbers(
    vae: ppl_vae.VAE, name: str, test: ppl_vae.data.Split, method: str, num_samples: int, args: argparse.Namespace
) -> Iterator[pd.DataFrame]:
    """`Evaluation.per_datum` of each part, with the seconds on the CPU, which other jobs do not change."""
    for number, start in enumerate(range(0, len(test), PART)):
        some = test[start : start + PART]
        kept = args.work / f"{file_name(name)}_{method}_{num_samples}_{start}_{len(some)}.pkl"
        if not kept.exists():
            begun = time.process_time()
            result = ppl_vae.evaluate(vae, some, method=method, num_samples=num_samples, seed=args.seed + number)
            seconds = (time.process_time() - begun) / len(some)
            good = result.per_datum.pareto_k <= ppl_vae.diagnostics.good_k(num_samples)
            defaults = {"method": method, "believed": good, "evaluations": num_samples, "seconds": seconds}
            table = result.per_datum.assign(**{k: v for k, v in defaults.items() if k not in result.per_datum})
            print(f"{name}, {method}, S = {num_samples}, images from {start}: {seconds * len(some):.0f} s", flush=True)
            for said in (result.adaptation or {}).get("notes", []):
                print(f"  {said}")
            table.to_pickle(kept)
        yield pd.read_pickle(kept)


def best(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    *_, last = tables.values()
    return last


def row(table: pd.DataFrame, best: pd.DataFrame) -> dict:
    nll, too_high = -table.log_px, best.log_px[table.index] - table.log_px
    return {
        "images": len(table),
        "nll": nll.mean(),
        "nll_se": standard_error(nll),
        "bits_per_dim": table.bits_per_dim.mean() if "bits_per_dim" in table else None,  # of grey levels and binary x
        "too_high": too_high.mean(),
        "too_high_se": standard_error(too_high),
        "believed": table.believed.mean(),
        "ess": table.ess.median(),
        "seconds": table.seconds.mean(),
        "evaluations": float(table.evaluations.mean()),
    }


def standard_error(each: pd.Series) -> float:
    return float(each.std(ddof=1) / len(each) ** 0.5)


def differences(tables: dict[str, dict[str, pd.DataFrame]]) -> dict:
    """By model and each method, its NLL less that of the first model, of the same images."""
    first, *others = tables

    def difference(name: str, key: str) -> dict[str, float]:
        each = tables[first][key].log_px - tables[name][key].log_px
        return {"nats": each.mean(), "se": standard_error(each)}

    return {name: {key: difference(name, key) for key in tables[first]} for name in others}


def drawn(tables: dict[str, dict[str, pd.DataFrame]]) -> Figure:
    """By model: how much too low each image's plain log p(x) is, by k-hat; and how much too high each NLL is."""
    figure = Figure(figsize=(9, 3.2 * len(tables)), layout="constrained")
    rows = np.atleast_2d(figure.subplots(len(tables), 2, sharex="col"))
    for (name, each), (left, right) in zip(tables.items(), rows, strict=True):
        plain = list(each)[:-1]
        for key in plain:
            few = each[key].iloc[:SHOWN]
            left.scatter(few.pareto_k, best(each).log_px[few.index] - few.log_px, s=5, alpha=0.5, label=key)
        left.axhline(0, color="black", linewidth=0.8)
        left.set_ylabel(f"{name}\nlog p(x): adaptive - plain (nats)")
        found = [row(each[key], best(each)) for key in plain]
        errors = [1.96 * r["too_high_se"] for r in found]
        right.errorbar([r["too_high"] for r in found], range(len(plain)), xerr=errors, fmt="o", color="black")
        right.axvline(0, color="black", linewidth=0.8)
        shares = [f"{key}\nk-hat good for {r['believed']:.0%}" for key, r in zip(plain, found, strict=True)]
        right.set_yticks(range(len(plain)), shares)
        right.set_ylim(-0.5, len(plain) - 0.5)
    rows[0, 0].legend(fontsize=8)
    num = min(SHOWN, *(len(best(each)) for each in tables.values()))
    rows[-1, 0].set_xlabel(f"k-hat of plain importance sampling\n({num} images)")
    rows[-1, 1].set_xlabel("NLL: plain - adaptive\n(nats per image; bars: 95 %)")
    return figure


if __name__ == "__main__":
    main()
