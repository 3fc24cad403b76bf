"""A diagnosis in words: what was found, what follows from it, and what it cannot say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from ppl_vae.diagnostics.guide import GuideCheck
from ppl_vae.diagnostics.results import group, groups
from ppl_vae.diagnostics.sections import SECTIONS, ahead, of_latents

__all__ = ["in_short", "overall", "written"]

_FEW = 0.1  # share of the data above which a fault is one of q, not of some data


def written(
    check: GuideCheck, results: Mapping[str, Any], left_out: Mapping[str, str], figures: Mapping[str, list[str]]
) -> str:
    """A diagnosis as Markdown: a sentence for each diagnostic, then a section for each, with its figures."""
    report = check.report() if "hmc" not in results else check.verdict()
    lines = [
        "# Diagnosis of q(z | x)",
        "",
        overall(check, results, left_out),
        "",
        "```",
        *report.splitlines(),
        "```",
        "",
    ]
    if results:
        lines += ["## In short", "", *in_short(check, results), ""]
    lines += _pictures(figures.get("check_guide", []))
    for name, (title, say) in SECTIONS.items():
        if name not in results:
            continue
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
    return [f"* {SECTIONS[name][0]} {SECTIONS[name][1](check, results)[0]}" for name in SECTIONS if name in results]


def overall(check: GuideCheck, results: Mapping[str, Any], left_out: Mapping[str, str]) -> str:
    """All findings against q in one paragraph: one diagnostic may find what another is blind to.

    Then what was not run: what no diagnostic looked for is not said to be absent.
    """
    found = [finding for of in (_missed, _disagree, _narrow) if (finding := of(results))]
    if check.evaluation.unreliable > _FEW:
        found.append(_unbelievable(check))
    if check.evaluation.exact:
        refused = f" Left out, with a reason each: {_list([f'`{name}`' for name in left_out])}." if left_out else ""
        return f"**Verdict.** {check.how_far()}, by the sum over all states of the latents: no mode is missed.{refused}"
    looked = [what for name, what in _LOOKS_FOR.items() if name in results]
    if found:
        verdict = f"By its own draws {check.how_far()}, but {'; '.join(found)}."
    elif looked:
        verdict = f"{check.how_far()}, and nothing speaks against it in {_list(looked)}."
    else:
        verdict = f"{check.how_far()}; nothing was run that could speak against it."
    return f"**Verdict.** {verdict}{_not_run(results, left_out)}"


def _unbelievable(check: GuideCheck) -> str:
    table = check.evaluation.per_datum
    high, unknown = table["pareto_k"].gt(check.evaluation.good_k).mean(), table["log_px_mcse"].isna().mean()
    parts = [f"k-hat is too high for {high:.0%} of the data, which leaves bounds there"] if high else []
    parts += (
        [f"the error of log p(x) is not known for {unknown:.0%}, whose states were not all drawn"] if unknown else []
    )
    return "; ".join(parts)


def _not_run(results: Mapping[str, Any], left_out: Mapping[str, str]) -> str:
    """What nobody looked for, since a diagnostic refused or was not asked for."""
    refused = [name for name in _LOOKS_FOR if name in left_out and name not in results]
    not_asked = [name for name in _LOOKS_FOR if name not in left_out and name not in results]
    said = f" Left out, with a reason each: {_list([f'`{n}`' for n in refused])}." if refused else ""
    said += f" Not run without full=True: {_list([f'`{n}`' for n in not_asked])}." if not_asked else ""
    if {"hmc", "ais_prior"} & set(results):
        return said
    where = "looked for on simulated data alone" if "simulation_based_calibration" in results else "not looked for"
    return f"{said} Modes that q never visits were {where}." if said else said


_LOOKS_FOR = {
    "simulation_based_calibration": "calibration on simulated data",
    "hmc": "draws of HMC",
    "ais_prior": "annealing from the prior",
}


def _list(parts: list[str]) -> str:
    """a, b and c."""
    return " and ".join(part for part in (", ".join(parts[:-1]), parts[-1]) if part)


def _missed(results: Mapping[str, Any]) -> str:
    if not {"ais_guide", "ais_prior"} <= set(results) or not ahead(results).any():
        return ""
    return (
        "chains from the prior find log p(x) that q does not: it misses modes, and numbers from its draws are too good"
    )


def _disagree(results: Mapping[str, Any]) -> str:
    if "hmc" not in results:
        return ""
    share = 1 - float(group(results["hmc"], "diagnostics")["reliable"].mean())
    return f"chains of HMC disagree for {share:.0%} of the chosen data" if share > _FEW else ""


def _narrow(results: Mapping[str, Any]) -> str:
    for name, kind in (("posterior_pit", "real"), ("simulation_based_calibration", "simulated")):
        if f"coverage_{name}" in results:
            held = float(of_latents(results[f"coverage_{name}"])["coverage"].sel(prob=0.9).mean())
            if held < 0.85:
                return f"its 90 % intervals hold the truth in {held:.0%} of cases, on {kind} data"
    return _told_apart(results)


def _told_apart(results: Mapping[str, Any]) -> str:
    if "simulation_based_calibration" not in results:
        return ""
    p = float(group(results["simulation_based_calibration"], "diagnostics")["p_value_overall"])
    held = float(of_latents(results["coverage_simulation_based_calibration"])["coverage"].sel(prob=0.9).mean())
    if p >= 0.05:
        return ""
    return f"on simulated data it can be told from the posterior (its 90 % intervals hold {held:.0%})"


def _pictures(paths: list[str]) -> list[str]:
    return [line for path in paths for line in (f"![{path}]({path})", "")]


def _attrs(result: Any) -> Mapping[str, Any]:
    if isinstance(result, xr.Dataset):
        return result.attrs
    return next(attrs for attrs in (group(result, name).attrs for name in groups(result)) if "cannot_see" in attrs)
