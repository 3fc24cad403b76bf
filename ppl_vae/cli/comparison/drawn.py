"""The figure of a table: NLL and paired differences, with their errors."""

from __future__ import annotations

from typing import Any

import numpy as np

from ppl_vae.cli.comparison.reading import Table
from ppl_vae.libraries import pd

__all__ = ["drawn"]


def drawn(table: Table, cells: pd.DataFrame, runs: pd.DataFrame) -> Any:
    """NLL of each cell and its difference from the reference, with bars of 2 standard errors over the data.

    A small dot is a seed, a diamond a published NLL. Cells are in the order of the file; those without an NLL are left
    out.
    """
    import matplotlib.pyplot as plt

    from ppl_vae.plots.canvas import COLOURS, INSIDE

    shown = cells[cells["nll"].notna()] if "nll" in cells else cells[:0]
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(12, max(2.5, 0.36 * len(shown) + 1.4)), sharey=True, layout="constrained"
    )
    rows = np.arange(len(shown))
    for ax, name in ((left, "nll"), (right, "difference")):
        values, errors = (_column(shown, column) for column in (name, f"{name}_se"))
        ax.errorbar(values, rows, xerr=2 * errors, fmt="o", color=COLOURS[0], ecolor="0.35", capsize=3)
        ax.grid(axis="x", color="0.9")
        ax.set_axisbelow(True)
    row_of = dict(zip(shown.index, rows, strict=True))
    seeds = runs[runs["cell"].isin(list(row_of)) & runs["nll"].notna()] if "nll" in runs else runs[:0]
    left.plot(
        seeds["nll"] if len(seeds) else [], seeds["cell"].map(row_of), ".", color=COLOURS[1], zorder=3, label="a seed"
    )
    numbers = [
        (entry["value"], row_of[cell.name])
        for cell in table.cells
        for entry in cell.published
        if entry["quantity"] == "nll" and cell.name in row_of
    ]
    if numbers:
        left.plot(*zip(*numbers, strict=True), "D", color=COLOURS[2], fillstyle="none", label="published")
    figure.legend(loc="outside upper right", ncols=2, fontsize="small")
    right.axvline(0, **INSIDE)
    left.set_yticks(rows, [str(name) for name in shown.index])
    left.set_ylim(len(shown) - 0.5, -0.5)
    left.set_xlabel("NLL, nats per datum\n(bars: ± 2 standard errors over the data)")
    right.set_xlabel(
        "NLL less that of the reference, nats per datum\n(paired; bars: ± 2 standard errors over the data)"
    )
    return left


def _column(cells: pd.DataFrame, name: str) -> np.ndarray:
    return cells[name].to_numpy(float) if name in cells else np.full(len(cells), np.nan)
