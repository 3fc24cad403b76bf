"""The report of a diagnosis: findings, consequences and limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ppl_vae.diagnostics.diagnostic import Diagnostic, Results, Subject
from ppl_vae.diagnostics.guide import GuideCheck
from ppl_vae.diagnostics.results import group, groups
from ppl_vae.libraries import xr

__all__ = ["cannot_see", "markdown", "overall", "short"]

_FEW = 0.1  # share of the data above which a fault is reported against q


def markdown(
    diagnostics: Sequence[Diagnostic],
    check: GuideCheck,
    subject: Subject,
    results: Results,
    left_out: Mapping[str, str],
    figures: Mapping[str, list[str]],
) -> str:
    """A diagnosis as Markdown: one sentence per diagnostic, then one section per diagnostic, with its figures."""
    report = check.report() if "hmc" not in results else check.verdict()
    lines = ["# Diagnosis of q(z | x)", "", overall(diagnostics, check, results, left_out)]
    lines += ["", "```", *report.splitlines(), "```", ""]
    told = _told(diagnostics, subject, results)
    if results:
        lines += ["## In short", "", *_first_lines(told), ""]
    lines += _pictures(figures.get("check_guide", []))
    for one, verdict in told:
        unseen = cannot_see(results[one.name])
        lines += [f"## {one.question}", "", *verdict, ""]
        lines += [f"*What this cannot see: {unseen[0].lower()}{unseen[1:].rstrip('.')}.*", ""] if unseen else []
        lines += _pictures(figures.get(one.name, []))
    if left_out:
        lines += ["## Left out", "", *(f"* `{name}`: {reason}" for name, reason in left_out.items()), ""]
    return "\n".join(lines)


def short(diagnostics: Sequence[Diagnostic], subject: Subject, results: Results) -> list[str]:
    """One line per diagnostic."""
    return _first_lines(_told(diagnostics, subject, results))


def _first_lines(told: Sequence[tuple[Diagnostic, list[str]]]) -> list[str]:
    return [f"* {one.question} {verdict[0] if verdict else f'See {one.name}.'}" for one, verdict in told]


def _told(diagnostics: Sequence[Diagnostic], subject: Subject, results: Results) -> list[tuple[Diagnostic, list[str]]]:
    """The diagnostics that have a section, each with its verdict."""
    return [(one, one.told(subject, results)) for one in diagnostics if one.question and one.name in results]


def overall(diagnostics: Sequence[Diagnostic], check: GuideCheck, results: Results, left_out: Mapping[str, str]) -> str:
    """All findings against q in one paragraph, as diagnostics detect different faults.

    Then what was not run: a fault that no diagnostic looked for is not reported as absent.
    """
    looking = [one for one in diagnostics if one.looks_for]
    found = [said for one in diagnostics if one.name in results and (said := one.evidence(results))]
    if check.evaluation.unreliable > _FEW:
        found.append(_unbelievable(check))
    refused = _refused([one.name for one in looking if one.name in left_out], left_out)
    if check.evaluation.exact:
        return f"**Verdict.** {check.how_far()}, by the sum over all states of the latents: no mode is missed.{refused}"
    looked = [one.looks_for for one in looking if one.name in results]
    if found:
        verdict = f"By its own draws {check.how_far()}, but {'; '.join(found)}."
    elif looked:
        verdict = f"{check.how_far()}, and no evidence against it was found in {_listed(looked)}."
    else:
        verdict = f"{check.how_far()}; its calibration was not tested, so this rests on q's own draws."
    not_asked = [one.name for one in looking if one.name not in results and one.name not in left_out]
    said = f" Not run without full=True: {_listed([f'`{name}`' for name in not_asked])}." if not_asked else ""
    modes = "" if {"hmc", "ais_prior"} & set(results) or not (refused or said) else _modes(results)
    return f"**Verdict.** {verdict}{refused}{said}{modes}"


def _refused(names: Sequence[str], left_out: Mapping[str, str]) -> str:
    """What did not run, and why: the reason without the advice, once for all diagnostics that share it."""
    by_reason: dict[str, list[str]] = {}
    for name in names:
        by_reason.setdefault(left_out[name].partition(";")[0], []).append(f"`{name}`")
    said = [f"{_listed(alike)} ({reason})" for reason, alike in by_reason.items()]
    return f" Left out: {'; '.join(said)}." if said else ""


def _modes(results: Results) -> str:
    where = "looked for on simulated data alone" if "simulation_based_calibration" in results else "not looked for"
    return f" Modes that q never visits were {where}."


def _unbelievable(check: GuideCheck) -> str:
    found, num = check.evaluation, len(check.evaluation.per_datum)
    high = found.per_datum["pareto_k"].gt(found.good_k).mean()
    unknown, close = found.undrawn / num, found.collapsed / num
    parts = [f"k-hat is too high for {high:.0%} of the data, which leaves bounds there"] if high else []
    parts += (
        [f"the error of log p(x) is not known for {unknown:.0%}, whose states were not all drawn"] if unknown else []
    )
    parts += [f"q is so narrow that its draws coincide for {close:.0%}"] if close else []
    return "; ".join(parts)


def _listed(parts: list[str]) -> str:
    """a, b and c."""
    return " and ".join(part for part in (", ".join(parts[:-1]), parts[-1]) if part)


def _pictures(paths: list[str]) -> list[str]:
    return [line for path in paths for line in (f"![{path}]({path})", "")]


def cannot_see(result: Any) -> str:
    """What a result cannot detect, a dataset's or a tree's; empty where it does not say."""
    several = [result] if isinstance(result, xr.Dataset) else [group(result, name) for name in groups(result)]
    return next((str(one.attrs["cannot_see"]) for one in several if "cannot_see" in one.attrs), "")
