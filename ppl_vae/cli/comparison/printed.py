"""A table in Markdown, and what must be known to read it."""

from __future__ import annotations

import math
from typing import Any

from ppl_vae.cli.comparison.cell import Cell, shown
from ppl_vae.cli.comparison.reading import QUANTITIES, Table
from ppl_vae.cli.markdown import lined_up
from ppl_vae.libraries import pd

__all__ = ["MANY", "markdown", "notes"]

MANY = 0.9
"""Share of believed data below which the NLL of a row is said to be an upper bound."""

_DASH = "–"
_TITLES = dict(zip(QUANTITIES, ("NLL", "-ELBO", "bits/dim", "-ELBO bits/dim"), strict=True))


def markdown(table: Table, cells: pd.DataFrame, title: str, budget: str) -> str:
    """The whole page: settings that all share, the table, notes, what failed, and the sources of published numbers."""
    sources: list[str] = []
    rows = [_row(cell, cells.loc[cell.name], sources) for cell in table.cells]
    columns = [name for name in dict.fromkeys(k for row in rows for k in row) if any(row.get(name) for row in rows)]
    lines = [columns, *([row.get(name) or _DASH for name in columns] for row in rows)]
    common = ", ".join(f"{name} {shown(value)}" for name, value in table.common.items())
    parts = [f"# {title}", f"In every cell: {common}. {budget}", lined_up(lines), notes(cells)]
    parts += ["\n".join(f"{number}. {source}" for number, source in enumerate(sources, 1))] if sources else []
    return "\n\n".join(parts) + "\n"


def notes(cells: pd.DataFrame) -> str:
    """What the columns are, and what of the rows may not be believed."""
    said = [
        "NLL is -log p(x) of the test data in nats per datum, ± its standard error over the data, as of -ELBO; sd "
        "is that of the NLL over the seeds. A difference is that of the NLL from the reference on the same data, "
        "paired by datum and seed, ± its standard error over the data; then how many of these it is, and its sd "
        "over the seeds. The gap is the KL from q(z | x) to p(z | x). Believed is the share of the data with a good "
        f"k-hat, or whose annealing settled. Below {MANY:.0%}, ≤ says that the NLL is an upper bound, and a "
        "difference may come from q."
    ]
    if any(cells["seeds"].eq(1)):
        said.append("With one seed nothing is known of the spread over seeds.")
    said += [f"{name}: {why}." for name, why in cells["reason"].items() if why]
    return "\n\n".join(said)


def _row(cell: Cell, found: Any, sources: list[str]) -> dict[str, str]:
    value = {str(name): number for name, number in found.items()}
    row = {
        "cell": cell.name,
        "seeds": f"{value['seeds']:.0f}",
        "NLL": ("≤ " if value.get("believed", 1) < MANY else "") + _with_error(value, "nll"),
        "sd": _number(value, "nll_sd"),
        "difference": _with_error(value, "difference", "+.2f"),
        "in se": _in_se(value),
        "its sd": _number(value, "difference_sd"),
        "-ELBO": _with_error(value, "negative_elbo"),
        "gap": _number(value, "kl_gap"),
        "believed": _number(value, "believed", ".0%"),
        "active units": _number(value, "active_units", ".1f"),
        "bits/dim": _number(value, "bits_per_dim", ".3f"),
        "seconds": _number(value, "seconds", ".0f"),
    }
    for entry in cell.published:
        if entry["source"] not in sources:
            sources.append(entry["source"])
        title = _TITLES[entry["quantity"]]
        row.setdefault(title, _with_error(value, entry["quantity"], ".3f"))
        row[f"published {title}"] = f"{entry['value']} [{sources.index(entry['source']) + 1}]"
    return row


def _number(value: dict[str, Any], name: str, form: str = ".2f") -> str:
    number = value.get(name, math.nan)
    return "" if math.isnan(number) else format(number, form)


def _with_error(value: dict[str, Any], name: str, form: str = ".2f") -> str:
    number, error = _number(value, name, form), _number(value, f"{name}_se", form.removeprefix("+"))
    return f"{number} ± {error}" if error else "reference" if name == "difference" and number else number


def _in_se(value: dict[str, Any]) -> str:
    difference, error = (value.get(name, math.nan) for name in ("difference", "difference_se"))
    return format(difference / error, "+.1f") if error > 0 else ""
