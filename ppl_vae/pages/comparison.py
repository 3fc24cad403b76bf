"""Several runs of a page beside each other: the table of `compare`, and differences of each datum."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from ppl_vae.evaluation import compare
from ppl_vae.libraries import pd
from ppl_vae.pages.subject import Subject
from ppl_vae.pages.values import plain
from ppl_vae.pages.words import table

__all__ = ["compared", "differences"]


def compared(subjects: Sequence[Subject]) -> str:
    """The table of the runs, best first; the reason where they cannot be ranked."""
    try:
        found = compare({subject.name: subject.result for subject in subjects})
    except ValueError as reason:
        return f"<p>These runs are not ranked: {escape(str(reason))}.</p>"
    rows = [_row(str(name), found.loc[name]) for name in found.index]
    head = ["run", "NLL (nats per datum)", "difference from the best", "weight", "log p(x) believed", "caution"]
    warning = found.attrs["warning"]
    said = f"<p>{escape(warning)}.</p>" if warning else ""
    note = "<p>Differences and their standard errors are of the same data, paired; weights are by stacking.</p>"
    return table("Runs, best first", head, rows) + note + said


def _row(name: str, row: pd.Series) -> list[str]:
    difference = "best" if row["difference"] == 0 else f"{row['difference']:+.3f} ± {row['difference_se']:.3f}"
    believed = "not known" if np.isnan(row["unreliable"]) else f"{1 - row['unreliable']:.0%}"
    nll = f"{row['nll']:.3f} ± {row['nll_se']:.3f}"
    return [escape(name), nll, difference, f"{row['weight']:.2f}", believed, escape(row["caution"])]


def differences(subjects: Sequence[Subject], most: int = 1000) -> dict[str, Any] | None:
    """log p(x) of each datum minus that of the best run, for JavaScript; `None` where runs differ in data."""
    try:
        best = str(compare({subject.name: subject.result for subject in subjects}).index[0])
    except ValueError:
        return None
    of = {subject.name: subject.result.per_datum["log_px"].iloc[:most] for subject in subjects}
    others = {name: plain((log_px - of[best]).to_numpy(float)) for name, log_px in of.items() if name != best}
    return {"best": best, "obs": of[best].index.tolist(), "others": others}
