"""A diagnosis in words: what was found, what follows from it, and what it cannot say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from ppl_vae.diagnostics.arviz_io import group, groups
from ppl_vae.diagnostics.check_guide import GuideCheck

__all__ = ["in_short", "written"]


def written(
    check: GuideCheck, results: Mapping[str, Any], left_out: Mapping[str, str], figures: Mapping[str, list[str]]
) -> str:
    """A diagnosis as Markdown: a sentence for each diagnostic, then a section for each, with its figures."""
    report = check.report() if "hmc" not in results else check.verdict()
    lines = ["# Diagnosis of q(z | x)", "", "```", *report.splitlines(), "```", ""]
    if results:
        lines += ["## In short", "", *in_short(check, results), ""]
    lines += _pictures(figures.get("check_guide", []))
    for name, (title, say) in _sections(results).items():
        first, *rest = say(check, results)
        unseen = _attrs(results[name]).get("cannot_see")
        lines += [f"## {title}", "", first, *rest, ""]
        lines += [f"*What this cannot see: {unseen[0].lower()}{unseen[1:].rstrip('.')}.*", ""] if unseen else []
        lines += _pictures(figures.get(name, []))
    if left_out:
        lines += ["## Left out", "", *(f"* `{name}`: {reason}" for name, reason in left_out.items()), ""]
    return "\n".join(lines)


def in_short(check: GuideCheck, results: Mapping[str, Any]) -> list[str]:
    """A line for each diagnostic."""
    return [f"* {say(check, results)[0]}" for _, say in _sections(results).values()]


def _sections(results: Mapping[str, Any]) -> dict[str, tuple[str, _Say]]:
    return {name: section for name, section in _SECTIONS.items() if name in results}


def _pictures(paths: list[str]) -> list[str]:
    return [line for path in paths for line in (f"![{path}]({path})", "")]


def _calibration(_: GuideCheck, results: Mapping[str, Any]) -> list[str]:
    found = group(results["simulation_based_calibration"], "diagnostics")
    p, num = float(found["p_value_overall"]), found.attrs["num_simulations"]
    worst = found.isel(quantity=int(np.argmin(found["p_value"].values)))
    verdict = (
        f"No: q is not the posterior, p = {p:.2g}, clearest by {worst['quantity'].item()}"
        if p < 0.05
        else f"No sign that it is not: p = {p:.2g}"
    )
    shares = _coverage(results["coverage_simulation_based_calibration"])
    return [
        f"{verdict}, on {num} data simulated from the model. {shares}",
        "With so many simulations small faults are seen: the coverage says how large they are.",
    ]


def _coverage(found: xr.Dataset) -> str:
    """Of the latents; log p(x, z) is no interval anybody asks for."""
    latents = found.sel(quantity=[q for q in found["quantity"].values if q != "log_joint"])
    parts = []
    for prob in found["prob"].values:
        values = latents["coverage"].sel(prob=prob)
        parts.append(f"{prob:.0%} intervals in {_range(values.values, '{:.0%}')}")
    return f"By latent unit, q holds the truth in its {' of cases, in its '.join(parts)}."


def _units(_: GuideCheck, results: Mapping[str, Any]) -> list[str]:
    found = results["active_units"]
    lines = []
    for name in (n for n in found.data_vars if str(n).startswith("num_active_units")):
        site = str(name).removeprefix("num_active_units")
        of = f" of {site[1:]}" if site else ""
        lines.append(
            f"{int(found[name])} of {found[f'variance{site}'].size} units{of} are active; "
            f"{int(found[f'num_active_directions{site}'])} directions, whatever the axes. "
            f"Collapsed: {found.attrs['collapsed']}."
        )
    return lines


def _aggregate(_: GuideCheck, results: Mapping[str, Any]) -> list[str]:
    found = results["aggregated_posterior"]
    p, kl = float(found["p_value"]), float(found["marginal_kl"])
    verdict = "q(z) can be told from p(z)" if p < 0.05 else "q(z) cannot be told from p(z)"
    split = (
        f"the mean KL of {float(found['mean_kl']):.2f} nats is {float(found['mutual_information']):.2f} of information "
        f"on x and {kl:.2f} of q(z) being another than p(z)"
        if np.isfinite(kl)
        else f"how many of the {float(found['mean_kl']):.2f} nats of KL are a mismatch is not known"
    )
    reason = found.attrs.get("reason", "")
    return [
        f"{verdict} by draws (energy distance, p = {p:.2g}); {split}.",
        *([f"Why: {reason}."] if reason and not np.isfinite(kl) else []),
    ]


def _population(_: GuideCheck, results: Mapping[str, Any]) -> list[str]:
    found = group(results["predictive_check"], "predictive_check")
    p = found["p_value"].stack(what=("statistic", "moment"))
    odd = [f"{s} ({m}), p = {float(v):.3g}" for (s, m), v in zip(p["what"].values, p.values, strict=True) if _odd(v)]
    if not odd:
        return [f"Samples of the model look like the data in all {p.size} statistics."]
    return [f"Samples of the model differ from the data in {len(odd)} of {p.size} statistics: {'; '.join(odd)}."]


def _odd(p: float) -> bool:
    return bool(p < 0.01 or p > 0.99)


def _gaps(_: GuideCheck, results: Mapping[str, Any]) -> list[str]:
    found = results["inference_gaps"]
    encoder, family = (_mean(found[name].values) for name in ("amortization_gap", "approximation_gap"))
    larger = "the encoder" if encoder[0] > family[0] else "the family of q"
    advice = {
        "the encoder": "a larger or longer trained encoder, or refinement of each datum, buys more than another family",
        "the family of q": "a richer family (FullRankNormal, IAF) buys more than a better encoder",
    }
    return [
        f"Most of the gap is {larger}'s: amortization gap {_told(*encoder)}, approximation gap {_told(*family)} nats; "
        f"{advice[larger]}.",
        f"Refining q for each of {found.sizes['obs']} data takes the median ESS from "
        f"{float(found['ess'].median()):.0f} to {float(found['refined_ess'].median()):.0f} "
        f"of {found.attrs['num_samples']} draws.",
    ]


def _ais(check: GuideCheck, results: Mapping[str, Any]) -> list[str]:
    found = results["ais_guide"]
    by_q = check.dataset.sel(obs=found["obs"])["log_px"]
    more, error = _mean((found["log_px"] - by_q).values)
    what = "by so much its NLL is too high" if more > 2 * error else "its NLL can be believed"
    return [
        f"Annealing from q finds {_told(more, error)} nats more of log p(x) than importance sampling, on the "
        f"{found.sizes['obs']} chosen data: {what}."
    ]


def _ais_prior(check: GuideCheck, results: Mapping[str, Any]) -> list[str]:
    found = results["ais_prior"]
    best = results["ais_guide"] if "ais_guide" in results else check.dataset.sel(obs=found["obs"])
    difference = (found["log_px"] - best["log_px"]).values
    error = np.hypot(found["log_px_mcse"], best["log_px_mcse"]).values
    higher = int((difference > 3 * error + 0.1).sum())
    told = (
        f"{higher} of {found.sizes['obs']} data have log p(x) clearly higher when chains start from the prior: q "
        "misses modes there"
        if higher
        else f"Chains from the prior find no more of log p(x) than q does, on {found.sizes['obs']} data: no sign of "
        "modes that q misses"
    )
    return [
        f"{told} (difference {_told(*_mean(difference))} nats).",
        "A negative difference says that these chains, with their longer way, have not quite arrived: "
        f"the spread of their log weights is {float(found['log_weight_sd'].median()):.2f} nats.",
    ]


def _hmc(_: GuideCheck, results: Mapping[str, Any]) -> list[str]:
    found = group(results["hmc"], "diagnostics")
    good = found["reliable"].values.astype(bool)
    lines = [f"Draws from p(z | x) are reliable (R-hat at most 1.05) for {good.sum()} of {good.size} data."]
    if not good.all():
        lines.append(
            "The posterior of the others has several modes, or a shape that chains cross slowly; they are kept out of "
            "comparisons."
        )
    if "compare_posteriors" in results:
        compared = results["compare_posteriors"]
        against = "Against exact draws, from a grid," if "quadrature_posterior" in results else "Against them"
        lines.append(
            f"{against} the means of q are off by {_range(np.abs(compared['mean_error'].values))} standard "
            f"deviations, and its standard deviations {_range(compared['sd_ratio'].values)} times the posterior's "
            "(median, 5-95 % over data and units)."
        )
    if "coverage_posterior_pit" in results:
        lines.append(_coverage(results["coverage_posterior_pit"]))
    return lines


def _datum(_: GuideCheck, results: Mapping[str, Any]) -> list[str]:
    found = group(results["predictive_check_datum"], "predictive_check")
    shares = {
        str(s): float(np.mean([_odd(v) for v in found["p_value"].sel(statistic=s).values]))
        for s in found["statistic"].values
    }
    worst = max(shares, key=lambda s: shares[s])
    return [
        f"Of single data, given their own z, {worst} fails most often: beyond its replicates (p < 0.01 or > 0.99) for "
        f"{shares[worst]:.0%}. p-values crowd around 1/2 here, so even a few per cent are a misfit."
    ]


def _mean(values: np.ndarray) -> tuple[float, float]:
    """Mean over data and its standard error."""
    values = values[np.isfinite(values)]
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(values.size)) if values.size > 1 else float("nan")


def _told(mean: float, error: float) -> str:
    return f"{mean:.2f} ± {error:.2f}"


def _range(values: np.ndarray, form: str = "{:.2f}") -> str:
    """Median and the middle 90 %."""
    values = values[np.isfinite(values)]
    if not values.size:
        return "(not known)"
    low, median, high = np.quantile(values, [0.05, 0.5, 0.95])
    return f"{form.format(median)} ({form.format(low)} to {form.format(high)})"


def _attrs(result: Any) -> Mapping[str, Any]:
    if isinstance(result, xr.Dataset):
        return result.attrs
    return next(attrs for attrs in (group(result, name).attrs for name in groups(result)) if "cannot_see" in attrs)


_Say = Callable[[GuideCheck, Mapping[str, Any]], list[str]]
_SECTIONS: dict[str, tuple[str, _Say]] = {
    "simulation_based_calibration": ("Is q calibrated, on data of the model's own?", _calibration),
    "inference_gaps": ("Is it the encoder, or the family of q?", _gaps),
    "hmc": ("How far is q from draws of the posterior?", _hmc),
    "ais_guide": ("What is log p(x), annealed from q?", _ais),
    "ais_prior": ("Are there modes that q never visits?", _ais_prior),
    "active_units": ("Is the latent space used?", _units),
    "aggregated_posterior": ("Does q(z) fill p(z)?", _aggregate),
    "predictive_check": ("Does the model generate data like the data?", _population),
    "predictive_check_datum": ("Does it fit each datum?", _datum),
}
