"""Walks on the decoded manifold between two images: straight lines, arcs and geodesics, and their smoothness.

VAEs and plain autoencoders, with codes of 2 and of more units, on the same data. Random pairs of test images are
connected by three walks with the same number of steps: the straight line between their codes, an arc around the origin,
and the geodesic of the decoder's pull-back metric, initialized with the line or with the shortest path through codes of
training data. A walk is smooth if the decoded path is short and its steps are even. Lengths are in grey levels
(Euclidean norm over pixels).

    python experiments/walk_manifold.py --data frey_faces --figure walk.png --gif walk.gif --out walk.json
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import results_file
import torch
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

import ppl_vae
from ppl_vae import Flat, Gaussian, Point, manifold, plots
from ppl_vae.cli.animation import gif

AUTOENCODER = {"prior": Flat, "posterior": Point}
KINDS = ("linear", "spherical", "geodesic")
UNIT = "grey levels"


@dataclass
class Walked:
    """A trained model and its walks."""

    vae: ppl_vae.VAE
    codes: torch.Tensor  # of training data, (n, latent_dim)
    z: dict[str, torch.Tensor]  # (pairs, steps, latent_dim) by kind
    smoothness: dict[str, pd.DataFrame]
    found: dict  # for the JSON


def main(argv: list[str] | None = None) -> dict:
    parser = results_file.parser_of(__doc__)
    parser.add_argument("--data", default="digits", choices=("digits", "mnist", "frey_faces"))
    parser.add_argument("--data-dir", help="folder of the data sets ($PPL_VAE_DATA)")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--take", type=int, default=10_000, help="training data, at most")
    parser.add_argument("--latent-dim", type=int, default=10, help="of the larger codes; the smaller have 2 units")
    parser.add_argument("--pairs", type=int, default=50, help="of test images")
    parser.add_argument("--steps", type=int, default=61, help="points of each walk")
    parser.add_argument("--frames", type=int, default=12, help="of the animation, for each of four legs")
    parser.add_argument("--seed", type=int, default=0)
    for name, what in {"figure": "figure, as PNG", "gif": "animation, as GIF", "out": "results, as JSON"}.items():
        parser.add_argument(f"--{name}", type=Path, help=f"write the {what}")
    args = parser.parse_args(argv)

    data = ppl_vae.data.load(args.data, data_dir=args.data_dir, likelihood=Gaussian)
    data = data.take(train=min(args.take, len(data.train)))
    test = data.test.fixed()
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(args.seed))
    ends = order[: 2 * args.pairs].reshape(2, -1)
    runs = {
        f"{name}, {dim} units": walked(data, dim, parts, test.x[ends], args)
        for dim in (2, args.latent_dim)
        for name, parts in (("VAE", {}), ("autoencoder", AUTOENCODER))
    }
    table = pd.DataFrame({(n, k): row for n, run in runs.items() for k, row in run.found["walks"].items()}).T
    print("", f"lengths in {UNIT}", table.to_string(float_format="{:.3f}".format), sep="\n")
    found = {
        "command": results_file.command(__file__, argv),
        "unit of lengths": UNIT,
        "runs": {name: run.found for name, run in runs.items()},
        "autoencoder_over_vae": {dim: against(runs, dim) for dim in (2, args.latent_dim)},
        "data": {"identity": test.identity, "provenance": test.provenance},
        "versions": results_file.versions(),
    }
    for dim, ratios in found["autoencoder_over_vae"].items():
        print(f"autoencoder over VAE, {dim} units, lines between the same images:", ratios)
    if args.figure:
        results_file.draw(picture(runs, data, args), args.figure, dpi=70)
        Image.open(args.figure).convert("RGB").save(args.figure, optimize=True)  # smaller without its alpha channel
    if args.gif:
        animate(runs["VAE, 2 units"], data, test.x[order[:4]], args)
    results_file.write(found, args.out)
    plt.close("all")
    return found


def walked(data: ppl_vae.data.Data, dim: int, parts: dict, ends: torch.Tensor, args: argparse.Namespace) -> Walked:
    """Train, and walk between ends (2, pairs, *x_shape)."""
    vae = ppl_vae.build(data, latent_dim=dim, likelihood=Gaussian, seed=args.seed, **parts)
    fitted = ppl_vae.fit(vae, data, epochs=args.epochs, batch_size=100, seed=args.seed, device="cpu")
    print(fitted, flush=True)
    vae.requires_grad_(False)
    codes, a, b = (vae.encode(x).mean for x in (data.train[:1000].fixed().x, *ends))
    from_line = manifold.geodesic(vae, a, b, steps=args.steps)
    best = manifold.geodesic(vae, a, b, steps=args.steps, through=codes)
    z = {kind: manifold.interpolate(a, b, args.steps, kind=kind) for kind in KINDS[:2]} | {"geodesic": best.z}
    smooth = {kind: manifold.smoothness(vae, walk) for kind, walk in z.items()}
    rows = {kind: summary(table, smooth["linear"]) for kind, table in smooth.items()}
    finer = [manifold.smoothness(vae, refined(z[kind])).length for kind in ("geodesic", "linear")]
    of_geodesic = {
        "converged": best.converged.float().mean().item(),
        "longer than the line": (best.length > best.straight).sum().item(),
        "shorter from the graph": best.from_graph.float().mean().item(),
        "over linear, from the line alone": mean_se((from_line.length / from_line.straight).numpy()),
        "over linear, at ten times as many steps": mean_se((finer[0] / finer[1]).to_numpy()),
    }
    return Walked(vae, codes, z, smooth, {"walks": rows, "geodesic": of_geodesic})


def refined(z: torch.Tensor, times: int = 10) -> torch.Tensor:
    """The same polygons (pairs, steps, latent_dim) with as many times more points, to see what chords cut off."""
    between = manifold.interpolate(z[:, :-1], z[:, 1:], times + 1)[:, :, :-1].flatten(1, 2)
    return torch.cat([between, z[:, -1:]], 1)


def summary(table: pd.DataFrame, linear: pd.DataFrame) -> dict[str, float]:
    """Means over the pairs with standard errors, and what the walk has of the straight line's, pair by pair."""
    lengths = ["length", "largest_step"]
    both = table[[*lengths, "unevenness", "detour"]].join((table / linear)[lengths].add_suffix("_over_linear"))
    return both.mean().to_dict() | both.sem().add_suffix("_se").to_dict()


def against(runs: dict[str, Walked], dim: int) -> dict[str, tuple[float, float]]:
    """The autoencoder's straight lines over the VAE's: geometric mean over the pairs, and its relative s.e."""
    vae, plain = (runs[f"{name}, {dim} units"].smoothness["linear"] for name in ("VAE", "autoencoder"))
    ratios = {column: mean_se(np.log(plain[column] / vae[column]).to_numpy()) for column in plain.columns}
    return {column: (float(np.exp(mean)), se) for column, (mean, se) in ratios.items()}


def mean_se(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5)


def grey(data: ppl_vae.data.Data) -> dict[str, int]:
    return {"vmin": 0, "vmax": data.domain.levels}


def picture(runs: dict[str, Walked], data: ppl_vae.data.Data, args: argparse.Namespace) -> Figure:
    """Grids, paths, traversals, the walks of one pair of images by every model, and the averages of all pairs."""
    flat = {name: run for name, run in runs.items() if run.codes.shape[1] == 2}
    first = next(iter(flat.values())).smoothness
    pair = int((first["geodesic"].length / first["linear"].length).argmin())
    tall = data.x_shape[-2] / data.x_shape[-1]
    heights = (0.6 + 5.6 * tall, 5.4, 2 * (0.9 + 1.4 * tall), 1 + 2.8 * tall)
    figure = Figure(figsize=(16, sum(heights)), layout=ConstrainedLayoutEngine(w_pad=0.15))
    top, middle, walks, bottom = figure.subfigures(4, 1, height_ratios=heights)
    for (name, run), above, below in zip(flat.items(), top.subplots(1, 2), middle.subplots(1, 2), strict=True):
        codes, whose = (None, "the prior") if name.startswith("VAE") else (run.codes, "the codes")
        plots.manifold(manifold.decoded(run.vae, manifold.code_grid(run.vae, 12, codes=codes)), ax=above, **grey(data))
        above.set(title=f"{name}: decoded through the quantiles of {whose}")
        above.set(xlabel=f"quantiles of z[0] in {whose}, 1/24 to 23/24", ylabel="quantiles of z[1]")
        draw_paths(run, data, below, slice(pair, pair + 1) if args.pairs < 6 else [pair, *range(5)])
        below.set_title(f"{name}: paths of some pairs")
    shown = np.linspace(0, args.steps - 1, 13).round().astype(int)
    for ax, (name, run) in zip(walks.subplots(2, 2).T.flat, runs.items(), strict=True):
        x = torch.stack([manifold.decoded(run.vae, run.z[kind][pair, shown]) for kind in KINDS])
        of = pd.DataFrame({kind: run.smoothness[kind].loc[pair] for kind in KINDS}).T
        rows = {"kinds": KINDS, "lengths": of.length, "largest_steps": of.largest_step}
        plots.walk(x, **rows, unit=f"{UNIT}, over {args.steps} points", ax=ax, **grey(data))
        ax.set_title(f"{name}: pair {pair}, where the 2-D VAE's geodesic gains most")
    left, right = bottom.subplots(1, 2, width_ratios=(1.25, 1))
    name, run = list(runs.items())[2]
    traversed(run, data, left)
    left.set_title(f"{name}: traversals of the most active, from one test image")
    averages(runs, right)
    return figure


def draw_paths(run: Walked, data: ppl_vae.data.Data, ax, pairs) -> None:
    low, high = torch.cat([run.codes, *(walk.flatten(0, 1) for walk in run.z.values())]).aminmax(dim=0)
    sides = torch.lerp(low, high, torch.linspace(-0.05, 1.05, 80)[:, None]).T
    grid = torch.stack(torch.meshgrid(*sides, indexing="xy"), -1)
    plots.paths(
        {kind: walk[pairs] for kind, walk in run.z.items()},
        log_magnification=manifold.magnification(run.vae, grid).log10(),
        extent=tuple(sides[:, [0, -1]].flatten().tolist()),
        codes=run.codes,
        labels=data.train[:1000].y,
        ax=ax,
    )


def traversed(run: Walked, data: ppl_vae.data.Data, ax, most: int = 6) -> None:
    """From the first end of the first pair, through the codes' quantiles."""
    levels = torch.linspace(0.02, 0.98, 11)
    x = manifold.decoded(run.vae, manifold.traverse(run.z["linear"][0, 0], run.codes.quantile(levels, dim=0).T))
    units = run.codes.var(0).argsort(descending=True)[:most].sort().values
    labelled = "quantile of the moving unit among the training codes"
    plots.traversals(x[units], values=levels.numpy().round(2), units=units, labelled=labelled, ax=ax, **grey(data))


def averages(runs: dict[str, Walked], ax) -> None:
    """Length and largest step of arcs and geodesics over the line's."""
    for i, (name, run) in enumerate(runs.items()):
        for kind, colour in (("spherical", "#ffa90e"), ("geodesic", "#3f90da")):
            row = run.found["walks"][kind]
            for j, (column, marker) in enumerate((("length", "o"), ("largest_step", "^"))):
                at, se = row[f"{column}_over_linear"], row[f"{column}_over_linear_se"]
                label = f"{kind}: {column.replace('_', ' ')}" if i == 0 else None
                ax.errorbar(at, -i - 0.15 * j, xerr=se, fmt=marker, color=colour, label=label)
        ax.text(0.01, -i + 0.18, name, transform=ax.get_yaxis_transform(), fontsize="small")
    ax.axvline(1, color="black", linewidth=0.8)
    ax.set(yticks=[], ylim=(0.6 - len(runs), 0.6))
    ax.set(xlabel=f"over the straight line's, mean of {len(run.z['linear'])} pairs ± standard error")
    ax.legend(fontsize="small", loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4, frameon=False, columnspacing=1)


def animate(run: Walked, data: ppl_vae.data.Data, stops: torch.Tensor, args: argparse.Namespace) -> None:
    """A round trip through the codes of some images, by every kind of walk at once, over the magnification."""
    a = run.vae.encode(stops).mean
    b = a.roll(-1, 0)
    legs = {kind: manifold.interpolate(a, b, args.steps, kind=kind) for kind in KINDS[:2]}
    legs["geodesic"] = manifold.geodesic(run.vae, a, b, steps=args.steps, through=run.codes).z
    shown = np.linspace(0, args.steps - 1, args.frames + 1).round().astype(int)[:-1]
    figure, axes = plt.subplots(1, 4, figsize=(8, 2.4), width_ratios=(2, 1, 1, 1), dpi=80, layout="constrained")
    space, screens = axes[0], axes[1:]
    draw_paths(Walked(run.vae, run.codes, legs, {}, {}), data, space, slice(None))
    space.get_legend().remove()
    space.set_aspect("auto")
    moving = []
    for i, ((kind, leg), screen) in enumerate(zip(legs.items(), screens, strict=True)):
        tour = leg[:, shown].flatten(0, 1)
        x = manifold.decoded(run.vae, tour)[:, 0].numpy()
        colour = space.lines[i * len(a)].get_color()
        (dot,) = space.plot([], [], "o", color=colour, markeredgecolor="white", markersize=9, zorder=5)
        moving.append((dot, tour, screen.imshow(x[0], cmap="gray", **grey(data)), x))
        length = manifold.smoothness(run.vae, leg).length.sum()
        screen.set_title(f"{kind}\nlength {length:.0f} {UNIT}", color=colour, fontsize="small")
        screen.set(xticks=[], yticks=[])
    frames = []
    for i in range(len(tour)):
        for dot, tour, image, x in moving:
            dot.set_data(*tour[i : i + 1].T)
            image.set_data(x[i])
        figure.canvas.draw()
        frames.append(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy())
    gif(np.stack(frames), args.gif, seconds=0.12)


if __name__ == "__main__":
    main()
