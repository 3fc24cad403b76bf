"""Where are we beside published numbers, and what does a prior buy at equal budget? The tables that were run, in one.

    python experiments/table.py --figure experiments/results/table.png --out experiments/results/table.json

Each result file of `ppl-vae table experiments/tables/NAME.yaml` gives its complete cells. Those with a published number
stand beside it, but for the files of few epochs, `priors.yaml` and `priors_full.yaml`; NLL and -ELBO are in nats per
datum, or in bits per dimension. With ≤ an NLL is an upper bound, as less than 90 % of the data are believed. The
sources had other budgets, and of Frey faces other splits. The cells of `priors_full.yaml` are compared with a standard
normal prior, paired by datum and by seed. Errors are standard errors over the test data; the standard deviation over
the seeds is given where there are several. `ppl-vae table FILE.yaml` trains the cells of a file; this script trains
nothing.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import results_file
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ppl_vae.cli.comparison.printed import MANY
from ppl_vae.cli.comparison.reading import read
from ppl_vae.cli.markdown import lined_up

HERE = Path(__file__).parent
RUN = "ppl-vae table experiments/"
EQUAL = "tables/priors_full.yaml"
SHORT = (EQUAL, "tables/priors.yaml")
UNITS = {"nll": "NLL, nats", "negative_elbo": "-ELBO, nats", "elbo_bits_per_dim": "-ELBO, bits/dim"}
USUAL = {"encoder": "MLP", "prior": "StandardNormal", "posterior": "DiagonalNormal"}
NAMES = {
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "frey_faces": "Frey faces",
    "caltech101_silhouettes": "Caltech-101",
}


def found_cells(folder: Path) -> list[dict[str, Any]]:
    """The complete cells of all result files of tables: file, settings, published numbers, and what was found."""
    cells = []
    for path in sorted(folder.glob("*.json")):
        said = json.loads(path.read_text())
        if not str(said.get("command", "")).startswith(RUN):
            continue
        file = said["command"].removeprefix(RUN).split()[0]
        for cell in read(HERE / file).cells:
            row = said["cells"].get(cell.name, {"seeds": 0})
            if row["seeds"]:
                cells.append({"file": file, "cell": cell, "found": row})
    return cells


def beside(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each published number, ours beside it."""
    rows = []
    for each in cells:
        cell, found = each["cell"], each["found"]
        for entry in () if each["file"] in SHORT else cell.published:  # few epochs, beside numbers of up to 2,000
            ours, quantity = found[entry["quantity"]], entry["quantity"]
            rows.append(
                {
                    "data": NAMES[cell.settings["data"]],
                    "model": label(cell),
                    "quantity": UNITS[quantity],
                    "ours": ours,
                    "se": found[f"{quantity}_se"],
                    "sd_over_seeds": found.get(f"{quantity}_sd"),
                    "upper_bound": quantity == "nll" and found["believed"] < MANY,
                    "published": entry["value"],
                    "ours_less_published": ours - entry["value"],
                    "believed": found["believed"],
                    "seeds": found["seeds"],
                    "epochs": found["num_epochs"],
                    "seconds": found["seconds"],
                    "source": entry["source"],
                }
            )
    return sorted(rows, key=lambda row: (list(NAMES.values()).index(row["data"]), row["quantity"]))


def label(cell: Any) -> str:
    """What a cell is called: its network, its prior, and its posterior where it is no mean field; or its own name."""
    if not cell.name.startswith(("Standard", "Diagonal", "Trace", "prior ", "posterior ", "binarize ")):
        return str(cell.name)
    parts = [cell.settings.get(name, usual) for name, usual in USUAL.items()]
    names = [next(iter(part)) if isinstance(part, dict) else str(part) for part in parts]
    names = [names[0].removesuffix("Encoder"), *names[1:]]
    once = ["binarized once"] * (cell.settings.get("binarize") == "static")
    return ", ".join([*(names[:2] if names[2] == USUAL["posterior"] else names), *once])


def equal_budget(cells: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Of the cells at equal budget, the NLL less the reference's."""
    keys = ("difference", "difference_se", "difference_sd", "nll", "believed", "seeds")
    return {
        each["cell"].name.removeprefix("prior "): {key: each["found"].get(key) for key in keys}
        for each in cells
        if each["file"] == EQUAL and each["found"].get("difference_se") is not None
    }


def markdown(rows: list[dict[str, Any]]) -> str:
    """The rows beside published numbers, with sources below."""
    sources = list(dict.fromkeys(row["source"] for row in rows))
    lines = [["data", "model", "quantity", "ours", "published", "epochs", "seeds", "believed"]]
    for row in rows:
        ours = f"{'≤ ' * row['upper_bound']}{row['ours']:.2f} ± {row['se']:.2f}"
        published = f"{row['published']:.2f} [{sources.index(row['source']) + 1}]"
        epochs, seeds, believed = f"{row['epochs']:.0f}", f"{row['seeds']:.0f}", f"{row['believed']:.0%}"
        lines.append([row["data"], row["model"], row["quantity"], ours, published, epochs, seeds, believed])
    return "\n".join([lined_up(lines), "", *(f"{number}. {source}" for number, source in enumerate(sources, 1))])


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = results_file.parser_of(__doc__)
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the result files")
    results_file.add_outputs(parser, figure="figure")
    args: argparse.Namespace = parser.parse_args(argv)
    cells = found_cells(args.results)
    rows, equal = beside(cells), equal_budget(cells)
    print(markdown(rows))
    found = {
        "command": results_file.command(__file__, argv),
        "beside_published": rows,
        "equal_budget_nats": equal,
        "versions": results_file.versions(),
    }
    if args.figure:
        results_file.draw(drawn(rows, equal), args.figure, dpi=100)
    results_file.write(found, args.out)
    return found


def drawn(rows: list[dict[str, Any]], equal: dict[str, dict[str, float]]) -> Figure:
    """Ours less the published numbers, in nats and in bits per dimension; and other parts at equal budget."""
    bits = [row for row in rows if "bits" in row["quantity"]]
    nats = [row for row in rows if row not in bits]
    figure = Figure(figsize=(12, 0.34 * max(len(rows) + 4, len(equal) + 2) + 1.4), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1.15, 1])
    for axes, some, unit in zip(
        left.subplots(2, 1, height_ratios=[len(nats), len(bits)]), (nats, bits), ("nats", "bits/dim"), strict=True
    ):
        names = [f"{row['data']}: {row['model']}, {bound(row)}" for row in some]
        points(axes, names, some, "ours_less_published", "se", "sd_over_seeds")
        axes.set_xlabel(f"ours less the published number ({unit})")
    left.suptitle("Beside published numbers: ours are lower to the left of 0", fontsize=10)
    axes = right.subplots()
    names = [name.split("(num")[0].split(" (")[0] for name in equal]
    points(axes, names, list(equal.values()), "difference", "difference_se", "difference_sd")
    axes.set_xlabel("NLL (nats) less that with a\nstandard normal, normal q, ELBO")
    seeds = " or ".join(map(str, sorted({row["seeds"] for row in equal.values()})))
    right.suptitle(f"MNIST, 20 epochs and {seeds} seeds each, paired by image", fontsize=10)
    axes.legend(loc="upper right", fontsize="small")
    return figure


def bound(row: dict[str, Any]) -> str:
    """NLL or -ELBO, and whether it is an upper bound of the NLL."""
    return f"{row['quantity'].split(',')[0]}{' ≤' * row['upper_bound']}"


def points(axes: Axes, names: list[str], rows: list[dict[str, Any]], value: str, error: str, spread: str) -> None:
    """A row for each name from the top: wide bars of two standard errors, and thin ones of one sd over the seeds."""
    place, values = np.arange(len(names)), [row[value] for row in rows]
    errors, spreads = (np.array([row[name] or np.nan for row in rows], float) for name in (error, spread))
    colours = ["tab:blue" if value <= 0 else "tab:orange" for value in values]
    bars = {"fmt": "none", "zorder": 2}
    axes.errorbar(
        values, place, xerr=2 * errors, ecolor="0.6", elinewidth=5, label="± 2 standard errors over test data", **bars
    )
    axes.errorbar(
        values,
        place,
        xerr=spreads,
        ecolor="0.1",
        elinewidth=1,
        capsize=4,
        label="± standard deviation over seeds",
        **bars,
    )
    axes.scatter(values, place, c=colours, s=22, zorder=3)
    axes.set_yticks(place, names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)


if __name__ == "__main__":
    main()
