"""Each diagnostic in words: its verdict first, then what belongs to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from ppl_vae.diagnostics.guide import GuideCheck
from ppl_vae.diagnostics.results import group
from ppl_vae.evaluation.wording import data, plural
from ppl_vae.importance import good_k

__all__ = ["SECTIONS", "ahead", "of_latents"]

_SMALL = 0.05  # nats that change no conclusion


def _calibration(_: GuideCheck, results: Mapping[str, Any]) -> list[str]:
    found = group(results["simulation_based_calibration"], "diagnostics")
    p, num = float(found["p_value_overall"]), found.attrs["num_simulations"]
    worst = found.isel(quantity=int(np.argmin(found["p_value"].values)))
    verdict = (
        f"No: q is not the posterior, {_p(p)}, clearest by {worst['quantity'].item()}"
        if p < 0.05
        else f"No sign that it is not: {_p(p)}"
    )
    shares = _coverage(results["coverage_simulation_based_calibration"])
    return [
        f"{verdict}, on {data(num)} simulated from the model. {shares}",
        "With so many simulations small faults are seen: the coverage says how large they are.",
    ]


def of_latents(found: xr.Dataset) -> xr.Dataset:
    """Without log p(x, z), which is no interval that anybody asks for."""
    return found.sel(quantity=[q for q in found["quantity"].values if q != "log_joint"])


def _coverage(found: xr.Dataset) -> str:
    latents = of_latents(found)
    shares = [(prob, _range(latents["coverage"].sel(prob=prob).values, "{:.0%}")) for prob in found["prob"].values]
    said = ", ".join(f"{prob:.0%} intervals of q hold the truth in {share}" for prob, share in shares)
    return f"Over the latent units, {said} of cases."


def _units(_: GuideCheck, results: Mapping[str, Any]) -> list[str]:
    found = results["active_units"]
    sites = [str(n).removeprefix("num_active_units") for n in found.data_vars if str(n).startswith("num_active_units")]
    return [" ".join(_activity(found, site) for site in sites)]


def _activity(found: xr.Dataset, site: str) -> str:
    """Of one site: how many units are active, how many directions, and which units have collapsed."""
    variance, collapsed = found[f"variance{site}"].values, found[f"collapsed{site}"].values
    active, across = int(found[f"num_active_units{site}"]), int(found[f"num_active_directions{site}"])
    of = f" of {site[1:]}" if site else ""
    verb = "is" if active == 1 else "are"
    said = f"{active} of {plural(variance.size, 'unit')}{of} {verb} active, and {plural(across, 'direction')}"
    said += " whatever the axes"
    said += ", which no axis shows alone" if across > active else ""
    if np.isnan(collapsed).all():
        return f"{said}. Which have collapsed is not known: of a unit and a datum there is no KL."
    names = [f"{site[1:]}[{j}]" for j in np.flatnonzero(collapsed == 1)] if site else [found.attrs["collapsed"]]
    rest = [j for j in range(variance.size) if not found[f"active{site}"].values[j] and collapsed[j] != 1]
    quiet = f"; {plural(len(rest), 'unit')} neither active nor collapsed may speak by {_their(rest)} variance alone"
    return f"{said}. Collapsed: {', '.join(names) or 'none'}{quiet if rest else ''}."


def _their(items: list[int]) -> str:
    return "its" if len(items) == 1 else "their"


def _aggregate(_: GuideCheck, results: Mapping[str, Any]) -> list[str]:
    found = results["aggregated_posterior"]
    p, kl = float(found["p_value"]), float(found["marginal_kl"])
    verdict = "q(z) can be told from p(z)" if p < 0.05 else "q(z) cannot be told from p(z)"
    split = (
        f"the mean KL of {float(found['mean_kl']):z.2f} nats is {float(found['mutual_information']):z.2f} of "
        f"information on x and {kl:z.2f} of q(z) being another than p(z)"
        if np.isfinite(kl)
        else f"how many of the {float(found['mean_kl']):z.2f} nats of KL are a mismatch is not known"
    )
    reason = found.attrs.get("reason", "")
    return [
        f"{verdict} by draws (energy distance, {_p(p)}); {split}.",
        *([f"Why: {reason}."] if reason and not np.isfinite(kl) else []),
    ]


def _population(_: GuideCheck, results: Mapping[str, Any]) -> list[str]:
    found = group(results["predictive_check"], "predictive_check")
    p = found["p_value"].stack(what=("statistic", "moment")).dropna("what")
    level = 0.05 / max(1, p.size)  # of all statistics together
    odd = [
        f"{m} of {s} {'above' if v < 0.5 else 'below'} its replicates (p = {float(v):.3g})"
        for (s, m), v in zip(p["what"].values, p.values, strict=True)
        if 2 * min(v, 1 - v) <= level
    ]
    if not odd:
        return [f"No sign that it does not, in {plural(p.size, 'statistic')} of the data set."]
    return [f"No: samples differ from the data in {len(odd)} of {plural(p.size, 'statistic')}: {'; '.join(odd)}."]


def _gaps(_: GuideCheck, results: Mapping[str, Any]) -> list[str]:
    found = results["inference_gaps"]
    encoder, family = (_mean(found[name].values) for name in ("amortization_gap", "approximation_gap"))
    told = f"amortization gap {_told(*encoder)}, approximation gap {_told(*family)} nats"
    if max(encoder[0], family[0]) < _SMALL:
        first = f"There is next to no gap to explain: {told}."
    elif not abs(encoder[0] - family[0]) > 2 * float(np.hypot(encoder[1], family[1])):
        first = f"It cannot be told which is larger: {told}; give more data."
    else:
        larger = "the encoder" if encoder[0] > family[0] else "the family of q"
        first = f"Most of the gap is {larger}'s: {told} (means of the chosen data); {_ADVICE[larger]}."
    lines = [
        first,
        f"Refining q for each of {data(found.sizes['obs'])} takes the median ESS from "
        f"{float(found['ess'].median()):.0f} to {float(found['refined_ess'].median()):.0f} "
        f"of {found.attrs['num_samples']} draws.",
    ]
    share = float((found["refined_pareto_k"] > good_k(found.attrs["num_samples"])).mean())
    if share > 0:
        lines.append(f"k-hat stays too high for {share:.0%} of them: their approximation gap is a lower bound.")
    return lines


_ADVICE = {
    "the encoder": "a better encoder, or refinement of each datum, buys more than another family",
    "the family of q": "a richer family (FullRankNormal, IAF) buys more than a better encoder",
}


def _ais(check: GuideCheck, results: Mapping[str, Any]) -> list[str]:
    found = results["ais_guide"]
    by_q = check.dataset.sel(obs=found["obs"])["log_px"]
    more, error = _mean((found["log_px"] - by_q).values)
    if more > max(2 * error, _SMALL):
        what = "by so much the NLL by importance sampling is too high there"
    elif more < -max(2 * error, _SMALL):
        what = "the chains have not arrived; ask for more temperatures"
    else:
        what = "no difference beyond its error"
    return [
        f"Annealing from q finds {_told(more, error)} nats more of log p(x) than importance sampling, on the "
        f"{plural(found.sizes['obs'], 'chosen datum', 'chosen data')}: {what}. Both share the blind spots of q."
    ]


def ahead(results: Mapping[str, Any]) -> np.ndarray:
    """For which data log p(x) is clearly higher by chains from the prior than by those from q."""
    prior, q = results["ais_prior"], results["ais_guide"]
    error = np.hypot(prior["log_px_mcse"], q["log_px_mcse"]).values
    return (prior["log_px"] - q["log_px"]).values > 3 * error + 0.1


def _ais_prior(_: GuideCheck, results: Mapping[str, Any]) -> list[str]:
    found = results["ais_prior"]
    if "ais_guide" not in results:
        return ["There is no annealing from q to compare with."]
    more, error = _mean((found["log_px"] - results["ais_guide"]["log_px"]).values)
    spread, num = float(found["log_weight_sd"].median()), found.sizes["obs"]
    said = f"log p(x) from the prior less that from q: {_told(more, error)} nats"
    if (clearly := int(ahead(results).sum())) or more > max(2 * error, 0.1):
        first = f"Yes: {said}, clearly higher for {clearly} of {data(num)}"
    elif more < -0.5 or spread > 2:
        first = f"It cannot be told: chains from the prior have not arrived ({said}); ask for more temperatures"
    elif not error < 0.25:
        first = f"It cannot be told from so few data or so short chains ({said})"
    else:
        first = f"No sign of any: {said}, on {data(num)}"
    return [
        f"{first}.",
        f"The log weights of these chains spread by {spread:.2f} nats: above 1 even their mean is not settled.",
    ]


def _hmc(_: GuideCheck, results: Mapping[str, Any]) -> list[str]:
    found = group(results["hmc"], "diagnostics")
    good = found["reliable"].values.astype(bool)
    lines = [f"Draws of HMC are reliable (R-hat at most 1.05) for {good.sum()} of {data(good.size)}."]
    if not good.all():
        lines.append(
            f"The posterior {'of the others ' if good.any() else ''}has several modes, or a shape that chains cross "
            "slowly, or the chains are too short."
        )
    if "compare_posteriors" in results:
        compared = results["compare_posteriors"]
        against = "exact draws, from a grid" if "quadrature_posterior" in results else "draws of HMC"
        lines.insert(
            0,
            f"Against {against}, the means of q are off by {_range(np.abs(compared['mean_error'].values))} standard "
            f"deviations, and its standard deviations {_range(compared['sd_ratio'].values)} times the posterior's "
            "(median, 5-95 % over data and units).",
        )
    if "coverage_posterior_pit" in results:
        lines.append(_coverage(results["coverage_posterior_pit"]))
    return lines


def _datum(_: GuideCheck, results: Mapping[str, Any]) -> list[str]:
    found = group(results["predictive_check_datum"], "predictive_check")
    shares = {
        str(s): float(np.mean(abs(found["p_value"].sel(statistic=s) - 0.5) > 0.49)) for s in found["statistic"].values
    }
    worst = max(shares, key=lambda s: shares[s])
    crowd = "p-values crowd around 1/2 here, since each datum has been seen, so even a few per cent are a misfit."
    if shares[worst] == 0:
        return [f"No statistic of any datum lies beyond its replicates (p < 0.01 or > 0.99). {crowd}"]
    return [f"{worst} fits worst: it lies beyond its replicates (p < 0.01 or > 0.99) for {shares[worst]:.0%}. {crowd}"]


def _mean(values: np.ndarray) -> tuple[float, float]:
    """Mean over data and its standard error."""
    values = values[np.isfinite(values)]
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(values.size)) if values.size > 1 else float("nan")


def _told(mean: float, error: float) -> str:
    return f"{mean:.2f} ± {error:.2f}" if np.isfinite(error) else f"{mean:.2f} (of one datum)"


def _p(p: float) -> str:
    return f"p = {p:.2g}" if p >= 1e-10 else "p < 1e-10"


def _range(values: np.ndarray, form: str = "{:.2f}") -> str:
    """Median and the middle 90 %."""
    values = values[np.isfinite(values)]
    if not values.size:
        return "(not known)"
    low, median, high = np.quantile(values, [0.05, 0.5, 0.95])
    middle, ends = form.format(median), f"{form.format(low)} to {form.format(high)}"
    return middle if ends == f"{middle} to {middle}" else f"{middle} ({ends})"


_Say = Callable[[GuideCheck, Mapping[str, Any]], list[str]]
SECTIONS: dict[str, tuple[str, _Say]] = {
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
