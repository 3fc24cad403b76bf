"""A diagnosis in a run folder: words, trees, and the figures that belong to each diagnostic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ppl_vae.checksums import record
from ppl_vae.cli.figures import draw, raw, save
from ppl_vae.diagnostics import Diagnosis, simultaneous_band
from ppl_vae.diagnostics.diagnose import APART
from ppl_vae.diagnostics.posterior import log_joints
from ppl_vae.diagnostics.results import group
from ppl_vae.files import written
from ppl_vae.isolation import evaluating
from ppl_vae.split import Split
from ppl_vae.vae import VAE

__all__ = ["write_diagnosis"]

Draw = Callable[[], Any]


def write_diagnosis(vae: VAE, split: Split, found: Diagnosis, folder: Path) -> str:
    """Write `diagnosis.md` with its figures, and the trees; the verdict, and what was written."""
    for name in _WRITTEN:  # an earlier diagnosis may have been a fuller one
        for file in folder.glob(name):
            file.unlink()
    record(folder, [])
    paths = _drawn(vae, split, found, folder / "figures")
    with written(folder / "diagnosis.md") as temporary:
        temporary.write_text(found.report(paths))
    trees = {"posterior": found.to_arviz()} | {name: found[name] for name in APART if name in found.results}
    for name, tree in trees.items():
        with written(folder / f"{name}.nc") as temporary:
            tree.to_netcdf(str(temporary))
    names = ["diagnosis.md", *(f"{name}.nc" for name in trees), *(p for some in paths.values() for p in some)]
    record(folder, names)
    return "\n".join([found.in_short(), *(f"wrote {folder / name}" for name in names)])


def _drawn(vae: VAE, split: Split, found: Diagnosis, folder: Path) -> dict[str, list[str]]:
    """Every figure that the results allow, as PNG; their paths beside the report, by diagnostic."""
    paths: dict[str, list[str]] = {}
    for name, figures in _FIGURES.items():
        if name != "check_guide" and name not in found.results:
            continue
        for title, made in figures(vae, split, found):
            save(made(), folder / f"{title}.png")
            paths.setdefault(name, []).append(f"{folder.name}/{title}.png")
    if {"simulation_based_calibration", "inference_gaps"} <= set(found.results) and "hmc" in paths:
        save(_overview(found), folder / "diagnosis.png")
        paths.setdefault("check_guide", []).insert(0, f"{folder.name}/diagnosis.png")
    return paths


def _check(vae: VAE, split: Split, found: Diagnosis) -> Iterator[tuple[str, Draw]]:
    table = found.check.evaluation.per_datum
    if table.pareto_k.notna().any():
        num_samples = found.check.evaluation.num_samples
        yield "pareto_k", partial(draw, "pareto_k", table.pareto_k, obs=table.index, num_samples=num_samples)
    if split.x.dim() == 4:
        worst = split[found.check.worst(10)]
        mask = True if worst.mask is None else worst.mask
        x_hat = vae.reconstruct(worst.x, *worst.context, mask=mask, seed=found.check.evaluation.seed)
        rows = table.loc[worst.index.tolist()]
        values = {"KL" if found.check.known[found.check.worst(10)].all() else "KL ≥": rows.kl_gap.to_numpy()}
        values["k-hat"] = rows.pareto_k.to_numpy()
        yield (
            "worst_fitted",
            partial(draw, "worst_fitted", raw(vae, worst.x), values, x_hat=raw(vae, x_hat), obs=rows.index),
        )


def _calibration(_: VAE, __: Split, found: Diagnosis) -> Iterator[tuple[str, Draw]]:
    yield "sbc", partial(_ranks, group(found["simulation_based_calibration"], "prior_sbc"))
    yield "coverage_simulated", partial(_coverage, found["coverage_simulation_based_calibration"])


def _ranks(ranks: xr.Dataset, **kwargs: Any) -> Any:
    pit = {str(name): values.values[0] for name, values in ranks.data_vars.items()}
    return draw("sbc_ecdf_difference", pit, simultaneous_band(ranks.sizes["draw"]), **kwargs)


def _coverage(found: xr.Dataset) -> Any:
    return draw(
        "coverage",
        found["prob"].values,
        found["coverage"].values,
        found["coverage_mcse"].values,
        names=found["quantity"].values.tolist(),
    )


def _gaps(_: VAE, __: Split, found: Diagnosis) -> Iterator[tuple[str, Draw]]:
    gaps = found["inference_gaps"]
    yield (
        "inference_gaps",
        partial(draw, "gap_decomposition", gaps.amortization_gap, gaps.approximation_gap, obs=gaps.obs.values),
    )


def _posteriors(_: VAE, __: Split, found: Diagnosis) -> Iterator[tuple[str, Draw]]:
    if _units(group(found.tree, "posterior")).shape[-1] > 1:
        yield "posteriors", partial(_three, found)
    if "coverage_posterior_pit" in found.results:
        yield "coverage_real", partial(_coverage, found["coverage_posterior_pit"])


def _three(found: Diagnosis) -> Any:
    """q against draws of the posterior for the best, the middle and the worst fitted of the chosen data."""
    import matplotlib.pyplot as plt

    _, axes = plt.subplots(1, 3, figsize=(13, 4.6), layout="constrained")
    last = len(found.chosen) - 1
    for ax, at, title in zip(axes, (0, last // 2, last), ("best fitted", "middle", "worst fitted"), strict=True):
        _one(found, at, title, ax)
    return axes[0]


def _one(found: Diagnosis, at: int, title: str, ax: Any) -> None:
    """q against draws of the posterior for one datum, in the two units that its posterior ties together most."""
    q, p = (_units(group(tree, "posterior"))[:2000, at] for tree in (found.tree, found["hmc"]))
    ties = np.abs(np.nan_to_num(np.corrcoef(p.T))) - np.eye(p.shape[1])
    dims = tuple(sorted(int(i) for i in np.unravel_index(ties.argmax(), ties.shape)))
    more = _density(found, at) if p.shape[1] == 2 else {}
    draw("posterior_against_reference", q[:, dims], p[:, dims], dims=dims, ax=ax, **more)
    obs = int(found.chosen.index[at])
    r_hat = float(group(found["hmc"], "diagnostics")["rhat"].sel(obs=obs))
    gap = float(found.check.dataset["kl_gap"].sel(obs=obs))
    at_least = "" if found.check.known[found.check.evaluation.per_datum.index.get_loc(obs)] else "at least "
    ax.set_title(f"{title}, obs {obs}\nKL {at_least}{gap:.2f} nats, R-hat of HMC {r_hat:.2f}")


def _overview(found: Diagnosis) -> Any:
    """How far for all data and whether that is known, why, calibration, and the worst fitted datum."""
    import matplotlib.pyplot as plt

    _, axes = plt.subplots(2, 2, figsize=(13, 9), layout="constrained")
    table, gaps = found.check.evaluation.per_datum, found["inference_gaps"]
    num_samples = found.check.evaluation.num_samples
    draw("pareto_k", table.pareto_k, obs=table.index, num_samples=num_samples, ax=axes[0, 0])
    axes[0, 0].set_title("Can log p(x) be believed?")
    draw("gap_decomposition", gaps.amortization_gap, gaps.approximation_gap, obs=gaps.obs.values, ax=axes[0, 1])
    axes[0, 1].set_title("How far is q, and is it the encoder or the family?")
    ranks = group(found["simulation_based_calibration"], "prior_sbc")
    _ranks(ranks, ax=axes[1, 0])
    axes[1, 0].set_title("Is q calibrated, on simulated data?")
    _one(found, len(found.chosen) - 1, "Worst fitted", axes[1, 1])
    for ax in axes[1]:  # beside the axes, legends would narrow those above
        shown = ax.get_legend()
        labels = [text.get_text() for text in shown.get_texts()]
        ax.legend(shown.legend_handles, labels, loc="upper right", ncols=2, fontsize="x-small")
    return axes[0, 0]


def _units(draws: xr.Dataset) -> np.ndarray:
    """All units of all sites, (draws, obs, units), the chains mixed."""
    sites = (v.transpose("draw", "chain", "obs", ...).values for v in draws.data_vars.values())
    return np.concatenate([z.reshape(z.shape[0] * z.shape[1], z.shape[2], -1) for z in sites], -1)


def _density(found: Diagnosis, at: int) -> dict[str, Any]:
    """The exact posterior of one datum, where a grid gave it."""
    if "quadrature_posterior" not in found.results:
        return {}
    density = group(found["quadrature_posterior"], "density").isel(obs=at)
    extent = tuple(float(density[u][end]) for u in ("u_0", "u_1") for end in (0, -1))
    return {"log_density": density["log_density"].values.T, "extent": extent}


def _activity(_: VAE, __: Split, found: Diagnosis) -> Iterator[tuple[str, Draw]]:
    units = found["active_units"]
    sites = [str(n).removeprefix("num_active_units") for n in units.data_vars if str(n).startswith("num_active_units")]
    for site in sites:
        values = units[f"variance{site}"].values, units[f"eigenvalue{site}"].values
        yield f"active_units{site}", partial(draw, "unit_activity", *values, threshold=units.attrs["threshold"])


def _aggregate(vae: VAE, split: Split, found: Diagnosis) -> Iterator[tuple[str, Draw]]:
    with evaluating(vae, found.check.evaluation.seed):
        ((_, joint),) = log_joints(vae, split, 1, max_rows=len(split))
        num = -(-5000 // len(split))
        z_q, z_p = (z.flatten(0, 1).cpu() for z in (joint.from_guide(num), joint.from_prior(num)))
    yield "aggregate_marginals", partial(draw, "aggregate_marginals", z_q, z_p)


def _population(_: VAE, __: Split, found: Diagnosis) -> Iterator[tuple[str, Draw]]:
    yield "predictive_check", partial(_statistics, group(found["predictive_check"], "predictive_check"))


def _statistics(found: xr.Dataset) -> Any:
    """A row for the mean over the data of each statistic, one for its standard deviation."""
    import matplotlib.pyplot as plt

    names = found["statistic"].values
    _, axes = plt.subplots(2, len(names), figsize=(3.6 * len(names), 6), layout="constrained", squeeze=False)
    for row, moment in zip(axes, found["moment"].values, strict=True):
        for ax, name in zip(row, names, strict=True):
            one = found.sel(statistic=name, moment=moment)
            unit = one["units"].item()
            label = f"{moment} of {name}" + ("" if unit == "1" else f" ({unit})")
            replicated = one["replicated"].values.ravel()
            draw(
                "predictive_check",
                float(one["observed"]),
                replicated,
                label=label,
                p_value=float(one["p_value"]),
                ax=ax,
            )
    return axes[0, 0]


_FIGURES: dict[str, Callable[[VAE, Split, Diagnosis], Iterator[tuple[str, Draw]]]] = {
    "check_guide": _check,
    "simulation_based_calibration": _calibration,
    "inference_gaps": _gaps,
    "hmc": _posteriors,
    "active_units": _activity,
    "aggregated_posterior": _aggregate,
    "predictive_check": _population,
}

_WRITTEN = [
    *("diagnosis.md", "posterior.nc", *(f"{name}.nc" for name in APART)),
    *(
        f"figures/{name}.png"
        for name in (
            *("diagnosis", "pareto_k", "worst_fitted", "sbc", "coverage_*", "inference_gaps", "posteriors"),
            *("active_units*", "aggregate_marginals", "predictive_check"),
        )
    ),
]
