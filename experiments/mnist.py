"""How much does a VampPrior improve the test NLL on MNIST? Two priors, everything else equal.

Gated MLP 784-300-300-40 (Tomczak & Welling 2018), dynamic binarization, 50 epochs with a one-cycle learning rate and
10 epochs of KL warm-up, the KL in closed form where there is one. The NLL is importance sampling's, S = 1000 on all
10,000 test images, binarized once. After up to 2,000 epochs with early stopping, Norouzi et al. 2020 report 84.45
(standard normal) and 82.43 (VampPrior) nats.

    python experiments/mnist.py --data-dir DIR --out experiments/results/mnist.json

With `--minutes` each prior is trained for so long instead: four epochs of a copy predict how many epochs fit in nine
tenths of what is left, which is the length of the schedules, and steps are compiled. `--processor` counts seconds of
the processor over `--cores` in the place of the clock, for a machine that other programs use. The seconds that the
trial, the compilation and the training took are in the results.

    python experiments/mnist.py --minutes 10 --data-dir DIR --out experiments/results/mnist.json
"""

import argparse
import copy
import json
import time
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
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
    parser.add_argument("--minutes", type=float, help="train each prior for so long, in the place of --epochs")
    parser.add_argument("--processor", action="store_true", help="count minutes of the processor over --cores")
    parser.add_argument("--cores", type=int, default=2, help="cores that --processor stands for")
    parser.add_argument("--warm-up", type=int, help="epochs of KL warm-up (a fifth of all)")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--peak", type=float, default=3e-3, help="highest learning rate")
    parser.add_argument("--precision", choices=["bf16"], help="of matrix products while training (float32)")
    parser.add_argument("--priors", nargs="+", choices=list(PUBLISHED), default=list(PUBLISHED))
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
    done = {name: train_and_evaluate(name, priors[name], data, args) for name in args.priors}
    results = {name: result for name, (result, _) in done.items()}
    table = ppl_vae.compare(results)
    print(printed(table))
    found = {
        "command": results_file.command(__file__, argv),
        "runs": json.loads(table.to_json(orient="index")),
        "training": {name: spent.said() for name, (_, spent) in done.items()},
        "units": table.attrs["units"],
        "warning": table.attrs["warning"],
        "vamp_minus_standard": difference(results),
        "published_nats": PUBLISHED,
        "data": {k: next(iter(results.values())).data[k] for k in ("checksum", "provenance")},
        "versions": results_file.versions(),
    }
    results_file.write(found, args.out)
    return found


def difference(results: dict[str, ppl_vae.Evaluation]) -> dict[str, float] | None:
    """How much the NLL falls from one prior to the other, in nats, with its standard error over images."""
    if len(results) < 2:
        return None
    gained = (results["StandardNormal"].per_datum.log_px - results["VampPrior"].per_datum.log_px).to_numpy()
    gain, error = gained.mean(), gained.std(ddof=1) / len(gained) ** 0.5
    print(f"VampPrior - StandardNormal: {gain:.3f} ± {error:.3f} nats, {gain / error:.1f} standard errors")
    return {"nats": gain, "se": error}


def annotated(path: Path) -> dict:
    """What a result file says, with what follows from its shares of unreliable data; no run is needed."""
    found = json.loads(path.read_text())
    for run in found["runs"].values():
        run["caution"] = caution(run["unreliable"])
    found["units"] = {name: unit for name, unit in UNITS.items() if name in next(iter(found["runs"].values()))}
    found["warning"] = warning({name: run["caution"] for name, run in found["runs"].items()})
    results_file.write(found, path)
    return found


@dataclass
class Spent:
    """Epochs of a training, and its seconds: by the clock, and of the processor."""

    epochs: int
    threads: int
    clock: float
    processor: float

    def said(self) -> dict[str, float]:
        seconds = {"seconds": round(self.clock, 1), "seconds of the processor": round(self.processor, 1)}
        return {"epochs": self.epochs, "threads": self.threads, **seconds}


def train_and_evaluate(name: str, prior, data, args: argparse.Namespace) -> tuple[ppl_vae.Evaluation, Spent]:
    torch.manual_seed(args.seed)
    vae = ppl_vae.build(data, latent_dim=40, prior=prior, encoder=GatedMLP, decoder=GatedMLP)
    run = args.runs / name if args.runs else None
    clock, processor = time.perf_counter(), time.process_time()
    epochs = args.epochs if args.minutes is None else planned(vae, data, args, run)
    fitted = fit(vae, data, epochs, args, run=run, resume=run is not None)
    spent = Spent(epochs, torch.get_num_threads(), time.perf_counter() - clock, time.process_time() - processor)
    trained = time.perf_counter()
    result = ppl_vae.evaluate(vae, data.test, num_samples=args.num_samples, seed=args.seed, compile="auto")
    print(fitted, result, sep="\n")
    print(f"  trained in {spent.clock:.0f} s, evaluated in {time.perf_counter() - trained:.0f} s", flush=True)
    return result, spent


def planned(vae, data, args: argparse.Namespace, run: Path | None) -> int:
    """How many epochs fit into `--minutes`, by the last two of four of a copy; a run that is resumed has a plan."""
    plan = None if run is None else run.with_suffix(".epochs")
    if plan is not None and plan.exists():
        return int(plan.read_text())

    def now() -> float:
        return time.process_time() / args.cores if args.processor else time.perf_counter()

    marks = [now()]
    trial = argparse.Namespace(**{**vars(args), "warm_up": 1})
    fit(copy.deepcopy(vae), data, 4, trial, callbacks=[lambda _: marks.append(now())])
    first, second, *others = (after - before for before, after in pairwise(marks))
    epoch = max(others)
    # the first compiles the step of a warm-up, the second that at a constant beta; so does the training
    left = 60 * args.minutes - (first + second + sum(others)) - (first + second - 2 * epoch)
    epochs = max(1, int(0.9 * left / epoch))  # an epoch may take longer than those of the trial
    print(f"{epoch:.2f} s an epoch: {epochs} epochs in {args.minutes:g} minutes", flush=True)
    if plan is not None:
        plan.parent.mkdir(parents=True, exist_ok=True)
        plan.write_text(str(epochs))
    return epochs


def fit(vae, data, epochs: int, args: argparse.Namespace, **more) -> ppl_vae.Fit:
    warm_up = max(1, epochs // 5) if args.warm_up is None else args.warm_up
    return ppl_vae.fit(
        vae,
        data,
        epochs=epochs,
        batch_size=args.batch_size,
        objective=ppl_vae.objectives.TraceMeanField_ELBO,
        beta=ppl_vae.objectives.Linear(epochs=warm_up),
        schedule=ppl_vae.OneCycle(peak=args.peak),
        seed=args.seed,
        device=args.device,
        compile=None if args.minutes is None else True,
        precision=args.precision,
        checkpoint_every=max(1, epochs // 20),
        **more,
    )


if __name__ == "__main__":
    main()
