"""How much does a VampPrior improve the test NLL on MNIST? Two priors, everything else equal.

Gated MLP 784-300-300-40 (Tomczak & Welling 2018), dynamic binarization, 50 epochs with a one-cycle learning rate and
10 epochs of KL warm-up, the KL in closed form where there is one. The NLL is importance sampling's, S = 1000 on all
10,000 test images, binarized once. After up to 2,000 epochs with early stopping, Norouzi et al. 2020 report 84.45
(standard normal) and 82.43 (VampPrior) nats.

    python experiments/mnist.py --data-dir DIR --out experiments/results/mnist.json
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path

import results_file
import torch

import ppl_vae
from ppl_vae import Bernoulli, GatedMLP, StandardNormal, VampPrior
from ppl_vae.evaluation.compare import UNITS, caution, printed, warning

PUBLISHED = {"StandardNormal": 84.45, "VampPrior": 82.43}


def main(argv: list[str] | None = None) -> dict:
    parser = results_file.parser_of(__doc__)
    parser.add_argument("--data", default="mnist", help="data set (mnist)")
    parser.add_argument("--data-dir", help="folder of the data sets ($PPL_VAE_DATA)")
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--num-components", type=int, default=500, help="pseudo-inputs of the VampPrior")
    parser.add_argument("--num-samples", type=int, default=1000, help="draws per image of the NLL")
    parser.add_argument("--take", type=int, help="use only so many data of each split")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, help="keep the run folders here, and resume them")
    results_file.add_outputs(parser)
    parser.add_argument("--annotate", action="store_true", help="only add cautions and units to what --out holds")
    args = parser.parse_args(argv)
    if args.annotate:
        return annotated(args.out)

    data = ppl_vae.data.load(args.data, data_dir=args.data_dir, likelihood=Bernoulli)
    if args.take:
        data = data.take(train=args.take, validation=args.take, test=args.take)
    priors = {
        "StandardNormal": StandardNormal,
        "VampPrior": partial(VampPrior, num_components=args.num_components),
    }
    results = {name: train_and_evaluate(name, prior, data, args) for name, prior in priors.items()}
    table = ppl_vae.compare(results)
    print(printed(table))
    difference = (results["StandardNormal"].per_datum.log_px - results["VampPrior"].per_datum.log_px).to_numpy()
    gain, error = difference.mean(), difference.std(ddof=1) / len(difference) ** 0.5
    print(f"VampPrior - StandardNormal: {gain:.3f} ± {error:.3f} nats, {gain / error:.1f} standard errors")
    found = {
        "command": results_file.command(__file__, argv),
        "runs": json.loads(table.to_json(orient="index")),
        "units": table.attrs["units"],
        "warning": table.attrs["warning"],
        "vamp_minus_standard": {"nats": gain, "se": error},
        "published_nats": PUBLISHED,
        "data": {k: results["VampPrior"].data[k] for k in ("checksum", "provenance")},
        "versions": results_file.versions(),
    }
    results_file.write(found, args.out)
    return found


def annotated(path: Path) -> dict:
    """What a result file says, with what follows from its shares of unreliable data; no run is needed."""
    found = json.loads(path.read_text())
    for run in found["runs"].values():
        run["caution"] = caution(run["unreliable"])
    found["units"] = {name: unit for name, unit in UNITS.items() if name in next(iter(found["runs"].values()))}
    found["warning"] = warning({name: run["caution"] for name, run in found["runs"].items()})
    results_file.write(found, path)
    return found


def train_and_evaluate(name: str, prior, data, args: argparse.Namespace) -> ppl_vae.Evaluation:
    torch.manual_seed(args.seed)
    vae = ppl_vae.build(data, latent_dim=40, prior=prior, encoder=GatedMLP, decoder=GatedMLP)
    start = time.perf_counter()
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
        run=args.runs / name if args.runs else None,
        resume=bool(args.runs),
    )
    trained = time.perf_counter()
    result = ppl_vae.evaluate(vae, data.test, num_samples=args.num_samples, seed=args.seed)
    print(fitted, result, sep="\n")
    print(f"  trained in {trained - start:.0f} s, evaluated in {time.perf_counter() - trained:.0f} s", flush=True)
    return result


if __name__ == "__main__":
    main()
