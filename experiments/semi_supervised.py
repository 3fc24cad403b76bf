"""How much do images without labels help to classify, where few have one? M2 of Kingma et al. 2014 (arXiv:1406.5298).

    python experiments/semi_supervised.py --cache cache --figure semi_supervised.png --out semi_supervised.json

p(x, y, z) = p(y) p(z) p(x | y, z) and q(y, z | x) = q(y | x) q(z | x, y), a plain Pyro model and guide. Where y is not
known it is summed over (`TraceEnum_ELBO`). Where it is, log q(y | x) is added to the ELBO with weight `--alpha`: the
ELBO alone would not teach labels to the classifier q(y | x), and the sum is no bound on log p(x, y).
Beside it: the same network on the labels alone, trained with weight decay, and M1, a logistic regression on the codes
of a VAE without labels. All are given the same images, binarized, and the same labels, as many of each class. Test
errors are in per cent, and printed with their standard errors over the test images; seeds are other labels, other
weights, and other batches.

Results are kept by run in `--cache`, and not computed again with the same settings: stop and go on at will.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import results_file
import torch
from matplotlib.figure import Figure
from pyro import poutine
from pyro.infer import TraceEnum_ELBO, config_enumerate
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

import ppl_vae
from ppl_vae import Bernoulli, OneCycle, Program
from ppl_vae.distributions import positive

CLASSES = 10


def network(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.Softplus()]
    return nn.Sequential(*layers[:-1])


class M2(nn.Module):
    """Model and guide of images x (n, pixels) and labels y (n, 10), one-hot, or latent where they are not given."""

    def __init__(self, pixels: int, latent_dim: int, hidden_dim: int, alpha: float) -> None:
        super().__init__()
        self.alpha, self.latent_dim = alpha, latent_dim
        self.classifier = network(pixels, hidden_dim, CLASSES)
        self.encoder = network(pixels + CLASSES, hidden_dim, 2 * latent_dim)
        self.decoder = network(latent_dim + CLASSES, hidden_dim, pixels)

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.latent_dim), 1.0).to_event(1))
            label = pyro.sample("y", dist.OneHotCategorical(x.new_ones(CLASSES)), obs=y)
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(joined(z, label))).to_event(1), obs=x)
            if y is not None:
                with poutine.scale(scale=self.alpha):
                    pyro.sample("classified", dist.OneHotCategorical(logits=self.classifier(x)), obs=y)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        with pyro.plate("data", len(x)):
            if y is None:
                y = pyro.sample("y", dist.OneHotCategorical(logits=self.classifier(x)))
            loc, raw = self.encoder(joined(x, y)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, positive(raw)).to_event(1))


def joined(a: Tensor, b: Tensor) -> Tensor:
    """Both side by side; y has a dimension more where it is summed over."""
    leading = torch.broadcast_shapes(a.shape[:-1], b.shape[:-1])
    return torch.cat([a.expand(*leading, -1), b.expand(*leading, -1)], -1)


class Alternating:
    """Batches of images without labels, each followed by one of images with a label."""

    def __init__(self, x: Tensor, known: Tensor, labels: Tensor, batch_size: int) -> None:
        self.x, self.known, self.labels, self.batch_size = x, known, labels, batch_size

    def __len__(self) -> int:
        return 2 * math.ceil(len(self.x) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        for rows in torch.randperm(len(self.x)).split(self.batch_size):
            yield (self.x[rows],)
            some = torch.randperm(len(self.known))[: self.batch_size]
            yield self.known[some], self.labels[some]


def some_of_each(y: Tensor, number: int, seed: int) -> Tensor:
    """Rows of `number` data, as many of each class."""
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    return torch.cat([order[y[order] == label][: number // CLASSES] for label in range(CLASSES)])


def by_labels(x: Tensor, y: Tensor, hidden_dim: int, steps: int) -> nn.Module:
    """The classifier on the labels alone, with weight decay."""
    made = network(x.shape[1], hidden_dim, CLASSES)
    optimizer = torch.optim.AdamW(made.parameters(), lr=1e-3, weight_decay=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(made(x), y).backward()
        optimizer.step()
    return made


def wrong(data: Any, number: int, seed: int, args: Any) -> dict[str, list[bool]]:
    """Which test images each method classifies wrongly, given so many labels."""
    torch.manual_seed(seed)
    train, test = data.train, data.test
    x, x_test = train.x.flatten(1), test.x.flatten(1)
    rows = some_of_each(train.y, number, seed)
    known, labels = x[rows], train.y[rows]
    found = {"labels alone": by_labels(known, labels, args.hidden_dim, args.steps)(x_test).argmax(-1)}

    settings = {"epochs": args.epochs, "schedule": OneCycle(args.peak), "seed": seed, "progress": False}
    vae = ppl_vae.build(data, latent_dim=args.latent_dim, seed=seed)
    ppl_vae.fit(vae, train, batch_size=args.batch_size, **settings)
    codes = [vae.encode(given).mean.detach().numpy() for given in (train.x[rows], test.x)]
    found["M1"] = torch.as_tensor(LogisticRegression(max_iter=1000).fit(codes[0], labels.numpy()).predict(codes[1]))

    m2 = M2(x.shape[1], args.latent_dim, args.hidden_dim, args.alpha)
    program = Program(m2.model, config_enumerate(m2.guide), m2)
    batches = Alternating(x, known, nn.functional.one_hot(labels, CLASSES).float(), args.batch_size)
    ppl_vae.fit(program, batches, objective=TraceEnum_ELBO(), **settings)
    found["M2"] = m2.classifier(x_test).argmax(-1)
    return {name: (guessed != test.y).tolist() for name, guessed in found.items()}


def cached(data: Any, number: int, seed: int, args: Any) -> dict[str, list[bool]]:
    """What `wrong` finds, from its file if it is there and of the same settings."""
    settings = results_file.settings_of(args, "labels", "seeds")
    return results_file.kept(args.cache, f"{number}_{seed}", settings, lambda: wrong(data, number, seed, args))


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = results_file.parser_of(__doc__)
    parser.add_argument("--data", default="digits", help="data set with ten classes (digits)")
    parser.add_argument("--data-dir", help="folder of the data sets ($PPL_VAE_DATA)")
    parser.add_argument("--train", type=int, help="training images, those with labels among them (all)")
    parser.add_argument(
        "--labels", type=int, nargs="+", default=[20, 50, 100, 200], help="how many of them have a label"
    )
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--peak", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--alpha", type=float, default=20.0, help="weight of log q(y | x) where y is known")
    parser.add_argument("--steps", type=int, default=500, help="of the classifier on the labels alone")
    parser.add_argument("--latent-dim", type=int, default=10)
    parser.add_argument("--hidden-dim", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--cache", type=Path, required=True, help="folder in which results are kept")
    results_file.add_outputs(parser, figure="figure")
    args = parser.parse_args(argv)
    data = ppl_vae.data.load(args.data, data_dir=args.data_dir, likelihood=Bernoulli, binarize="threshold")
    data = data.take(train=args.train) if args.train else data
    found: dict[str, dict[str, list[float]]] = {}  # by number of labels and method, one error a seed
    for seed in args.seeds:
        for number in args.labels:
            for name, which in cached(data, number, seed, args).items():
                share = float(np.mean(which))
                found.setdefault(str(number), {}).setdefault(name, []).append(100 * share)
                error = 100 * math.sqrt(share * (1 - share) / len(which))
                print(
                    f"seed {seed}, {number} labels, {name:13} test error {100 * share:5.2f} ± {error:.2f} %", flush=True
                )
    said = {
        "command": results_file.command(__file__, argv),
        "test_error": {
            "unit": "per cent",
            "by_seed": found,
            "mean": {number: {name: float(np.mean(e)) for name, e in of.items()} for number, of in found.items()},
        },
        "images": {"train": len(data.train), "test": len(data.test)},
        "versions": results_file.versions("scikit-learn"),
    }
    if args.figure:
        results_file.draw(drawn(found), args.figure, dpi=100)
    results_file.write(said, args.out)
    return said


def drawn(found: dict[str, dict[str, list[float]]]) -> Figure:
    """The test error of each method by the number of labels, a point for each seed."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    numbers = [int(number) for number in found]
    for place, name in enumerate(next(iter(found.values()))):
        errors = [of[name] for of in found.values()]
        axes.plot(numbers, [np.mean(each) for each in errors], "-", color=f"C{place}", label=name)
        for number, each in zip(numbers, errors, strict=True):
            axes.plot([number] * len(each), each, ".", color=f"C{place}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(numbers, [str(number) for number in numbers])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.minorticks_off()
    low, high = axes.get_ylim()
    axes.set_yticks([tick for tick in (1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 60, 80) if low < tick < high])
    axes.set_xlabel("images with a label")
    axes.set_ylabel("test error (per cent)\npoints: seeds, lines: their mean")
    axes.legend()
    return figure


if __name__ == "__main__":
    main()
