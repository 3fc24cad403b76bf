"""Does plain importance sampling rank two models as their log p(x) does?

An MLP 784-200-20 with a standard normal prior and a mean field is trained on dynamically binarized MNIST. It then goes
two ways. The first model is trained for an epoch more, q and all. The second keeps its decoder as it is, and only its q
gets better: `semi_amortized` moves it by gradient steps on each image. Which has the higher log p(x)? Each estimate
answers by the mean of its paired differences over the same test images, binarized once, with its standard error:
importance sampling with S = 100, 1,000 and 5,000 draws from q; `evaluate(method="adaptive")`; and, on some of the
images, annealing from the prior (AIS), which uses no q, beside the others on these.

Trained weights and numbers are kept in `--cache`, and what is there is not computed again.

    python experiments/ranking.py --data-dir DIR --cache cache --figure ranking.png --out ranking.json
"""

import argparse
import copy
import json
from collections.abc import Callable
from functools import partial

import numpy as np
import results_file
import torch
from matplotlib.figure import Figure

import ppl_vae
from ppl_vae import MLP, Bernoulli, diagnostics

MORE, REFINED = "an epoch more", "q refined"


def main(argv: list[str] | None = None) -> dict:
    parser = results_file.parser_of(__doc__)
    results_file.add_images_and_model(parser, epochs=30, take=500, kept="weights and numbers")
    parser.add_argument("--num-steps", type=int, default=20, help="gradient steps that refine q")
    parser.add_argument("--num-samples", type=int, nargs="+", default=[100, 1000, 5000], help="draws of plain sampling")
    parser.add_argument("--adaptive-samples", type=int, default=1000, help="fresh draws of the adaptive estimate")
    parser.add_argument("--annealed", type=int, default=100, help="test images of the annealing")
    parser.add_argument("--num-temperatures", type=int, default=500, help="of the annealing")
    results_file.add_outputs(parser, figure="figure")
    args = parser.parse_args(argv)

    data = ppl_vae.data.load(args.data, data_dir=args.data_dir, likelihood=Bernoulli).take(
        train=args.train, validation=args.validation
    )
    args.cache.mkdir(parents=True, exist_ok=True)
    models = trained(data, args)
    kept = {name: estimates(name, vae, data, args) for name, vae in models.items()}
    some = min(args.annealed, args.take, len(data.test))
    found = {
        "command": results_file.command(__file__, argv),
        "units": {"nll": "nats per image", "differences": f"nats per image: {REFINED!r} less {MORE!r}, of log p(x)"},
        "images": {"train": len(data.train), "test": min(args.take, len(data.test)), "annealed": some},
        "epochs": args.epochs,
        "nll": {name: {by: float(-np.mean(each[by])) for by in each} for name, each in kept.items()},
        "differences": {by: difference(kept, by) for by in kept[MORE] if by not in ("believed", "annealing")},
        "differences_of_the_annealed": {by: difference(kept, by, some) for by in kept[MORE] if by != "believed"},
        "believed": {name: float(np.mean(each["believed"])) for name, each in kept.items()},
        "versions": results_file.versions(),
    }
    for each in found["nll"].values():
        del each["believed"]
    print(json.dumps(found, indent=1))
    if args.figure:
        results_file.draw(drawn(found), args.figure, dpi=100)
    results_file.write(found, args.out)
    return found


def trained(data: ppl_vae.data.Data, args: argparse.Namespace) -> dict[str, ppl_vae.VAE]:
    net = partial(MLP, hidden_dims=[args.hidden_dim])
    shared = ppl_vae.build(data, latent_dim=args.latent_dim, encoder=net, decoder=net, seed=args.seed)
    given = {"batch_size": 100, "progress": False}
    shared = weights(
        "shared", shared, args, lambda vae: ppl_vae.fit(vae, data, epochs=args.epochs, seed=args.seed, **given)
    )
    more = copy.deepcopy(shared)
    more = weights("more", more, args, lambda vae: ppl_vae.fit(vae, data, epochs=1, seed=args.seed + 1, **given))
    return {MORE: more, REFINED: ppl_vae.semi_amortized(shared, num_steps=args.num_steps, learning_rate=0.05)}


def weights(
    name: str, vae: ppl_vae.VAE, args: argparse.Namespace, train: Callable[[ppl_vae.VAE], object]
) -> ppl_vae.VAE:
    """The VAE after training, from its file if it is there."""
    file = args.cache / f"{name}.pt"
    if not file.exists():
        train(vae)
        torch.save(vae.state_dict(), file)
    vae.load_state_dict(torch.load(file, weights_only=True))
    return vae


def estimates(name: str, vae: ppl_vae.VAE, data: ppl_vae.data.Data, args: argparse.Namespace) -> dict[str, list]:
    """log p(x) of each test image by each estimate, and whether the adaptive one is believed; kept in a file each."""
    test, quiet = data.test[: args.take], {"seed": args.seed, "progress": False}

    def kept(by: str, make: Callable[[], dict[str, list]]) -> dict[str, list]:
        file = args.cache / f"{name}_{by}.json".replace(" ", "_").replace(",", "")
        if not file.exists():
            file.write_text(json.dumps(make()))
            print(f"{name}, {by}: done", flush=True)
        return json.loads(file.read_text())

    def plain(num: int) -> dict[str, list]:
        table = ppl_vae.evaluate(vae, test, num_samples=num, **quiet).per_datum
        return {f"importance, S = {num:,}": table.log_px.tolist()}

    def adaptive() -> dict[str, list]:
        num = args.adaptive_samples
        table = ppl_vae.evaluate(vae, test, num_samples=num, method="adaptive", **quiet).per_datum
        return {"adaptive": table.log_px.tolist(), "believed": table.believed.tolist()}

    def annealing() -> dict[str, list]:
        some = test[: args.annealed]
        found = diagnostics.ais(vae, some, init="prior", num_temperatures=args.num_temperatures, **quiet)
        return {"annealing": found.log_px.values.tolist()}

    found: dict[str, list] = {}
    for num in args.num_samples:
        found |= kept(f"importance {num}", partial(plain, num))
    return found | kept("adaptive", adaptive) | kept("annealing", annealing)


def difference(kept: dict[str, dict[str, list]], by: str, some: int | None = None) -> dict[str, float]:
    """Mean of the paired differences of log p(x), and its standard error."""
    each = np.array(kept[REFINED][by][:some]) - np.array(kept[MORE][by][:some])
    return {"nats": float(each.mean()), "se": float(each.std(ddof=1) / len(each) ** 0.5)}


def drawn(found: dict) -> Figure:
    """The difference by each estimate, of all images and of those that are annealed."""
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    all_images, annealed = figure.subplots(1, 2, sharex=True)
    of = (("test", "differences", all_images), ("annealed", "differences_of_the_annealed", annealed))
    for images, key, ax in of:
        rows = list(found[key].values())
        bars = [1.96 * row["se"] for row in rows]
        ax.errorbar([row["nats"] for row in rows], range(len(rows)), xerr=bars, fmt="o", color="black")
        ax.set_yticks(range(len(rows)), list(found[key]))
        ax.invert_yaxis()
        ax.axvline(0, color="grey", linewidth=0.8)
        ax.set_title(f"{found['images'][images]} images", fontsize=10)
        ax.set_xlabel(f"log p(x): {REFINED} less {MORE}\n(nats per image; bars: 95 %)")
    return figure


if __name__ == "__main__":
    main()
