"""What changes with the likelihood, one word of the recipe? Pictures, scores, and which scores compare.

Four VAEs with the same encoder, hidden layers of the decoder, latent dimension, schedule and epochs. `load`
prepares the data for each likelihood: binarized for Bernoulli, dequantized for ContinuousBernoulli,
dequantized and standardized for Gaussian, the grey levels as they are for DiscretizedLogistic. The decoder's
last layer has as many outputs a pixel as the likelihood has parameters: one, but two (location and scale) for
DiscretizedLogistic; the Gaussian learns one scale for all pixels.

Two scores may be compared where `ppl_vae.compare` accepts both: same images, same noise, same base measure.

    python experiments/swap_likelihoods.py --data frey_faces --figure frey_faces.png --out frey_faces.json
"""

import argparse
import itertools
import json
from functools import partial

import pandas as pd
import results_file
import torch
from matplotlib.figure import Figure

import ppl_vae
from ppl_vae import Bernoulli, ContinuousBernoulli, DiscretizedLogistic, Evaluation, GatedMLP, Gaussian, plots
from ppl_vae.evaluation.compare import printed

LIKELIHOODS = (Gaussian, ContinuousBernoulli, DiscretizedLogistic, Bernoulli)
SCORED = {
    "binary": "the binarized image",
    "unit": "the dequantized grey levels",
    "real": "the dequantized grey levels",
    "levels": "the grey levels",
}
BOUND = """\
Densities are per unit of the raw grey levels, so that a density and a mass of grey levels k are linked: a
density p of dequantized images k + u gives them the mass Q(k), its integral over u in [0, 1)^D, and
by Jensen's inequality E[log p(k + u)] <= log Q(k) for uniform u. The bits/dim of a density are therefore, on
average over the noise, an upper bound on the bits/dim of its own Q (Theis et al. 2016, arXiv:1511.01844), and
not on those of another model. If they are below the exact bits/dim of another model of the grey levels, then
Q is the better model of these; if they are above, nothing follows. Bits/dim of binarized images are about
other data, and nothing follows from them either way.

Every NLL here is importance sampling's, on average an upper bound itself, and perhaps a loose one where k-hat
is too high for many images: it says how good a model is at least, not how good it is."""


def main(argv: list[str] | None = None) -> dict:
    parser = results_file.parser_of(__doc__)
    parser.add_argument("--data", default="digits", choices=("digits", "mnist", "frey_faces"))
    parser.add_argument("--data-dir", help="folder of the data sets ($PPL_VAE_DATA)")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--latent-dim", type=int, default=10)
    parser.add_argument("--hidden-dim", type=int, default=200, help="width of the two gated layers of each network")
    parser.add_argument("--num-samples", type=int, default=1000, help="draws per image of the NLL")
    parser.add_argument("--take", type=int, help="use only so many data of each split")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    results_file.add_outputs(parser, figure="pictures")
    args = parser.parse_args(argv)

    runs = {likelihood.__name__: train_and_evaluate(likelihood, args) for likelihood in LIKELIHOODS}
    results = {name: result for name, (_, _, result) in runs.items()}
    table = pd.DataFrame({name: row(*run) for name, run in runs.items()}).T
    groups, refusals = comparable(results)
    print("", table.to_string(), sep="\n")
    for group in groups:
        print(f"\nMay be compared, {scored(*runs[group.index[0]][1:])}:")
        print(printed(group))
    print("\nMay not be compared, and why:")
    print(*(f"  {a} with {b}: {why}" for (a, b), why in refusals.items()), sep="\n")
    print(f"\n{BOUND}")
    found = {
        "command": results_file.command(__file__, argv),
        "runs": json.loads(table.to_json(orient="index")),
        "comparable": [json.loads(group.to_json(orient="index")) for group in groups],
        "refused": [{"runs": pair, "because": why} for pair, why in refusals.items()],
        "data": {name: {k: result.data[k] for k in ("checksum", "provenance")} for name, result in results.items()},
        "versions": results_file.versions(),
    }
    if args.figure:
        results_file.draw(pictures(runs, args.seed), args.figure, dpi=80)
    results_file.write(found, args.out)
    return found


def train_and_evaluate(likelihood, args: argparse.Namespace) -> tuple[ppl_vae.VAE, ppl_vae.data.Data, Evaluation]:
    data = ppl_vae.data.load(args.data, data_dir=args.data_dir, likelihood=likelihood)
    if args.take:
        data = data.take(train=args.take, validation=args.take, test=args.take)
    torch.manual_seed(args.seed)
    net = partial(GatedMLP, hidden_dims=(args.hidden_dim, args.hidden_dim))
    vae = ppl_vae.build(data, latent_dim=args.latent_dim, likelihood=likelihood, encoder=net, decoder=net)
    fitted = ppl_vae.fit(
        vae,
        data,
        epochs=args.epochs,
        batch_size=100,
        beta=ppl_vae.objectives.Linear(epochs=max(1, args.epochs // 10)),
        schedule=ppl_vae.OneCycle(peak=2e-3),
        seed=args.seed,
        device=args.device,
    )
    result = ppl_vae.evaluate(vae, data.test, num_samples=args.num_samples, seed=args.seed)
    print(fitted, result, sep="\n", flush=True)
    return vae, data, result


def row(vae: ppl_vae.VAE, data: ppl_vae.data.Data, result: Evaluation) -> dict[str, str | float]:
    mean, se = result.summary["mean"], result.summary["se"]
    return {
        "scores": scored(data, result),
        "nll (nats/datum)": round(mean["nll"], 3),
        "± (nats)": round(se["nll"], 3),
        "bits/dim": round(mean["bits_per_dim"], 4),
        "± (bits)": round(se["bits_per_dim"], 4),
        "k-hat too high": round(result.unreliable, 3),
        "active units": sum(result.active_units.values()),
        "parameters": sum(p.numel() for p in vae.parameters()),
    }


def scored(data: ppl_vae.data.Data, result: Evaluation) -> str:
    return f"{result.base_measure} of {SCORED[data.domain.kind]}"


def comparable(results: dict[str, Evaluation]) -> tuple[list[pd.DataFrame], dict[tuple[str, str], str]]:
    """Tables of the results that `compare` accepts together, and why it refuses the other pairs."""
    groups: list[dict[str, Evaluation]] = []
    refusals = {}
    for pair in itertools.combinations(results, 2):
        try:
            ppl_vae.compare({name: results[name] for name in pair})
        except ValueError as error:
            refusals[pair] = str(error)
    for name, result in results.items():
        home = next((g for g in groups if not any({name, other} <= set(p) for other in g for p in refusals)), None)
        if home is None:
            groups.append({name: result})
        else:
            home[name] = result
    return [ppl_vae.compare(group) for group in groups], refusals


def pictures(runs: dict[str, tuple[ppl_vae.VAE, ppl_vae.data.Data, Evaluation]], seed: int, n: int = 8) -> Figure:
    """A row for each likelihood: data over reconstructions, means of samples, samples with their noise."""
    height, width = next(data.x_shape[-2:] for _, data, _ in runs.values())
    figure = Figure(figsize=(14, len(runs) * (0.7 + 2 * 4.1 / n * height / width)), layout="constrained")
    figure.get_layout_engine().set(wspace=0.04)
    for rows, (name, (vae, data, result)) in zip(figure.subfigures(len(runs), 1), runs.items(), strict=True):
        (mean, se), (bits, bits_se) = (result.summary.loc[key] for key in ("nll", "bits_per_dim"))
        grey = {"vmin": 0, "vmax": 1 if data.domain.kind == "binary" else data.domain.levels}
        x = data.test.x[:n].to(next(vae.parameters()).device)
        drawn = [
            x,
            vae.reconstruct(x, seed=seed),
            vae.sample(2 * n, seed=seed, mean=True),
            vae.sample(2 * n, seed=seed),
        ]
        x, x_hat, means, noisy = (data.domain.raw(images.cpu()) for images in drawn)
        left, middle, right = rows.subplots(1, 3)
        middle.set_title(
            f"{name}: NLL {mean:.1f} ± {se:.1f} nats/datum, {bits:.3f} ± {bits_se:.3f} bits/dim "
            f"(± standard error; {scored(data, result)})"
        )
        plots.reconstructions(x, x_hat, ax=left, **grey)
        plots.samples(means, columns=n, ax=middle, **grey).set_xlabel("E[x | z] for z ~ p(z)")
        plots.samples(noisy, columns=n, ax=right, **grey).set_xlabel("x ~ p(x | z), for the same z")
    return figure


if __name__ == "__main__":
    main()
