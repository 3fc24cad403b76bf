"""Manifold learning methods side by side: tables and figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace
from jsonargparse.typing import PositiveInt

import ppl_vae
from ppl_vae.cli.command import Command
from ppl_vae.cli.components import Parser
from ppl_vae.cli.markdown import lined_up
from ppl_vae.cli.outputs import check_outputs
from ppl_vae.cli.source import listed
from ppl_vae.cli.stored_run import ABOUT_DATA_DIR, DATA_SETS, DEVICES
from ppl_vae.files import write_text
from ppl_vae.libraries import pd

if TYPE_CHECKING:
    import numpy as np

    from ppl_vae.manifold import Benchmark, Method

__all__ = ["COMMAND"]

_NOTES = """\
Scores are of held-out data; mean and sd are over the seeds of a method, the data are fixed, so the sd of a
deterministic method is 0. Trustworthiness and continuity are of {k} neighbours among the held-out data, k-NN accuracy
of the {k} nearest training data, RMSE in raw units, distance correlation (dCor) with the true coordinates, and seconds
of fitting and embedding. A star marks in-sample scores: the method cannot embed new data, so it was fitted to the
held-out data too, without labels."""

_COLUMNS = {
    "trustworthiness": "trustworthiness",
    "continuity": "continuity",
    "knn_accuracy": "k-NN accuracy",
    "rmse": "RMSE",
    "distance_correlation": "dCor",
    "seconds": "seconds",
}
_NUM_NEIGHBORS = 10


def _options(parser: Parser) -> None:
    about = f"any of {', '.join(DATA_SETS)}; or .npy, .npz or picture folders"
    parser.option("--data", offered=DATA_SETS, nargs="+", default=["digits"], help=about)
    parser.option("--data-dir", type=str | None, help=ABOUT_DATA_DIR)
    parser.option("--download", type=bool, default=False, help="download missing data")
    names = listed("ppl_vae.manifold.methods", "NAMES")
    parser.option("--methods", names=names, nargs="+", help=f"some of {', '.join(names)} (all that fit the data)")
    parser.option(
        "--seeds",
        type=PositiveInt,
        default=3,
        help="runs of each method, seeds from 0; the data are the same",
    )
    parser.option("--take", type=PositiveInt, default=5000, help="at most so many training data, the first")
    parser.option("--held-out", type=PositiveInt, default=1000, help="at most so many test data, the first")
    about = "gradient steps of the autoencoders, of 128 data each (2000, and 6000 for data of at most 10 columns)"
    parser.option("--steps", type=int | None, help=about)
    parser.option("--data-seed", type=int, default=0, help="of the split, where there is no official one")
    parser.option("--device", offered=DEVICES[:2], default="cpu", help="cpu or cuda, for the autoencoders")
    parser.option("--out", default="runs/manifold", help="folder for manifold.csv, manifold.md and manifold_DATA.png")


def _manifold(options: Namespace) -> None:
    """Run the benchmark on every data set, and write `manifold.csv`, `manifold.md` and a figure for each."""
    from ppl_vae.cli.figures import save

    chosen = _chosen(options)
    out = Path(options.out)
    files = [out / name for name in ("manifold.csv", "manifold.md")]
    check_outputs("--out", files, [], reads=[(name, "the data") for name in options.data])
    out.mkdir(parents=True, exist_ok=True)
    scores: list[pd.DataFrame] = []
    words = ["# Manifold learning methods side by side", _NOTES.format(k=_NUM_NEIGHBORS), _settings(chosen)]
    for name in options.data:
        loaded = ppl_vae.data.load(name, data_dir=options.data_dir, download=options.download, seed=options.data_seed)
        found = ppl_vae.manifold.benchmark(
            loaded,
            chosen,
            seeds=options.seeds,
            num_train=options.take,
            num_held_out=options.held_out,
            num_neighbors=_NUM_NEIGHBORS,
        )
        figure = out / f"manifold_{loaded.name}.png"
        save(_figure(loaded, found), figure)
        scores.append(found.scores.assign(data=loaded.name))
        words.append(_section(loaded, found, min(options.take, len(loaded.train)), options.seeds))
        print(f"{words[-1]}\n\nwrote {figure}\n")
        # after each data set, so that an interruption costs one of them
        table = pd.concat(scores)
        table[["data", *table.columns.drop("data")]].to_csv(out / "manifold.csv", index=False)
        write_text(out / "manifold.md", "\n\n".join(words) + "\n")
    print(f"wrote {out / 'manifold.csv'} and {out / 'manifold.md'}")
    print(f"next: ppl-vae train --data {options.data[0]} --latent-dim 2")


def _chosen(options: Namespace) -> dict[str, Method]:
    known = ppl_vae.manifold.methods(steps=options.steps, device=options.device)
    return {name: known[name] for name in options.methods or known}


def _settings(chosen: Mapping[str, Method]) -> str:
    return "\n".join(
        f"- {name}: {method.settings}; "
        + ("embeds new data" if method.out_of_sample else "cannot embed new data")
        + (", has an inverse" if method.inverse else "")
        + (", needs labels" if method.needs_labels else "")
        for name, method in chosen.items()
    )


def _section(loaded: ppl_vae.data.Data, found: Benchmark, num_train: int, seeds: int) -> str:
    """Markdown of one data set: its table, what was left out, and the autoencoder's differences."""
    parts = [
        f"## {loaded.name}",
        f"{num_train} training and {len(found.held_out)} held-out data, {seeds} seed{'s' * (seeds > 1)}",
        _table(found),
        *(f"Left out {name}: {why}." for name, why in found.left_out.items()),
    ]
    if "Autoencoder" in found.right and len(found.right) > 1:
        differences = found.differences("Autoencoder")
        cells = differences.map("{:.3f}".format)
        cells["difference / se"] = differences["difference / se"].map("{:.1f}".format)
        parts += ["k-NN accuracy of the autoencoder less that of:", _markdown(cells.reset_index())]
    return "\n\n".join(parts)


def _table(found: Benchmark) -> str:
    summary = found.summary()
    seen = found.scores.groupby("method").held_out.all()
    cells = pd.DataFrame({"method": [name if seen[name] else f"{name} *" for name in summary.index]})
    for score, title in _COLUMNS.items():
        if score in summary.columns.get_level_values(0):
            digits = 1 if score == "seconds" else 3
            of_seeds: Any = summary[score]
            cells[title] = [_cell(row["mean"], row.get("sd", math.nan), digits) for _, row in of_seeds.iterrows()]
    return _markdown(cells)


def _cell(mean: float, sd: float, digits: int) -> str:
    if math.isnan(mean):
        return "–"
    return f"{mean:.{digits}f}" + ("" if math.isnan(sd) else f" ± {sd:.{digits}f}")


def _markdown(cells: pd.DataFrame) -> str:
    return lined_up([list(map(str, cells.columns)), *cells.astype(str).to_numpy().tolist()])


def _figure(loaded: ppl_vae.data.Data, found: Benchmark) -> object:
    from ppl_vae.cli.figures import draw

    labels, labelled = _colours(loaded, found)
    first = found.scores[found.scores.seed == 0].set_index("method")
    score = next(s for s in ("distance_correlation", "knn_accuracy", "trustworthiness") if s in first)
    return draw(
        "embeddings",
        found.embeddings,
        labels,
        labelled=labelled,
        captions={name: f"{_COLUMNS[score]} {value:.3f}" for name, value in first[score].items()},
        in_sample=[name for name, held_out in first.held_out.items() if not held_out],
    )[0]


def _colours(loaded: ppl_vae.data.Data, found: Benchmark) -> tuple[np.ndarray, str]:
    """The first true coordinate, else the label, else where a datum stood in its file."""
    import numpy as np

    split = found.held_out
    if split.y is not None:
        names = np.array(loaded.classes or [str(i) for i in range(int(split.y.max()) + 1)])
        return names[split.y.numpy()], "label"
    if split.factors is not None:
        return split.factors[:, 0].numpy(), str(loaded.provenance["factors"][0])
    return split.index.numpy(), "position in the data set"


COMMAND = Command(
    name="manifold",
    about="PCA, Isomap, t-SNE and others beside autoencoder and VAE: one table, one figure a data set",
    parser=_options,
    run=_manifold,
)
