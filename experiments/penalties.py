"""What do objectives buy whose value is no bound: InfoVAE, a KL that is held, and the penalties of autoencoders?

Digits, binarized at a threshold; MLPs 64-200-8, 300 epochs. Three groups, the first of each the baseline:

* normal q: the ELBO; `InfoVAE`, whose MMD draws the aggregated posterior q(z) to the prior while half of the KL is left
  out; and `Capacity`, which holds the KL at a number of nats, from the start and with a warm-up of half the epochs.
  Beside ELBO, reconstruction and NLL (1,000 draws from q) are the mutual information of z and the datum, of the
  training data, and how far q(z) is from the prior: the squared MMD, and KL(q(z_j) || p(z_j)) summed over the units.
* autoencoders (`Point`): reconstruction alone; `Contractive`; and `InfoVAE` without a KL, a Wasserstein autoencoder.
  Of the codes: the squared Jacobian; how far they move, in units of their variance, where 5 % of the pixels are
  flipped; the accuracy of ten nearest neighbours then; and the squared MMD from a standard normal.
* codes in four groups (`VectorQuantized`): the ELBO; `Commitment`. With the perplexity, and the squared distance of
  encodings from their codes.

Means over the seeds and their standard errors; differences from the baseline are paired by seed.

    python experiments/penalties.py --out experiments/results/penalties.json
"""

import argparse
import json
import time
from functools import partial
from typing import Any

import pandas as pd
import pyro
import results_file
import torch
from pyro.infer import Trace_ELBO
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

import ppl_vae
from ppl_vae import MLP, CodePrior, DiagonalNormal, Flat, Point, StandardNormal, VectorQuantized, diagnostics
from ppl_vae.objectives import Capacity, Commitment, Contractive, InfoVAE, Linear
from ppl_vae.objectives.mmd import squared_mmd

UNITS = {
    **dict.fromkeys(("elbo", "reconstruction", "kl", "nll", "mutual_information", "kl_of_units"), "nats per datum"),
    "squared_jacobian": "squared units of z for each of x, a datum",
    "moved": "mean squared move over the variance of the codes",
    "accuracy, clean": "share",
    "accuracy, 5 % flipped": "share",
    "squared_mmd": "at most 14, mean 0 where the distributions are equal",
    "perplexity": "codes",
    "squared_distance": "squared units of z, a datum",
    "cpu_seconds": "s of CPU of the training",
    "best_epoch": "epoch whose weights were kept, by the ELBO of validation data",
}


def groups(nats: float, epochs: int) -> dict[str, dict[str, dict[str, Any]]]:
    """The prior and the posterior of each group, and the arguments of `fit` of each objective."""
    normal = {"prior": StandardNormal, "posterior": DiagonalNormal}
    flat = {"prior": Flat, "posterior": Point}
    codes = {"prior": CodePrior, "posterior": partial(VectorQuantized, groups=4)}
    return {
        "normal q": {
            "ELBO": normal,
            "InfoVAE, alpha 0.5, weight 10": normal | {"objective": InfoVAE(0.5, 10)},
            "InfoVAE, alpha 0.5, weight 100": normal | {"objective": InfoVAE(0.5)},
            f"Capacity, {nats:g} nats": normal | {"objective": Capacity(nats)},
            f"Capacity, {nats:g} nats, warm-up": normal | {"objective": Capacity(nats), "beta": Linear(epochs / 2)},
        },
        "autoencoders": {
            "reconstruction": flat,
            "Contractive": flat | {"objective": Contractive(0.1)},
            "InfoVAE, alpha 1": flat | {"prior": StandardNormal, "objective": InfoVAE(1)},
        },
        "codes": {"ELBO": codes, "Commitment": codes | {"objective": Commitment()}},
    }


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = results_file.parser_of(__doc__)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--train", type=int, help="training images (all)")
    parser.add_argument("--latent-dim", type=int, default=8)
    parser.add_argument("--hidden-dim", type=int, default=200, help="width of the layer of each network")
    parser.add_argument("--nats", type=float, default=10, help="at which the KL is held")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    results_file.add_outputs(parser)
    args = parser.parse_args(argv)

    data = ppl_vae.data.load("digits").binarize("threshold")
    data = data.take(train=args.train) if args.train else data
    found: dict[str, Any] = {}
    for group, cases in groups(args.nats, args.epochs).items():
        rows = {
            name: pd.DataFrame([run(group, case, seed, data, args) for seed in args.seeds])
            for name, case in cases.items()
        }
        baseline = next(iter(rows.values()))
        found[group] = {name: summary(table, baseline) for name, table in rows.items()}
        print(group, json.dumps(found[group], indent=1), sep="\n", flush=True)
    result = {
        "command": results_file.command(__file__, argv),
        "units": UNITS,
        "seeds": args.seeds,
        "results": found,
        "data": {"identity": data.test.identity, "provenance": data.test.provenance},
        "versions": results_file.versions(),
    }
    results_file.write(result, args.out)
    return result


def summary(rows: pd.DataFrame, baseline: pd.DataFrame) -> dict[str, dict[str, list[float]]]:
    """Mean over the seeds and its standard error, of each number and of its difference from the baseline's."""
    parts = {"mean": rows, "less_baseline": rows - baseline}
    return {part: {name: [t[name].mean(), t[name].sem()] for name in t} for part, t in parts.items()}


def run(
    group: str, case: dict[str, Any], seed: int, data: ppl_vae.data.Data, args: argparse.Namespace
) -> dict[str, float]:
    """A training, and what was found of it."""
    net, start = partial(MLP, hidden_dims=[args.hidden_dim]), time.process_time()
    parts = {name: case[name] for name in ("prior", "posterior")}
    vae = ppl_vae.build(data, latent_dim=args.latent_dim, encoder=net, decoder=net, seed=seed, **parts)
    how = {name: case[name] for name in ("objective", "beta") if name in case}
    fit = ppl_vae.fit(vae, data, **{"objective": Trace_ELBO(), **how}, epochs=args.epochs, seed=seed, progress=False)
    seconds = time.process_time() - start
    means = ppl_vae.evaluate(vae, data.test, num_samples=1000, seed=seed, progress=False).summary["mean"]
    row = {"reconstruction": means["reconstruction"], "cpu_seconds": seconds, "best_epoch": fit.best_epoch}
    if group == "autoencoders":
        return row | of_codes(vae, data, seed)
    row |= {"elbo": means["elbo"], "kl": means["kl_z"]}
    if group == "codes":
        perplexity = fit.history.filter(like="perplexity_").loc[fit.best_epoch].item()
        return row | {"perplexity": perplexity, "squared_distance": distance(vae, data.test.x)}
    parted = diagnostics.aggregated_posterior(vae, data.train, seed=seed, num_permutations=10, progress=False)
    torch.manual_seed(seed)
    with torch.no_grad():
        z = vae.encode(data.test.x).sample()
    return row | {
        "nll": means["nll"],
        "mutual_information": parted["mutual_information"].item(),
        "kl_of_units": parted["dimwise_kl"].sum().item(),
        "squared_mmd": from_normal(z),
    }


def from_normal(z: Tensor) -> float:
    """Squared MMD of draws from those of a standard normal."""
    return float(squared_mmd(z, torch.randn(10 * len(z), z.shape[1]), 2.0 * z.shape[1]))


def distance(vae: ppl_vae.VAE, x: Tensor) -> float:
    """Mean squared distance of the encodings from their codes: what a weight of 1 adds to the loss."""
    with torch.no_grad(), pyro.get_param_store().scope():
        losses = [Commitment(weight).loss(vae.model, vae.guide, x) for weight in (1.0, 0.0)]
    return float(losses[0] - losses[1]) / len(x)


def of_codes(vae: ppl_vae.VAE, data: ppl_vae.data.Data, seed: int) -> dict[str, float]:
    """How much the codes of an autoencoder move with x, and how they are distributed."""
    torch.manual_seed(seed)
    x = data.test.x
    turned = torch.where(torch.rand(x.shape) < 0.05, 1 - x, x)
    jacobian = torch.autograd.functional.jacobian(lambda x: vae.encode(x).mean.sum(0), x)
    with torch.no_grad():
        known, clean, noisy = (vae.encode(each).mean for each in (data.train.x, x, turned))
    neighbours = KNeighborsClassifier(10).fit(known, data.train.y)
    return {
        "squared_jacobian": jacobian.square().sum().item() / len(x),
        "moved": ((noisy - clean).square().sum() / (clean - clean.mean(0)).square().sum()).item(),
        "accuracy, clean": neighbours.score(clean, data.test.y),
        "accuracy, 5 % flipped": neighbours.score(noisy, data.test.y),
        "squared_mmd": from_normal(clean),
    }


if __name__ == "__main__":
    main()
