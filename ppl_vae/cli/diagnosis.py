"""A diagnosis in a run folder: the report, the trees, and the figures of each diagnostic."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ppl_vae.checksums import record
from ppl_vae.cli.figures import raw, save
from ppl_vae.diagnostics import DIAGNOSTICS, Diagnosis, Figure, Panel
from ppl_vae.diagnostics.guide import gaps_panel, panel, rank_panel
from ppl_vae.files import read_bytes, write_text, written
from ppl_vae.vae import VAE

__all__ = ["write_diagnosis"]


def write_diagnosis(vae: VAE, found: Diagnosis, folder: Path) -> str:
    """Write `diagnosis.md` with its figures, and the trees; the verdict, and what was written."""
    _remove_earlier(folder)
    paths = _drawn(vae, found, folder / "figures")
    write_text(folder / "diagnosis.md", found.report(paths))
    trees = {"posterior": found.to_arviz()} | found.apart()
    for name, tree in trees.items():
        with written(folder / f"{name}.nc") as temporary:
            tree.to_netcdf(str(temporary))
    names = ["diagnosis.md", *(f"{name}.nc" for name in trees), *(p for some in paths.values() for p in some)]
    record(folder, names)
    return "\n".join([found.in_short(), *(f"wrote {folder / name}" for name in names)])


def _remove_earlier(folder: Path) -> None:
    """Remove the files of an earlier diagnosis, which may have had more of them."""
    report = folder / "diagnosis.md"
    shown = _PICTURE.findall(read_bytes(report).decode(errors="replace")) if report.is_file() else []
    trees = [f"{name}.nc" for name in ("posterior", *(one.name for one in DIAGNOSTICS if one.apart))]
    for name in (report.name, *trees, *shown):
        (folder / name).unlink(missing_ok=True)
    record(folder, [])


_PICTURE = re.compile(r"!\[.*\]\((figures/[\w-]+\.png)\)")


def _drawn(vae: VAE, found: Diagnosis, folder: Path) -> dict[str, list[str]]:
    """Every figure that the results allow, as PNG; their paths beside the report, by diagnostic."""
    from ppl_vae import plots  # matplotlib takes a second to import

    paths: dict[str, list[str]] = {}
    for name, figure in (*_check(vae, found), *found.figures()):
        save(plots.draw(figure), folder / f"{figure.name}.png")
        paths.setdefault(name, []).append(f"{folder.name}/{figure.name}.png")
    if {"simulation_based_calibration", "inference_gaps"} <= set(found.results) and "compare_posteriors" in paths:
        save(_overview(found), folder / "diagnosis.png")
        paths.setdefault("check_guide", []).insert(0, f"{folder.name}/diagnosis.png")
    return paths


def _check(vae: VAE, found: Diagnosis) -> Iterator[tuple[str, Figure]]:
    table, data = found.check.evaluation.per_datum, found.subject.data
    if table.pareto_k.notna().any():
        yield "check_guide", Figure("pareto_k", [[_pareto_k(found)]])
    if data.x.dim() == 4:
        worst = data[found.check.worst(10)]
        x_hat = vae.reconstruct(worst, seed=found.check.evaluation.seed)
        rows = table.loc[worst.index.tolist()]
        values = {"KL" if found.check.known[found.check.worst(10)].all() else "KL ≥": rows.kl_gap.to_numpy()}
        values["k-hat"] = rows.pareto_k.to_numpy()
        shown = Panel(
            "worst_fitted", (raw(vae, worst.x), values), {"x_hat": raw(vae, x_hat), "obs": rows.index.to_numpy()}
        )
        yield "check_guide", Figure("worst_fitted", [[shown]])


def _pareto_k(found: Diagnosis, title: str = "") -> Panel:
    table = found.check.evaluation.per_datum
    kwargs = {"obs": table.index, "num_samples": found.check.evaluation.num_samples}
    return Panel("pareto_k", (table.pareto_k,), kwargs, title)


def _overview(found: Diagnosis) -> Any:
    """How far for all data and whether that is known, why, calibration, and the worst fitted datum."""
    from ppl_vae import plots

    axes: Any = plots.draw(
        Figure(
            "diagnosis",
            [
                [
                    _pareto_k(found, "Can log p(x) be believed?"),
                    gaps_panel(found["inference_gaps"], "How far is q, and is it the encoder or the family?"),
                ],
                [
                    rank_panel(found["simulation_based_calibration"], "Is q calibrated, on simulated data?"),
                    panel(found.subject, found.results, len(found.chosen) - 1, "Worst fitted"),
                ],
            ],
            (6.5, 4.5),
        )
    )
    for ax in axes.figure.axes[2:]:  # beside the axes, legends would narrow those above
        shown = ax.get_legend()
        labels = [text.get_text() for text in shown.get_texts()]
        ax.legend(shown.legend_handles, labels, loc="upper right", ncols=2, fontsize="x-small")
    return axes
